//! `COPY` and `ADD`: files from a tree into an image's tree.
//!
//! Rules: Dockerfile reference, "COPY"; details as BuildKit's copier, measured 2026-11: a directory's contents
//! are copied, not the directory; links among the sources are followed, links below are copied; folders
//! that are made have mode 0755 (or the octal `--chmod`) and the `--chown` owner.
//! Imports: `sys`, `image`, `build::context`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, SFlag};

use super::mode::Chmod;
use super::write::{Meta, Writer};
use super::{Origin, StepError, Workbench, archive, owner};
use crate::base::diag::nearest;
use crate::build::context::digest::Digests;
use crate::build::context::ignore::Ignore;
use crate::build::context::{Entry, Tree, resolve};
use crate::build::error::BuildError;
use crate::build::key::{Key, Part};
use crate::build::pattern::has_wildcard;
use crate::build::sources::{Fetched, Remote};
use crate::image::digest::{Digest, Hasher};
use crate::image::store::Store;
use crate::sys::fs::{Root, clean, copy_content, entry_path, is_kind, xattrs};

/// One `COPY` or `ADD`, all variables worked out.
#[derive(Debug, Clone)]
pub struct CopyStep {
    /// Where the paths are looked up.
    pub origin: Origin,
    /// What is copied, in order.
    pub sources: Vec<CopySource>,
    /// Absolute; a `/` at the end makes it a folder.
    pub dest: String,
    /// `--chown`
    pub chown: Option<String>,
    /// `--chmod`
    pub chmod: Option<Chmod>,
    /// `--chmod` as written, for the key.
    pub chmod_text: Option<String>,
    /// `--exclude`
    pub exclude: Vec<String>,
    /// Archives are unpacked.
    pub unpack: bool,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// A path, maybe with wildcards.
    Path(String),
    /// A path in which nothing is a wildcard.
    Exact(String),
    /// A file of the Dockerfile's own.
    Inline {
        /// Its name.
        name: String,
        /// Its content.
        content: String,
    },
    /// What is fetched: a file, or all files of a repository.
    Remote {
        /// Where it is.
        remote: Box<Remote>,
        /// An archive is unpacked.
        unpack: bool,
    },
}

/// Fetches what a source names.
pub type Fetch<'a> = &'a dyn Fn(&Remote) -> Result<Fetched, StepError>;

/// A source that was found.
#[derive(Debug)]
enum Found<'a> {
    File {
        name: &'a str,
        content: &'a str,
    },
    Tree {
        given: PathBuf,
        path: PathBuf,
        entries: Vec<Entry>,
    },
    Remote {
        tree: Tree,
        id: String,
        unpack: bool,
        path: PathBuf,
        entries: Vec<Entry>,
    },
}

impl Found<'_> {
    /// What was fetched: the one file, or everything.
    fn fetched(fetched: Fetched, unpack: bool) -> Result<Self, StepError> {
        let dir = &fetched.dir;
        let root = Root::open(dir)
            .map_err(|errno| BuildError::io(format!("open {}", dir.display()), errno))?;
        let tree = Tree::of_dir(root, Ignore::default());
        let path = PathBuf::from(fetched.file.unwrap_or_default());
        let entries = tree
            .walk(&path, &Ignore::default())
            .map_err(|errno| StepError::file("read", &path, errno))?;
        Ok(Self::Remote {
            tree,
            id: fetched.id,
            unpack,
            path,
            entries,
        })
    }
}

/// What is copied, looked up once for the key and the copy.
#[derive(Debug)]
pub struct Selection<'a> {
    step: &'a CopyStep,
    found: Vec<Found<'a>>,
}

impl<'a> Selection<'a> {
    /// Looks the sources up.
    ///
    /// # Errors
    /// [`StepError`] when one is missing or a pattern is wrong.
    pub fn find(step: &'a CopyStep, tree: &Tree, fetch: Fetch<'_>) -> Result<Self, StepError> {
        let exclude =
            Ignore::of(step.exclude.iter().map(String::as_str)).map_err(StepError::new)?;
        let mut found = Vec::new();
        for source in &step.sources {
            let path = match source {
                CopySource::Inline { name, content } => {
                    found.push(Found::File { name, content });
                    continue;
                }
                CopySource::Remote { remote, unpack } => {
                    found.push(Found::fetched(fetch(remote)?, *unpack)?);
                    continue;
                }
                CopySource::Path(path) | CopySource::Exact(path) => path,
            };
            let given = if matches!(source, CopySource::Path(_)) && has_wildcard(path) {
                tree.glob(path).map_err(StepError::new)?
            } else {
                vec![
                    clean(Path::new(path))
                        .strip_prefix("/")
                        .unwrap_or(Path::new(""))
                        .to_owned(),
                ]
            };
            for given in given {
                let path = tree
                    .find(&given)
                    .map_err(|errno| missing(&given, errno, tree))?;
                let entries = tree
                    .walk(&path, &exclude)
                    .map_err(|e| StepError::file("read", &path, e))?;
                found.push(Found::Tree {
                    given,
                    path,
                    entries,
                });
            }
        }
        Ok(Self { step, found })
    }
    /// Adds all that counts to a key.
    ///
    /// # Errors
    /// [`StepError`] when a file can't be read.
    pub fn add_to(&self, key: &mut Key, tree: &Tree, digests: &Digests) -> Result<(), StepError> {
        let step = self.step;
        key.texts([step.dest.as_str(), if step.unpack { "unpack" } else { "" }]);
        key.texts(step.chown.as_deref());
        key.texts(step.chmod_text.as_deref());
        for found in &self.found {
            match found {
                Found::File { name, content } => key.texts([*name, content]),
                // It stands for the content; nothing needs to be read.
                Found::Remote { id, unpack, .. } => {
                    key.texts(["remote", id, if *unpack { "unpack" } else { "" }]);
                }
                Found::Tree {
                    given,
                    path,
                    entries,
                } => {
                    key.part(Part::Files(String::new()));
                    key.text(&given.file_name().unwrap_or_default().to_string_lossy());
                    digests
                        .add(key.hasher(), tree, path, entries)
                        .map_err(|errno| StepError::file("read", path, errno))?;
                }
            }
        }
        Ok(())
    }
    /// Each file with the digest of all that counts of it; one that can't be read any more is left out.
    pub fn each(&self, tree: &Tree, digests: &Digests) -> impl Iterator<Item = (String, Digest)> {
        let trees = self.found.iter().filter_map(|found| match found {
            // What is fetched counts as a whole.
            Found::File { .. } | Found::Remote { .. } => None,
            Found::Tree { path, entries, .. } => Some((path, entries)),
        });
        trees.flat_map(move |(path, entries)| {
            entries.iter().filter_map(move |entry| {
                let mut hasher = Hasher::default();
                let one = std::slice::from_ref(entry);
                digests.add(&mut hasher, tree, path, one).ok()?;
                let shown = entry.below(path).display().to_string();
                (!shown.is_empty()).then(|| (shown, hasher.finish()))
            })
        })
    }
    /// Copies everything into a new layer; `None` if nothing changes.
    ///
    /// # Errors
    /// [`StepError`].
    pub fn copy(
        &self,
        tree: &Tree,
        store: &Store,
        layers: &[Digest],
    ) -> Result<Option<Digest>, StepError> {
        let bench = Workbench::open(store, layers)?;
        self.write(tree, bench.root(), layers.is_empty())?;
        bench.finish(store)
    }
    /// Copies everything into an empty directory of the host.
    ///
    /// # Errors
    /// [`StepError`].
    pub fn copy_into(&self, tree: &Tree, dir: &Path) -> Result<(), StepError> {
        let root = Root::open(dir)
            .map_err(|errno| BuildError::io(format!("open {}", dir.display()), errno))?;
        self.write(tree, &root, true)
    }
    fn write(&self, tree: &Tree, dest: &Root, empty: bool) -> Result<(), StepError> {
        let step = self.step;
        let owner = match &step.chown {
            Some(text) => Some(owner::find(text, dest, empty)?),
            None => None,
        };
        let writer = Writer::new(dest);
        let mut copier = Copier {
            step,
            tree,
            owner,
            dest,
            writer,
            linked: BTreeMap::new(),
        };
        for found in &self.found {
            match found {
                Found::File { name, content } => copier.inline(name, content)?,
                Found::Tree {
                    given,
                    path,
                    entries,
                } => copier.tree(given, path, entries, step.unpack)?,
                Found::Remote {
                    tree: own,
                    unpack,
                    path,
                    entries,
                    ..
                } => {
                    copier.tree = own;
                    copier.tree(path, path, entries, *unpack)?;
                    copier.tree = tree;
                }
            }
        }
        Ok(())
    }
}

/// A source that is not there, with what may have been meant.
fn missing(given: &Path, errno: Errno, tree: &Tree) -> StepError {
    if !matches!(errno, Errno::ENOENT | Errno::ENOTDIR) {
        return StepError::file("read", given, errno);
    }
    let message = format!("\"/{}\": not found", given.display());
    let real = resolve(tree.root(), given)
        .ok()
        .filter(|real| tree.root().lstat(real).is_ok());
    if real.is_some_and(|real| tree.ignores(&real)) {
        return StepError::hinted(message, "it is there, but .dockerignore leaves it out");
    }
    let folder = given.parent().unwrap_or(Path::new(""));
    let siblings = tree
        .glob(&format!("{}/*", folder.display()))
        .unwrap_or_default();
    let names: Vec<String> = siblings
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let name = given.file_name().unwrap_or_default().to_string_lossy();
    match nearest(&name, names.iter().map(String::as_str)) {
        Some(near) => StepError::hinted(
            message,
            format!("did you mean {}?", folder.join(near).display()),
        ),
        None => StepError::new(message),
    }
}

struct Copier<'a> {
    step: &'a CopyStep,
    tree: &'a Tree,
    owner: Option<(u32, u32)>,
    dest: &'a Root,
    writer: Writer<'a>,
    /// Where a file with several names was written first.
    linked: BTreeMap<(u64, u64), PathBuf>,
}

impl Copier<'_> {
    /// Makes a folder and its parents as the copier makes them.
    fn ensure(&self, path: &Path) -> Result<(), StepError> {
        self.folders(
            path,
            self.step
                .chmod
                .as_ref()
                .and_then(Chmod::fixed)
                .unwrap_or(0o755),
        )
    }
    fn folders(&self, path: &Path, mode: u32) -> Result<(), StepError> {
        let told = |errno| StepError::file("create", path, errno);
        // A link to nothing gets a folder where it points.
        let real = resolve(self.dest, path).map_err(told)?;
        let made = self
            .dest
            .mkdir_all(&real, mode, Some(self.owner.unwrap_or((0, 0))));
        made.map(drop).map_err(told)
    }
    /// Where a source goes: the destination itself, or its name in the destination.
    fn target(&self, name: &std::ffi::OsStr, folder: bool) -> Result<PathBuf, StepError> {
        let dest = self.step.dest.as_str();
        let path = clean(Path::new(dest));
        let into = dest.ends_with('/') || dest.ends_with("/.");
        let ensure = if into {
            path.as_path()
        } else {
            path.parent().unwrap_or(Path::new("/"))
        };
        self.ensure(ensure)?;
        let told = |errno| StepError::file("look up", &path, errno);
        let mut real = resolve(self.dest, &path).map_err(told)?;
        let there = match self.dest.lstat(&real) {
            Ok(stat) => Some(is_kind(&stat, libc::S_IFDIR)),
            Err(Errno::ENOENT) => None,
            Err(errno) => return Err(told(errno)),
        };
        match (folder, there) {
            (false, Some(true)) => real.push(name),
            (true, None) => self.ensure(&real)?,
            (true, Some(false)) => {
                return Err(StepError::new(format!(
                    "cannot copy to non-directory: /{}",
                    real.display()
                )));
            }
            _ => {}
        }
        if let Some(parent) = real.parent() {
            self.ensure(parent)?;
        }
        Ok(real)
    }
    fn inline(&mut self, name: &str, content: &str) -> Result<(), StepError> {
        let target = self.target(name.as_ref(), false)?;
        let told = |errno| StepError::file("write", &target, errno);
        self.clear(&target)?;
        let mut file = self.writer.file(&target).map_err(told)?;
        let written = file.write_all(content.as_bytes());
        written.map_err(|e| told(Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO))))?;
        let mode = self
            .step
            .chmod
            .as_ref()
            .map_or(0o644, |chmod| chmod.apply(0o644, false));
        let meta = Meta {
            owner: self.owner.unwrap_or((0, 0)),
            mode,
            modified: None,
        };
        self.writer.meta(&target, &meta, false).map_err(told)
    }
    fn clear(&mut self, target: &Path) -> Result<(), StepError> {
        self.writer.clear(target).map_err(|errno| match errno {
            Errno::EISDIR => StepError::new(format!(
                "cannot replace to directory /{} with file",
                target.display()
            )),
            errno => StepError::file("replace", target, errno),
        })
    }
    fn tree(
        &mut self,
        given: &Path,
        path: &Path,
        entries: &[Entry],
        unpack: bool,
    ) -> Result<(), StepError> {
        let Some(top) = entries.first() else {
            return Ok(());
        };
        if unpack && top.is_file() && self.unpacked(path)? {
            return Ok(());
        }
        let target = self.target(given.file_name().unwrap_or_default(), top.is_dir())?;
        let mut folders = Vec::new();
        for entry in entries {
            let to = entry.below(&target);
            if entry.is_dir() {
                if !entry.path.as_os_str().is_empty() {
                    self.writer.folder(&to).map_err(|errno| match errno {
                        Errno::ENOTDIR => StepError::new(format!(
                            "cannot copy to non-directory: /{}",
                            to.display()
                        )),
                        errno => StepError::file("create", &to, errno),
                    })?;
                }
                folders.push((to, entry));
            } else {
                self.clear(&to)?;
                self.entry(&entry.below(path), &to, entry)
                    .map_err(|errno| StepError::file("write", &to, errno))?;
            }
        }
        // Last, since what is written into a folder changes its time.
        for (to, entry) in folders.into_iter().rev() {
            let told = |errno| StepError::file("write", &to, errno);
            let mut meta = self.meta(&entry.stat);
            if entry.path.as_os_str().is_empty() {
                // The folder that takes the contents keeps its own owner and mode.
                let Some(own) = self.writer.stat(&to).map_err(told)? else {
                    continue;
                };
                meta = Meta {
                    owner: (own.st_uid, own.st_gid),
                    mode: own.st_mode,
                    ..meta
                };
            }
            self.writer.meta(&to, &meta, false).map_err(told)?;
        }
        Ok(())
    }
    fn meta(&self, stat: &FileStat) -> Meta {
        let own = if self.tree.keeps_owners() {
            (stat.st_uid, stat.st_gid)
        } else {
            (0, 0)
        };
        let folder = is_kind(stat, libc::S_IFDIR);
        let mode = stat.st_mode & 0o7777;
        Meta {
            owner: self.owner.unwrap_or(own),
            mode: self
                .step
                .chmod
                .as_ref()
                .map_or(mode, |chmod| chmod.apply(mode, folder)),
            modified: Some((stat.st_mtime, stat.st_mtime_nsec)),
        }
    }
    /// Copies one file, link or node.
    fn entry(&mut self, from: &Path, to: &Path, entry: &Entry) -> Result<(), Errno> {
        let stat = &entry.stat;
        let meta = self.meta(stat);
        if let Some(link) = &entry.link {
            self.writer.symlink(to, link)?;
            return self.writer.meta(to, &meta, true);
        }
        if entry.is_file() {
            let names = (stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino));
            if let Some(first) = names.and_then(|id| self.linked.get(&id)) {
                let first = first.clone();
                return self.writer.hard_link(to, &first);
            }
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
            let source = File::from(self.tree.root().open_at(from, flags, 0)?);
            let file = self.writer.file(to)?;
            copy_content(&source, &file)
                .map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
            drop(file);
            self.writer.meta(to, &meta, false)?;
            if self.tree.keeps_owners() {
                let (folder, name) = self.tree.root().open_parent(from)?;
                let attrs = portable(xattrs(&entry_path(&folder, &name))?);
                self.writer.xattrs(to, &attrs)?;
            }
            if let Some(id) = names {
                self.linked.insert(id, to.to_owned());
            }
            return Ok(());
        }
        let kind = SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT);
        if kind == SFlag::S_IFSOCK {
            return Ok(());
        }
        self.writer.node(to, kind, stat.st_rdev)?;
        self.writer.meta(to, &meta, false)
    }
    /// Unpacks an archive into the destination; false if the file is none.
    fn unpacked(&mut self, path: &Path) -> Result<bool, StepError> {
        let told = |errno| StepError::file("read", path, errno);
        let open = || {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
            self.tree
                .root()
                .open_at(path, flags, 0)
                .map(File::from)
                .map_err(told)
        };
        if !archive::is_archive(open()?) {
            return Ok(false);
        }
        let dest = clean(Path::new(&self.step.dest));
        self.folders(&dest, 0o755)?;
        let inside = self
            .dest
            .open_at(&dest, OFlag::O_DIRECTORY | OFlag::O_RDONLY, 0);
        let inside = Root::from_fd(inside.map_err(|errno| StepError::file("open", &dest, errno))?);
        archive::unpack(open()?, &inside, self.owner.unwrap_or((0, 0)))
            .map_err(|why| StepError::new(format!("cannot unpack /{}: {why}", path.display())))?;
        Ok(true)
    }
}

/// Attributes that belong to the file and not to the file system that holds it.
fn portable(attrs: Vec<(std::ffi::OsString, Vec<u8>)>) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let kept = |name: &str| name.starts_with("user.") || name == "security.capability";
    attrs
        .into_iter()
        .filter(|(name, _)| name.to_str().is_some_and(kept))
        .collect()
}
