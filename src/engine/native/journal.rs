//! The record of what happens to a project's containers: a line of JSON each, in `<run>/events/<project>`.
//!
//! Supervisors and commands write it, each line with one call, so that lines of two never mix and none is cut by a
//! death. A file that is full becomes `<project>.old`, and the old one before it goes. Writing it never fails what
//! it tells of. Imports: `base`, `engine`, `sys`. Source: inotify(7), write(2) on `O_APPEND`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::layout::Layout;
use crate::base::clock::Timestamp;
use crate::base::name::ProjectName;
use crate::engine::happening::{Happening, Happenings};
use crate::engine::spec::ContainerSpec;
use crate::engine::{EngineError, Result};
use crate::sys::fs;
use crate::sys::lock::{Hold, Lock};

/// Length of a file from which a new one is begun.
const FULL: u64 = 512 * 1024;

/// Longest line that is read: what is longer is none of ours.
const LINE_LIMIT: usize = 4 << 20;

/// Writes down that something happened to a container of this name now.
pub(super) fn note(
    layout: &Layout,
    spec: &ContainerSpec,
    name: &str,
    action: &str,
    more: &[(&str, String)],
) {
    note_at(Timestamp::now(), (layout, spec, name), action, more);
}

/// As [`note`], of what happened at another time than now.
pub(super) fn note_at(
    time: Timestamp,
    (layout, spec, name): (&Layout, &ContainerSpec, &str),
    action: &str,
    more: &[(&str, String)],
) {
    let own = [
        ("image", spec.image.name.clone()),
        ("name", name.to_owned()),
    ];
    let own = own.iter().chain(more);
    let mut attributes: BTreeMap<String, String> = spec.labels.clone().into_iter().collect();
    attributes.extend(own.map(|(key, value)| ((*key).to_owned(), value.clone())));
    let happening = Happening {
        time,
        id: spec.id.clone(),
        action: action.to_owned(),
        attributes,
    };
    // Nothing that happens may fail since it can't be told.
    let _ = write(&layout.events(), spec.project.as_str(), &happening);
}

fn write(dir: &Path, project: &str, happening: &Happening) -> io::Result<()> {
    let path = dir.join(project);
    let open = || {
        File::options()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
    };
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::make_dirs(dir, 0o700)?;
            open()?
        }
        opened => opened?,
    };
    let mut length = file.metadata()?.len();
    if length > FULL
        && let Ok(Some(lock)) = Lock::try_acquire(&dir.join(".lock"), Hold::Exclusive)
    {
        // Another one may have done it since we looked.
        if std::fs::metadata(&path).is_ok_and(|found| found.len() > FULL) {
            std::fs::rename(&path, old(&path))?;
        }
        drop(lock);
        file = open()?;
        length = file.metadata()?.len();
    }
    let mut line = Vec::new();
    let mut last = [0];
    // A full memory may have cut the line before.
    if length > 0 && file.read_at(&mut last, length - 1).is_ok() && last != [b'\n'] {
        line.push(b'\n');
    }
    serde_json::to_writer(&mut line, happening)?;
    line.push(b'\n');
    file.write_all(&line)
}

fn old(path: &Path) -> PathBuf {
    path.with_file_name(format!(
        "{}.old",
        path.file_name().unwrap_or_default().to_string_lossy()
    ))
}

/// One file, and what of it was read.
#[derive(Debug)]
struct Part {
    file: File,
    inode: u64,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
}

impl Part {
    fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let inode = file.metadata().ok()?.ino();
        Some(Self {
            file,
            inode,
            rest: Vec::new(),
        })
    }
    fn read(&mut self, into: &mut Vec<Happening>) -> io::Result<()> {
        self.file.read_to_end(&mut self.rest)?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            if self.rest.len() > LINE_LIMIT {
                self.rest.clear();
            }
            return Ok(());
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        let lines = whole.split(|byte| *byte == b'\n');
        // What is cut, or of a newer hoist, is left out.
        into.extend(lines.filter_map(|line| serde_json::from_slice(line).ok()));
        Ok(())
    }
}

/// Reads a project's file from its beginning, or from its end on, and then what is added.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    inotify: Inotify,
    /// The file before, while somebody may still have it open to write, and the present one.
    parts: [Option<Part>; 2],
}

impl Reader {
    /// Begins with what is there (`past`), or with what comes from now on.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    pub(super) fn open(layout: &Layout, project: &ProjectName, past: bool) -> Result<Self> {
        let failed = |cause: io::Error| EngineError::failed("follow events", cause);
        let dir = layout.events();
        fs::make_dirs(&dir, 0o700).map_err(failed)?;
        let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
        let inotify = Inotify::init(flags).map_err(|errno| failed(errno.into()))?;
        let wanted = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_ONLYDIR;
        inotify
            .add_watch(&dir, wanted)
            .map_err(|errno| failed(errno.into()))?;
        let path = dir.join(project.as_str());
        let mut reader = Self {
            parts: [Part::open(&old(&path)), Part::open(&path)],
            inotify,
            path,
        };
        if !past {
            reader.take().map_err(failed)?;
        }
        Ok(reader)
    }

    fn take(&mut self) -> io::Result<Vec<Happening>> {
        // Before the files are read: what is added later makes it ready again.
        while self
            .inotify
            .read_events()
            .is_ok_and(|seen| !seen.is_empty())
        {}
        let mut found = Vec::new();
        for part in self.parts.iter_mut().flatten() {
            part.read(&mut found)?;
        }
        let now = std::fs::metadata(&self.path).ok().map(|there| there.ino());
        let known = self.parts[1].as_ref().map(|part| part.inode);
        if now.is_some() && now != known {
            let [_, present] = std::mem::take(&mut self.parts);
            self.parts = [present, Part::open(&self.path)];
            for part in self.parts.iter_mut().flatten() {
                part.read(&mut found)?;
            }
        }
        found.sort_by_key(|happening| happening.time);
        Ok(found)
    }
}

impl Happenings for Reader {
    fn read(&mut self) -> Result<Vec<Happening>> {
        self.take()
            .map_err(|cause| EngineError::failed("read events", cause))
    }
    fn ready(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::name::ContainerId;
    use crate::engine::Roots;

    fn happening(action: &str) -> Happening {
        Happening {
            time: Timestamp::now(),
            id: ContainerId::new("abc"),
            action: action.to_owned(),
            attributes: [("k".to_owned(), "v".repeat(4000))].into(),
        }
    }

    fn actions(reader: &mut Reader) -> Vec<String> {
        let found = reader.take().expect("it can be read");
        found.into_iter().map(|one| one.action).collect()
    }

    #[test]
    fn what_is_written_is_read_once_also_over_a_full_file_and_after_a_cut_line() {
        let temporary = std::env::temp_dir().join(format!("hoist-journal-{}", std::process::id()));
        let layout = Layout::new(Roots {
            data: temporary.join("d"),
            run: temporary.join("r"),
        });
        let project = ProjectName::new("demo").expect("a name");
        let (dir, name) = (layout.events(), "demo");
        let mut reader = Reader::open(&layout, &project, false).expect("it opens");
        write(&dir, name, &happening("create")).expect("it is written");
        assert_eq!(actions(&mut reader), ["create"]);
        assert!(actions(&mut reader).is_empty());
        // Half a line, as a full memory leaves it.
        let mut file = File::options()
            .append(true)
            .open(dir.join(name))
            .expect("there");
        file.write_all(b"{\"time\":12").expect("it is written");
        write(&dir, name, &happening("start")).expect("it is written");
        assert_eq!(actions(&mut reader), ["start"]);
        let mut seen = Vec::new();
        for at in 0..400 {
            write(&dir, name, &happening(&at.to_string())).expect("it is written");
            if at % 7 == 0 {
                seen.extend(actions(&mut reader));
            }
        }
        seen.extend(actions(&mut reader));
        let wanted: Vec<String> = (0..400).map(|at| at.to_string()).collect();
        assert_eq!(seen, wanted);
        let held: u64 = std::fs::read_dir(&dir)
            .expect("there")
            .filter_map(|entry| entry.ok()?.metadata().ok())
            .map(|found| found.len())
            .sum();
        assert!(held < 3 * FULL, "{held}");
        // Who comes later and asks for the past has what is kept.
        let mut late = Reader::open(&layout, &project, true).expect("it opens");
        assert_eq!(actions(&mut late).last().map(String::as_str), Some("399"));
        let mut new = Reader::open(&layout, &project, false).expect("it opens");
        assert!(actions(&mut new).is_empty());
        std::fs::remove_dir_all(&temporary).expect("it goes");
    }
}
