//! What was last seen of a watched path, and what is different now.
//!
//! In: a rule, hints where to look. Out: [`Change`]s. A directory is compared entry by entry; its own times mean nothing.
//! Two looks that a file's stamp can't tell apart, though something was written in between, are told apart by digest.
//! Imports: `rules`, `image::digest`. It never opens what is not a regular file.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::ops::Bound;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::rules::Rule;
use crate::image::digest::Digest;

/// Files up to this size have their digest kept.
const DIGESTED: u64 = 1 << 20;
/// Of a change of more files than this no digests are kept: they would cost more than what they save.
const FEW: usize = 64;

/// What is different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is there: new, or not as it was.
    Written,
    /// It is gone, with what was below it.
    Removed,
    /// Something else was there, which is gone; and now this is.
    Replaced,
}

/// What is different below a root, by path; what lies above comes first.
pub(super) type Changes = BTreeMap<PathBuf, Change>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Dir,
    Link,
    Other,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    kind: Kind,
    mode: u32,
    inode: (u64, u64),
    /// Nothing of a directory's.
    size: u64,
    times: [(i64, i64); 2],
}

impl Stamp {
    fn of(found: &Metadata) -> Option<Self> {
        let kind = found.file_type();
        let kind = match () {
            () if kind.is_file() => Kind::File,
            () if kind.is_dir() => Kind::Dir,
            () if kind.is_symlink() => Kind::Link,
            // It has no meaning elsewhere.
            () if kind.is_socket() => return None,
            () => Kind::Other,
        };
        let dir = kind == Kind::Dir;
        let times = [
            (found.mtime(), found.mtime_nsec()),
            (found.ctime(), found.ctime_nsec()),
        ];
        Some(Self {
            kind,
            mode: found.mode(),
            inode: (found.dev(), found.ino()),
            size: if dir { 0 } else { found.size() },
            times: if dir { [(0, 0); 2] } else { times },
        })
    }
    /// Whether only the time of the last change of the file's record is another one.
    fn all_but_change(&self, now: &Self) -> bool {
        let times = [now.times[0], self.times[1]];
        *self
            == Self {
                times,
                ..now.clone()
            }
    }
}

#[derive(Debug, Clone)]
struct Seen {
    stamp: Stamp,
    digest: Option<Digest>,
}

/// What was last seen below one rule's path.
#[derive(Debug, Default)]
pub(super) struct Tree {
    seen: BTreeMap<PathBuf, Seen>,
}

/// What one comparison finds.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) changes: Changes,
    /// Directories that are there and were not: they want watching.
    pub(super) dirs: BTreeSet<PathBuf>,
}

impl Tree {
    /// Whether there is nothing at the root.
    pub(super) fn is_missing(&self) -> bool {
        self.seen.is_empty()
    }

    /// Paths of all files that are meant, and the later one of their two times, in seconds.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, i64)> {
        self.seen
            .iter()
            .filter(|(_, seen)| seen.stamp.kind != Kind::Dir)
            .map(|(path, seen)| {
                let times = seen.stamp.times;
                (path.as_path(), times[0].0.max(times[1].0))
            })
    }

    /// Compares everything. `enter` is called with each directory before it is read, so that what is made in it
    /// meanwhile is hinted at.
    pub(super) fn compare(&mut self, rule: &Rule, enter: &mut dyn FnMut(&Path)) -> Found {
        let mut found = Found::default();
        self.look(rule, Path::new(""), false, enter, &mut found);
        let dirs: Vec<PathBuf> = self
            .seen
            .iter()
            .filter(|(_, seen)| seen.stamp.kind == Kind::Dir)
            .map(|(path, _)| path.clone())
            .collect();
        for dir in dirs {
            // One that has come or gone since is dealt with already.
            if self
                .seen
                .get(&dir)
                .is_some_and(|seen| seen.stamp.kind == Kind::Dir)
                && !found.dirs.contains(&dir)
            {
                enter(&dir);
                self.list(rule, &dir, enter, &mut found);
            }
        }
        self.keep_digests(rule, &found.changes);
        found
    }

    /// Compares what is at some paths. `written` is whether somebody wrote there for sure, whatever the stamp says.
    pub(super) fn compare_at<'p>(
        &mut self,
        rule: &Rule,
        paths: impl Iterator<Item = (&'p Path, bool)>,
        enter: &mut dyn FnMut(&Path),
    ) -> Found {
        let mut found = Found::default();
        for (path, written) in paths {
            self.look(rule, path, written, enter, &mut found);
        }
        self.keep_digests(rule, &found.changes);
        found
    }

    fn look(
        &mut self,
        rule: &Rule,
        path: &Path,
        written: bool,
        enter: &mut dyn FnMut(&Path),
        found: &mut Found,
    ) {
        let now = self.now(rule, path);
        let Some(change) = self.change(rule, path, now.as_ref(), written) else {
            return;
        };
        let was = self.seen.remove(path).map(|seen| seen.stamp);
        let is_dir = |stamp: &Stamp| stamp.kind == Kind::Dir;
        let was_dir = was.as_ref().filter(|stamp| is_dir(stamp));
        let now_dir = now.as_ref().filter(|stamp| is_dir(stamp));
        // A directory stands for itself where patterns mean it; the root stays what it is in the container.
        let root = path.as_os_str().is_empty();
        let own = !root && rule.takes(path);
        if was_dir.is_some() && now_dir.is_none() {
            self.leave(rule, path, own, &mut found.changes);
        }
        let tell = match (was_dir, now_dir) {
            (None, None) => true,
            // Made anew with the same mode it is only looked into.
            (Some(was), Some(now)) => own && was.mode != now.mode,
            (Some(_), None) => !root && (own || now.is_some()),
            (None, Some(_)) => own,
        };
        if tell {
            tell_of(&mut found.changes, path, change);
        }
        let enters = now_dir.is_some_and(|now| was_dir.is_none_or(|was| was.inode != now.inode));
        if let Some(stamp) = now {
            let digest = None;
            self.seen.insert(path.to_owned(), Seen { stamp, digest });
        }
        if enters {
            found.dirs.insert(path.to_owned());
            enter(path);
            self.list(rule, path, enter, found);
        }
    }

    /// What has happened at a path since the last look.
    fn change(
        &self,
        rule: &Rule,
        path: &Path,
        now: Option<&Stamp>,
        written: bool,
    ) -> Option<Change> {
        let (was, now) = match (self.seen.get(path), now) {
            (None, None) => return None,
            (None, Some(_)) => return Some(Change::Written),
            (Some(_), None) => return Some(Change::Removed),
            (Some(was), Some(now)) => (was, now),
        };
        if was.stamp.kind != now.kind {
            return Some(Change::Replaced);
        }
        let unsure = match was.stamp == *now {
            true => written && now.kind == Kind::File,
            // As when it gets another name: nobody has written to it.
            false if was.stamp.all_but_change(now) => now.kind == Kind::File,
            false => return Some(Change::Written),
        };
        (unsure && !self.is_as_kept(rule, path, was)).then_some(Change::Written)
    }

    /// Forgets what lies below a directory that has gone; where that is not told of as a whole, what is meant below is.
    fn leave(&mut self, rule: &Rule, dir: &Path, whole: bool, changes: &mut Changes) {
        let mut told = whole.then(|| dir.to_owned());
        let below: Vec<PathBuf> = self.below(dir).collect();
        for path in below {
            let seen = self.seen.remove(&path);
            if told.as_ref().is_some_and(|told| path.starts_with(told)) || !rule.takes(&path) {
                continue;
            }
            tell_of(changes, &path, Change::Removed);
            if seen.is_some_and(|seen| seen.stamp.kind == Kind::Dir) {
                told = Some(path);
            }
        }
    }

    /// Compares what lies in a directory.
    fn list(&mut self, rule: &Rule, dir: &Path, enter: &mut dyn FnMut(&Path), found: &mut Found) {
        let Ok(entries) = std::fs::read_dir(joined(&rule.root, dir)) else {
            // It has gone; its own hint says so.
            return;
        };
        let mut names: Vec<PathBuf> = entries
            .filter_map(Result::ok)
            .map(|entry| dir.join(entry.file_name()))
            .collect();
        names.sort();
        let gone: Vec<PathBuf> = self
            .children(dir)
            .filter(|path| names.binary_search(path).is_err())
            .collect();
        for path in gone.iter().chain(&names) {
            self.look(rule, path, false, enter, found);
        }
    }

    /// What lies directly in a directory, as it was last seen.
    fn children(&self, dir: &Path) -> impl Iterator<Item = PathBuf> {
        let depth = dir.iter().count() + 1;
        self.below(dir)
            .filter(move |path| path.iter().count() == depth)
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn below<'t>(&'t self, dir: &'t Path) -> impl Iterator<Item = PathBuf> + 't {
        self.seen
            .range::<Path, _>((Bound::Excluded(dir), Bound::Unbounded))
            .map(|(path, _)| path)
            .take_while(move |path| path.starts_with(dir))
            .cloned()
    }

    /// What is at a path now, if the rule means it.
    fn now(&self, rule: &Rule, path: &Path) -> Option<Stamp> {
        let whole = joined(&rule.root, path);
        let found = if path.as_os_str().is_empty() {
            // What is watched may itself be a link to it.
            std::fs::metadata(whole)
        } else {
            std::fs::symlink_metadata(whole)
        };
        let stamp = Stamp::of(&found.ok()?)?;
        let meant = match stamp.kind {
            Kind::Dir => rule.enters(path),
            _ => rule.takes(path),
        };
        meant.then_some(stamp)
    }

    /// Keeps digests of what has changed, if it is little.
    fn keep_digests(&mut self, rule: &Rule, changes: &Changes) {
        if changes.len() > FEW {
            return;
        }
        for path in changes.keys() {
            if let Some(seen) = self.seen.get_mut(path)
                && seen.stamp.kind == Kind::File
                && seen.stamp.size <= DIGESTED
            {
                seen.digest = digest(&joined(&rule.root, path));
            }
        }
    }

    /// Whether a file's content is the one whose digest was kept.
    fn is_as_kept(&self, rule: &Rule, path: &Path, was: &Seen) -> bool {
        was.digest.is_some() && was.digest == digest(&joined(&rule.root, path))
    }
}

fn joined(root: &Path, below: &Path) -> PathBuf {
    match below.as_os_str().is_empty() {
        true => root.to_owned(),
        false => root.join(below),
    }
}

/// Adds a change to those of before.
pub(super) fn tell_of(changes: &mut Changes, path: &Path, change: Change) {
    if change != Change::Written {
        // What was below has gone with it.
        let below: Vec<PathBuf> = changes
            .range::<Path, _>((Bound::Excluded(path), Bound::Unbounded))
            .map(|(path, _)| path)
            .take_while(|below| below.starts_with(path))
            .cloned()
            .collect();
        for path in below {
            changes.remove(&path);
        }
    }
    let merged = match (changes.get(path), change) {
        (Some(Change::Removed | Change::Replaced), Change::Written) => Change::Replaced,
        _ => change,
    };
    changes.insert(path.to_owned(), merged);
}

/// The digest of a regular file; `None` when it can't be read, or is long.
fn digest(path: &Path) -> Option<Digest> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(DIGESTED + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= DIGESTED).then(|| Digest::of(&bytes))
}

/// The path below a root of a name in a directory, if it is the root or lies below it.
pub(super) fn below(root: &Path, dir: &Path, name: &OsStr) -> Option<PathBuf> {
    dir.join(name).strip_prefix(root).ok().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::scratch::Scratch;

    struct World {
        dir: Scratch,
        rule: Rule,
        tree: Tree,
    }

    impl World {
        fn new(name: &str) -> Self {
            let dir = Scratch::new(name);
            let root = dir.path().join("src");
            std::fs::create_dir_all(root.join("d/e")).expect("made");
            std::fs::write(root.join("a"), "1").expect("written");
            std::fs::write(root.join("d/e/f"), "1").expect("written");
            let rule = crate::watch::rules::tests::of(&root, &["skip"]);
            let mut tree = Tree::default();
            tree.compare(&rule, &mut |_| {});
            Self { dir, rule, tree }
        }
        fn at(&self, path: &str) -> PathBuf {
            self.dir.path().join("src").join(path)
        }
        fn told(&mut self) -> Vec<String> {
            let found = self.tree.compare(&self.rule, &mut |_| {});
            words(&found.changes)
        }
    }

    fn words(changes: &Changes) -> Vec<String> {
        let mark = |change: &Change| match change {
            Change::Written => '+',
            Change::Removed => '-',
            Change::Replaced => '!',
        };
        changes
            .iter()
            .map(|(path, change)| format!("{}{}", mark(change), path.display()))
            .collect()
    }

    #[test]
    fn a_second_look_at_the_same_tree_finds_nothing() {
        let mut world = World::new("files1");
        assert_eq!(world.told(), [""; 0]);
        // What is not meant is not seen.
        std::fs::create_dir(world.at("skip")).expect("made");
        std::fs::write(world.at("skip/x"), "1").expect("written");
        assert_eq!(world.told(), [""; 0]);
    }

    #[test]
    fn what_is_written_made_removed_and_replaced_is_told_once() {
        let mut world = World::new("files2");
        std::fs::write(world.at("a"), "22").expect("written");
        std::fs::create_dir_all(world.at("new/deep")).expect("made");
        std::fs::write(world.at("new/deep/x"), "1").expect("written");
        std::os::unix::fs::symlink("a", world.at("link")).expect("linked");
        assert_eq!(
            world.told(),
            ["+a", "+link", "+new", "+new/deep", "+new/deep/x"]
        );
        std::fs::remove_dir_all(world.at("d")).expect("removed");
        std::fs::write(world.at("d"), "a file now").expect("written");
        std::fs::remove_dir_all(world.at("new")).expect("removed");
        assert_eq!(world.told(), ["!d", "-new"]);
        assert_eq!(world.told(), [""; 0]);
    }

    #[test]
    fn a_directory_that_was_made_anew_is_compared_with_the_one_before() {
        let mut world = World::new("files3");
        std::fs::rename(world.at("d"), world.at("../old")).expect("moved");
        std::fs::create_dir_all(world.at("d/e")).expect("made");
        std::fs::write(world.at("d/e/g"), "1").expect("written");
        assert_eq!(world.told(), ["-d/e/f", "+d/e/g"]);
    }

    #[test]
    fn a_root_that_goes_and_comes_back_is_compared_with_nothing() {
        let mut world = World::new("files4");
        std::fs::rename(world.at(""), world.dir.path().join("away")).expect("moved");
        assert_eq!(world.told(), ["-a", "-d"]);
        assert!(world.tree.is_missing());
        std::fs::rename(world.dir.path().join("away"), world.at("")).expect("moved");
        assert_eq!(world.told(), ["+a", "+d", "+d/e", "+d/e/f"]);
    }

    #[test]
    fn what_a_stamp_cannot_tell_a_digest_does() {
        let mut world = World::new("files5");
        std::fs::write(world.at("a"), "2").expect("written");
        assert_eq!(world.told(), ["+a"]);
        let look = |world: &mut World| {
            let paths = [(Path::new("a"), true)].into_iter();
            let found = world.tree.compare_at(&world.rule, paths, &mut |_| {});
            words(&found.changes)
        };
        assert_eq!(look(&mut world), [""; 0], "nothing else was written");
        // The same stamp with another content, as when two writes fall into one tick of the clock.
        let seen = world.tree.seen.get_mut(Path::new("a")).expect("seen");
        seen.digest = Some(Digest::of(b"1"));
        assert_eq!(look(&mut world), ["+a"]);
    }
}
