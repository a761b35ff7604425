//! The cache as one archive that a CI job can carry: results of steps, the layers they made, cache mounts.
//!
//! In: a cache, or an archive nobody vouches for. Out: an archive, or a cache that has more. Layers are verified by their
//! digests, mounts by digests that stand at the archive's end; nothing of an archive counts before its end was read, and
//! what is here already stays as it is. Names are never paths: keys and digests are parsed, mounts have 64 hex digits.
//! A result is believed as the archive says it: who may write the archive may write what builds get, as with any cache.
//!
//! Form: a tar archive compressed by zstd: `hoist-cache.json` ([`Head`]), `layers/<diff id>` archives,
//! `mounts/<name>` archives, `end.json` ([`Tail`]).
//! Imports: `list`, `image`, `sys`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::list::{children, mount_id, records};
use super::{Cache, Record};
use crate::base::cancel::Cancel;
use crate::image::archive::pack::{Packer, Packing};
use crate::image::archive::read::Members;
use crate::image::archive::write::{Entry, EntryKind, end, pad};
use crate::image::archive::{Hashing, decoder};
use crate::image::digest::Digest;
use crate::image::layer::unpack::{Limits, extract};
use crate::image::store::{Store, StoreError};
use crate::image::tree::pack as tree;
use crate::sys::fs::{Durability, Root, make_dirs, remove_tree, write_atomic};
use crate::sys::lock::{Hold, Lock};

/// Name of the archive in a directory.
pub const FILE: &str = "hoist-cache.tar.zst";
const HEAD: &str = "hoist-cache.json";
const TAIL: &str = "end.json";
/// Longest document in bytes.
const LONGEST: u64 = 64 << 20;

/// What an archive begins with.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    version: u32,
    steps: BTreeMap<String, Record>,
    #[serde(default)]
    mounts: BTreeMap<String, String>,
}

/// What an archive ends with: digests of the mounts' archives.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Tail {
    mounts: BTreeMap<String, Digest>,
}

/// What is exported.
#[derive(Debug, Clone, Default)]
pub struct Export {
    /// Only results that made one of these layers, and all others of the same Dockerfiles.
    pub layers: Option<BTreeSet<Digest>>,
    /// Cache mounts: all (`None`), or those with these ids.
    pub mounts: Option<Vec<String>>,
    /// Ends it.
    pub cancel: Cancel,
}

/// What an archive holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried {
    /// Results of steps.
    pub steps: usize,
    /// Layers.
    pub layers: usize,
    /// Cache mounts.
    pub mounts: usize,
    /// Cache mounts of the archive that were left out, since they are here already.
    pub kept: usize,
}

fn corrupt(text: impl Into<String>) -> StoreError {
    StoreError::Corrupt(format!("the cache archive: {}", text.into()))
}

fn failed(step: &str) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let step = step.to_owned();
    move |source| StoreError::Io { step, source }
}

impl Export {
    /// Writes the archive.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn write(
        &self,
        cache: &Path,
        store: &Store,
        out: impl Write,
    ) -> Result<Carried, StoreError> {
        // Layers that are named here must stay until they are written.
        let staging = store.layers().staging()?;
        let steps = self.steps(cache, store);
        let layers: BTreeSet<Digest> = steps.values().filter_map(|record| record.layer).collect();
        let mounts = self
            .mounts(cache)
            .map_err(failed("list the cache mounts"))?;
        let head = Head {
            version: 1,
            steps: steps
                .iter()
                .map(|(key, r)| (key.hex(), r.clone()))
                .collect(),
            mounts: mounts
                .iter()
                .map(|(n, (id, _))| (n.clone(), id.clone()))
                .collect(),
        };
        let carried = Carried {
            steps: steps.len(),
            layers: layers.len(),
            mounts: mounts.len(),
            kept: 0,
        };
        let wrote = || failed("write the cache archive");
        let mut out = Packer::new(Packing::Zstd, out);
        document(&mut out, HEAD, &head)?;
        for layer in &layers {
            self.stop()?;
            let path = staging.dir().join("part");
            let file = File::create(&path).map_err(failed("write beside the layers"))?;
            store.pack(layer, Packing::Plain, &self.cancel, &file)?;
            member(&mut out, &format!("layers/{}", layer.hex()), &path).map_err(wrote())?;
        }
        let mut tail = Tail::default();
        for (name, (_, data)) in &mounts {
            self.stop()?;
            let path = staging.dir().join("part");
            let digest = pack_mount(data, &path).map_err(failed("read a cache mount"))?;
            member(&mut out, &format!("mounts/{name}"), &path).map_err(wrote())?;
            tail.mounts.insert(name.clone(), digest);
        }
        document(&mut out, TAIL, &tail)?;
        end(&mut out).map_err(wrote())?;
        out.finish()
            .and_then(|mut out| out.flush())
            .map_err(wrote())?;
        Ok(carried)
    }
    fn stop(&self) -> Result<(), StoreError> {
        match self.cancel.is_cancelled() {
            true => Err(corrupt("it was not written to its end")),
            false => Ok(()),
        }
    }
    fn steps(&self, cache: &Path, store: &Store) -> BTreeMap<Digest, Record> {
        let there = |record: &Record| {
            let layer = record.layer.as_ref();
            layer.is_none_or(|layer| store.layers().contains(layer))
        };
        let all: BTreeMap<Digest, Record> = records(cache)
            .into_iter()
            .filter(|(_, _, record)| there(record))
            .map(|(key, _, record)| (key, record))
            .collect();
        let Some(wanted) = &self.layers else {
            return all;
        };
        let made = |record: &Record| record.layer.is_some_and(|layer| wanted.contains(&layer));
        let mut keys: BTreeSet<Digest> = all
            .iter()
            .filter(|(_, record)| made(record))
            .map(|(key, _)| *key)
            .collect();
        for path in children(&cache.join("seen")).unwrap_or_default() {
            let seen = super::seen::keys_of(&path);
            if seen.iter().any(|key| keys.contains(key)) {
                keys.extend(seen);
            }
        }
        all.into_iter()
            .filter(|(key, _)| keys.contains(key))
            .collect()
    }
    /// Names of mounts with their ids and their files. What somebody uses alone just now is left out.
    fn mounts(&self, cache: &Path) -> io::Result<BTreeMap<String, (String, PathBuf)>> {
        let mut found = BTreeMap::new();
        for dir in children(&cache.join("mounts"))? {
            let name = dir.file_name().unwrap_or_default().to_string_lossy();
            let data = dir.join("data.0");
            let (true, Some(id)) = (is_name(&name) && data.is_dir(), mount_id(&dir)) else {
                continue;
            };
            let wanted = self.mounts.as_ref();
            if wanted.is_none_or(|wanted| wanted.contains(&id)) {
                found.insert(name.into_owned(), (id, data));
            }
        }
        Ok(found)
    }
}

/// Whether a text is the name of a mount's directory: 64 hex digits.
fn is_name(text: &str) -> bool {
    Digest::parse(&format!("sha256:{text}")).is_ok()
}

/// Writes the files of a mount as an archive; gives its digest. Whoever uses it together with others is not held up.
fn pack_mount(data: &Path, to: &Path) -> io::Result<Digest> {
    let lock = data.with_file_name("lock.0");
    let _held = Lock::acquire(&lock, Hold::Shared)?;
    let dir = Root::open(data)?;
    let file = File::create(to)?;
    let source = tree::Source {
        dir: std::os::fd::AsFd::as_fd(&dir),
        name: OsStr::new("."),
        stored_as: b".",
    };
    let written = tree::write(
        source,
        tree::Opening::Direct,
        tree::Holes::Filled,
        io::BufWriter::new(&file),
    );
    written.map_err(|error| io::Error::other(error.to_string()))?;
    let mut file = File::open(to)?;
    file.rewind()?;
    Hashing::new(file, u64::MAX)
        .finish()
        .map(|(digest, _)| digest)
}

fn member(out: &mut impl Write, name: &str, path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let entry = Entry {
        size,
        ..Entry::new(name.as_bytes(), EntryKind::File, 0o600)
    };
    entry.write(out)?;
    io::copy(&mut file, out)?;
    pad(out, size)
}

fn document(out: &mut impl Write, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(value).map_err(|error| corrupt(error.to_string()))?;
    let entry = Entry {
        size: bytes.len() as u64,
        ..Entry::new(name.as_bytes(), EntryKind::File, 0o600)
    };
    entry
        .write(out)
        .and_then(|()| out.write_all(&bytes))
        .and_then(|()| pad(out, bytes.len() as u64))
        .map_err(failed("write the cache archive"))
}

/// What an import has until its end.
struct Import<'a> {
    cache: &'a Path,
    store: &'a Store,
    head: Option<Head>,
    layers: BTreeSet<Digest>,
    /// Mounts that were unpacked: name, place, digest of the archive.
    mounts: BTreeMap<String, (PathBuf, Digest)>,
    done: Carried,
}

/// Takes what an archive holds.
///
/// # Errors
/// [`StoreError`]; the cache is then as it was, but for layers that may be of use later.
pub fn import(
    cache: &Path,
    store: &Store,
    input: impl Read,
    cancel: &Cancel,
) -> Result<Carried, StoreError> {
    let staging = store.layers().staging()?;
    let mut import = Import {
        cache,
        store,
        head: None,
        layers: BTreeSet::new(),
        mounts: BTreeMap::new(),
        done: Carried::default(),
    };
    let mut members = Members::new(decoder(input));
    let mut tail = None;
    while let Some(member) = members.next_member().map_err(|e| corrupt(e.to_string()))? {
        if cancel.is_cancelled() {
            return Err(corrupt("it was not read to its end"));
        }
        let name = String::from_utf8_lossy(&member.path).into_owned();
        if member.kind != EntryKind::File || member.pieces.is_some() {
            return Err(corrupt(format!("`{name}` is no plain file")));
        }
        if tail.is_some() {
            return Err(corrupt(format!("`{name}` comes after its end")));
        }
        if name == TAIL {
            tail = Some(read::<Tail>(members.content())?);
        } else {
            import.member(&name, members.content(), staging.dir())?;
        }
    }
    let tail = tail.ok_or_else(|| corrupt("it ends too soon"))?;
    import.finish(&tail)
}

fn read<T: serde::de::DeserializeOwned>(input: impl Read) -> Result<T, StoreError> {
    let mut bytes = Vec::new();
    let read = input.take(LONGEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| corrupt(error.to_string()))?;
    if bytes.len() as u64 > LONGEST {
        return Err(corrupt("a document in it is too long"));
    }
    serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))
}

impl Import<'_> {
    fn member(&mut self, name: &str, content: impl Read, beside: &Path) -> Result<(), StoreError> {
        if name == HEAD {
            let head: Head = read(content)?;
            if head.version != 1 {
                let text = format!("its form {} is of another version of hoist", head.version);
                return Err(corrupt(text));
            }
            self.head = Some(head);
            return Ok(());
        }
        let strange = || corrupt(format!("`{name}` is not a part of a cache"));
        let Some(head) = &self.head else {
            return Err(corrupt(format!("it does not begin with {HEAD}")));
        };
        if let Some(hex) = name.strip_prefix("layers/") {
            let id = Digest::parse(&format!("sha256:{hex}")).map_err(|_| strange())?;
            let named = head.steps.values().any(|record| record.layer == Some(id));
            if !named {
                return Err(strange());
            }
            self.store.layers().import(content, &id, None)?;
            self.layers.insert(id);
            return Ok(());
        }
        let mount = name.strip_prefix("mounts/").filter(|name| is_name(name));
        let mount = mount.filter(|name| head.mounts.contains_key(*name));
        let mount = mount.ok_or_else(strange)?;
        if self.mounts.contains_key(mount) {
            return Err(strange());
        }
        let into = beside.join(format!("mount-{mount}"));
        make_dirs(&into, 0o755).map_err(failed("make a cache mount"))?;
        let root = Root::open(&into).map_err(|errno| failed("open a cache mount")(errno.into()))?;
        let mut content = Hashing::new(content, u64::MAX);
        extract(&mut content, &root, Limits::for_archive(None))?;
        let (digest, _) = content.finish().map_err(|e| corrupt(e.to_string()))?;
        self.mounts.insert(mount.to_owned(), (into, digest));
        Ok(())
    }
    /// Puts everything in its place: mounts, then records, each by rename.
    fn finish(mut self, tail: &Tail) -> Result<Carried, StoreError> {
        let head = self
            .head
            .take()
            .ok_or_else(|| corrupt(format!("it does not begin with {HEAD}")))?;
        for (name, (_, digest)) in &self.mounts {
            if tail.mounts.get(name) != Some(digest) {
                return Err(corrupt(format!("the cache mount {name} is damaged")));
            }
        }
        for (name, (from, _)) in &self.mounts {
            let id = head.mounts.get(name).cloned().unwrap_or_default();
            match place(self.cache, name, &id, from)
                .map_err(failed("put a cache mount in its place"))?
            {
                true => self.done.mounts += 1,
                false => self.done.kept += 1,
            }
        }
        let cache = Cache::new(self.cache);
        for (key, record) in head.steps {
            let key = Digest::parse(&format!("sha256:{key}"));
            let key = key.map_err(|_| corrupt("a step in it has no proper key"))?;
            let bytes = serde_json::to_vec(&record).map_err(|e| corrupt(e.to_string()))?;
            let there = record
                .layer
                .is_none_or(|layer| self.store.layers().contains(&layer));
            // A record without its layer is of no use, one of another form neither.
            if let Some(mut record) = Record::parse(&bytes).filter(|_| there) {
                record.title = record.title.replace(|c: char| c.is_control(), " ");
                cache
                    .enter(&key, &record)
                    .map_err(failed("write the build cache"))?;
                self.done.steps += 1;
            }
        }
        self.done.layers = self.layers.len();
        Ok(self.done)
    }
}

/// Gives a cache mount its place; `false` when there is one already.
fn place(cache: &Path, name: &str, id: &str, from: &Path) -> io::Result<bool> {
    let dir = cache.join("mounts").join(name);
    make_dirs(&dir, 0o700)?;
    let _making = Lock::acquire(&dir.join("making"), Hold::Exclusive)?;
    let data = dir.join("data.0");
    if data.exists() {
        remove_tree(from)?;
        return Ok(false);
    }
    let about = serde_json::json!({ "version": 1, "id": id }).to_string();
    write_atomic(
        &dir.join("about.json"),
        about.as_bytes(),
        0o600,
        Durability::Renamed,
    )?;
    std::fs::rename(from, data)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, content) in members {
            let entry = Entry {
                size: content.len() as u64,
                ..Entry::new(name.as_bytes(), EntryKind::File, 0o600)
            };
            entry.write(&mut out).unwrap();
            out.extend_from_slice(content);
            pad(&mut out, content.len() as u64).unwrap();
        }
        end(&mut out).unwrap();
        out
    }

    /// A tar archive with one file of this name.
    fn files(name: &str, kind: EntryKind, link: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let entry = Entry {
            link: link.as_bytes(),
            ..Entry::new(name.as_bytes(), kind, 0o644)
        };
        entry.write(&mut out).unwrap();
        end(&mut out).unwrap();
        out
    }

    #[test]
    fn a_hostile_archive_leaves_nothing_and_leads_nowhere() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let dir = std::env::temp_dir().join(format!("hoist-bundle-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let store = Store::open(&dir).unwrap();
        let cache = dir.join("cache");
        let layer = files("a", EntryKind::File, "");
        let id = Digest::of(&layer);
        let key = "0".repeat(64);
        let mount = "1".repeat(64);
        let head = |key: &str, mount: &str| {
            serde_json::json!({
                "version": 1,
                "steps": { key: { "version": 2, "layer": id } },
                "mounts": { mount: "m" },
            })
            .to_string()
            .into_bytes()
        };
        let good = head(&key, &mount);
        let layer_name = format!("layers/{}", id.hex());
        let mount_name = format!("mounts/{mount}");
        let tail = |data: &[u8]| {
            serde_json::json!({ "mounts": { mount.as_str(): Digest::of(data) } })
                .to_string()
                .into_bytes()
        };
        let empty = tail(b"");
        let escape = files("../../escaped", EntryKind::File, "");
        let through = [
            &files("d", EntryKind::Symlink, "/tmp")[..512],
            &files("d/hoist-escaped", EntryKind::File, "")[..],
        ]
        .concat();
        let take = |members: &[(&str, &[u8])]| {
            import(
                &cache,
                &store,
                archive(members).as_slice(),
                &Cancel::default(),
            )
        };
        for (members, why) in [
            (vec![], "it ends too soon"),
            (vec![(TAIL, empty.as_slice())], "it does not begin with"),
            (
                vec![(layer_name.as_str(), layer.as_slice())],
                "it does not begin with",
            ),
            (vec![(HEAD, good.as_slice())], "it ends too soon"),
            (
                vec![(HEAD, &good), ("layers/../../x", b"x")],
                "is not a part",
            ),
            (vec![(HEAD, &good), ("../../etc/x", b"x")], "is not a part"),
            (vec![(HEAD, &good), ("mounts/../x", b"x")], "is not a part"),
            (vec![(HEAD, &good), (&layer_name, &escape)], "leads out"),
            (vec![(HEAD, &good), (&mount_name, &escape)], ""),
            (
                vec![(HEAD, &good), (&mount_name, &layer), (TAIL, &empty)],
                "is damaged",
            ),
            (
                vec![(HEAD, &good), (&mount_name, &layer), (&mount_name, &layer)],
                "is not a part",
            ),
            (
                vec![(HEAD, &good), (TAIL, &empty), ("x", b"")],
                "after its end",
            ),
            (
                vec![(HEAD, &head("../../x", &mount)), (TAIL, &empty)],
                "no proper key",
            ),
            (
                vec![(HEAD, b"{\"version\":9,\"steps\":{}}")],
                "another version",
            ),
        ] {
            let error = take(&members).unwrap_err().to_string();
            assert!(error.contains(why), "{error} is not {why}");
            assert_eq!(records(&cache), []);
            assert!(!cache.join("mounts").join(&mount).join("data.0").exists());
        }
        let done = take(&[
            (HEAD, &good),
            (&mount_name, &through),
            (TAIL, &tail(&through)),
        ]);
        assert!(!Path::new("/tmp/hoist-escaped").exists() && !dir.join("escaped").exists());
        drop(done);
        remove_tree(&cache).unwrap();
        // A record whose layer did not come is left out; one with it counts.
        let done = take(&[(HEAD, &good), (TAIL, &empty)]).unwrap();
        assert_eq!((done.steps, records(&cache).len()), (0, 0));
        let whole = [
            (HEAD, good.as_slice()),
            (&layer_name, &layer),
            (&mount_name, &layer),
            (TAIL, &tail(&layer)),
        ];
        let done = take(&whole).unwrap();
        assert_eq!((done.steps, done.layers, done.mounts), (1, 1, 1));
        assert_eq!(take(&whole).unwrap().kept, 1);
        assert!(cache.join("mounts").join(&mount).join("data.0/a").is_file());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
