//! Directories that are kept between builds: `RUN --mount=type=cache`.
//!
//! They lie in `<cache>/mounts/<hash of what names it>/`: `about.json` says the id, `data.N` are the files, `lock.N` is
//! held by who uses them. `N` is 0 but for `private` ones that meet. An id is never part of a path.
//! Imports: `sys`, `image`, `engine::sandbox`, `build::context`. Rules: Dockerfile reference, "RUN --mount=type=cache";
//! as BuildKit, an id together with another owner, mode or beginning is another cache.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mount::{Held, Trees, add_files, filtered};
use super::{Origin, StepError};
use crate::build::context::digest::Digests;
use crate::build::dockerfile::mounts::Sharing;
use crate::build::error::BuildError;
use crate::build::key::Key;
use crate::engine::sandbox::SandboxSource;
use crate::image::digest::Digest;
use crate::sys::fs::{Durability, Root, make_dirs, remove_tree, write_atomic};
use crate::sys::lock::{Hold, Lock};

/// How often a cache that is in use is asked for again.
const GLANCE: Duration = Duration::from_millis(20);

/// File of a cache that says what it is.
pub const ABOUT: &str = "about.json";

/// A cache, all names worked out.
#[derive(Debug, Clone)]
pub struct CacheMount {
    /// Its name.
    pub id: String,
    /// Whose files it begins with.
    pub seed: Option<Origin>,
    /// A path in those files, or in the cache itself.
    pub source: String,
    /// Who may use it at the same time.
    pub sharing: Sharing,
    /// Writes are refused.
    pub read_only: bool,
    /// Mode, owner and group of a new one, if any of them was said.
    pub own: Option<(u32, u32, u32)>,
}

/// What [`ABOUT`] holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Form of this record; 1.
    pub version: u32,
    /// The cache's id.
    pub id: String,
}

/// A cache that a step has taken: its directory, and the part that is used.
#[derive(Debug)]
pub(super) struct Taken {
    base: PathBuf,
    slot: u32,
}

impl CacheMount {
    /// Adds all that counts to a key.
    pub(super) fn add_to(
        &self,
        key: &mut Key,
        trees: &Trees<'_>,
        digests: &Digests,
    ) -> Result<(), StepError> {
        key.texts(["cache", &self.id, &self.source]);
        match &self.seed {
            Some(origin) => add_files(key, trees, digests, origin, &self.source),
            None => Ok(()),
        }
    }
    /// Takes the cache, made when missing.
    pub(super) fn open(
        &self,
        trees: &Trees<'_>,
        held: &mut Held,
    ) -> Result<SandboxSource, StepError> {
        let base = trees.caches.join(self.name(trees)?);
        // Of two mounts of one step each has what the other has: it can't wait for itself.
        let known = held.caches.iter().find(|taken| taken.base == base);
        let slot = match known {
            Some(taken) => taken.slot,
            None => {
                let (lock, slot) = self.take(&base, held)?;
                held.locks.push(lock);
                held.caches.push(Taken {
                    base: base.clone(),
                    slot,
                });
                slot
            }
        };
        let data = base.join(format!("data.{slot}"));
        self.make(trees, &base, &data, slot)?;
        // Where it begins with files, their path counts, and it is in them already.
        let path = match self.seed {
            Some(_) => PathBuf::new(),
            None => self.inside(&data)?,
        };
        Ok(SandboxSource::Host { root: data, path })
    }
    /// The path in the cache that is shown. What lies there may change until it is shown: the sandbox looks it up once more,
    /// and never leaves the cache.
    fn inside(&self, data: &Path) -> Result<PathBuf, StepError> {
        let clean = crate::sys::fs::clean(Path::new(&self.source));
        let path = clean.strip_prefix("/").unwrap_or(&clean).to_owned();
        if path.as_os_str().is_empty() {
            return Ok(path);
        }
        let root = Root::open(data).map_err(|errno| told("open", data, errno.into()))?;
        match root.open_at(&path, nix::fcntl::OFlag::O_PATH, 0) {
            Ok(_) => Ok(path),
            Err(errno) => Err(StepError::hinted(
                format!(
                    "source {:?} of the cache {:?}: {}",
                    self.source,
                    self.id,
                    errno.desc()
                ),
                "without `from`, source is a path in the cache itself: an earlier step has to make it",
            )),
        }
    }
    /// The name of its directory.
    fn name(&self, trees: &Trees<'_>) -> Result<String, StepError> {
        let mut name = Digest::of(self.id.as_bytes()).hex();
        if let Some(origin) = &self.seed {
            let (_, layers) = (trees.of)(origin)?;
            let whose = match layers {
                Some(layers) => format!("{layers:?}"),
                None => format!("{:?}", (trees.host)(origin)),
            };
            name = Digest::of(format!("{name} {whose} {}", self.source).as_bytes()).hex();
        }
        if let Some(own) = self.own {
            name = Digest::of(format!("{name} {own:?}").as_bytes()).hex();
        }
        Ok(name)
    }
    /// Waits for a part of the cache that may be used.
    fn take(&self, base: &Path, held: &Held) -> Result<(Lock, u32), StepError> {
        let hold = match self.sharing {
            Sharing::Shared => Hold::Shared,
            Sharing::Private | Sharing::Locked => Hold::Exclusive,
        };
        let mut slot = 0;
        loop {
            if held.cancel.is_cancelled() {
                return Err(BuildError::Cancelled.into());
            }
            make_dirs(base, 0o700).map_err(|e| told("create", base, e))?;
            let path = base.join(format!("lock.{slot}"));
            match Lock::try_acquire(&path, hold) {
                // Somebody may have removed the whole cache in between.
                Ok(Some(lock)) if lock.is_at(&path) => {
                    used(&path);
                    return Ok((lock, slot));
                }
                Ok(Some(_)) => {}
                Ok(None) if self.sharing == Sharing::Private => slot += 1,
                Ok(None) => std::thread::sleep(GLANCE),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(told("lock", base, error).into()),
            }
        }
    }
    /// Makes the directory, as a whole or not at all.
    fn make(
        &self,
        trees: &Trees<'_>,
        base: &Path,
        data: &Path,
        slot: u32,
    ) -> Result<(), StepError> {
        // Steps that share the directory make it one after another.
        let making = Lock::acquire(&base.join("making"), Hold::Exclusive);
        let _making = making.map_err(|e| told("lock", base, e))?;
        if data.exists() {
            return Ok(());
        }
        self.describe(base)?;
        let fresh = base.join(format!("new.{slot}"));
        remove_tree(&fresh).map_err(|e| told("remove", &fresh, e))?;
        make_dirs(&fresh, 0o755).map_err(|e| told("create", &fresh, e))?;
        match &self.seed {
            Some(origin) if !self.source.is_empty() || self.own.is_none() => {
                sow(trees, origin, &self.source, &fresh)?;
            }
            _ => {
                let (mode, uid, gid) = self.own.unwrap_or((0o755, 0, 0));
                std::os::unix::fs::chown(&fresh, Some(uid), Some(gid))
                    .map_err(|e| told("own", &fresh, e))?;
                std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(mode))
                    .map_err(|e| told("set the mode of", &fresh, e))?;
            }
        }
        std::fs::rename(&fresh, data).map_err(|e| told("rename", &fresh, e))?;
        Ok(())
    }
    /// Says what a cache is, for those who list them.
    fn describe(&self, base: &Path) -> Result<(), StepError> {
        let about = About {
            version: 1,
            id: self.id.clone(),
        };
        let path = base.join(ABOUT);
        let text = serde_json::to_vec(&about)
            .map_err(|e| told("describe", base, std::io::Error::from(e)))?;
        write_atomic(&path, &text, 0o600, Durability::Renamed)
            .map_err(|e| told("write", &path, e))?;
        Ok(())
    }
}

/// Notes when a cache was used last, for those who make room. A wrong time is no reason to fail.
fn used(lock: &Path) {
    let now = std::time::SystemTime::now();
    let _ = std::fs::File::open(lock).and_then(|file| file.set_modified(now));
}

fn told(step: &str, path: &Path, error: std::io::Error) -> BuildError {
    BuildError::io(format!("{step} {}", path.display()), error)
}

/// Fills a new cache directory; it gets owner and mode of what it is filled from.
fn sow(trees: &Trees<'_>, origin: &Origin, path: &str, into: &Path) -> Result<(), StepError> {
    let (tree, _) = (trees.of)(origin)?;
    let staging = filtered(trees, &tree, origin, path)?;
    let from = staging.upper();
    for item in std::fs::read_dir(&from).map_err(|e| told("fill", into, e))? {
        let item = item.map_err(|e| told("fill", into, e))?;
        // Both may lie on different file systems only if the data directory was split by hand.
        std::fs::rename(item.path(), into.join(item.file_name()))
            .map_err(|e| told("fill", into, e))?;
    }
    let found = tree.find(&crate::sys::fs::clean(Path::new(path)));
    let Ok(top) = found.and_then(|found| tree.root().lstat(&found)) else {
        return Ok(());
    };
    std::os::unix::fs::chown(into, Some(top.st_uid), Some(top.st_gid))
        .map_err(|e| told("own", into, e))?;
    let mode = std::fs::Permissions::from_mode(top.st_mode & 0o7777);
    std::fs::set_permissions(into, mode).map_err(|e| told("set the mode of", into, e))?;
    Ok(())
}
