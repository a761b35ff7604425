//! Trees that files are copied from: the build context, named directories, stages, images.
//!
//! In: a directory (or a view of stacked layers) and an ignore file. Out: entries that may be copied, and
//! digests of them. A lookup never leaves its tree, whatever its links say; nothing is ever written.
//! Imports: `base`, `sys::fs`, `image::digest`.

pub mod digest;
pub mod file;
pub mod ignore;
mod known;
pub mod list;
pub mod walk;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::FileStat;

use super::pattern::{Pattern, has_wildcard};
use crate::sys::fs::{Root, is_kind};
use ignore::Ignore;
use walk::{Fault, Seen, Taken};

/// Most links one lookup follows, as the kernel's own limit.
const LINKS: u32 = 40;

/// A tree with its ignore rules.
#[derive(Debug)]
pub struct Tree {
    root: Root,
    ignore: Ignore,
    owned: bool,
}

/// One thing below (or at) a starting point.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Path from the starting point; empty for itself.
    pub path: PathBuf,
    /// Its metadata; a link is not followed.
    pub stat: FileStat,
    /// Where a link points.
    pub link: Option<OsString>,
}

impl Entry {
    /// Its path below a place where the starting point lies.
    pub fn below(&self, place: &Path) -> PathBuf {
        // Joining nothing would end the path in a slash, which only folders may have.
        if self.path.as_os_str().is_empty() {
            place.to_owned()
        } else {
            place.join(&self.path)
        }
    }
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        is_kind(&self.stat, libc::S_IFDIR)
    }
    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        is_kind(&self.stat, libc::S_IFREG)
    }
}

/// Where a path leads inside a root, all links followed inside it; parts that are missing stay as written.
///
/// # Errors
/// The kernel's; `ELOOP` after too many links.
pub fn resolve(root: &Root, path: &Path) -> Result<PathBuf, Errno> {
    resolve_by(root, path, &|_| true)
}

/// As [`resolve`]; a link that may not be followed is as if it were not there.
fn resolve_by(root: &Root, path: &Path, follows: &dyn Fn(&Path) -> bool) -> Result<PathBuf, Errno> {
    let mut todo: Vec<OsString> = Vec::new();
    let push = |todo: &mut Vec<OsString>, path: &Path| {
        todo.extend(path.components().rev().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        }));
    };
    push(&mut todo, path);
    let mut done = PathBuf::new();
    let mut links = 0;
    while let Some(part) = todo.pop() {
        if part == ".." {
            done.pop();
            continue;
        }
        let next = done.join(&part);
        match root.lstat(&next) {
            Ok(stat) if is_kind(&stat, libc::S_IFLNK) => {
                links += 1;
                if !follows(&next) {
                    return Err(Errno::ENOENT);
                }
                if links > LINKS {
                    return Err(Errno::ELOOP);
                }
                let target = PathBuf::from(read_link(root, &next)?);
                if target.is_absolute() {
                    done = PathBuf::new();
                }
                push(&mut todo, &target);
            }
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => done = next,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

fn read_link(root: &Root, path: &Path) -> Result<OsString, Errno> {
    let link = root.open_at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)?;
    nix::fcntl::readlinkat(link, "")
}

impl Tree {
    /// A directory whose files are copied as root's, without what `ignore` names.
    pub fn of_dir(root: Root, ignore: Ignore) -> Self {
        Self {
            root,
            ignore,
            owned: false,
        }
    }
    /// A view of layers, whose files keep their owners.
    pub fn of_layers(view: OwnedFd) -> Self {
        Self {
            root: Root::from_fd(view),
            ignore: Ignore::default(),
            owned: true,
        }
    }
    /// The directory that bounds it.
    pub fn root(&self) -> &Root {
        &self.root
    }
    /// Whether owners and extended attributes of files count.
    pub fn keeps_owners(&self) -> bool {
        self.owned
    }
    /// Where a path leads, if something that is not ignored is there.
    ///
    /// # Errors
    /// The kernel's; `ENOENT` for what is ignored.
    pub fn find(&self, path: &Path) -> Result<PathBuf, Errno> {
        let found = resolve_by(&self.root, path, &|link| !self.ignores(link))?;
        let stat = self.root.lstat(&found)?;
        let ignored = self.ignores(&found);
        // An ignored directory may hold files that are not.
        if ignored && !(is_kind(&stat, libc::S_IFDIR) && self.ignore.has_exceptions()) {
            return Err(Errno::ENOENT);
        }
        Ok(found)
    }
    /// Where a path points that is a link, or leads through one, and to nothing.
    pub fn link(&self, path: &Path) -> Option<PathBuf> {
        let mut on_the_way = PathBuf::new();
        for part in path.components() {
            on_the_way.push(part);
            let stat = self.root.lstat(&on_the_way).ok()?;
            if is_kind(&stat, libc::S_IFLNK) && self.root.stat(&on_the_way).is_err() {
                return read_link(&self.root, &on_the_way).ok().map(PathBuf::from);
            }
        }
        None
    }
    /// Whether the ignore rules leave a path out.
    pub fn ignores(&self, path: &Path) -> bool {
        self.ignore.ignores(&path.to_string_lossy())
    }
    /// Its ignore rules.
    pub fn ignore(&self) -> &Ignore {
        &self.ignore
    }
    /// Whether the ignore rules leave anything out below a path.
    ///
    /// # Errors
    /// The kernel's.
    pub fn leaves_out_below(&self, path: &Path) -> Result<bool, Errno> {
        if self.ignore.is_empty() {
            return Ok(false);
        }
        let all = Self {
            root: Root::from_fd(self.root.open_at(Path::new(""), OFlag::O_DIRECTORY, 0)?),
            ignore: Ignore::default(),
            owned: false,
        };
        Ok(self.count(path)? != all.count(path)?)
    }
    fn count(&self, path: &Path) -> Result<u64, Errno> {
        let mut count = 0;
        self.walk(path, &Taken::default(), &mut |seen| {
            count += u64::from(matches!(seen, Seen::Entry(_)));
            Ok::<(), Fault>(())
        })
        .map_err(|fault| fault.errno)?;
        Ok(count)
    }
    /// Paths that a pattern with wildcards matches, sorted; inside a matched directory nothing more is.
    ///
    /// # Errors
    /// The kernel's, or what is wrong with the pattern.
    pub fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let parts: Vec<&str> = pattern
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        let fixed = parts
            .iter()
            .position(|part| has_wildcard(part))
            .unwrap_or(parts.len());
        let (head, tail) = parts.split_at(fixed);
        let wanted = Pattern::path(&tail.join("/")).map_err(|why| format!("{pattern}: {why}"))?;
        let told = |errno: Errno| format!("{pattern}: {errno}");
        let base = match self.find(Path::new(&head.join("/"))) {
            Ok(base) => base,
            Err(Errno::ENOENT) => return Ok(Vec::new()),
            Err(errno) => return Err(told(errno)),
        };
        let taken = Taken {
            depth: Some(tail.len()),
            ..Taken::default()
        };
        let mut matched: Vec<PathBuf> = Vec::new();
        let walked = self.walk(&base, &taken, &mut |seen| {
            if let Seen::Entry(item) = seen
                && !item.entry.path.as_os_str().is_empty()
                && wanted.matches(&item.entry.path.to_string_lossy())
            {
                matched.push(base.join(&item.entry.path));
            }
            Ok::<(), Fault>(())
        });
        match walked {
            Ok(()) => Ok(matched),
            Err(fault) if fault.errno == Errno::ENOTDIR => Ok(matched),
            Err(fault) => Err(told(fault.errno)),
        }
    }
    /// Goes through everything at and below a path that has no links in it, without what is ignored. Paths of
    /// what is taken count from the starting point.
    ///
    /// # Errors
    /// The kernel's; what `see` gives ends the walk.
    pub fn walk<E: From<Fault>>(
        &self,
        start: &Path,
        taken: &Taken,
        see: &mut dyn FnMut(Seen<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        walk::walk(self, start, taken, see)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("hoist-tree-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn tree(dir: &Path, rules: &str) -> Tree {
        Tree::of_dir(Root::open(dir).unwrap(), Ignore::parse(rules).unwrap())
    }

    fn walked(tree: &Tree, start: &str, taken: &Taken) -> Vec<String> {
        let mut names = Vec::new();
        let mut open = Vec::new();
        tree.walk(Path::new(start), taken, &mut |seen| {
            match seen {
                Seen::Entry(item) => {
                    names.push(item.entry.path.to_string_lossy().into_owned());
                    if item.entry.is_dir() {
                        open.push(item.entry.path.clone());
                    }
                }
                // Each directory is left once, after all that is in it.
                Seen::Left(entry) => assert_eq!(open.pop().as_ref(), Some(&entry.path)),
            }
            Ok::<(), Fault>(())
        })
        .unwrap();
        assert_eq!(open, Vec::<PathBuf>::new());
        names
    }

    #[test]
    fn links_that_lead_outside_stay_inside() {
        let dir = scratch("links");
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        std::fs::write(dir.join("etc/x"), "in").unwrap();
        std::os::unix::fs::symlink("/etc", dir.join("abs")).unwrap();
        std::os::unix::fs::symlink("../../../etc/x", dir.join("up")).unwrap();
        std::os::unix::fs::symlink("loop", dir.join("loop")).unwrap();
        let tree = tree(&dir, "");
        assert_eq!(tree.find(Path::new("abs/x")), Ok("etc/x".into()));
        assert_eq!(tree.find(Path::new("/../up")), Ok("etc/x".into()));
        assert_eq!(tree.find(Path::new("loop")), Err(Errno::ELOOP));
        assert_eq!(tree.find(Path::new("none")), Err(Errno::ENOENT));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_walk_leaves_out_what_is_ignored_and_keeps_parents_of_exceptions() {
        let dir = scratch("walk");
        for path in [
            "sub/deep/keep.me",
            "sub/deep/x.log",
            "sub/b",
            "other/a",
            "top.log",
        ] {
            std::fs::create_dir_all(dir.join(path).parent().unwrap()).unwrap();
            std::fs::write(dir.join(path), path).unwrap();
        }
        let found = tree(&dir, "sub\n!sub/deep/keep.me\nother\n");
        assert_eq!(
            walked(&found, "", &Taken::default()),
            ["", "sub", "sub/deep", "sub/deep/keep.me", "top.log"]
        );
        let without = |rules: &str| Taken {
            without: Ignore::parse(rules).unwrap(),
            ..Taken::default()
        };
        let plain = tree(&dir, "");
        assert_eq!(
            walked(&plain, "sub", &without("**/*.log\nb")),
            ["", "deep", "deep/keep.me"]
        );
        let only = |rule: &str| Taken {
            only: Some(Ignore::of([rule]).unwrap()),
            ..Taken::default()
        };
        assert_eq!(
            walked(&plain, "", &only("**/*.me")),
            ["", "sub", "sub/deep", "sub/deep/keep.me"]
        );
        assert_eq!(walked(&plain, "", &only("*/nope")), [""]);
        let globbed = tree(&dir, "").glob("*/*").unwrap();
        assert_eq!(globbed, ["other/a", "sub/b", "sub/deep"].map(PathBuf::from));
        assert_eq!(
            tree(&dir, "*.log").glob("*.log").unwrap(),
            Vec::<PathBuf>::new()
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_tree_that_is_deeper_than_there_are_descriptors_is_walked() {
        let dir = scratch("deep");
        let root = Root::open(&dir).unwrap();
        let deep: PathBuf = std::iter::repeat_n("d", 1500).collect();
        root.mkdir_all(&deep, 0o755, None).unwrap();
        let names = walked(&tree(&dir, ""), "", &Taken::default());
        assert_eq!(names.len(), 1501);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
