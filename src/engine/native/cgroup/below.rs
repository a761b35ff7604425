//! A group of processes inside a container's cgroup that can be ended together: a probe and all it has started.
//!
//! It is a directory below the container's in one hierarchy only, the unified one where there is one, so that all
//! limits stay the container's. Imports: `engine`. Source: cgroup-v2.rst, `cgroup.kill`.

use std::io;
use std::path::PathBuf;

use super::tree::{collect_pids, directories, failed};
use super::{Cgroup, fs};
use crate::engine::Result;

/// Beginning of the directories' names.
const PREFIX: &str = "hoist-probe-";

/// How many groups with processes left in them are kept before a new one is refused.
const MOST: u32 = 1000;

/// Rounds of signals where the kernel can't end a group at once; what forks faster is left.
const ROUNDS: u32 = 64;

/// Such a group; it goes when this is dropped, unless processes have stayed in it.
#[derive(Debug)]
pub struct Below {
    whole: Cgroup,
    dir: PathBuf,
}

impl Cgroup {
    /// Makes a group inside.
    ///
    /// # Errors
    /// [`crate::engine::EngineError::Failed`].
    pub fn below(&self) -> Result<Below> {
        let mut whole = self.clone();
        let freezer = |h: &super::Hierarchy| h.has("freezer");
        let at = self.hierarchies.iter().position(|h| h.unified);
        let at = at.or_else(|| self.hierarchies.iter().position(freezer));
        let at = at.unwrap_or(0);
        let Some(hierarchy) = whole.hierarchies.get_mut(at) else {
            let error = io::Error::from(io::ErrorKind::NotFound);
            return Err(failed("make cgroup below", &PathBuf::new(), &error));
        };
        let own = hierarchy.dir.clone();
        for old in directories(&own) {
            let name = old.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(PREFIX) {
                // Refused as long as a process lives in it.
                let _ = fs::remove_dir(&old);
            }
        }
        let mut number = 0;
        loop {
            let dir = own.join(format!("{PREFIX}{number}"));
            match fs::create_dir(&dir) {
                Ok(()) => {
                    hierarchy.dir.clone_from(&dir);
                    return Ok(Below { whole, dir });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < MOST => {
                    number += 1;
                }
                Err(error) => return Err(failed("make cgroup", &dir, &error)),
            }
        }
    }

    /// Whether everything in it is frozen: a process that enters it waits until it is thawed.
    pub fn is_frozen(&self) -> bool {
        let (events, state) = self.freezer();
        events || state.is_some_and(|text| text != "THAWED")
    }

    /// Whether what [`Cgroup::freeze`] was asked for has come to pass everywhere in it.
    pub(super) fn is_settled(&self, frozen: bool) -> bool {
        let (events, state) = self.freezer();
        match state {
            Some(text) => text == if frozen { "FROZEN" } else { "THAWED" },
            None => events == frozen,
        }
    }

    /// Whether version 2 calls it frozen, and what version 1 says.
    fn freezer(&self) -> (bool, Option<String>) {
        let read = |dir: Option<&std::path::Path>, file: &str| {
            dir.and_then(|dir| fs::read_to_string(dir.join(file)).ok())
        };
        let unified = self.hierarchies.iter().find(|h| h.unified);
        let events = read(unified.map(|h| h.dir.as_path()), "cgroup.events");
        let state = match self.pure_v2 {
            true => None,
            false => read(self.controller("freezer"), "freezer.state"),
        };
        let frozen = events.is_some_and(|text| text.lines().any(|line| line == "frozen 1"));
        (frozen, state.map(|text| text.trim().to_owned()))
    }
}

impl Below {
    /// What a process enters: the container's cgroup, but for the one directory.
    pub fn whole(&self) -> &Cgroup {
        &self.whole
    }
    /// Ends everything in it without waiting for the ends.
    pub fn kill(&self) {
        if fs::write(self.dir.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        for _ in 0..ROUNDS {
            let mut pids = Vec::new();
            collect_pids(&self.dir, &mut pids);
            if pids.is_empty() {
                return;
            }
            for pid in pids {
                // One that has ended by now is what we want.
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
        }
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        // Refused while a process lives in it; the next one, or the container's end, takes it away.
        let _ = fs::remove_dir(&self.dir);
    }
}
