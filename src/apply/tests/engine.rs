//! An engine in memory: it keeps what it is told and does no work.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::base::name::{ContainerId, ProjectName};
use crate::base::scalar::Signal;
use crate::engine::host::Offers;
use crate::engine::spec::*;
use crate::engine::state::*;
use crate::engine::*;
use crate::plan::tests::seen;

/// What the engine remembers, and how it should behave.
#[derive(Default)]
pub(super) struct Model {
    pub(super) state: Observed,
    /// Every changing call, as one line.
    pub(super) calls: Vec<String>,
    /// Calls that fail, by their line.
    pub(super) fails: BTreeSet<String>,
    /// Containers (by service) that end with this code once they are started.
    pub(super) ends: BTreeMap<String, i32>,
    /// Containers (by service) that become unhealthy.
    pub(super) unhealthy: BTreeSet<String>,
}

#[derive(Default)]
pub(super) struct Fake(pub(super) Mutex<Model>);

impl Fake {
    pub(super) fn model(&self) -> std::sync::MutexGuard<'_, Model> {
        self.0
            .lock()
            .expect("no test panics while it holds the model")
    }
    fn call(&self, line: String) -> Result<std::sync::MutexGuard<'_, Model>> {
        let mut model = self.model();
        let fails = model.fails.contains(&line);
        model.calls.push(line.clone());
        if fails {
            Err(EngineError::failed(line, "it was told to fail"))
        } else {
            Ok(model)
        }
    }
    fn name(&self, id: &ContainerId) -> String {
        let model = self.model();
        let found = model.state.containers.iter().find(|c| c.id == *id);
        found.map_or_else(|| id.to_string(), |c| c.name.clone())
    }
}

fn with<T>(
    model: &mut Model,
    id: &ContainerId,
    f: impl FnOnce(&mut ObservedContainer) -> T,
) -> Result<T> {
    let missing = || EngineError::NotFound {
        kind: "container",
        name: id.to_string(),
    };
    model
        .state
        .containers
        .iter_mut()
        .find(|c| c.id == *id)
        .map(f)
        .ok_or_else(missing)
}

fn service(container: &ObservedContainer) -> String {
    container
        .labels
        .get("com.docker.compose.service")
        .cloned()
        .unwrap_or_default()
}

const NOW: Timestamp = Timestamp(0);

impl Engine for Fake {
    fn observe(&self, _: &ProjectName) -> Result<Observed> {
        Ok(self.model().state.clone())
    }
    fn projects(&self) -> Result<Vec<ProjectName>> {
        Ok(Vec::new())
    }
    fn container(&self, id: &ContainerId) -> Result<ObservedContainer> {
        with(&mut self.model(), id, |c| c.clone())
    }
    fn network(&self, _: &str) -> Result<Option<ObservedNetwork>> {
        Ok(None)
    }
    fn mounts(&self, _: &ContainerId) -> Result<Vec<crate::engine::spec::Mount>> {
        Ok(Vec::new())
    }
    fn volume(&self, _: &str) -> Result<Option<ObservedVolume>> {
        Ok(None)
    }
    fn devices(&self, _dirs: &[std::path::PathBuf]) -> crate::engine::state::DeviceCatalog {
        crate::engine::state::DeviceCatalog::default()
    }
    fn image_users(&self) -> Result<Vec<ImageUser>> {
        let user = |c: &ObservedContainer| ImageUser {
            id: c.id.clone(),
            name: c.name.clone(),
            running: c.state.is_up(),
            image: c.image_id,
            layers: Vec::new(),
        };
        Ok(self.model().state.containers.iter().map(user).collect())
    }
    fn offers(&self, _: &BTreeSet<PathBuf>) -> Result<Offers> {
        Ok(Offers::default())
    }
    fn create_network(&self, spec: &NetworkSpec) -> Result<()> {
        let network = ObservedNetwork {
            name: spec.name.clone(),
            project: spec.project.clone(),
            labels: spec.labels.clone(),
            driver: spec.driver.clone(),
            subnets: Vec::new(),
            users: Vec::new(),
        };
        self.call(format!("create network {}", spec.name))?
            .state
            .networks
            .push(network);
        Ok(())
    }
    fn remove_network(&self, name: &str) -> Result<()> {
        let mut model = self.call(format!("remove network {name}"))?;
        let uses = |c: &&ObservedContainer| c.networks.iter().any(|n| n.network == name);
        let users: Vec<String> = model
            .state
            .containers
            .iter()
            .filter(uses)
            .map(|c| c.name.clone())
            .collect();
        if !users.is_empty() {
            return Err(EngineError::InUse {
                kind: "network",
                name: name.to_owned(),
                users,
            });
        }
        model.state.networks.retain(|n| n.name != name);
        Ok(())
    }
    fn create_volume(&self, spec: &VolumeSpec) -> Result<()> {
        let volume = ObservedVolume {
            name: spec.name.clone(),
            project: spec.project.clone(),
            labels: spec.labels.clone(),
            driver: spec.driver.clone(),
            users: Vec::new(),
        };
        self.call(format!("create volume {}", spec.name))?
            .state
            .volumes
            .push(volume);
        Ok(())
    }
    fn remove_volume(&self, name: &str) -> Result<()> {
        self.call(format!("remove volume {name}"))?
            .state
            .volumes
            .retain(|v| v.name != name);
        Ok(())
    }
    fn create_container(&self, spec: &ContainerSpec) -> Result<()> {
        let taken = self
            .model()
            .state
            .containers
            .iter()
            .any(|c| c.name == spec.name);
        assert!(!taken, "the name {} is taken", spec.name);
        let mut model = self.call(format!("create {}", spec.name))?;
        model.state.containers.push(seen(spec, State::Created));
        Ok(())
    }
    fn start(&self, id: &ContainerId) -> Result<()> {
        let name = self.name(id);
        let mut model = self.call(format!("start {name}"))?;
        let ends = model.ends.clone();
        with(&mut model, id, |c| {
            c.state = match ends.get(&service(c)) {
                Some(code) => State::Exited {
                    exit: Exit {
                        code: Some(*code),
                        oom: false,
                        at: NOW,
                    },
                },
                None => State::Running { since: NOW },
            };
        })
    }
    fn stop(&self, id: &ContainerId, _: Option<Duration>) -> Result<()> {
        let name = self.name(id);
        let mut model = self.call(format!("stop {name}"))?;
        let exit = Exit {
            code: Some(137),
            oom: false,
            at: NOW,
        };
        with(&mut model, id, |c| c.state = State::Exited { exit })
    }
    fn kill(&self, id: &ContainerId, signal: Signal) -> Result<()> {
        let name = self.name(id);
        self.call(format!("kill {name} {signal}")).map(drop)
    }
    fn remove(&self, id: &ContainerId, _: Force, _: AnonymousVolumes) -> Result<()> {
        let name = self.name(id);
        self.call(format!("remove {name}"))?
            .state
            .containers
            .retain(|c| c.id != *id);
        Ok(())
    }
    fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        let mut model = self.call(format!("rename {name}"))?;
        with(&mut model, id, |c| c.name = name.to_owned())
    }
    fn dossier(&self, id: &ContainerId, _: &str) -> Result<Dossier> {
        Ok(Dossier {
            path: format!("/dossiers/{}", self.name(id)).into(),
            ran: None,
            memory_peak: Some(1 << 20),
            memory_limit: Some(2 << 20),
            pids_peak: None,
            pids_limit: None,
            cpu: None,
        })
    }
    fn wait_telling(
        &self,
        id: &ContainerId,
        _: Until,
        cancel: &Cancel,
        _: &mut dyn FnMut(&Health),
    ) -> Result<Waited> {
        let container = self.container(id)?;
        if let Some(exit) = container.state.exit() {
            return Ok(Waited::Exited(exit));
        }
        if service(&container) == "forever" {
            while !cancel.is_cancelled() {
                std::thread::yield_now();
            }
            return Ok(Waited::Cancelled);
        }
        if self.model().unhealthy.contains(&service(&container)) {
            let probe = Probe {
                start: NOW,
                end: NOW,
                code: 1,
                output: "connection refused\n".into(),
            };
            let health = Health {
                status: HealthStatus::Unhealthy,
                failing_streak: 3,
                retries: 3,
                log: vec![probe],
            };
            return Ok(Waited::Unhealthy(health));
        }
        Ok(Waited::Reached)
    }
    fn exec(&self, _: &ContainerId, _: &ExecSpec, _: ExecIo) -> Result<Box<dyn ExecSession>> {
        Err(EngineError::Unsupported {
            what: "exec".into(),
        })
    }
    fn files(&self, _: &ContainerId, _: &Cancel) -> Result<Box<dyn crate::engine::files::Files>> {
        Err(EngineError::Unsupported {
            what: "files".into(),
        })
    }
    fn attach(&self, _: &ContainerId) -> Result<AttachSession> {
        Err(EngineError::Unsupported {
            what: "attach".into(),
        })
    }
    fn logs(&self, _: &ContainerId, _: &LogQuery) -> Result<Box<dyn LogStream>> {
        Ok(Box::new(Lines(vec!["last words"])))
    }
    fn lock(
        &self,
        _: &ProjectName,
        _: &Cancel,
        _: &dyn Fn(&Holder),
    ) -> Result<Option<Box<dyn Send>>> {
        Ok(Some(Box::new(())))
    }
}

/// A log of few lines.
struct Lines(Vec<&'static str>);

impl LogStream for Lines {
    fn next(&mut self, _: Duration) -> std::result::Result<Option<LogRecord>, LogEnd> {
        let line = self.0.pop();
        Ok(line.map(|line| LogRecord {
            time: NOW,
            stderr: false,
            line: line.as_bytes().to_vec(),
        }))
    }
}
