//! The networks of a data directory: made, found, leased from, removed.
//!
//! Every choice is made under `<data>/networks/.lock`, which no network can be called. A record is on disk before its bridge is made and is
//! removed after it. Imports: `base`, `engine`, `sys::{lock, netlink}`, `net`.

use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ipnet::IpNet;

use super::ipam::{self, Pool, Taken};
use super::record::{Lease, LeaseRecord, NetworkRecord, Shelf, hash, is_name};
use super::{bridge, direct};
use crate::base::clock::Timestamp;
use crate::base::name::{ContainerId, ProjectName};
use crate::engine::driver::{self, Driver, Reading};
use crate::engine::native::owner;
use crate::engine::spec::{Endpoint, NetworkSpec};
use crate::engine::subnet::overlap;
use crate::engine::{EngineError, Result, Roots};
use crate::sys::fs::Durability;
use crate::sys::lock::{Hold, Lock};
use crate::sys::netlink::route::Route;

/// Who wants a place on a network.
#[derive(Debug, Clone, Copy)]
pub struct LeaseRequest<'a> {
    /// The container.
    pub container: &'a ContainerId,
    /// Its name.
    pub name: &'a str,
    /// What it asks for.
    pub endpoint: &'a Endpoint,
}

/// All networks of a data directory.
#[derive(Debug, Clone)]
pub struct Networks {
    shelf: Shelf,
}

/// What the host uses already.
struct Host {
    /// Networks it is on or has routes to.
    networks: Vec<IpNet>,
    /// Its own addresses.
    addresses: Vec<IpNet>,
    /// Networks of containers, of Docker or of another data directory.
    bridged: Vec<IpNet>,
    /// Largest packet in bytes of the device that leads outside.
    mtu: u32,
}

impl Networks {
    /// Makes the directory if missing.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    pub fn open(roots: &Roots) -> Result<Self> {
        let dir = roots.data.join("networks");
        crate::sys::fs::make_dirs(&dir, 0o700)
            .map_err(|error| EngineError::failed("make a directory", error))?;
        Ok(Self {
            shelf: Shelf::new(dir),
        })
    }
    /// The networks as they lie there: makes nothing, so it is only for looking.
    pub fn look(roots: &Roots) -> Self {
        Self {
            shelf: Shelf::new(roots.data.join("networks")),
        }
    }
    /// The directory that holds them, for [`super::super::dns::Zone`].
    pub fn dir(&self) -> &Path {
        self.shelf.dir()
    }
    pub(super) fn lock(&self) -> Result<Lock> {
        self.lock_as(Hold::Exclusive)
    }
    fn lock_as(&self, hold: Hold) -> Result<Lock> {
        Lock::acquire(&self.shelf.dir().join(".lock"), hold)
            .map_err(|error| EngineError::failed("lock the networks", error))
    }
    /// A network by full name.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when its record is unreadable.
    pub fn get(&self, name: &str) -> Result<Option<NetworkRecord>> {
        self.shelf.get(name)
    }
    /// All networks, by name.
    ///
    /// # Errors
    /// As [`Networks::get`].
    pub fn list(&self) -> Result<Vec<NetworkRecord>> {
        self.shelf.all()
    }
    /// Takes away what a killed command has left of networks that never came to be.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    pub fn sweep(&self) -> Result<()> {
        if self.shelf.unfinished().is_empty() {
            return Ok(());
        }
        // Who is just making one holds the lock.
        let _held = self.lock()?;
        for dir in self.shelf.unfinished() {
            crate::sys::fs::remove_tree(&dir)
                .map_err(|error| EngineError::failed("remove what a command has left", error))?;
        }
        Ok(())
    }
    /// Networks of a project whose records are lost or broken, by name.
    pub fn damaged(&self, project: &ProjectName) -> Vec<String> {
        let mut names = self.shelf.damaged();
        names.retain(|name| owner::is_of(&self.dir().join(name), project));
        names
    }
    /// Takes away what is in the kernel of a network of which nothing is left on disk; one that is there stays.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    pub fn discard_lost(&self, name: &str) -> Result<()> {
        if self.dir().join(name).exists() {
            return Ok(());
        }
        let _held = self.lock()?;
        match self.dir().join(name).exists() {
            true => Ok(()),
            false => self.remove_locked(name, &|_| false),
        }
    }
    fn need(&self, name: &str) -> Result<NetworkRecord> {
        self.get(name)?.ok_or_else(|| EngineError::NotFound {
            kind: "network",
            name: name.to_owned(),
        })
    }
    /// Makes a network: its record, its bridge, its rules.
    ///
    /// # Errors
    /// [`EngineError::NameInUse`], [`EngineError::Unsupported`] for other drivers than `bridge`,
    /// [`EngineError::Failed`] when no subnet is free or the kernel refuses.
    pub fn create(&self, spec: &NetworkSpec) -> Result<()> {
        for attempt in 0..ATTEMPTS {
            let held = self.lock()?;
            let record = self.draft(spec, self.passed_over(&spec.name, attempt))?;
            // Only what is chosen is chosen one after another: the disk and the kernel take their time, for many
            // networks at once. Devices of the host are another matter, as several networks may have one.
            let held = Some(held).filter(|_| !record.has_host());
            self.build(&record)?;
            drop(held);
            if !collides(&record)? {
                return Ok(());
            }
            // Another engine has chosen the same at this moment: both see what the other has, and take it back, as
            // one alone may have seen it.
            self.unmake(&record)?;
            self.shelf.delete(&spec.name)?;
        }
        Err(EngineError::failed(
            format!("make network {}", spec.name),
            "another program takes each subnet that is free at the same moment; give it one with `ipam.config.subnet`",
        ))
    }
    pub(super) fn create_locked(&self, spec: &NetworkSpec) -> Result<NetworkRecord> {
        let record = self.draft(spec, 0)?;
        self.build(&record)?;
        Ok(record)
    }
    /// How many free subnets are passed over: none at first, then another number for each network, so that two engines
    /// do not go on meeting.
    fn passed_over(&self, name: &str, attempt: u32) -> usize {
        let place = self.dir().as_os_str().as_bytes();
        let digits = hash(&[place, name.as_bytes(), &attempt.to_be_bytes()]);
        let drawn = digits
            .get(..2)
            .and_then(|text| usize::from_str_radix(text, 16).ok());
        drawn.filter(|_| attempt > 0).unwrap_or(0)
    }
    /// Makes what a record says, or takes the record back.
    fn build(&self, record: &NetworkRecord) -> Result<()> {
        let name = &record.spec.name;
        let built = self.shelf.sync(name).and_then(|()| bridge::ensure(record));
        if built.is_err() {
            let _ = self.unmake(record);
            let _ = self.shelf.delete(name);
        }
        built.map(drop)
    }
    /// Decides about a network and notes it down, so that what it takes is taken. Nothing is made yet.
    fn draft(&self, spec: &NetworkSpec, passed_over: usize) -> Result<NetworkRecord> {
        supported(spec)?;
        if let Some(there) = self.get(&spec.name)? {
            let holder = there.spec.project.map_or_else(
                || "another network".to_owned(),
                |name| format!("project {name}"),
            );
            return Err(EngineError::NameInUse {
                kind: "network",
                name: spec.name.clone(),
                holder,
            });
        }
        let id = self.shelf.id(&spec.name);
        let driver = read_driver(spec)?;
        let bridge = match &driver {
            Driver::Bridge(options) => bridge_for(spec, options.name.as_ref(), &id)?,
            Driver::Macvlan(_) | Driver::Ipvlan(_) => direct::parent_for(&spec.name, &driver, &id)?,
        };
        let host = host().map_err(|error| EngineError::failed("read the host's routes", error))?;
        let others = self.list()?;
        if let Some(other) = others
            .iter()
            .find(|other| other.has_host() && other.bridge == bridge)
        {
            return Err(EngineError::failed(
                format!("make network {}", spec.name),
                format!(
                    "network {} has the bridge `{bridge}`; choose another bridge name",
                    other.spec.name
                ),
            ));
        }
        let subnets = self.subnets(spec, &host, &others, passed_over)?;
        let mtu = driver.mtu().unwrap_or(host.mtu);
        let record = NetworkRecord {
            version: Shelf::version(),
            spec: spec.clone(),
            id,
            bridge,
            subnets,
            mtu,
            created: Timestamp::now(),
            // One that is no project's goes with the last of its containers.
            abandoned: spec.project.is_none(),
        };
        self.shelf.put(&record, Durability::Renamed)?;
        Ok(record)
    }
    fn subnets(
        &self,
        spec: &NetworkSpec,
        host: &Host,
        others: &[NetworkRecord],
        passed_over: usize,
    ) -> Result<Vec<Pool>> {
        let others = others
            .iter()
            .flat_map(|record| &record.subnets)
            .map(|pool| pool.subnet);
        // A subnet that was asked for may lie inside a route, but not hold an address of the host, nor be another
        // engine's. Networks on a device of the host are the host's own, addresses and all.
        let mine = host.addresses.iter().chain(&host.bridged);
        let mine: Vec<IpNet> = match Driver::read(&spec.driver, &spec.options).driver {
            Driver::Bridge(_) => mine.copied().collect(),
            Driver::Macvlan(_) | Driver::Ipvlan(_) => Vec::new(),
        };
        let taken = Taken {
            used: others.chain(mine).collect(),
            known: host.networks.clone(),
            passed_over,
        };
        let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
        let own = ipam::own_ipv6(&machine, self.dir().as_os_str().as_bytes());
        ipam::pools(spec, &taken, own)
    }
    /// Removes a network: its bridge, its rules, its record. A missing one is fine. A container has its place as long as
    /// `is_there` says so: a killed command, a reboot or a full disk may have kept it from being given back.
    ///
    /// # Errors
    /// [`EngineError::InUse`], [`EngineError::Failed`].
    pub fn remove(&self, name: &str, is_there: &dyn Fn(&ContainerId) -> bool) -> Result<()> {
        // The kernel takes some 30 ms for each, most of them waiting: removals may run side by side, as each
        // touches only what is its network's own and finds it gone when another was faster.
        // But those on one device of the host look who is left to have it.
        let hold = match self.get(name) {
            Ok(Some(record)) if !record.has_host() => Hold::Exclusive,
            _ => Hold::Shared,
        };
        let held = self.lock_as(hold)?;
        let done = self.remove_locked(name, is_there);
        drop(held);
        // Nothing else that tidies up comes by where a build was killed.
        let _ = self.end_steps();
        done
    }
    pub(super) fn remove_locked(
        &self,
        name: &str,
        is_there: &dyn Fn(&ContainerId) -> bool,
    ) -> Result<()> {
        // Broken ones hold nobody: whoever is on it is stopped by name, not by address.
        let leases = self.leases(name).unwrap_or_default().into_iter();
        let users = leases.filter(|lease| is_there(&lease.container));
        let mut users: Vec<String> = users.map(|lease| lease.name).collect();
        users.sort();
        users.dedup();
        if !users.is_empty() {
            return Err(EngineError::InUse {
                kind: "network",
                name: name.to_owned(),
                users,
            });
        }
        let found = match self.get(name) {
            // Its names follow from its own.
            Err(_) if self.shelf.is_damaged(name) => None,
            found => found?,
        };
        match found {
            Some(record) => self.unmake(&record)?,
            None => {
                let id = self.shelf.id(name);
                let bridge = bridge::called(&bridge::bridge_name(&id), &id)?;
                bridge::remove(&bridge, &id, name)?;
            }
        }
        self.shelf.delete(name)
    }
    /// Notes that a network goes with the last of its containers, or no more; a missing one is fine.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    pub fn abandon(&self, name: &str, abandoned: bool) -> Result<()> {
        let _held = self.lock()?;
        match self.get(name)? {
            Some(record) if record.abandoned != abandoned => {
                let record = NetworkRecord {
                    abandoned,
                    ..record
                };
                self.shelf.put(&record, Durability::Synced)
            }
            _ => Ok(()),
        }
    }
    /// Takes away what was made in the kernel.
    fn unmake(&self, record: &NetworkRecord) -> Result<()> {
        if record.has_host() {
            let bridge = bridge::called(&record.bridge, &record.id)?;
            return bridge::remove(&bridge, &record.id, &record.spec.name);
        }
        let others = self.list()?;
        let heir = |other: &&NetworkRecord| {
            other.id != record.id && other.bridge == record.bridge && !other.has_host()
        };
        let heir = others.iter().find(heir);
        direct::remove(record, heir.map(|other| other.id.as_str()))
    }
    /// Gives a container a place on a network: the same again if it has one. From then on others find
    /// it by its names.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::Failed`] when the address is taken or none is left.
    pub fn lease(&self, network: &str, request: &LeaseRequest<'_>) -> Result<Lease> {
        let _held = self.lock()?;
        self.lease_locked(network, request)
    }
    pub(super) fn lease_locked(&self, network: &str, request: &LeaseRequest<'_>) -> Result<Lease> {
        let record = self.need(network)?;
        let endpoint = request.endpoint;
        let mut leases = self.leases(network)?;
        let own = leases
            .iter()
            .position(|lease| lease.container == *request.container);
        let old = own.map(|at| leases.remove(at).lease);
        let old = old.as_ref();
        let lease = place(&record, request, old, &leases)?;
        leases.push(LeaseRecord {
            container: request.container.clone(),
            name: request.name.to_owned(),
            lease: lease.clone(),
            aliases: endpoint.aliases.clone(),
        });
        self.shelf.put_leases(network, leases)?;
        Ok(lease)
    }
    /// Takes a container's place on a network away; a missing one is fine.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    pub fn release(&self, network: &str, container: &ContainerId) -> Result<()> {
        let _held = self.lock()?;
        self.release_locked(network, container)
    }
    pub(super) fn release_locked(&self, network: &str, container: &ContainerId) -> Result<()> {
        let mut leases = self.leases(network)?;
        let before = leases.len();
        leases.retain(|lease| lease.container != *container);
        if leases.len() == before {
            return Ok(());
        }
        self.shelf.put_leases(network, leases)
    }
    /// Gives a container another name on a network where it has a place.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    pub fn rename(&self, network: &str, container: &ContainerId, name: &str) -> Result<()> {
        let _held = self.lock()?;
        let mut leases = self.leases(network)?;
        let Some(lease) = leases
            .iter_mut()
            .find(|lease| lease.container == *container)
        else {
            return Ok(());
        };
        let old = std::mem::replace(&mut lease.name, name.to_owned());
        for alias in &mut lease.aliases {
            if *alias == old {
                name.clone_into(alias);
            }
        }
        self.shelf.put_leases(network, leases)
    }
    /// Who has a place on a network.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    pub fn leases(&self, network: &str) -> Result<Vec<LeaseRecord>> {
        self.shelf.leases(network)
    }
}

/// An endpoint's addresses: those it asks for, else those it had, else the lowest free ones.
fn place(
    record: &NetworkRecord,
    request: &LeaseRequest<'_>,
    old: Option<&Lease>,
    others: &[LeaseRecord],
) -> Result<Lease> {
    let (network, endpoint) = (&record.spec.name, request.endpoint);
    let holder = |address| {
        let has = |lease: &&LeaseRecord| lease.lease.hosts().any(|host| host == address);
        others.iter().find(has).map(|lease| lease.name.clone())
    };
    let wanted = [
        (
            true,
            endpoint.ipv4.map(IpAddr::V4),
            old.and_then(Lease::ipv4).map(IpAddr::V4),
        ),
        (
            false,
            endpoint.ipv6.map(IpAddr::V6),
            old.and_then(Lease::ipv6).map(IpAddr::V6),
        ),
    ];
    let mut lease = Lease {
        addresses: Vec::new(),
        gateways: Vec::new(),
        mac: [0; 6],
    };
    for (is_ipv4, fixed, old) in wanted {
        let pools = record.subnets.iter();
        let pools: Vec<&Pool> = pools.filter(|pool| pool.is_ipv4() == is_ipv4).collect();
        if pools.is_empty() && fixed.is_none() {
            continue;
        }
        let old = old.filter(|old| pools.iter().any(|pool| pool.subnet.contains(old)));
        let (address, gateway) = ipam::address(network, &pools, fixed.or(old), &holder)?;
        lease.addresses.push(address);
        lease.gateways.extend(gateway);
    }
    lease.mac = match &endpoint.mac {
        Some(text) => driver::mac(text).ok_or_else(|| {
            let step = format!("connect {} to network {network}", request.name);
            EngineError::failed(step, format!("`{text}` is no hardware address"))
        })?,
        None => own_mac(&lease, request.container),
    };
    Ok(lease)
}

/// A hardware address of an endpoint's own. As Docker's were: an address that comes back is known to its neighbours
/// already.
fn own_mac(lease: &Lease, container: &ContainerId) -> [u8; 6] {
    let [a, b, c, d] = match lease.ipv4() {
        Some(address) => address.octets(),
        None => {
            let digits = hash(&[b"mac", container.as_str().as_bytes()]);
            let number = digits
                .get(..8)
                .and_then(|digits| u32::from_str_radix(digits, 16).ok());
            number.unwrap_or(0).to_be_bytes()
        }
    };
    [0x02, 0x42, a, b, c, d]
}

fn supported(spec: &NetworkSpec) -> Result<()> {
    let name = &spec.name;
    if !is_name(name) {
        let cause = "its name must begin with a letter or digit and hold only those and `_.-`";
        return Err(EngineError::failed(format!("make network {name}"), cause));
    }
    let what = if !spec.ipv4 && !spec.ipv6 {
        format!(
            "network {name}: neither IPv4 nor IPv6 is enabled; leave `enable_ipv4` out, or set `enable_ipv6: true`"
        )
    } else {
        return Ok(());
    };
    Err(EngineError::Unsupported { what })
}

/// The driver and its options, when nothing is wrong with them: a plan has told all that is.
fn read_driver(spec: &NetworkSpec) -> Result<Driver> {
    let Reading { driver, faults, .. } = Driver::read(&spec.driver, &spec.options);
    match faults.first() {
        None => Ok(driver),
        Some(fault) => {
            let hint = fault.hint.as_deref().unwrap_or_default();
            let what = format!("network {}: {}; {hint}", spec.name, fault.text);
            Err(EngineError::Unsupported { what })
        }
    }
}

/// The name of a new network's bridge, which nobody has.
fn bridge_for(spec: &NetworkSpec, name: Option<&String>, id: &str) -> Result<String> {
    let refuse = |cause: String| EngineError::failed(format!("make network {}", spec.name), cause);
    match name {
        None => {
            let name = bridge::bridge_name(id);
            // What a lost record may have left would count as taken.
            bridge::remove(&name, id, &spec.name)?;
            Ok(name)
        }
        Some(name) if bridge::exists(name)? => Err(refuse(format!(
            "device `{name}` exists already; choose another bridge name"
        ))),
        Some(name) => Ok(name.clone()),
    }
}

/// So many times a subnet is chosen that somebody else takes at the same moment.
const ATTEMPTS: u32 = 8;

/// Whether another device of the host has addresses of a subnet that was chosen for a network.
fn collides(record: &NetworkRecord) -> Result<bool> {
    let given = |is_ipv4: bool| {
        let mut subnets = record.spec.subnets.iter();
        subnets.any(|subnet| subnet.cidr.addr().is_ipv4() == is_ipv4)
    };
    let pools = record.subnets.iter();
    let chosen: Vec<&Pool> = pools.filter(|pool| !given(pool.is_ipv4())).collect();
    if chosen.is_empty() || !record.has_host() {
        return Ok(false);
    }
    let look = || -> std::io::Result<bool> {
        let mut route = Route::open()?;
        let own = route.link(&record.bridge)?.map(|link| link.index);
        let others = route.addresses()?.into_iter();
        let mut others = others.filter(|found| Some(found.device) != own);
        Ok(others.any(|found| {
            let network = found.address.trunc();
            chosen.iter().any(|pool| overlap(&network, &pool.subnet))
        }))
    };
    look().map_err(|error| EngineError::failed("read the host's addresses", error))
}

/// What is not to be used for a new network, and how large packets may be.
fn host() -> std::io::Result<Host> {
    const ETHERNET: u32 = 1500;
    let mut route = Route::open()?;
    let addresses = route.addresses()?;
    let routes = route.routes()?;
    let known = addresses.iter().map(|found| found.address.trunc());
    let known = known.chain(routes.iter().map(|route| route.destination));
    let networks = known.filter(|network| !ipam::is_the_world(network));
    let networks = networks.collect();
    let outside = routes
        .iter()
        .find(|route| route.destination.prefix_len() == 0)
        .and_then(|route| route.device);
    let links = route.links()?;
    let link = |index| links.iter().find(|link| link.index == index);
    let of_containers = |index| {
        let name = link(index).map_or("", |link| link.name.as_str());
        ["hst", "br-", "docker"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    let bridged = addresses.iter().filter(|found| of_containers(found.device));
    Ok(Host {
        networks,
        addresses: addresses
            .iter()
            .map(|found| found.address.addr().into())
            .collect(),
        bridged: bridged.map(|found| found.address.trunc()).collect(),
        mtu: outside
            .and_then(link)
            .map_or(ETHERNET, |link| link.mtu.clamp(576, ETHERNET)),
    })
}
