//! What the kernel says has happened in directories.
//!
//! In: directories. Out: [`Hint`]s, which may be late, doubled or lost: then the hint is to look at everything.
//! Imports: nothing of ours. Source: inotify(7).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use super::debounce::Nature;

/// What is asked of the kernel for each directory.
const WANTED: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// A place to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hint {
    /// One name in a directory.
    At(PathBuf, OsString, Nature),
    /// A directory itself has gone, or elsewhere.
    Lost(PathBuf),
    /// The kernel has dropped events.
    Everywhere,
}

/// Directories that are watched.
#[derive(Debug)]
pub(super) struct Events {
    /// `None` where the kernel gives none.
    inotify: Option<Inotify>,
    /// One directory may have several names.
    paths: BTreeMap<WatchDescriptor, Vec<PathBuf>>,
    watches: BTreeMap<PathBuf, WatchDescriptor>,
    /// Why not every directory is watched, if so.
    short: Option<Errno>,
}

impl Events {
    /// Watches nothing yet.
    pub(super) fn new() -> Self {
        let made = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC);
        Self {
            short: made.as_ref().err().copied(),
            inotify: made.ok(),
            paths: BTreeMap::new(),
            watches: BTreeMap::new(),
        }
    }

    /// Why some directories are not watched, so that they must be looked at from time to time.
    pub(super) fn short(&self) -> Option<Errno> {
        self.short
    }

    /// What becomes readable when there are hints.
    pub(super) fn ready(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Watches a directory, but not those in it. One that is watched already may be another by now.
    pub(super) fn watch(&mut self, dir: &Path) {
        let Some(inotify) = &self.inotify else { return };
        let watch = match inotify.add_watch(dir, WANTED) {
            Ok(watch) => watch,
            // It has gone again, or may not be read: then there is nothing to be seen in it.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::ELOOP) => return,
            Err(errno) => {
                self.short = Some(errno);
                return;
            }
        };
        match self.watches.insert(dir.to_owned(), watch) {
            Some(old) if old == watch => return,
            Some(old) => self.drop_name(old, dir),
            None => {}
        }
        self.paths.entry(watch).or_default().push(dir.to_owned());
    }

    /// Watches a directory and those below it no more.
    pub(super) fn forget(&mut self, dir: &Path) {
        let below: Vec<PathBuf> = self
            .watches
            .range::<Path, _>((Bound::Included(dir), Bound::Unbounded))
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(dir))
            .cloned()
            .collect();
        for path in below {
            if let Some(watch) = self.watches.remove(&path) {
                self.drop_name(watch, &path);
            }
        }
    }

    /// A watch has one name less; one without a name ends.
    fn drop_name(&mut self, watch: WatchDescriptor, path: &Path) {
        let Some(names) = self.paths.get_mut(&watch) else {
            return;
        };
        names.retain(|name| name != path);
        if names.is_empty() {
            self.paths.remove(&watch);
            if let Some(inotify) = &self.inotify {
                // It has ended by itself when its directory is gone.
                let _ = inotify.rm_watch(watch);
            }
        }
    }

    /// Hints that are there by now.
    pub(super) fn read(&mut self) -> Vec<Hint> {
        let mut hints = Vec::new();
        loop {
            let events = match self.inotify.as_ref().map(Inotify::read_events) {
                Some(Ok(events)) => events,
                Some(Err(Errno::EINTR)) => continue,
                _ => return hints,
            };
            for event in events {
                self.hint(event, &mut hints);
            }
        }
    }

    fn hint(&mut self, event: InotifyEvent, hints: &mut Vec<Hint>) {
        let has = |flag| event.mask.contains(flag);
        if has(AddWatchFlags::IN_Q_OVERFLOW) {
            hints.push(Hint::Everywhere);
            return;
        }
        let Some(dirs) = self.paths.get(&event.wd).cloned() else {
            return;
        };
        if has(AddWatchFlags::IN_IGNORED) {
            self.paths.remove(&event.wd);
            self.watches.retain(|_, watch| *watch != event.wd);
        }
        let Some(name) = event.name else {
            let lost = AddWatchFlags::IN_DELETE_SELF
                | AddWatchFlags::IN_MOVE_SELF
                | AddWatchFlags::IN_UNMOUNT;
            if event.mask.intersects(lost) {
                hints.extend(dirs.into_iter().map(Hint::Lost));
            }
            return;
        };
        let dir = has(AddWatchFlags::IN_ISDIR);
        let gone = has(AddWatchFlags::IN_DELETE) || has(AddWatchFlags::IN_MOVED_FROM);
        let nature = match () {
            () if gone => Nature::Going,
            () if has(AddWatchFlags::IN_CLOSE_WRITE) || has(AddWatchFlags::IN_MOVED_TO) => {
                Nature::Whole
            }
            () if has(AddWatchFlags::IN_CREATE) && dir => Nature::Whole,
            () if has(AddWatchFlags::IN_CREATE) || has(AddWatchFlags::IN_MODIFY) => Nature::Growing,
            () => Nature::Touched,
        };
        for parent in dirs {
            if gone && dir {
                self.forget(&parent.join(&name));
            }
            hints.push(Hint::At(parent, name.clone(), nature));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::scratch::Scratch;

    #[test]
    fn what_happens_in_a_directory_is_hinted_at_under_all_its_names() {
        let dir = Scratch::new("events");
        let real = dir.path().join("real");
        std::fs::create_dir(&real).expect("made");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&real, &link).expect("linked");
        let mut events = Events::new();
        events.watch(&real);
        events.watch(&link);
        std::fs::write(real.join("a"), "1").expect("written");
        let hints = events.read();
        for parent in [&real, &link] {
            let whole = Hint::At(parent.clone(), "a".into(), Nature::Whole);
            assert!(hints.contains(&whole), "{hints:?}");
        }
        events.forget(&link);
        std::fs::remove_file(real.join("a")).expect("removed");
        let gone = Hint::At(real.clone(), "a".into(), Nature::Going);
        assert_eq!(events.read(), [gone]);
        std::fs::remove_dir(&real).expect("removed");
        assert_eq!(events.read(), [Hint::Lost(real)]);
    }
}
