//! Images that commands of other processes are about to use: named in a file that its process holds a lock on.
//!
//! A command that makes containers looks an image up and needs it until the container's record is written. Whoever removes images
//! reads these files under the store's lock; whoever holds an image looks again when it is written down. So either the one sees
//! the other's file, or the other sees that the image is gone.
//! On disk: `images/held/<process>-<number>`, a digest a line; those of dead processes are removed by who reads them or makes another.
//! Imports: `sys`. Source: flock(2).

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::{Image, Store, StoreError};
use crate::image::digest::Digest;
use crate::image::reference::Reference;
use crate::sys::lock::{Hold, Lock};

/// How exactly the last use of an image is known: writing it down each time would make every look a write.
const EXACT: Duration = Duration::from_secs(10 * 60);

/// The images this process holds.
#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<Option<Held>>);

#[derive(Debug)]
struct Held {
    path: PathBuf,
    file: File,
    ids: BTreeSet<Digest>,
}

impl Drop for Held {
    fn drop(&mut self) {
        // One that stays is removed by who reads it next.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Held {
    fn make(dir: &Path) -> io::Result<Self> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made?;
        loop {
            let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!("{}-{serial}", std::process::id()));
            let file = File::options().append(true).create(true).open(&path)?;
            file.lock()?;
            let held = Self {
                path,
                file,
                ids: BTreeSet::new(),
            };
            // Another process may have taken it for a dead one's before it was locked.
            if is_same(&held.file, &held.path) {
                return Ok(held);
            }
        }
    }
}

fn is_same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let same = |ours: std::fs::Metadata, there: std::fs::Metadata| {
        (ours.dev(), ours.ino()) == (there.dev(), there.ino())
    };
    file.metadata()
        .is_ok_and(|ours| path.metadata().is_ok_and(|there| same(ours, there)))
}

/// Images that files in `dir` hold, but for the one that is `ours`; files of dead processes are removed.
fn held_in(dir: &Path, ours: Option<&Path>) -> io::Result<BTreeSet<Digest>> {
    let mut found = BTreeSet::new();
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        other => other?,
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if ours == Some(&path) {
            continue;
        }
        match Lock::try_acquire(&path, Hold::Exclusive) {
            Ok(Some(lock)) => {
                if lock.is_at(&path) {
                    let _ = std::fs::remove_file(&path);
                }
            }
            _ => {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                found.extend(text.lines().filter_map(|line| Digest::parse(line).ok()));
            }
        }
    }
    Ok(found)
}

impl Store {
    fn held_dir(&self) -> PathBuf {
        self.images.join("held")
    }
    /// The image a reference names here, which no other process removes as long as this store is open. It counts as used.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`].
    pub fn take(&self, reference: &Reference) -> Result<Option<Image>, StoreError> {
        self.take_with(|| self.resolve(reference))
    }
    /// The same for an image by its id.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`].
    pub fn take_id(&self, id: &Digest) -> Result<Option<Image>, StoreError> {
        self.take_with(|| match self.find(&id.to_string()) {
            Ok(image) => Ok(Some(image)),
            Err(StoreError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        })
    }
    fn take_with(
        &self,
        look: impl Fn() -> Result<Option<Image>, StoreError>,
    ) -> Result<Option<Image>, StoreError> {
        let mut found = look()?;
        if self.only_looks {
            // Whoever only looks makes no container of it.
            return Ok(found);
        }
        while let Some(image) = found {
            let failed = || format!("hold an image in {}", self.held_dir().display());
            let new = self
                .hold(&image.id)
                .map_err(|error| StoreError::io(failed())(error))?;
            if !new {
                return Ok(Some(image));
            }
            self.note_use(&image.id);
            // It may have gone, or the name may have another, while it was not held yet.
            found = look()?;
        }
        Ok(None)
    }
    /// Writes down that this process needs an image; whether that is new.
    fn hold(&self, id: &Digest) -> io::Result<bool> {
        let mut place = self.holds.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = match &mut *place {
            Some(held) => held,
            None => {
                let dir = self.held_dir();
                let _ = held_in(&dir, None);
                place.insert(Held::make(&dir)?)
            }
        };
        if held.ids.contains(id) {
            return Ok(false);
        }
        held.file.write_all(format!("{id}\n").as_bytes())?;
        Ok(held.ids.insert(*id))
    }
    /// Images that other processes hold; files of dead ones are removed.
    pub(super) fn held_elsewhere(&self) -> Result<BTreeSet<Digest>, StoreError> {
        let ours = self.holds.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = ours.as_ref().map(|held| held.path.as_path());
        held_in(&self.held_dir(), ours).map_err(StoreError::io("see which images are held"))
    }
    /// When an image was used last: when a command last took it to make containers of it, or when it came.
    pub fn used(&self, id: &Digest) -> Option<SystemTime> {
        self.blob_path(id).metadata().ok()?.modified().ok()
    }
    /// The time of change of an image's document is when it was used last; its content never changes.
    fn note_use(&self, id: &Digest) {
        let now = SystemTime::now();
        let recent = self
            .used(id)
            .and_then(|used| now.duration_since(used).ok())
            .is_some_and(|ago| ago < EXACT);
        if !recent && let Ok(file) = File::open(self.blob_path(id)) {
            // A list that is a little wrong is no reason to fail.
            let _ = file.set_modified(now);
        }
    }
}
