//! Unpacked layers: one directory each, named by diff id, never changed once there.
//!
//! In: archives ([`LayerStore::import`]) and directories ([`LayerStore::commit`]). Out: directories for overlay,
//! and the archives made again from them ([`LayerStore::archive`]). Knows no image: what still needs a layer is
//! decided in `store`.
//!
//! On disk: `layers/<hex>/` the files; `layers/<hex>.json` its sizes and the blob it came as, written before the
//! directory; `layers/<hex>.recipe` how its archive is made of them, where it is not made by our own rules;
//! `layers/.staging/` what is being made, each place held by a lock on itself, so that places of killed processes are
//! known and removed by the next one that opens the store. Everything appears by rename.
//! A kill at any point leaves no half layer. Layers are not synced one by one: a pull has their file system synced once,
//! before it gives the image its name. A build does not wait for that: what it made is looked at after a reboot
//! ([`trust`]), and can be made again.
//! Imports: `archive`, `digest`, `store::StoreError`, `sys`. Rules: OCI image spec, `layer.md`.

mod ahead;
mod behind;
mod blocks;
pub mod diff;
mod early;
mod handed;
mod quiet;
mod recipe;
mod sizes;
mod staging;
mod trust;
pub mod unpack;
mod whiteout;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::archive;
use super::digest::{Digest, Hasher};
use super::manifest::{Descriptor, media};
use super::store::StoreError;
use crate::sys::boot;
use crate::sys::fs::{self, Durability, Root};
use crate::sys::mount::{self, Overlay};
use ahead::ahead;
use behind::Behind;
use blocks::Blocks;
pub use early::{Early, Final, Growing, Grown, Written};
pub use handed::{Buffer, Buffers, Content};
pub(super) use quiet::Quiet;
use recipe::Recorder;
pub use staging::Staging;
use trust::Trust;
use unpack::{Limits, UnpackError, Unpacked};
pub(crate) use whiteout::keeps_attribute;

/// Most bytes that are read behind the end of an archive.
const LONGEST_TAIL: u64 = 1 << 30;

/// Name of a layer's recipe in its staging place.
const RECIPE: &str = "recipe";

/// All unpacked layers of a data directory.
#[derive(Debug, Clone)]
pub struct LayerStore {
    root: PathBuf,
    trust: Arc<Trust>,
}

/// A layer that is unpacked but not yet in its place.
#[derive(Debug)]
pub(super) struct Fresh {
    /// The digest of its archive.
    pub(super) id: Digest,
    /// Whether its archive can be made of its files.
    pub(super) whole: bool,
    /// What came of its archive.
    pub(super) unpacked: Unpacked,
    /// Bytes of its archive.
    length: u64,
    staging: Staging,
}

/// What is known of a layer beside its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Form of this record; 1.
    pub version: u32,
    /// Bytes of file content.
    pub content: u64,
    /// Bytes of its archive, not compressed.
    pub archive: u64,
    /// The blob it came as. Without one, [`LayerStore::archive`] gives its archive.
    #[serde(default)]
    pub blob: Option<Descriptor>,
    /// Blobs that were made of it for registries and caches; they are not kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packed: Vec<Descriptor>,
    /// The boot in which it was made, until it is known to be on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
}

impl LayerStore {
    /// Opens the layers below `data`, and removes what killed processes left half made.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        Self::open_in(data, boot::id())
    }
    /// As [`LayerStore::open`], in a boot of the machine.
    fn open_in(data: &Path, boot: String) -> Result<Self, StoreError> {
        let layers = Self {
            root: data.join("layers"),
            trust: Arc::new(Trust::new(boot)),
        };
        fs::make_dirs(&layers.root, 0o700).map_err(StoreError::io("make the layer directory"))?;
        staging::clear_dead(&layers.root).map_err(StoreError::io("clear unfinished layers"))?;
        Ok(layers)
    }
    /// The layers below `data` as they lie there: makes nothing and tidies nothing.
    pub fn look(data: &Path) -> Self {
        Self {
            root: data.join("layers"),
            trust: Arc::new(Trust::looking()),
        }
    }
    /// Where all of them lie.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
    /// Where a layer lies, there or not.
    pub fn path(&self, diff_id: &Digest) -> PathBuf {
        self.root.join(diff_id.hex())
    }
    /// Bytes that are free where layers are kept, if that can be asked.
    pub(super) fn free(&self) -> Option<u64> {
        let found = nix::sys::statvfs::statvfs(&self.root).ok()?;
        let blocks = found.blocks_available();
        Some(blocks.saturating_mul(found.fragment_size()))
    }
    /// Whether a layer is there, sound or not.
    pub(super) fn lies(&self, diff_id: &Digest) -> bool {
        self.path(diff_id).is_dir()
    }
    /// A new staging place.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn staging(&self) -> Result<Staging, StoreError> {
        Staging::make(&self.root).map_err(StoreError::io("make a place for a new layer"))
    }
    /// Makes a layer of a staging place's upper directory: hashed as an archive once, then renamed into
    /// place. Overlay's whiteouts and opaque marks are kept as they are. An empty one is a layer too.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn commit(&self, staging: Staging) -> Result<Digest, StoreError> {
        self.commit_hashed(staging, None)
    }
    /// As [`LayerStore::commit`], of a directory that [`Early`] may have hashed.
    ///
    /// # Errors
    /// As [`LayerStore::commit`].
    pub fn commit_hashed(
        &self,
        staging: Staging,
        hashed: Option<(Digest, diff::Measure)>,
    ) -> Result<Digest, StoreError> {
        let known = hashed.map_or_else(|| hash(&staging.upper()), Ok);
        let (id, measure) = known.map_err(StoreError::io("read the new layer"))?;
        let record = Record {
            version: 1,
            content: measure.content,
            archive: measure.archive,
            blob: None,
            packed: Vec::new(),
            boot: self.trust.unsynced(),
        };
        self.place(&staging, &id, &record)?;
        Ok(id)
    }
    /// Unpacks an archive, compressed or not, as the layer `diff_id`, which its bytes must have as their
    /// digest. `blob` is where its bytes are kept; `None` when only the directory is to be kept, which
    /// is right when [`LayerStore::archive`] of it gives the same bytes.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn import(
        &self,
        input: impl Read,
        diff_id: &Digest,
        blob: Option<&Descriptor>,
    ) -> Result<Unpacked, StoreError> {
        self.import_by(diff_id, blob, |staging, limits| {
            unpack_hashed(archive::decoder(input), staging, limits)
        })
    }
    /// As [`LayerStore::import`], decompressed by a thread of its own.
    ///
    /// # Errors
    /// As [`LayerStore::import`].
    pub fn import_ahead(
        &self,
        input: impl Read + Send,
        diff_id: &Digest,
        blob: Option<&Descriptor>,
    ) -> Result<Unpacked, StoreError> {
        self.import_by(diff_id, blob, |staging, limits| {
            ahead(input, |decoded| unpack_hashed(decoded, staging, limits))
        })
    }
    fn import_by(
        &self,
        diff_id: &Digest,
        blob: Option<&Descriptor>,
        unpack: impl FnOnce(&Staging, Limits) -> Result<Hashed, StoreError>,
    ) -> Result<Unpacked, StoreError> {
        if self.contains(diff_id) {
            return Ok(Unpacked::default());
        }
        let staging = self.staging()?;
        let limits = Limits::for_archive(blob.map(|blob| blob.size)).within(self.free());
        let (unpacked, found, length) = unpack(&staging, limits)?;
        if found != *diff_id {
            let text = format!("layer {diff_id} unpacks to {found}");
            return Err(StoreError::Corrupt(text));
        }
        let record = Record {
            version: 1,
            content: unpacked.bytes,
            archive: length,
            blob: blob.cloned(),
            packed: Vec::new(),
            boot: self.trust.unsynced(),
        };
        self.place(&staging, diff_id, &record)?;
        Ok(unpacked)
    }
    /// Unpacks an archive, compressed or not, whose digest nobody has said: the layer's is that of the archive,
    /// uncompressed. Where something of it is replaced by something later in it, the layer's is that of the archive
    /// that [`LayerStore::archive`] makes of what is left.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn import_any(&self, input: impl Read) -> Result<(Digest, Unpacked), StoreError> {
        let fresh = self.unpack(archive::bounded(input), Limits::for_archive(None))?;
        let unpacked = fresh.unpacked.clone();
        match fresh.whole {
            true => Ok((self.settle(fresh, None)?, unpacked)),
            false => Ok((self.commit(fresh.staging)?, unpacked)),
        }
    }
    /// Unpacks an archive that is not compressed, and notes how it is made again.
    pub(super) fn unpack(&self, input: impl Read, limits: Limits) -> Result<Fresh, StoreError> {
        let staging = self.staging()?;
        let noted = || StoreError::io("write the recipe of a layer");
        let recipe = File::create_new(staging.dir().join(RECIPE)).map_err(noted())?;
        let recorder = Recorder::new(recipe).map_err(noted())?;
        let root = Root::open(&staging.upper()).map_err(StoreError::io("open the new layer"))?;
        // Headers come on top of what the files may hold.
        let mut stream = Blocks::new(input, limits.bytes.saturating_mul(2));
        let mut recorded = recorder.reader(&mut stream);
        let unpacked = unpack::unpack_recorded(&mut recorded, &root, limits, &recorder)?;
        // A writer at the other end of a pipe should not be cut off before its last block, and checksums
        // of compressed streams come last; but what never ends is not waited for.
        let tail = io::copy(&mut recorded.take(LONGEST_TAIL), &mut io::sink());
        let tail = tail.map_err(|error| StoreError::Corrupt(error.to_string()))?;
        if tail == LONGEST_TAIL {
            let text = "far too much follows the end of the archive";
            return Err(StoreError::Corrupt(text.to_owned()));
        }
        let (id, length) = stream
            .finish()
            .map_err(|error| StoreError::Corrupt(error.to_string()))?;
        Ok(Fresh {
            id,
            whole: recorder.finish().map_err(noted())?,
            unpacked,
            length,
            staging,
        })
    }
    /// Puts an unpacked layer in its place. `blob` is where its bytes are kept; it may be `None` only for one that is
    /// whole.
    pub(super) fn settle(
        &self,
        fresh: Fresh,
        blob: Option<&Descriptor>,
    ) -> Result<Digest, StoreError> {
        let record = Record {
            version: 1,
            content: fresh.unpacked.bytes,
            archive: fresh.length,
            blob: blob.cloned(),
            packed: Vec::new(),
            boot: self.trust.unsynced(),
        };
        if blob.is_none() && !self.contains(&fresh.id) {
            let recipe = fresh.staging.dir().join(RECIPE);
            std::fs::rename(recipe, self.recipe_path(&fresh.id))
                .map_err(StoreError::io("put the recipe of a layer in its place"))?;
        }
        self.place(&fresh.staging, &fresh.id, &record)?;
        Ok(fresh.id)
    }
    /// A layer with the same files, none of them newer than `latest`, in seconds since 1970: this one, if none is.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn clamped(&self, diff_id: &Digest, latest: i64) -> Result<Digest, StoreError> {
        let path = self.path(diff_id);
        let told = || StoreError::io(format!("read layer {}", diff_id.short()));
        let mut hash = Behind::default();
        let clamped = diff::write_until(&path, latest, &mut hash).and_then(|_| hash.finish());
        let clamped = clamped.map_err(told())?;
        if clamped == *diff_id || self.contains(&clamped) {
            return Ok(clamped);
        }
        let (reader, writer) = io::pipe().map_err(told())?;
        std::thread::scope(|scope| {
            // Whatever goes wrong there, the import misses bytes and says so.
            scope.spawn(|| diff::write_until(&path, latest, writer));
            self.import(reader, &clamped, None)
        })?;
        Ok(clamped)
    }
    /// Writes a layer's archive, not compressed.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn archive(&self, diff_id: &Digest, out: impl Write) -> Result<(), StoreError> {
        let path = self.path(diff_id);
        let done = match File::open(self.recipe_path(diff_id)) {
            Ok(recipe) => recipe::assemble(recipe, &path, out),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                diff::write(&path, out).map(drop)
            }
            Err(error) => Err(error),
        };
        done.map_err(StoreError::io(format!("read layer {}", diff_id.short())))
    }
    /// What is known of a layer.
    ///
    /// # Errors
    /// [`StoreError::Io`]; [`StoreError::Corrupt`] when it is not there.
    pub fn record(&self, diff_id: &Digest) -> Result<Record, StoreError> {
        let path = self.record_path(diff_id);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Corrupt(format!(
                    "layer {diff_id} is not in the store"
                )));
            }
            other => other.map_err(StoreError::io(format!("read {}", path.display())))?,
        };
        serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::Corrupt(format!("{}: {error}", path.display())))
    }
    /// Notes a blob that was made of a layer, in place of an earlier one of its kind.
    ///
    /// # Errors
    /// As [`LayerStore::record`].
    pub(super) fn remember_packed(
        &self,
        diff_id: &Digest,
        blob: &Descriptor,
    ) -> Result<(), StoreError> {
        let mut record = self.record(diff_id)?;
        if record.packed.contains(blob) {
            return Ok(());
        }
        let other = |known: &Descriptor| known.media_type != blob.media_type;
        record.packed.retain(other);
        record.packed.push(blob.clone());
        self.write_record(diff_id, &record)
    }
    fn write_record(&self, diff_id: &Digest, record: &Record) -> Result<(), StoreError> {
        let text = serde_json::to_vec(record).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        let path = self.record_path(diff_id);
        fs::write_atomic(&path, &text, 0o600, Durability::Renamed)
            .map_err(StoreError::io("write a layer's record"))
    }
    /// How a manifest names a layer: the blob it came as, else the archive that can be made of it.
    ///
    /// # Errors
    /// As [`LayerStore::record`].
    pub fn descriptor(&self, diff_id: &Digest) -> Result<Descriptor, StoreError> {
        let record = self.record(diff_id)?;
        Ok(record
            .blob
            .unwrap_or_else(|| Descriptor::new(media::LAYER, *diff_id, record.archive)))
    }
    /// Directories of stacked layers for overlay, base first. A layer that occurs twice is given only where
    /// it lies topmost, which shows the same files: overlay refuses a directory that comes twice.
    pub fn lower(&self, layers: &[Digest]) -> Vec<PathBuf> {
        let above = |at: usize| layers.get(at + 1..).unwrap_or_default();
        let topmost = |(at, id): &(usize, &Digest)| !above(*at).contains(id);
        layers
            .iter()
            .enumerate()
            .filter(topmost)
            .map(|(_, id)| self.path(id))
            .collect()
    }
    /// A read-only view of stacked layers, base first: a detached mount; nothing of it is seen in any
    /// mount namespace and it ends with the descriptor. Works with no layers too.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn view(&self, layers: &[Digest]) -> Result<OwnedFd, StoreError> {
        let mut lower = self.lower(layers);
        if lower.is_empty() {
            let empty = self.root.join(".empty");
            fs::make_dirs(&empty, 0o755).map_err(StoreError::io("make an empty directory"))?;
            lower.push(empty);
        }
        mount::overlay(&Overlay {
            lower: &lower,
            upper: None,
        })
        .map_err(StoreError::io("mount the image's layers"))
    }
    /// All layers that are there, in order of their digests.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn list(&self) -> Result<Vec<Digest>, StoreError> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.root).map_err(StoreError::io("list the layers"))? {
            let entry = entry.map_err(StoreError::io("list the layers"))?;
            let name = entry.file_name();
            if let Ok(id) = Digest::parse(&format!("sha256:{}", name.to_string_lossy())) {
                found.push(id);
            }
        }
        found.sort();
        Ok(found)
    }
    fn recipe_path(&self, diff_id: &Digest) -> PathBuf {
        self.root.join(format!("{}.recipe", diff_id.hex()))
    }
    fn record_path(&self, diff_id: &Digest) -> PathBuf {
        self.root.join(format!("{}.json", diff_id.hex()))
    }
    /// Renames a staging place's upper directory into place, its record first.
    fn place(&self, staging: &Staging, id: &Digest, record: &Record) -> Result<(), StoreError> {
        if self.contains(id) {
            return Ok(());
        }
        self.write_record(id, record)?;
        match std::fs::rename(staging.upper(), self.path(id)) {
            // Another process was first with the same content.
            Err(error) if self.contains(id) => drop(error),
            other => other.map_err(StoreError::io("put the new layer in its place"))?,
        }
        Ok(())
    }
}

/// The digest and sizes of a directory's archive.
fn hash(upper: &Path) -> io::Result<(Digest, diff::Measure)> {
    let mut hash = Behind::default();
    let measure = diff::write(upper, &mut hash)?;
    Ok((hash.finish()?, measure))
}

/// What came of an archive, its digest, and how long it is.
type Hashed = (Unpacked, Digest, u64);

/// Unpacks an archive that is not compressed.
fn unpack_hashed(
    archive: impl Read,
    staging: &Staging,
    limits: Limits,
) -> Result<Hashed, StoreError> {
    let root = Root::open(&staging.upper()).map_err(StoreError::io("open the new layer"))?;
    // Headers come on top of what the files may hold.
    let mut stream = Blocks::new(archive, limits.bytes.saturating_mul(2));
    let unpacked = unpack::unpack(&mut stream, &root, limits)?;
    let (digest, length) = stream
        .finish()
        .map_err(|e| StoreError::Corrupt(e.to_string()))?;
    Ok((unpacked, digest, length))
}

impl From<UnpackError> for StoreError {
    fn from(error: UnpackError) -> Self {
        match error {
            UnpackError::Archive(text) => Self::Corrupt(text),
            UnpackError::Entry { path, source } => Self::Io {
                step: format!("unpack `{path}`"),
                source,
            },
        }
    }
}

struct HashWriter(Hasher);

impl Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens a blob's file for [`LayerStore::import`].
pub(super) fn open_blob(path: &Path) -> Result<File, StoreError> {
    File::open(path).map_err(StoreError::io(format!("read {}", path.display())))
}

#[cfg(test)]
mod tests;
