//! Pauses and unpauses a container: everything in it is frozen where it is, and goes on later.
//!
//! Imports: `engine`; beside it the container's life. As Docker: moby `daemon/{pause,unpause,kill}.go`.

use super::{Life, Turn};
use crate::engine::native::records;
use crate::engine::state::State;
use crate::engine::{EngineError, Result};
use crate::sys::fs::Durability;

impl Life {
    /// Freezes the container, or lets it go on.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`]; [`EngineError::Unsupported`] when it is so already.
    pub(in super::super) fn pause(&mut self, frozen: bool) -> Result<Turn> {
        let name = self.standing.name.clone();
        let refused = |why: &str| EngineError::Unsupported {
            what: format!("container {name} {why}"),
        };
        let (Some(_), Some(cgroup)) = (&self.init, &self.cgroup) else {
            return Err(match self.restart_at {
                Some(_) => refused("is restarting, wait until it runs"),
                None => EngineError::NotRunning { name },
            });
        };
        let before = self.standing.state;
        let after = match (before, frozen) {
            (State::Running { since }, true) => State::Paused { since },
            (State::Paused { since }, false) => State::Running { since },
            (_, true) => return Err(refused("is already paused")),
            (_, false) => return Err(refused("is not paused")),
        };
        cgroup.settle(frozen)?;
        self.standing.state = after;
        if let Err(error) = self.write_standing() {
            if let Some(cgroup) = &self.cgroup {
                // What was not written down must not hold.
                let _ = cgroup.freeze(!frozen);
            }
            self.standing.state = before;
            return Err(error);
        }
        self.note(if frozen { "pause" } else { "unpause" }, &[]);
        Ok(Turn::Changed)
    }

    /// Lets it go on, so that it takes the signal that ends it.
    pub(super) fn thaw(&mut self) {
        let State::Paused { since } = self.standing.state else {
            return;
        };
        if let Some(cgroup) = &self.cgroup {
            // One that does not thaw is killed when its time is over.
            let _ = cgroup.freeze(false);
        }
        self.standing.state = State::Running { since };
        // Who takes over after us looks at the cgroup.
        let _ = records::write(&self.dir.state(), &self.standing, Durability::Renamed);
        self.note("unpause", &[]);
    }

    /// Has the state say what the cgroup says: the supervisor before may have died between the two.
    pub(super) fn match_freezer(&mut self) {
        let frozen = self
            .cgroup
            .as_ref()
            .is_some_and(|cgroup| cgroup.is_frozen());
        let state = match (self.standing.state, frozen) {
            (State::Running { since }, true) => State::Paused { since },
            (State::Paused { since }, false) => State::Running { since },
            _ => return,
        };
        self.standing.state = state;
        let _ = self.write_standing();
    }
}
