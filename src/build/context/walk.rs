//! A walk through a tree: parents first, names sorted by bytes, one entry in memory at a time.
//!
//! In: a [`Tree`], a starting point without links, what is taken. Out: [`Seen`], one after the other. Directories are entered
//! through the open one above them, links are never followed, nothing but a directory is ever opened; neither depth
//! nor number costs more than the names of the directories on the way.
//! Imports: `sys::fs`, `super::ignore`. Source: openat2(2), readdir(3).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::ignore::{Ignore, Verdicts};
use super::{Entry, Tree};
use crate::sys::fs::{Resolve, is_kind, lstat_at, openat2};

/// Directories on the way that are kept open; those above are opened again when the walk comes back to them.
const KEPT_OPEN: usize = 48;

/// What could not be read, and why. Its path counts from the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub path: PathBuf,
    /// The kernel's word.
    pub errno: Errno,
}

impl Fault {
    fn at(path: &Path) -> impl Fn(Errno) -> Self {
        move |errno| Self {
            path: path.to_owned(),
            errno,
        }
    }
}

/// What a walk takes of what lies below its start.
#[derive(Debug, Default)]
pub struct Taken {
    /// Only what these rules name, with the folders on the way.
    pub only: Option<Ignore>,
    /// Without what these rules name.
    pub without: Ignore,
    /// How many levels below the start.
    pub depth: Option<usize>,
    /// The first names on the way from the start; nothing beside them is looked at.
    pub along: Vec<OsString>,
}

/// What a walk comes by.
#[derive(Debug)]
pub enum Seen<'a> {
    /// An entry; what is below a directory follows.
    Entry(Item<'a>),
    /// A directory of which everything was seen.
    Left(&'a Entry),
}

/// An entry and the way to it.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// What is known of it.
    pub entry: &'a Entry,
    /// The open directory that holds it; `None` for a directory that is told late.
    pub folder: Option<&'a Arc<OwnedFd>>,
    /// Its name there.
    pub name: &'a OsStr,
}

impl Item<'_> {
    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// The kernel's; `ELOOP` when a link has taken its place.
    pub fn open(&self) -> Result<File, Errno> {
        let folder = self.folder.ok_or(Errno::EISDIR)?;
        open_file(folder.as_fd(), self.name)
    }
}

/// Opens a file of an open directory for reading; a FIFO that has taken its place does not hold the caller up.
///
/// # Errors
/// The kernel's; `ELOOP` when a link has taken its place.
pub fn open_file(folder: BorrowedFd<'_>, name: &OsStr) -> Result<File, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    openat2(folder, Path::new(name), flags, 0, Resolve::NoLinks).map(File::from)
}

/// Names of one directory, in one piece of memory.
#[derive(Debug, Default)]
struct Names {
    bytes: Vec<u8>,
    /// Where each begins and ends, sorted backwards: the next one is the last.
    places: Vec<(u32, u32)>,
}

impl Names {
    fn read(folder: BorrowedFd<'_>) -> Result<Self, Errno> {
        let copy = openat2(folder, Path::new("."), DIRECTORY, 0, Resolve::NoLinks)?;
        let mut dir = nix::dir::Dir::from_fd(copy)?;
        let mut names = Self::default();
        for item in dir.iter() {
            let item = item?;
            let name = item.file_name().to_bytes();
            if name != b"." && name != b".." {
                let from = u32::try_from(names.bytes.len()).map_err(|_| Errno::EOVERFLOW)?;
                names.bytes.extend_from_slice(name);
                let to = u32::try_from(names.bytes.len()).map_err(|_| Errno::EOVERFLOW)?;
                names.places.push((from, to));
            }
        }
        let Self { bytes, places } = &mut names;
        let of = |place: &(u32, u32)| &bytes[place.0 as usize..place.1 as usize];
        places.sort_unstable_by(|a, b| of(b).cmp(of(a)));
        Ok(names)
    }
    fn next(&mut self) -> Option<&OsStr> {
        let (from, to) = self.places.pop()?;
        let bytes = self.bytes.get(from as usize..to as usize)?;
        Some(OsStr::from_bytes(bytes))
    }
}

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW);

/// A directory that the walk is in.
struct Level {
    entry: Entry,
    /// Itself; closed while the walk is far below.
    open: Option<Arc<OwnedFd>>,
    names: Names,
    ignored: Verdicts,
    without: Verdicts,
    only: Verdicts,
    /// It was told. Otherwise it is, as soon as something below it is.
    told: bool,
}

/// Goes through what lies at and below `start`.
pub(super) fn walk<E: From<Fault>>(
    tree: &Tree,
    start: &Path,
    taken: &Taken,
    see: &mut dyn FnMut(Seen<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let top = Path::new("");
    let found = if start.as_os_str().is_empty() {
        let root = openat2(tree.root(), top, DIRECTORY, 0, Resolve::NoLinks);
        root.map(|root| (root, OsString::from(".")))
    } else {
        tree.root().open_parent(start)
    };
    let (folder, name) = found.map_err(Fault::at(top))?;
    let folder = Arc::new(folder);
    let entry = Entry::read(folder.as_fd(), &name, PathBuf::new()).map_err(Fault::at(top))?;
    see(Seen::Entry(Item {
        entry: &entry,
        folder: Some(&folder),
        name: &name,
    }))?;
    if !entry.is_dir() || taken.depth == Some(0) {
        return Ok(());
    }
    let (open, names) = enter(&folder, &name).map_err(Fault::at(top))?;
    let mut walk = Walk {
        tree,
        start,
        taken,
        levels: Vec::new(),
    };
    walk.levels.push(Level {
        names,
        open: Some(open),
        ignored: tree.ignore().of_path(&start.to_string_lossy()),
        without: taken.without.begin(),
        only: taken
            .only
            .as_ref()
            .map_or_else(Verdicts::default, Ignore::begin),
        told: true,
        entry,
    });
    walk.run(see)
}

struct Walk<'a> {
    tree: &'a Tree,
    start: &'a Path,
    taken: &'a Taken,
    levels: Vec<Level>,
}

impl Walk<'_> {
    fn run<E: From<Fault>>(
        &mut self,
        see: &mut dyn FnMut(Seen<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(level) = self.levels.last_mut() {
            let Some(name) = level.names.next().map(OsStr::to_owned) else {
                if let Some(level) = self.levels.pop()
                    && level.told
                {
                    see(Seen::Left(&level.entry))?;
                }
                continue;
            };
            if let Some(below) = self.entry(&name, see)? {
                self.levels.push(below);
                if let Some(far) = self.levels.len().checked_sub(KEPT_OPEN)
                    && let Some(level) = self.levels.get_mut(far)
                {
                    level.open = None;
                }
            }
        }
        Ok(())
    }
    /// The open directory that the walk is in.
    fn folder(&mut self) -> Result<Arc<OwnedFd>, Errno> {
        let Some(level) = self.levels.last_mut() else {
            return Err(Errno::ENOENT);
        };
        if let Some(open) = &level.open {
            return Ok(Arc::clone(open));
        }
        let path = self.start.join(&level.entry.path);
        let open = openat2(self.tree.root(), &path, DIRECTORY, 0, Resolve::NoLinks)?;
        let open = Arc::new(open);
        level.open = Some(Arc::clone(&open));
        Ok(open)
    }
    /// Looks at one name; a directory to be entered is given back.
    fn entry<E: From<Fault>>(
        &mut self,
        name: &OsStr,
        see: &mut dyn FnMut(Seen<'_>) -> Result<(), E>,
    ) -> Result<Option<Level>, E> {
        let folder = self.folder().map_err(Fault::at(Path::new(name)))?;
        let depth = self.levels.len();
        let (tree, taken) = (self.tree, self.taken);
        let Some(level) = self.levels.last() else {
            return Ok(None);
        };
        if taken.along.get(depth - 1).is_some_and(|way| way != name) {
            return Ok(None);
        }
        let path = level.entry.path.join(name);
        if path.as_os_str().len() + self.start.as_os_str().len() >= libc::PATH_MAX as usize - 1 {
            return Err(Fault::at(&path)(Errno::ENAMETOOLONG).into());
        }
        let in_tree = if self.start.as_os_str().is_empty() {
            path.clone()
        } else {
            self.start.join(&path)
        };
        let (whole, part) = (in_tree.to_string_lossy(), path.to_string_lossy());
        let (ignored, below_ignored) = tree.ignore().judge(&whole, &level.ignored);
        let (cut, below_cut) = taken.without.judge(&part, &level.without);
        let (chosen, below_chosen) = match &taken.only {
            Some(only) => only.judge(&part, &level.only),
            None => (true, Verdicts::default()),
        };
        let takes_it = !ignored && !cut && chosen;
        let enters = (!ignored || tree.ignore().may_hold_exceptions(&whole))
            && (!cut || taken.without.may_hold_exceptions(&part))
            && taken.depth.is_none_or(|most| depth < most);
        if !takes_it && !enters {
            return Ok(None);
        }
        let told = Fault::at(&path);
        let entry = match Entry::read(folder.as_fd(), name, path.clone()) {
            Ok(entry) => entry,
            // It went away while we looked.
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(told(errno).into()),
        };
        if takes_it {
            self.tell(see)?;
            see(Seen::Entry(Item {
                entry: &entry,
                folder: Some(&folder),
                name,
            }))?;
        }
        if !is_kind(&entry.stat, libc::S_IFDIR) || !enters {
            if takes_it && entry.is_dir() {
                see(Seen::Left(&entry))?;
            }
            return Ok(None);
        }
        let (open, names) = enter(&folder, name).map_err(told)?;
        Ok(Some(Level {
            names,
            open: Some(open),
            ignored: below_ignored,
            without: below_cut,
            only: below_chosen,
            told: takes_it,
            entry,
        }))
    }
    /// Tells the directories on the way that nobody was told of yet.
    fn tell<E: From<Fault>>(
        &mut self,
        see: &mut dyn FnMut(Seen<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let first = self.levels.iter().rposition(|level| level.told);
        let first = first.map_or(0, |at| at + 1);
        for level in self.levels.iter_mut().skip(first) {
            level.told = true;
            see(Seen::Entry(Item {
                entry: &level.entry,
                folder: None,
                name: level.entry.path.file_name().unwrap_or_default(),
            }))?;
        }
        Ok(())
    }
}

/// Opens a directory and reads its names.
fn enter(folder: &OwnedFd, name: &OsStr) -> Result<(Arc<OwnedFd>, Names), Errno> {
    let open = openat2(folder, Path::new(name), DIRECTORY, 0, Resolve::NoLinks)?;
    let names = Names::read(open.as_fd())?;
    Ok((Arc::new(open), names))
}

impl Entry {
    /// What is at a name of an open directory.
    fn read(folder: BorrowedFd<'_>, name: &OsStr, path: PathBuf) -> Result<Self, Errno> {
        let stat = lstat_at(folder, name)?;
        let link = match is_kind(&stat, libc::S_IFLNK) {
            true => Some(nix::fcntl::readlinkat(folder, name)?),
            false => None,
        };
        Ok(Self { path, stat, link })
    }
}
