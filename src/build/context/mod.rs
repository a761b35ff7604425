//! Trees that files are copied from: the build context, named directories, stages, images.
//!
//! In: a directory (or a view of stacked layers) and an ignore file. Out: entries that may be copied, and
//! digests of them. A lookup never leaves its tree, whatever its links say; nothing is ever written.
//! Imports: `base`, `sys::fs`, `image::digest`.

pub mod digest;
pub mod ignore;

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::FileStat;

use super::pattern::{Pattern, has_wildcard};
use crate::sys::fs::{Root, is_kind, lstat_at};
use ignore::{Ignore, Verdicts};

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
        let found = resolve(&self.root, path)?;
        let stat = self.root.lstat(&found)?;
        let ignored = self.ignores(&found);
        // An ignored directory may hold files that are not.
        if ignored && !(is_kind(&stat, libc::S_IFDIR) && self.ignore.has_exceptions()) {
            return Err(Errno::ENOENT);
        }
        Ok(found)
    }
    /// Whether the ignore rules leave a path out.
    pub fn ignores(&self, path: &Path) -> bool {
        self.ignore.ignores(&path.to_string_lossy())
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
        let none = Ignore::default();
        Ok(self.walk(path, &none)?.len() != all.walk(path, &none)?.len())
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
        let entries = match self.walk_to(&base, &Ignore::default(), tail.len()) {
            Ok(entries) => entries,
            Err(Errno::ENOTDIR) => return Ok(Vec::new()),
            Err(errno) => return Err(told(errno)),
        };
        let mut matched: Vec<PathBuf> = Vec::new();
        for entry in entries
            .iter()
            .filter(|entry| !entry.path.as_os_str().is_empty())
        {
            if wanted.matches(&entry.path.to_string_lossy()) {
                matched.push(base.join(&entry.path));
            }
        }
        Ok(matched)
    }
    /// Everything at and below a path that has no links in it: parents first, sorted, without what is
    /// ignored or excluded. A path of `exclude` counts from the starting point.
    ///
    /// # Errors
    /// The kernel's.
    pub fn walk(&self, start: &Path, exclude: &Ignore) -> Result<Vec<Entry>, Errno> {
        self.walk_to(start, exclude, usize::MAX)
    }
    fn walk_to(&self, start: &Path, exclude: &Ignore, depth: usize) -> Result<Vec<Entry>, Errno> {
        let stat = self.root.lstat(start)?;
        let mut out = Vec::new();
        let link = match is_kind(&stat, libc::S_IFLNK) {
            true => Some(read_link(&self.root, start)?),
            false => None,
        };
        let dir = is_kind(&stat, libc::S_IFDIR);
        out.push(Entry {
            path: PathBuf::new(),
            stat,
            link,
        });
        if dir {
            let verdicts = self.ignore.of_path(&start.to_string_lossy());
            let mut walk = Walk {
                tree: self,
                exclude,
                start,
                out: &mut out,
            };
            walk.folder(Path::new(""), &verdicts, &exclude.begin(), depth)?;
        }
        Ok(out)
    }
}

/// Entries of one start.
struct Walk<'a> {
    tree: &'a Tree,
    exclude: &'a Ignore,
    start: &'a Path,
    out: &'a mut Vec<Entry>,
}

impl Walk<'_> {
    fn folder(
        &mut self,
        path: &Path,
        ignored: &Verdicts,
        excluded: &Verdicts,
        depth: usize,
    ) -> Result<(), Errno> {
        if depth == 0 {
            return Ok(());
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let fd = self.tree.root.open_at(&self.start.join(path), flags, 0)?;
        let mut dir = nix::dir::Dir::from_fd(fd)?;
        let mut names = Vec::new();
        for item in dir.iter() {
            let item = item?;
            let name = item.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name).to_owned());
            }
        }
        names.sort();
        for name in names {
            let path = path.join(&name);
            let in_tree = self.start.join(&path);
            let (drop_it, below_ignored) =
                self.tree.ignore.judge(&in_tree.to_string_lossy(), ignored);
            let (cut_it, below_excluded) = self.exclude.judge(&path.to_string_lossy(), excluded);
            let left_out = drop_it || cut_it;
            let stat = match lstat_at(&dir, &name) {
                Ok(stat) => stat,
                // It went away while we looked.
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(errno),
            };
            let folder = is_kind(&stat, libc::S_IFDIR);
            let exceptions = (drop_it && self.tree.ignore.has_exceptions())
                || (cut_it && self.exclude.has_exceptions());
            if left_out && !(folder && exceptions) {
                continue;
            }
            let link = match is_kind(&stat, libc::S_IFLNK) {
                true => Some(nix::fcntl::readlinkat(&dir, name.as_os_str())?),
                false => None,
            };
            let at = self.out.len();
            self.out.push(Entry {
                path: path.clone(),
                stat,
                link,
            });
            if folder {
                self.folder(&path, &below_ignored, &below_excluded, depth - 1)?;
                // Left out itself and nothing kept below: as if it were not there.
                if left_out && self.out.len() == at + 1 {
                    self.out.pop();
                }
            }
        }
        Ok(())
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

    fn names(entries: &[Entry]) -> Vec<String> {
        entries
            .iter()
            .map(|entry| entry.path.to_string_lossy().into_owned())
            .collect()
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
        let found =
            tree(&dir, "sub\n!sub/deep/keep.me\nother\n").walk(Path::new(""), &Ignore::default());
        assert_eq!(
            names(&found.unwrap()),
            ["", "sub", "sub/deep", "sub/deep/keep.me", "top.log"]
        );
        let found = tree(&dir, "").walk(Path::new("sub"), &Ignore::parse("**/*.log\nb").unwrap());
        assert_eq!(names(&found.unwrap()), ["", "deep", "deep/keep.me"]);
        let globbed = tree(&dir, "").glob("*/*").unwrap();
        assert_eq!(globbed, ["other/a", "sub/b", "sub/deep"].map(PathBuf::from));
        assert_eq!(
            tree(&dir, "*.log").glob("*.log").unwrap(),
            Vec::<PathBuf>::new()
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
