//! `COPY` and `ADD`: what is copied, looked up in a tree and written into an image's tree.
//!
//! Sources are found and keyed here; [`super::copier`] writes them. What was written is looked at while it is: its digest makes
//! the key that the result is remembered under, so that a context which changes meanwhile spoils nothing.
//! Rules: Dockerfile reference, "COPY"; details as BuildKit's copier, measured 2026-11: a directory's contents
//! are copied, not the directory; links among the sources are followed, links below are copied.
//! Imports: `sys`, `image`, `build::context`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::copier::{Copier, Watch};
use super::link::Facts;
use super::mode::Chmod;
use super::{Origin, StepError, Workbench, owner};
use crate::base::diag::nearest;
use crate::build::cache::Made;
use crate::build::context::digest::Digests;
use crate::build::context::ignore::Ignore;
use crate::build::context::list::List;
use crate::build::context::walk::{Fault, Taken};
use crate::build::context::{Tree, resolve};
use crate::build::error::BuildError;
use crate::build::key::{Key, Part};
use crate::build::pattern::has_wildcard;
use crate::build::sources::{Fetched, Remote};
use crate::image::digest::Digest;
use crate::image::layer::Early;
use crate::image::store::Store;
use crate::sys::fs::{Root, clean, is_kind};

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
    /// `--parents`: sources keep their folders.
    pub parents: bool,
    /// `--link`: the result does not depend on what is below.
    pub link: bool,
}

impl CopyStep {
    /// Everything at one path of a tree, as it is there.
    pub fn all(origin: Origin, path: String) -> Self {
        Self {
            origin,
            sources: vec![CopySource::Exact(path)],
            dest: "/".to_owned(),
            chown: None,
            chmod: None,
            chmod_text: None,
            exclude: Vec::new(),
            unpack: false,
            parents: false,
            link: false,
        }
    }
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

/// What a copy stands on.
#[derive(Debug)]
pub enum Ground<'a> {
    /// Layers that it sees.
    Layers(&'a [Digest]),
    /// What `--link` knows of them.
    Facts(Facts),
}

impl<'a> Ground<'a> {
    /// What a step stands on.
    ///
    /// # Errors
    /// [`StepError`] when layers can't be looked at, or a name of `--chown` is unknown.
    pub fn of(step: &CopyStep, store: &Store, layers: &'a [Digest]) -> Result<Self, StepError> {
        Ok(match step.link {
            true => Self::Facts(Facts::find(step, store, layers)?),
            false => Self::Layers(layers),
        })
    }
    /// Begins the step's key.
    pub fn key(&self) -> Key {
        match self {
            Self::Layers(layers) => Key::of_step("copy", layers),
            Self::Facts(facts) => facts.key(),
        }
    }
}

/// A source that was found.
#[derive(Debug)]
pub(super) enum Found<'a> {
    File {
        name: &'a str,
        content: &'a str,
    },
    Tree(Source),
    Remote {
        tree: Tree,
        id: String,
        unpack: bool,
        source: Source,
    },
}

impl Found<'_> {
    /// What was fetched: the one file, or everything.
    fn fetched(fetched: Fetched, unpack: bool) -> Result<Self, StepError> {
        let dir = &fetched.dir;
        let root = Root::open(dir)
            .map_err(|errno| BuildError::io(format!("open {}", dir.display()), errno))?;
        let path = PathBuf::from(fetched.file.unwrap_or_default());
        Ok(Self::Remote {
            tree: Tree::of_dir(root, Ignore::default()),
            id: fetched.id,
            unpack,
            source: Source {
                given: path.clone(),
                path,
                taken: Taken::default(),
            },
        })
    }
}

/// A part of a tree.
#[derive(Debug)]
pub(super) struct Source {
    /// As it was named: its last name is that of what is made.
    pub(super) given: PathBuf,
    /// Where it is.
    pub(super) path: PathBuf,
    /// What of it is taken.
    pub(super) taken: Taken,
}

/// What is copied, found once for the key and the copy.
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
            let wild = matches!(source, CopySource::Path(_));
            if step.parents {
                let sources = with_parents(path, &exclude, tree)?;
                found.extend(sources.into_iter().map(Found::Tree));
                continue;
            }
            for given in given(path, wild, tree)? {
                let path = tree
                    .find(&given)
                    .map_err(|errno| missing(&given, errno, tree))?;
                let taken = Taken {
                    without: exclude.clone(),
                    ..Taken::default()
                };
                found.push(Found::Tree(Source { given, path, taken }));
            }
        }
        Ok(Self { step, found })
    }
    /// Adds all that counts to a key; the files are noted in a list.
    ///
    /// # Errors
    /// [`StepError`] when a file can't be read.
    pub fn add_to(
        &self,
        key: &mut Key,
        tree: &Tree,
        digests: &Digests,
        list: &mut List,
    ) -> Result<(), StepError> {
        add_flags(key, self.step);
        for found in &self.found {
            add_name(key, found);
            if let Found::Tree(Source { path, taken, .. }) = found {
                let done = digests.add_listed(key.hasher(), tree, path, taken, Some(list));
                done.map_err(|fault| unreadable(path, &fault))?;
            }
        }
        Ok(())
    }
    /// Copies everything into a new layer; `None` if nothing changes. With digests and the step's begun key it also
    /// finishes that key, from what was copied.
    ///
    /// # Errors
    /// [`StepError`].
    pub fn copy(
        &self,
        tree: &Tree,
        store: &Store,
        ground: &Ground<'_>,
        watch: Option<(&Digests, &mut Key)>,
    ) -> Result<Made, StepError> {
        let (bench, owner) = match ground {
            Ground::Layers(layers) => {
                let bench = Workbench::open(store, layers)?;
                let names = (!layers.is_empty()).then(|| bench.root());
                let owner = match &self.step.chown {
                    Some(text) => Some(owner::find(text, names)?),
                    None => None,
                };
                (bench, owner)
            }
            Ground::Facts(facts) => {
                let bench = Workbench::open(store, &[])?;
                facts.prepare(bench.root())?;
                (bench, facts.owner())
            }
        };
        let upper = bench.upper();
        let early = self.write(tree, bench.root(), Some(&upper), owner, watch)?;
        bench.finish(store, early)
    }
    /// Copies everything into an empty directory of the host.
    ///
    /// # Errors
    /// [`StepError`].
    pub fn copy_into(&self, tree: &Tree, dir: &Path) -> Result<(), StepError> {
        let root = Root::open(dir)
            .map_err(|errno| BuildError::io(format!("open {}", dir.display()), errno))?;
        self.write(tree, &root, None, None, None).map(drop)
    }
    /// Writes below `dest`; what appears in the directory `upper` of it becomes a layer.
    pub(super) fn write(
        &self,
        tree: &Tree,
        dest: &Root,
        upper: Option<&Path>,
        owner: Option<(u32, u32)>,
        watch: Option<(&Digests, &mut Key)>,
    ) -> Result<Option<Early>, StepError> {
        let (digests, key) = match watch {
            Some((digests, key)) => (Some(digests), Some(key)),
            None => (None, None),
        };
        let mut watch = Watch { digests, key };
        if let Some(key) = watch.key.as_deref_mut() {
            add_flags(key, self.step);
        }
        let direct = match upper {
            Some(upper) => Some(
                Root::open(upper)
                    .map_err(|errno| BuildError::io(format!("open {}", upper.display()), errno))?,
            ),
            None => None,
        };
        let mut copier = Copier::new(self.step, owner, dest, upper.zip(direct.as_ref()));
        for found in &self.found {
            if let Some(key) = watch.key.as_deref_mut() {
                add_name(key, found);
            }
            match found {
                Found::File { name, content } => copier.inline(name, content)?,
                Found::Tree(source) => copier.source(tree, source, self.step.unpack, &mut watch)?,
                Found::Remote {
                    tree,
                    unpack,
                    source,
                    ..
                } => {
                    // Its id is the key's part of it.
                    let mut unwatched = Watch {
                        digests: None,
                        key: None,
                    };
                    copier.source(tree, source, *unpack, &mut unwatched)?;
                }
            }
        }
        Ok(copier.finish())
    }
}

fn add_flags(key: &mut Key, step: &CopyStep) {
    key.texts([
        step.dest.as_str(),
        if step.unpack { "unpack" } else { "" },
        if step.parents { "parents" } else { "" },
    ]);
    key.texts(step.chown.as_deref());
    key.texts(step.chmod_text.as_deref());
}

fn add_name(key: &mut Key, found: &Found<'_>) {
    match found {
        Found::File { name, content } => key.texts([*name, content]),
        // It stands for the content; nothing needs to be read.
        Found::Remote { id, unpack, .. } => {
            key.texts(["remote", id, if *unpack { "unpack" } else { "" }]);
        }
        Found::Tree(source) => {
            key.part(Part::Files(String::new()));
            let name = source.given.file_name().unwrap_or_default();
            key.text(&name.to_string_lossy());
        }
    }
}

/// The paths that a source names.
fn given(path: &str, wild: bool, tree: &Tree) -> Result<Vec<PathBuf>, StepError> {
    if wild && has_wildcard(path) {
        return tree.glob(path).map_err(StepError::new);
    }
    let clean = clean(Path::new(path));
    let path = clean.strip_prefix("/").unwrap_or(Path::new(""));
    Ok(vec![path.to_owned()])
}

/// A source of `--parents`: a folder before `/./`, and what is taken of it behind that.
fn with_parents(path: &str, exclude: &Ignore, tree: &Tree) -> Result<Vec<Source>, StepError> {
    let (pivot, pattern) = path.split_once("/./").unwrap_or(("", path));
    let pattern = clean(Path::new(pattern));
    let pattern = pattern.strip_prefix("/").unwrap_or(Path::new(""));
    let text = pattern.to_string_lossy();
    let mut found = Vec::new();
    for given in given(pivot, true, tree)? {
        let base = tree
            .find(&given)
            .map_err(|errno| missing(&given, errno, tree))?;
        let folder = tree.root().lstat(&base);
        if has_wildcard(pivot) && !folder.is_ok_and(|stat| is_kind(&stat, libc::S_IFDIR)) {
            continue;
        }
        let mut taken = Taken {
            without: exclude.clone(),
            ..Taken::default()
        };
        if !text.is_empty() {
            taken.only = Some(Ignore::of([text.as_ref()]).map_err(StepError::new)?);
            let fixed = |part: &&std::ffi::OsStr| !has_wildcard(&part.to_string_lossy());
            taken.along = pattern
                .iter()
                .take_while(fixed)
                .map(OsString::from)
                .collect();
        }
        if !has_wildcard(pivot) && !has_wildcard(&text) {
            exists(&base.join(pattern), tree)?;
        }
        found.push(Source {
            given: PathBuf::new(),
            path: base,
            taken,
        });
    }
    Ok(found)
}

/// That something is at a path of `--parents`, and no link on the way to it.
fn exists(path: &Path, tree: &Tree) -> Result<(), StepError> {
    let told = |errno| missing(path, errno, tree);
    let stat = tree.root().lstat(path).map_err(told)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    if resolve(tree.root(), folder).map_err(told)? != folder {
        return Err(StepError::hinted(
            format!("\"/{}\" leads through a link", path.display()),
            "--parents copies links as they are; name the folder that the link points to",
        ));
    }
    let name = path.to_string_lossy();
    let kept =
        crate::sys::fs::is_kind(&stat, libc::S_IFDIR) && tree.ignore().may_hold_exceptions(&name);
    match tree.ignores(path) && !kept {
        true => Err(told(Errno::ENOENT)),
        false => Ok(()),
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
    if let Some(hint) = leads_out(given, tree) {
        return StepError::hinted(message, hint);
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

/// What to say of a source that is a link to something outside of the tree.
fn leads_out(given: &Path, tree: &Tree) -> Option<String> {
    let target = tree.link(given)?;
    let shown = target.display();
    Some(format!(
        "/{} is a link to {shown}, which is not in the context; what lies outside can't be copied",
        given.display()
    ))
}

/// A tree that can't be read, or changes while it is.
pub(super) fn unreadable(start: &Path, fault: &Fault) -> StepError {
    let path = if fault.path.as_os_str().is_empty() {
        start.to_owned()
    } else {
        start.join(&fault.path)
    };
    match fault.errno {
        Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR | Errno::ESTALE => StepError::hinted(
            format!("/{} changed while it was read", path.display()),
            "build again when nothing writes there, or leave it out in .dockerignore",
        ),
        // Too long to be shown, too.
        Errno::ENAMETOOLONG => {
            let below: PathBuf = path.iter().take(3).collect();
            StepError::hinted(
                format!("/{}/…: File name too long", below.display()),
                "what lies so deep can't be in an image; leave it out in .dockerignore",
            )
        }
        errno => StepError::file("read", &path, errno),
    }
}
