//! Mounts of a `RUN` step: what the sandbox shows, and what is held while it does.
//!
//! Files of a context are shown as they lie, unless some are ignored or writes are allowed: then a copy is
//! shown. Cache directories are the affair of `cache_mount`, agents that of `agent`.
//! Imports: `sys`, `image`, `engine::sandbox`, `build::context`.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::agent::{self, Agent, Lent};
use super::cache_mount::{CacheMount, Taken};
use super::copy::{CopyStep, Selection};
use super::{Origin, StepError};
use crate::base::cancel::Cancel;
use crate::build::context::digest::Digests;
use crate::build::context::{Tree, walk};
use crate::build::error::BuildError;
use crate::build::key::{Key, Part};
use crate::build::sources::Remote;
use crate::engine::sandbox::{SandboxMount, SandboxSource};
use crate::image::digest::Digest;
use crate::image::store::Store;
use crate::sys::fs::{clean, is_kind};
use crate::sys::lock::Lock;

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
    Cache(CacheMount),
    /// Memory.
    Tmpfs {
        /// Bytes.
        size: Option<u64>,
        /// Writes are refused.
        read_only: bool,
    },
    /// A secret as a file.
    Secret {
        /// Its name, for the key.
        id: String,
        /// The secret; nothing is shown without one.
        content: Option<Vec<u8>>,
        /// Permission bits.
        mode: u32,
        /// Owner and group.
        owner: (u32, u32),
    },
    /// An ssh agent's socket.
    Agent {
        /// Its name, for the key.
        id: String,
        /// Where the keys are; nothing is shown without.
        agent: Option<Agent>,
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
    /// Ends a wait for a cache.
    pub(super) cancel: Cancel,
    pub(super) locks: Vec<Lock>,
    pub(super) caches: Vec<Taken>,
    copies: Vec<crate::image::layer::Staging>,
    agents: Vec<Lent>,
}

impl Held {
    /// Nothing yet.
    pub(super) fn new(cancel: &Cancel) -> Self {
        Self {
            cancel: cancel.clone(),
            ..Self::default()
        }
    }
    /// Makes the mounts of a step, in their order. Caches are taken in the order of their names, so that two steps that
    /// want the same ones never wait for each other.
    ///
    /// # Errors
    /// [`StepError`] when a file is missing or a copy fails.
    pub(super) fn open(
        &mut self,
        mounts: &[MountStep],
        trees: &Trees<'_>,
    ) -> Result<Vec<SandboxMount>, StepError> {
        let name = |mount: &MountStep| match &mount.what {
            What::Cache(cache) => Some((cache.id.clone(), cache.own)),
            _ => None,
        };
        let mut order: Vec<usize> = (0..mounts.len()).collect();
        order.sort_by_key(|at| mounts.get(*at).and_then(name));
        let mut opened = Vec::new();
        for at in order {
            if let Some(mount) = mounts.get(at) {
                opened.push((at, mount.open(trees, self)?));
            }
        }
        opened.sort_by_key(|(at, _)| *at);
        Ok(opened.into_iter().filter_map(|(_, mount)| mount).collect())
    }
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
    /// Whether it shows an ssh agent, there or not.
    pub fn is_agent(&self) -> bool {
        matches!(self.what, What::Agent { .. })
    }
    /// Whose files it shows, if it shows any.
    pub fn origin(&self) -> Option<&Origin> {
        match &self.what {
            What::Files { origin, .. } => Some(origin),
            What::Cache(cache) => cache.seed.as_ref(),
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
        key.part(Part::Files(self.target.clone()));
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
            What::Cache(cache) => cache.add_to(key, trees, digests)?,
            What::Tmpfs { size, read_only } => {
                key.texts(["tmpfs", &size.unwrap_or(0).to_string()]);
                key.texts(read_only.then_some("ro"));
            }
            What::Secret {
                id, mode, owner, ..
            } => {
                key.texts(["secret", id, &format!("{mode:o} {} {}", owner.0, owner.1)]);
            }
            What::Agent {
                id, mode, owner, ..
            } => {
                key.texts(["ssh", id, &format!("{mode:o} {} {}", owner.0, owner.1)]);
            }
            What::Script(text) => key.texts(["script", text]),
            What::Authorities(_) => {}
        }
        Ok(())
    }
    /// The sandbox's mount; `None` for what is optional and was not given.
    ///
    /// # Errors
    /// [`StepError`] when a file is missing or a copy fails.
    pub fn open(
        &self,
        trees: &Trees<'_>,
        held: &mut Held,
    ) -> Result<Option<SandboxMount>, StepError> {
        let bytes = |content: &[u8], mode, (uid, gid)| SandboxSource::Bytes {
            content: content.to_vec(),
            uid,
            gid,
            mode,
        };
        let root = (0, 0);
        let (source, read_only) = match &self.what {
            What::Files {
                origin,
                path,
                writable,
            } => (files(trees, origin, path, *writable, held)?, !writable),
            What::Cache(cache) => (cache.open(trees, held)?, cache.read_only),
            What::Tmpfs { size, read_only } => (SandboxSource::Tmpfs { size: *size }, *read_only),
            What::Secret { content: None, .. } | What::Agent { agent: None, .. } => {
                return Ok(None);
            }
            What::Secret {
                content: Some(content),
                mode,
                owner,
                ..
            } => (bytes(content, *mode, *owner), true),
            What::Agent {
                id,
                agent: Some(agent),
                mode,
                owner,
            } => {
                let place = trees.store.layers().staging()?;
                let lent = agent.lend(place, *mode, *owner);
                let lent = lent.map_err(|why| StepError::new(format!("ssh {id}: {why}")))?;
                let source = SandboxSource::Host {
                    root: lent.dir(),
                    path: PathBuf::from(agent::SOCKET),
                };
                held.agents.push(lent);
                (source, false)
            }
            What::Script(text) => (bytes(text.as_bytes(), 0o755, root), true),
            What::Authorities(path) => {
                let content = std::fs::read(path)
                    .map_err(|e| BuildError::io(format!("read {}", path.display()), e))?;
                (bytes(&content, 0o444, root), true)
            }
        };
        Ok(Some(SandboxMount {
            target: self.target.clone(),
            source,
            read_only,
        }))
    }
}

pub(super) fn add_files(
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
        .add(key.hasher(), &tree, &start, &walk::Taken::default())
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
        let changes = match writable {
            true => {
                let staging = trees.store.layers().staging()?;
                let changes = (staging.upper(), staging.work());
                held.copies.push(staging);
                Some(changes)
            }
            false => None,
        };
        return Ok(SandboxSource::Layers {
            layers: super::distinct(&layers),
            path: found,
            changes,
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
pub(super) fn filtered(
    trees: &Trees<'_>,
    tree: &Tree,
    origin: &Origin,
    path: &str,
) -> Result<crate::image::layer::Staging, StepError> {
    let step = CopyStep::all(origin.clone(), path.to_owned());
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
    let none = |_: &Remote| Err(StepError::new("a mount fetches nothing"));
    Selection::find(&step, tree, &none)?.copy_into(tree, &staging.upper())?;
    Ok(staging)
}
