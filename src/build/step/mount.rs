//! Mounts of a `RUN` step: what the sandbox shows, and what is held while it does.
//!
//! Files of a context are shown as they lie, unless some are ignored or writes are allowed: then a copy is
//! shown. Cache directories lie in `<cache>/mounts/<hash of the id>/`.
//! Imports: `sys`, `image`, `engine::sandbox`, `build::context`.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::copy::{CopySource, CopyStep, Selection};
use super::{Origin, StepError};
use crate::build::context::Tree;
use crate::build::context::digest::Digests;
use crate::build::context::walk::Taken;
use crate::build::dockerfile::mounts::Sharing;
use crate::build::error::BuildError;
use crate::build::key::Key;
use crate::engine::sandbox::{SandboxMount, SandboxSource};
use crate::image::digest::Digest;
use crate::image::store::Store;
use crate::sys::fs::{clean, is_kind, make_dirs};
use crate::sys::lock::{Hold, Lock};

/// A mount, all names worked out. Targets are absolute.
#[derive(Debug, Clone)]
pub struct MountStep {
    /// Where.
    pub target: String,
    /// What.
    pub what: What,
}

/// What a mount shows.
#[derive(Debug, Clone)]
pub enum What {
    /// Files of a tree.
    Files {
        /// Whose.
        origin: Origin,
        /// Path in it.
        path: String,
        /// Writes are allowed, and dropped.
        writable: bool,
    },
    /// A directory kept between builds.
    Cache {
        /// Its name.
        id: String,
        /// What it starts with: whose, and the path in it.
        seed: Option<(Origin, String)>,
        /// Who may use it at the same time.
        sharing: Sharing,
        /// Writes are refused.
        read_only: bool,
        /// Mode of a new one.
        mode: u32,
        /// Owner and group of a new one.
        owner: (u32, u32),
    },
    /// Memory.
    Tmpfs(Option<u64>),
    /// A secret as a file.
    Secret {
        /// Its name, for the key.
        id: String,
        /// The secret.
        content: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// Owner and group.
        owner: (u32, u32),
    },
    /// A script of the Dockerfile's own.
    Script(String),
    /// The host's CA bundle; it does not count.
    Authorities(PathBuf),
}

/// What must live until the step has ended.
#[derive(Debug, Default)]
pub struct Held {
    locks: Vec<Lock>,
    copies: Vec<crate::image::layer::Staging>,
}

/// A tree and, if it is a stage's or an image's, its layers.
pub type Rooted = (Tree, Option<Vec<Digest>>);

/// What mounts are made with.
#[derive(Clone, Copy)]
pub struct Trees<'a> {
    /// The tree of an origin and, for a stage or image, its layers.
    pub of: &'a dyn Fn(&Origin) -> Result<Rooted, StepError>,
    /// The directory of an origin on the host.
    pub host: &'a dyn Fn(&Origin) -> Option<PathBuf>,
    /// Images and layers.
    pub store: &'a Store,
    /// `<cache>/mounts`
    pub caches: &'a Path,
}

impl std::fmt::Debug for Trees<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trees")
            .field("caches", &self.caches)
            .finish_non_exhaustive()
    }
}

fn missing(path: &Path, errno: Errno) -> StepError {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => {
            StepError::new(format!("\"/{}\": not found", path.display()))
        }
        errno => StepError::file("read", path, errno),
    }
}

impl MountStep {
    /// Whose files it shows, if it shows any.
    pub fn origin(&self) -> Option<&Origin> {
        match &self.what {
            What::Files { origin, .. } => Some(origin),
            What::Cache { seed, .. } => seed.as_ref().map(|(origin, _)| origin),
            _ => None,
        }
    }
    /// Adds all that counts to a key.
    ///
    /// # Errors
    /// [`StepError`] when a file is missing or can't be read.
    pub fn add_to(
        &self,
        key: &mut Key,
        trees: &Trees<'_>,
        digests: &Digests,
    ) -> Result<(), StepError> {
        if let What::Authorities(_) = self.what {
            return Ok(());
        }
        key.text(&self.target);
        match &self.what {
            What::Files {
                origin,
                path,
                writable,
            } => {
                key.texts(["files", path, if *writable { "rw" } else { "ro" }]);
                add_files(key, trees, digests, origin, path)?;
            }
            What::Cache { id, seed, .. } => {
                key.texts(["cache", id]);
                if let Some((origin, path)) = seed {
                    key.text(path);
                    add_files(key, trees, digests, origin, path)?;
                }
            }
            What::Tmpfs(size) => key.texts(["tmpfs", &size.unwrap_or(0).to_string()]),
            What::Secret {
                id, mode, owner, ..
            } => {
                key.texts(["secret", id, &format!("{mode:o} {} {}", owner.0, owner.1)]);
            }
            What::Script(text) => key.texts(["script", text]),
            What::Authorities(_) => {}
        }
        Ok(())
    }
    /// The sandbox's mount.
    ///
    /// # Errors
    /// [`StepError`] when a file is missing or a copy fails.
    pub fn open(&self, trees: &Trees<'_>, held: &mut Held) -> Result<SandboxMount, StepError> {
        let (source, read_only) = match &self.what {
            What::Files {
                origin,
                path,
                writable,
            } => (files(trees, origin, path, *writable, held)?, !writable),
            What::Cache { read_only, .. } => (self.cache(trees, held)?, *read_only),
            What::Tmpfs(size) => (SandboxSource::Tmpfs { size: *size }, false),
            What::Secret {
                content,
                mode,
                owner,
                ..
            } => (
                SandboxSource::Bytes {
                    content: content.clone(),
                    uid: owner.0,
                    gid: owner.1,
                    mode: *mode,
                },
                true,
            ),
            What::Script(text) => (
                SandboxSource::Bytes {
                    content: text.clone().into_bytes(),
                    uid: 0,
                    gid: 0,
                    mode: 0o755,
                },
                true,
            ),
            What::Authorities(path) => {
                let content = std::fs::read(path)
                    .map_err(|e| BuildError::io(format!("read {}", path.display()), e))?;
                (
                    SandboxSource::Bytes {
                        content,
                        uid: 0,
                        gid: 0,
                        mode: 0o444,
                    },
                    true,
                )
            }
        };
        Ok(SandboxMount {
            target: self.target.clone(),
            source,
            read_only,
        })
    }
    fn cache(&self, trees: &Trees<'_>, held: &mut Held) -> Result<SandboxSource, StepError> {
        let What::Cache {
            id,
            seed,
            sharing,
            mode,
            owner,
            ..
        } = &self.what
        else {
            return Err(StepError::new("not a cache"));
        };
        let mut name = Digest::of(id.as_bytes()).hex();
        if let Some((origin, path)) = seed {
            name = Digest::of(format!("{name} {origin:?} {path}").as_bytes()).hex();
        }
        let base = trees.caches.join(name);
        let told = |step: &str, error: std::io::Error| {
            BuildError::io(format!("{step} {}", base.display()), error)
        };
        make_dirs(&base, 0o700).map_err(|e| told("create", e))?;
        let lock = |slot: u32| base.join(format!("lock.{slot}"));
        let slot = match sharing {
            Sharing::Shared => {
                held.locks
                    .push(Lock::acquire(&lock(0), Hold::Shared).map_err(|e| told("lock", e))?);
                0
            }
            Sharing::Locked => {
                held.locks
                    .push(Lock::acquire(&lock(0), Hold::Exclusive).map_err(|e| told("lock", e))?);
                0
            }
            Sharing::Private => {
                let mut slot = 0;
                loop {
                    match Lock::try_acquire(&lock(slot), Hold::Exclusive)
                        .map_err(|e| told("lock", e))?
                    {
                        Some(taken) => {
                            held.locks.push(taken);
                            break slot;
                        }
                        None => slot += 1,
                    }
                }
            }
        };
        let data = base.join(format!("data.{slot}"));
        // Steps that share the directory make it one after another.
        let _making =
            Lock::acquire(&base.join("making"), Hold::Exclusive).map_err(|e| told("lock", e))?;
        if !data.exists() {
            let fresh = base.join(format!("new.{slot}"));
            crate::sys::fs::remove_tree(&fresh).map_err(|e| told("remove", e))?;
            make_dirs(&fresh, 0o755).map_err(|e| told("create", e))?;
            if let Some((origin, path)) = seed {
                self.sow(trees, origin, path, &fresh)?;
            }
            std::os::unix::fs::chown(&fresh, Some(owner.0), Some(owner.1))
                .map_err(|e| told("own", e))?;
            let mode =
                <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(*mode);
            std::fs::set_permissions(&fresh, mode).map_err(|e| told("set the mode of", e))?;
            std::fs::rename(&fresh, &data).map_err(|e| told("rename", e))?;
        }
        Ok(SandboxSource::Host {
            root: data,
            path: PathBuf::new(),
        })
    }
    /// Fills a new cache directory.
    fn sow(
        &self,
        trees: &Trees<'_>,
        origin: &Origin,
        path: &str,
        into: &Path,
    ) -> Result<(), StepError> {
        let (tree, _) = (trees.of)(origin)?;
        let staging = filtered(trees, &tree, origin, path)?;
        let from = staging.upper();
        let told = |e| BuildError::io(format!("fill {}", into.display()), e);
        for item in std::fs::read_dir(&from).map_err(told)? {
            let item = item.map_err(told)?;
            // Both may lie on different file systems only if the data directory was split by hand.
            std::fs::rename(item.path(), into.join(item.file_name())).map_err(told)?;
        }
        Ok(())
    }
}

fn add_files(
    key: &mut Key,
    trees: &Trees<'_>,
    digests: &Digests,
    origin: &Origin,
    path: &str,
) -> Result<(), StepError> {
    let (tree, layers) = (trees.of)(origin)?;
    if let Some(layers) = layers {
        // What stands on layers is known by them.
        key.layers(&layers);
        return Ok(());
    }
    let start = tree
        .find(&clean(Path::new(path)))
        .map_err(|errno| missing(Path::new(path), errno))?;
    digests
        .add(key.hasher(), &tree, &start, &Taken::default())
        .map_err(|fault| super::copy::unreadable(&start, &fault))
}

fn files(
    trees: &Trees<'_>,
    origin: &Origin,
    path: &str,
    writable: bool,
    held: &mut Held,
) -> Result<SandboxSource, StepError> {
    let (tree, layers) = (trees.of)(origin)?;
    let found = tree
        .find(&clean(Path::new(path)))
        .map_err(|errno| missing(Path::new(path), errno))?;
    if let Some(layers) = layers {
        return Ok(SandboxSource::Layers {
            layers: super::distinct(&layers),
            path: found,
        });
    }
    let told = |errno| StepError::file("read", &found, errno);
    let top = tree.root().lstat(&found).map_err(told)?;
    let folder = is_kind(&top, libc::S_IFDIR);
    let whole = !writable && (!folder || !tree.leaves_out_below(&found).map_err(told)?);
    match (trees.host)(origin).filter(|_| whole) {
        Some(root) => Ok(SandboxSource::Host { root, path: found }),
        None => {
            let staging = filtered(trees, &tree, origin, path)?;
            let name = Path::new("file");
            let path = if !folder {
                name.to_owned()
            } else {
                PathBuf::new()
            };
            let root = staging.upper();
            held.copies.push(staging);
            Ok(SandboxSource::Host { root, path })
        }
    }
}

/// A copy of what a tree shows at a path: a file is named `file`.
fn filtered(
    trees: &Trees<'_>,
    tree: &Tree,
    origin: &Origin,
    path: &str,
) -> Result<crate::image::layer::Staging, StepError> {
    let step = CopyStep {
        origin: origin.clone(),
        sources: vec![CopySource::Exact(path.to_owned())],
        dest: "/".to_owned(),
        chown: None,
        chmod: None,
        chmod_text: None,
        exclude: Vec::new(),
        unpack: false,
        parents: false,
        link: false,
    };
    let found = tree
        .find(&clean(Path::new(path)))
        .map_err(|errno| missing(Path::new(path), errno))?;
    let top = tree
        .root()
        .lstat(&found)
        .map_err(|errno| missing(&found, errno))?;
    let file = !crate::sys::fs::is_kind(&top, libc::S_IFDIR);
    let step = if file {
        CopyStep {
            dest: "/file".to_owned(),
            ..step
        }
    } else {
        step
    };
    let staging = trees.store.layers().staging()?;
    Selection::find(&step, tree)?.copy_into(tree, &staging.upper())?;
    Ok(staging)
}
