//! How containers go: those that do not run, those that nobody can read any more, those that are just being stopped.
//!
//! Imports: `base`, `engine`, `sys`; beside it `held`, `net`, `records`, `supervisor`, `sweep`.

use std::io;
use std::time::Duration;

use super::net::Networks;
use super::records::{self, Found, Record, Standing};
use super::supervisor::{self, Connection};
use super::{Native, held, journal, sweep};
use crate::base::name::{ContainerId, ProjectName};
use crate::engine::spec::{ContainerSpec, NetworkMode};
use crate::engine::state::State;
use crate::engine::{AnonymousVolumes, EngineError, Result};
use crate::sys::fs;
use crate::sys::lock::{Hold, Lock};

impl Native {
    /// Waits for stops that a killed command began: their containers run still, but must not be counted on.
    pub(super) fn await_stops(&self, project: &ProjectName) -> Result<()> {
        for id in records::ids(&self.layout, project)? {
            let dir = self.layout.container(project, &id);
            // Who looks at a broken one is told; here it must not keep `down` from taking it away.
            let standing = records::read::<Standing>(&dir.state()).ok().flatten();
            if standing.is_some_and(|standing| standing.stopped && standing.state.is_up())
                && let Ok(Some(found)) = Found::read(dir)
                && let Ok(connection) = Connection::open(&found)
            {
                // A supervisor that dies over it is replaced by whoever looks at its container next.
                let _ = connection.stop(None);
            }
        }
        Ok(())
    }

    /// Ends a container that no supervisor can take over, as what it needs for that is lost.
    pub(super) fn end_by_force(&self, id: &ContainerId) -> Result<()> {
        supervisor::clean_up(&self.layout, &self.find(id)?.record.spec)
    }

    /// Takes away what is left of a container that does not run.
    pub(super) fn forget(&self, found: &Found, anonymous: AnonymousVolumes) -> Result<()> {
        let spec = &found.record.spec;
        let failed = |error: io::Error| {
            EngineError::failed(format!("remove container {}", found.standing.name), error)
        };
        if found.dir.run.exists() {
            // The supervisor may be on its way out; if it was killed, its leavings are ours.
            let lock = Lock::acquire(&found.dir.lock(), Hold::Exclusive);
            supervisor::clean_up(&self.layout, spec)?;
            fs::remove_tree(&found.dir.run).map_err(failed)?;
            drop(lock);
        } else if !matches!(found.standing.state, State::Exited { .. }) {
            // After a reboot its addresses are still its own on disk.
            supervisor::clean_up(&self.layout, spec)?;
        }
        held::release(&self.layout, &spec.id)?;
        // One rename, which needs no space, decides: before it the container is there, after it nothing can be seen.
        let doomed = match anonymous {
            AnonymousVolumes::Remove => self.layout.hidden(&spec.project, &spec.id),
            AnonymousVolumes::Keep => self.layout.doomed(&spec.project, &spec.id),
        };
        std::fs::rename(&found.dir.data, &doomed).map_err(failed)?;
        records::release_name(&self.layout, &found.standing.name, &spec.project, &spec.id);
        records::release_name(&self.layout, &spec.name, &spec.project, &spec.id);
        journal::note(&self.layout, spec, &found.standing.name, "destroy", &[]);
        sweep::discard(&self.layout, &doomed)?;
        sweep::prune(&self.layout, &spec.project);
        self.forget_lost(spec)
    }

    /// Takes away networks that only the container's record still knows.
    fn forget_lost(&self, spec: &ContainerSpec) -> Result<()> {
        let NetworkMode::Networks(endpoints) = &spec.network else {
            return Ok(());
        };
        let networks = Networks::open(self.layout.roots())?;
        endpoints
            .iter()
            .try_for_each(|endpoint| networks.discard_lost(&endpoint.network))
    }

    /// Removes what is left of containers whose records are lost or broken, with their processes; gives their ids.
    pub(super) fn take_damaged(&self, project: &ProjectName) -> Result<Vec<ContainerId>> {
        let mut gone = Vec::new();
        for id in records::ids(&self.layout, project)? {
            let dir = self.layout.container(project, &id);
            if !records::is_damaged(&dir) {
                continue;
            }
            // Its supervisor, if it has one, needs no record to stop it.
            match Connection::to(&dir, id.short()) {
                Ok(connection) => drop(connection.stop(Some(Duration::ZERO))?),
                Err(EngineError::NotRunning { .. }) => {}
                Err(error) => return Err(error),
            }
            if let Ok(Some(record)) = records::read::<Record>(&dir.record()) {
                supervisor::clean_up(&self.layout, &record.spec)?;
            }
            sweep::stray(&self.layout, &id)?;
            let doomed = self.layout.doomed(project, &id);
            std::fs::rename(&dir.data, &doomed).map_err(|error| {
                EngineError::failed(format!("remove container {}", id.short()), error)
            })?;
            gone.push(id);
        }
        if !gone.is_empty() {
            sweep::halves(&self.layout, project)?;
            sweep::remains(&self.layout, project)?;
        }
        Ok(gone)
    }
}
