//! Containers and an engine for tests: what is observed and logged is fixed, nothing can be changed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::base::name::{ContainerId, ProjectName};
use crate::base::scalar::Signal;
use crate::engine::host::Offers;
use crate::engine::spec::{ContainerSpec, ExecSpec, NetworkSpec, VolumeSpec};
use crate::engine::state::{
    Attachment, Dossier, Health, ImageUser, Observed, ObservedContainer, ObservedNetwork,
    ObservedVolume, State,
};
use crate::engine::{
    AnonymousVolumes, AttachSession, Cancel, Engine, EngineError, ExecIo, ExecSession, Force,
    Holder, LogEnd, LogQuery, LogRecord, LogStream, Result, Until, Waited,
};
use crate::image::digest::Digest;

/// The first container of a service of the project `cref`.
pub(in crate::cli) fn container(
    service: &str,
    command: &[&str],
    state: State,
) -> ObservedContainer {
    let labels = [
        ("service", service),
        ("container-number", "1"),
        ("oneoff", "False"),
        ("project", "cref"),
    ];
    ObservedContainer {
        id: ContainerId::new("d44bedf50714e5d58959997623df7c4e9fb3ef732dd3bbf4f2ca3bcb196ab598"),
        name: format!("cref-{service}-1"),
        project: ProjectName::new("cref").unwrap_or_else(|_| unreachable!("a fixed good name")),
        labels: labels
            .iter()
            .map(|(k, v)| (format!("com.docker.compose.{k}"), (*v).to_owned()))
            .collect(),
        image: "busybox".into(),
        image_id: Digest::of(b""),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        created: Timestamp(0),
        state,
        health: None,
        joins: vec![],
        networks: vec![Attachment {
            network: "cref_default".into(),
            addresses: vec![],
            aliases: vec![],
        }],
        ports: vec![],
        exposed: vec![],
        volumes: vec![],
        anonymous: vec![],
        mounts: vec![],
        tty: false,
        restarts: 0,
        pid: None,
    }
}

/// An engine with fixed containers, each with the same log.
pub(in crate::cli) struct FakeEngine {
    pub(in crate::cli) containers: Mutex<Vec<ObservedContainer>>,
    pub(in crate::cli) lines: Vec<Vec<u8>>,
}

/// Lines in hand; then nothing comes any more.
struct FakeLog(Vec<LogRecord>);

impl LogStream for FakeLog {
    fn next(&mut self, timeout: Duration) -> std::result::Result<Option<LogRecord>, LogEnd> {
        if self.0.is_empty() {
            std::thread::sleep(timeout / 10);
            return Err(LogEnd::TimedOut);
        }
        Ok(Some(self.0.remove(0)))
    }
}

fn unable<T>() -> Result<T> {
    Err(EngineError::Unsupported {
        what: "a fixture changes nothing".into(),
    })
}

impl Engine for FakeEngine {
    fn observe(&self, _: &ProjectName) -> Result<Observed> {
        let containers = self.containers.lock().unwrap().clone();
        Ok(Observed {
            containers,
            ..Observed::default()
        })
    }
    fn projects(&self) -> Result<Vec<ProjectName>> {
        Ok(vec![container("a", &[], State::Created).project])
    }
    fn container(&self, id: &ContainerId) -> Result<ObservedContainer> {
        let all = self.containers.lock().unwrap();
        let found = all.iter().find(|c| c.id == *id).cloned();
        found.ok_or(EngineError::NotFound {
            kind: "container",
            name: id.to_string(),
        })
    }
    fn mounts(&self, _: &ContainerId) -> Result<Vec<crate::engine::spec::Mount>> {
        unable()
    }
    fn dossier(&self, _: &ContainerId, _: &str) -> Result<Dossier> {
        unable()
    }
    fn logs(&self, _: &ContainerId, query: &LogQuery) -> Result<Box<dyn LogStream>> {
        let since = query.since.map_or(0, |since| since.0);
        let records = self.lines.iter().enumerate().filter_map(|(at, line)| {
            let time = Timestamp(i64::try_from(at).ok()?);
            (time.0 >= since).then(|| LogRecord {
                time,
                stderr: false,
                line: line.clone(),
            })
        });
        Ok(Box::new(FakeLog(records.collect())))
    }
    fn network(&self, _: &str) -> Result<Option<ObservedNetwork>> {
        Ok(None)
    }
    fn volume(&self, _: &str) -> Result<Option<ObservedVolume>> {
        Ok(None)
    }
    fn offers(&self, _: &BTreeSet<PathBuf>) -> Result<Offers> {
        Ok(Offers::default())
    }

    fn devices(&self, _dirs: &[std::path::PathBuf]) -> crate::engine::state::DeviceCatalog {
        crate::engine::state::DeviceCatalog::default()
    }
    fn image_users(&self) -> Result<Vec<ImageUser>> {
        Ok(Vec::new())
    }
    fn create_network(&self, _: &NetworkSpec) -> Result<()> {
        unable()
    }
    fn remove_network(&self, _: &str) -> Result<()> {
        unable()
    }
    fn create_volume(&self, _: &VolumeSpec) -> Result<()> {
        unable()
    }
    fn remove_volume(&self, _: &str) -> Result<()> {
        unable()
    }
    fn create_container(&self, _: &ContainerSpec) -> Result<()> {
        unable()
    }
    fn start(&self, _: &ContainerId) -> Result<()> {
        unable()
    }
    fn stop(&self, _: &ContainerId, _: Option<Duration>) -> Result<()> {
        unable()
    }
    fn kill(&self, _: &ContainerId, _: Signal) -> Result<()> {
        unable()
    }
    fn remove(&self, _: &ContainerId, _: Force, _: AnonymousVolumes) -> Result<()> {
        unable()
    }
    fn rename(&self, _: &ContainerId, _: &str) -> Result<()> {
        unable()
    }
    fn wait_telling(
        &self,
        _: &ContainerId,
        _: Until,
        _: &Cancel,
        _: &mut dyn FnMut(&Health),
    ) -> Result<Waited> {
        unable()
    }
    fn exec(&self, _: &ContainerId, _: &ExecSpec, _: ExecIo) -> Result<Box<dyn ExecSession>> {
        unable()
    }
    fn files(&self, _: &ContainerId, _: &Cancel) -> Result<Box<dyn crate::engine::files::Files>> {
        unable()
    }
    fn attach(&self, _: &ContainerId) -> Result<AttachSession> {
        unable()
    }
    fn lock(
        &self,
        _: &ProjectName,
        _: &Cancel,
        _: &dyn Fn(&Holder),
    ) -> Result<Option<Box<dyn Send>>> {
        unable()
    }
}
