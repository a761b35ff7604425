//! What is kept of a network: its record and its leases, with their place on disk and their lock.
//!
//! `<data>/networks/<name>/network.json` is the network, `leases.json` beside it who has which address.
//! Imports: `base`, `engine`, `sys::{fs, lock}`, `net::ipam`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ipam::Pool;
use crate::base::clock::Timestamp;
use crate::base::name::ContainerId;
use crate::engine::driver::Driver;
use crate::engine::native::owner;
use crate::engine::spec::NetworkSpec;
use crate::engine::{EngineError, Result};
use crate::sys::fs::{Durability, write_atomic};

/// Version of both files.
const VERSION: u32 = 1;
const NETWORK: &str = "network.json";
const LEASES: &str = "leases.json";

/// A network as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// Version of the record.
    pub version: u32,
    /// What was asked for.
    pub spec: NetworkSpec,
    /// 64 hex digits, from the data directory and the name: the same again after a crash.
    pub id: String,
    /// Name of its bridge, or of the device that it is on.
    pub bridge: String,
    /// Its subnets.
    pub subnets: Vec<Pool>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// When it was made.
    pub created: Timestamp,
    /// Whether its project has gone without it, as others use it: the last of them takes it along.
    #[serde(default)]
    pub abandoned: bool,
}

impl NetworkRecord {
    /// Its driver, with its options.
    pub fn driver(&self) -> Driver {
        // What was wrong was told before it was made.
        Driver::read(&self.spec.driver, &self.spec.options).driver
    }
    /// Whether the host is on it: routes for it, publishes ports of it, has its gateway's address.
    pub fn has_host(&self) -> bool {
        self.driver().bridge().is_some()
    }
    /// Whether packets to elsewhere may leave by it. As Docker: not by a network on a device that leads nowhere.
    pub fn leads_outside(&self) -> bool {
        !self.spec.internal && (self.has_host() || self.driver().parent().is_some())
    }
    /// Name of its nftables table.
    pub fn table(&self) -> String {
        format!("hoist-{}", self.id.get(..12).unwrap_or(&self.id))
    }
    /// The host's IPv4 address on it, as its containers see the host.
    pub fn gateway4(&self) -> Option<Ipv4Addr> {
        first_v4(self.subnets.iter().filter_map(|pool| pool.gateway))
    }
    /// The host's IPv6 address on it.
    pub fn gateway6(&self) -> Option<Ipv6Addr> {
        first_v6(self.subnets.iter().filter_map(|pool| pool.gateway))
    }
    /// Whether it has IPv6.
    pub fn has_ipv6(&self) -> bool {
        self.subnets.iter().any(|pool| !pool.is_ipv4())
    }
}

fn first_v4(mut addresses: impl Iterator<Item = IpAddr>) -> Option<Ipv4Addr> {
    addresses.find_map(|address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}

fn first_v6(mut addresses: impl Iterator<Item = IpAddr>) -> Option<Ipv6Addr> {
    addresses.find_map(|address| match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    })
}

/// What an endpoint was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredLease")]
pub struct Lease {
    /// Its addresses with the length of the subnet's prefix, at most one of each version of IP, IPv4 first.
    pub addresses: Vec<IpNet>,
    /// The gateways of their subnets, where these have one.
    pub gateways: Vec<IpAddr>,
    /// Hardware address.
    pub mac: [u8; 6],
}

impl Lease {
    /// Its IPv4 address.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        first_v4(self.hosts())
    }
    /// Its IPv6 address.
    pub fn ipv6(&self) -> Option<Ipv6Addr> {
        first_v6(self.hosts())
    }
    /// Where IPv4 packets to elsewhere go.
    pub fn gateway4(&self) -> Option<Ipv4Addr> {
        first_v4(self.gateways.iter().copied())
    }
    /// Where IPv6 packets to elsewhere go.
    pub fn gateway6(&self) -> Option<Ipv6Addr> {
        first_v6(self.gateways.iter().copied())
    }
    /// Its addresses without the prefixes.
    pub fn hosts(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().map(IpNet::addr)
    }
}

/// A lease as it is on disk: before there was IPv6, the prefix length and the gateway were one of each.
#[derive(Deserialize)]
struct StoredLease {
    addresses: Vec<StoredAddress>,
    #[serde(default)]
    gateways: Vec<IpAddr>,
    mac: [u8; 6],
    #[serde(default)]
    prefix: Option<u8>,
    #[serde(default)]
    gateway: Option<IpAddr>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StoredAddress {
    Net(IpNet),
    Bare(IpAddr),
}

impl From<StoredLease> for Lease {
    fn from(stored: StoredLease) -> Self {
        let whole = |address| match address {
            StoredAddress::Net(address) => address,
            StoredAddress::Bare(address) => stored
                .prefix
                .and_then(|prefix| IpNet::new(address, prefix).ok())
                .unwrap_or_else(|| address.into()),
        };
        let mut gateways = stored.gateways;
        gateways.extend(stored.gateway);
        Self {
            addresses: stored.addresses.into_iter().map(whole).collect(),
            gateways,
            mac: stored.mac,
        }
    }
}

/// A container's place on a network, as others find it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// Who.
    pub container: ContainerId,
    /// Its name.
    pub name: String,
    /// What it was given.
    #[serde(flatten)]
    pub lease: Lease,
    /// Names it answers to beside its own.
    pub aliases: Vec<String>,
}

/// Content of `leases.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Leases {
    version: u32,
    leases: Vec<LeaseRecord>,
}

/// Whether a name may name a network: it becomes part of a path.
///
/// As Docker: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= 200
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// 64 hex digits of parts that together name a thing.
pub(super) fn hash(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The directory of all networks.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    dir: PathBuf,
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let failed = |cause: String| EngineError::failed(format!("read {}", path.display()), cause);
    match std::fs::read(path) {
        // Written without a sync: a power cut may have left it empty, and ended all containers.
        Ok(bytes) if bytes.is_empty() => Ok(None),
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            failed(format!(
                "it is broken ({error}); let `hoist down` take it away"
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn write<T: Serialize>(path: &Path, value: &T, how: Durability) -> Result<()> {
    let failed = |cause: String| EngineError::failed(format!("write {}", path.display()), cause);
    let bytes = serde_json::to_vec_pretty(value).map_err(|error| failed(error.to_string()))?;
    write_atomic(path, &bytes, 0o600, how).map_err(|error| failed(error.to_string()))
}

/// The leases of a network below the directory of all networks.
///
/// # Errors
/// [`EngineError::Failed`] when the file is unreadable; a missing one has none.
pub(in crate::engine::native) fn read_leases(
    dir: &Path,
    network: &str,
) -> Result<Vec<LeaseRecord>> {
    let found: Option<Leases> = read(&leases_path(dir, network))?;
    Ok(found.unwrap_or_default().leases)
}

/// Where the leases of a network lie.
pub(in crate::engine::native) fn leases_path(dir: &Path, network: &str) -> PathBuf {
    dir.join(network).join(LEASES)
}

impl Shelf {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
    /// The id of the network of that name, whether it is there or not.
    pub(super) fn id(&self, name: &str) -> String {
        use std::os::unix::ffi::OsStrExt as _;
        hash(&[self.dir.as_os_str().as_bytes(), name.as_bytes()])
    }
    pub(super) fn get(&self, name: &str) -> Result<Option<NetworkRecord>> {
        if is_name(name) {
            read(&self.dir.join(name).join(NETWORK))
        } else {
            Ok(None)
        }
    }
    /// All networks, by name.
    pub(super) fn all(&self) -> Result<Vec<NetworkRecord>> {
        let failed =
            |error: io::Error| EngineError::failed(format!("read {}", self.dir.display()), error);
        let entries = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        names.sort();
        // Whose a broken record is nobody knows; who asks for it by name is told.
        let found = names.iter().filter_map(|name| self.get(name).transpose());
        found.filter(Result::is_ok).collect()
    }
    /// Names whose record is there no more, or can't be read and is of no newer version.
    pub(super) fn damaged(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let dirs = entries.filter(|entry| entry.path().is_dir());
        let names = dirs.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| self.is_damaged(name)).collect();
        names.sort();
        names
    }
    /// Whether a network's record is there no more, or can't be read and is of no newer version.
    pub(super) fn is_damaged(&self, name: &str) -> bool {
        if !is_name(name) {
            return false;
        }
        match self.get(name) {
            Ok(found) => found.is_none(),
            Err(_) => {
                let bytes = std::fs::read(self.dir.join(name).join(NETWORK)).unwrap_or_default();
                let value = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
                let version = value.and_then(|value| value.get("version")?.as_u64());
                version.is_none_or(|version| version <= u64::from(VERSION))
            }
        }
    }
    /// Directories without a record and without leases: a command was killed while it made the network.
    pub(super) fn unfinished(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let dirs = entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir());
        let has = |dir: &Path, file| dir.join(file).exists();
        dirs.filter(|dir| !has(dir, NETWORK) && !has(dir, LEASES))
            .collect()
    }
    pub(super) fn put(&self, record: &NetworkRecord, how: Durability) -> Result<()> {
        let dir = self.dir.join(&record.spec.name);
        crate::sys::fs::make_dirs(&dir, 0o700)
            .map_err(|error| EngineError::failed("make a directory", error))?;
        owner::note(&dir, record.spec.project.as_ref())
            .map_err(|error| EngineError::failed("note whose the network is", error))?;
        write(&dir.join(NETWORK), record, how)
    }
    /// Waits until a record is safe on the disk.
    pub(super) fn sync(&self, name: &str) -> Result<()> {
        let path = self.dir.join(name).join(NETWORK);
        std::fs::File::open(&path)
            .and_then(|file| file.sync_data())
            .map_err(|error| EngineError::failed(format!("write {}", path.display()), error))
    }
    pub(super) fn delete(&self, name: &str) -> Result<()> {
        if !is_name(name) {
            return Ok(());
        }
        crate::sys::fs::remove_tree(&self.dir.join(name))
            .map_err(|error| EngineError::failed(format!("remove network {name}"), error))
    }
    pub(super) fn leases(&self, name: &str) -> Result<Vec<LeaseRecord>> {
        if is_name(name) {
            read_leases(&self.dir, name)
        } else {
            Ok(Vec::new())
        }
    }
    pub(super) fn put_leases(&self, name: &str, leases: Vec<LeaseRecord>) -> Result<()> {
        let leases = Leases {
            version: VERSION,
            leases,
        };
        write(&leases_path(&self.dir, name), &leases, Durability::Renamed)
    }
    pub(super) fn version() -> u32 {
        VERSION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_the_directory_are_no_names() {
        assert!(is_name("demo_default"));
        assert!(!is_name("../x"));
        assert!(!is_name("a/b"));
        assert!(!is_name(".hidden"));
        assert!(!is_name(""));
    }

    #[test]
    fn a_lease_of_before_there_was_ipv6_is_still_read() {
        let old = r#"{"container": "c", "name": "n", "addresses": ["10.5.0.2"], "prefix": 16,
            "gateway": "10.5.0.1", "mac": [2, 66, 10, 5, 0, 2], "aliases": []}"#;
        let old: LeaseRecord = serde_json::from_str(old).unwrap();
        assert_eq!(old.lease.addresses, ["10.5.0.2/16".parse().unwrap()]);
        assert_eq!(old.lease.gateway4(), Some(Ipv4Addr::new(10, 5, 0, 1)));
        let text = serde_json::to_string(&old).unwrap();
        assert_eq!(serde_json::from_str::<LeaseRecord>(&text).unwrap(), old);
        let old = r#"{"subnet": "10.5.0.0/16", "gateway": "10.5.0.1", "range": "10.5.0.0/16", "reserved": []}"#;
        let old: Pool = serde_json::from_str(old).unwrap();
        assert_eq!(old, Pool::whole("10.5.0.0/16".parse().unwrap()));
    }

    #[test]
    fn the_same_parts_give_the_same_hash_and_no_others() {
        assert_eq!(hash(&[b"a", b"b"]), hash(&[b"a", b"b"]));
        assert_ne!(hash(&[b"ab"]), hash(&[b"a", b"b"]));
        assert_eq!(hash(&[b"a"]).len(), 64);
    }
}
