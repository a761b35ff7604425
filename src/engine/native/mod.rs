//! The embedded engine: containers that hoist launches itself.
//!
//! In: [`crate::engine::spec`] values. Out: processes, namespaces, mounts, links and rules of this machine, and
//! [`crate::engine::state`] values about them. It never decides what should run and never prints.
//! Imports: `engine`, `image`, `sys`, `graph`, `base`.

mod abandoned;
pub mod cdi;
pub mod cgroup;
mod changes;
pub mod copy;
pub mod dns;
mod dossier;
mod held;
pub mod host;
mod idmap;
mod journal;
mod layout;
mod load;
mod logs;
mod moment;
pub mod net;
mod owner;
mod prepare;
mod records;
mod removal;
pub mod runtime;
pub mod sandbox;
mod stubs;
pub mod supervisor;
mod sweep;
mod turn;
mod usage;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::base::name::{ContainerId, ProjectName};
use crate::base::scalar::Signal;
use crate::base::secret::Contents;
use crate::engine::files::Files;
use crate::engine::happening::Happenings;
use crate::engine::host::Offers;
use crate::engine::spec::{
    ContainerSpec, ExecSpec, Mount, MountSource, NetworkSpec, Process, VolumeSpec,
};
use crate::engine::state::{
    DeviceCatalog, Dossier, Exit, Health, HealthStatus, ImageUser, Load, Observed,
    ObservedContainer, ObservedNetwork, ObservedVolume, State, Usage, VolumeUsage,
};
use crate::engine::stops::SlowStop;
use crate::engine::{
    AnonymousVolumes, AttachSession, Cancel, Engine, EngineError, ExecIo, ExecSession, Force,
    Holder, LogQuery, LogStream, Result, Roots, Until, Waited,
};
use crate::image::digest::Digest;
use crate::image::store::Store;
use crate::sys::fs::{self, Durability};
use layout::{ContainerDir, Layout};
use net::Networks;
use records::{Found, Record, Standing};
use supervisor::Connection;

pub use logs::pack_main as pack_log;
pub use volumes::mount_main as mount_volume;

/// The embedded engine over its two directories.
#[derive(Debug)]
pub struct Native {
    layout: Layout,
    store: Arc<Store>,
    /// Projects of containers seen before, so that an id need not be looked for again.
    seen: Mutex<BTreeMap<ContainerId, ProjectName>>,
    /// Whether `<run>` was empty, as it is after a reboot: what was under way then is known to nobody.
    fresh: bool,
    /// Whether nothing is changed: not even a lost supervisor is replaced.
    only_looks: bool,
    /// Processes that wait to go to a container's files.
    spares: Mutex<Vec<copy::Spare>>,
    /// Where containers that run are measured.
    gauges: load::Gauges,
}

impl Native {
    /// Opens the engine, making its directories when missing.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    pub fn open(roots: &Roots, store: Arc<Store>) -> Result<Self> {
        let layout = Layout::new(roots.clone());
        let fresh = !layout.locks().exists();
        let dirs = [layout.names(), layout.runs(), layout.locks()];
        for dir in [&roots.data, &roots.run].into_iter().chain(&dirs) {
            fs::make_dirs(dir, 0o700)
                .map_err(|error| EngineError::failed("make hoist's directories", error))?;
        }
        Ok(Self {
            layout,
            store,
            seen: Mutex::default(),
            spares: Mutex::default(),
            gauges: load::Gauges::default(),
            fresh,
            only_looks: false,
        })
    }

    /// The engine as it is: makes nothing, so it is only for looking.
    pub fn look(roots: &Roots, store: Arc<Store>) -> Self {
        Self {
            layout: Layout::new(roots.clone()),
            store,
            seen: Mutex::default(),
            spares: Mutex::default(),
            gauges: load::Gauges::default(),
            fresh: false,
            only_looks: true,
        }
    }

    fn remember(&self, id: &ContainerId, project: &ProjectName) {
        if let Ok(mut seen) = self.seen.lock() {
            seen.insert(id.clone(), project.clone());
        }
    }

    fn dir(&self, id: &ContainerId) -> Result<ContainerDir> {
        let known = self.seen.lock().ok().and_then(|seen| seen.get(id).cloned());
        if let Some(project) = known {
            return Ok(self.layout.container(&project, id));
        }
        let (project, dir) = records::locate(&self.layout, id)?;
        self.remember(id, &project);
        Ok(dir)
    }

    fn find(&self, id: &ContainerId) -> Result<Found> {
        let missing = || EngineError::NotFound {
            kind: "container",
            name: id.short().to_owned(),
        };
        Found::read(self.dir(id)?)?.ok_or_else(missing)
    }

    /// A container as it is, after a supervisor was given back to one that runs without.
    fn found(&self, id: &ContainerId) -> Result<Found> {
        let found = self.find(id)?;
        if !found.is_orphaned() || self.only_looks {
            return Ok(found);
        }
        match Connection::adopt(&self.layout, &found) {
            // Of one that has ended there is nothing to look after: what kept its end from being written, a full disk
            // for one, must not keep it from being seen or removed.
            Err(_) if !found.state().is_up() => Ok(found),
            adopted => adopted.and_then(|()| self.find(id)),
        }
    }

    fn of_project(&self, project: &ProjectName) -> Result<Vec<Found>> {
        let mut all = Vec::new();
        for id in records::ids(&self.layout, project)? {
            self.remember(&id, project);
            match self.found(&id) {
                Ok(found) => all.push(found),
                // Removed between the listing and the look.
                Err(EngineError::NotFound {
                    kind: "container", ..
                }) => {}
                // One that can be read and not be looked after, as what it needs for that is lost: it can be seen, and
                // ended by force.
                Err(error) => all.push(self.find(&id).map_err(|_| error)?),
            }
        }
        all.sort_by(|a, b| a.standing.name.cmp(&b.standing.name));
        Ok(all)
    }

    fn everywhere(&self) -> Result<Vec<Found>> {
        let mut all = Vec::new();
        for name in records::entries(&self.layout.projects())? {
            let Ok(project) = ProjectName::new(&name) else {
                continue;
            };
            for id in records::ids(&self.layout, &project)? {
                all.extend(Found::read(self.layout.container(&project, &id))?);
            }
        }
        Ok(all)
    }

    fn volume_users(all: &[Found], volume: &str) -> Vec<Found> {
        let uses = |found: &&Found| {
            found.record.spec.mounts.iter().any(
                |mount| matches!(&mount.source, MountSource::Volume { name, .. } if name == volume),
            )
        };
        all.iter().filter(uses).cloned().collect()
    }

    fn spares(&self) -> std::sync::MutexGuard<'_, Vec<copy::Spare>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observed_volume(record: volumes::VolumeRecord, all: &[Found]) -> ObservedVolume {
        let spec = record.spec;
        let users = Self::volume_users(all, &spec.name);
        ObservedVolume {
            users: users
                .into_iter()
                .map(|found| found.record.spec.id)
                .collect(),
            name: spec.name,
            project: spec.project,
            labels: spec.labels,
            driver: spec.driver,
        }
    }

    fn observed_network(networks: &Networks, name: &str) -> Result<Option<ObservedNetwork>> {
        let Some(record) = networks.get(name)? else {
            return Ok(None);
        };
        // Of broken ones nobody is known; whoever wants a place is told.
        let leases = networks.leases(name).unwrap_or_default();
        let users = leases.into_iter().map(|lease| lease.container).collect();
        Ok(Some(ObservedNetwork {
            name: name.to_owned(),
            project: record.spec.project,
            labels: record.spec.labels,
            driver: record.spec.driver,
            subnets: record
                .spec
                .subnets
                .into_iter()
                .map(|subnet| subnet.cidr.to_string())
                .collect(),
            users,
        }))
    }
}

fn names(found: Vec<Found>) -> Vec<String> {
    found.into_iter().map(|found| found.standing.name).collect()
}

impl Engine for Native {
    fn observe(&self, project: &ProjectName) -> Result<Observed> {
        let containers = self.of_project(project)?;
        let networks = Networks::look(self.layout.roots());
        let mut observed = Observed::default();
        for record in networks.list()? {
            if record.spec.project.as_ref() == Some(project) {
                observed
                    .networks
                    .extend(Self::observed_network(&networks, &record.spec.name)?);
            }
        }
        for record in volumes::list(&self.layout)? {
            if record.spec.project.as_ref() == Some(project) {
                observed
                    .volumes
                    .push(Self::observed_volume(record, &containers));
            }
        }
        observed.broken_networks = networks.damaged(project);
        observed.broken_volumes = volumes::damaged(&self.layout, project)?;
        observed.containers = containers.iter().map(Found::observed).collect();
        Ok(observed)
    }

    fn projects(&self) -> Result<Vec<ProjectName>> {
        let mut found = Vec::new();
        for name in records::entries(&self.layout.projects())? {
            if let Ok(project) = ProjectName::new(&name)
                && !records::ids(&self.layout, &project)?.is_empty()
            {
                found.push(project);
            }
        }
        let networks = Networks::look(self.layout.roots()).list()?;
        found.extend(
            networks
                .into_iter()
                .filter_map(|record| record.spec.project),
        );
        let volumes = volumes::list(&self.layout)?;
        found.extend(volumes.into_iter().filter_map(|record| record.spec.project));
        found.sort();
        found.dedup();
        Ok(found)
    }

    fn container(&self, id: &ContainerId) -> Result<ObservedContainer> {
        Ok(self.found(id)?.observed())
    }

    fn network(&self, name: &str) -> Result<Option<ObservedNetwork>> {
        Self::observed_network(&Networks::look(self.layout.roots()), name)
    }

    fn offers(&self, devices: &BTreeSet<PathBuf>) -> Result<Offers> {
        cgroup::offers(devices)
    }

    fn mounts(&self, id: &ContainerId) -> Result<Vec<Mount>> {
        let mut mounts = self.find(id)?.record.spec.mounts;
        mounts.retain(|mount| {
            let source = &mount.source;
            matches!(
                source,
                MountSource::Bind { .. } | MountSource::Volume { .. }
            )
        });
        Ok(mounts)
    }

    fn process(&self, id: &ContainerId) -> Result<Process> {
        Ok(self.find(id)?.record.spec.process)
    }

    fn view(&self, id: &ContainerId) -> Result<OwnedFd> {
        changes::view(&self.layout, &self.find(id)?)
    }

    fn changes(&self, id: &ContainerId, into: &Path) -> Result<()> {
        changes::copy(&self.layout, &self.find(id)?, into)
    }

    fn volume(&self, name: &str) -> Result<Option<ObservedVolume>> {
        let Some(record) = volumes::get(&self.layout, name)? else {
            return Ok(None);
        };
        Ok(Some(Self::observed_volume(record, &self.everywhere()?)))
    }

    fn devices(&self, dirs: &[std::path::PathBuf]) -> DeviceCatalog {
        cdi::catalog(dirs)
    }

    fn image_users(&self) -> Result<Vec<ImageUser>> {
        Ok(usage::image_users(&self.everywhere()?))
    }

    fn volumes(&self) -> Result<Vec<VolumeUsage>> {
        usage::volumes(self, &self.everywhere()?)
    }

    fn usage(&self) -> Result<Usage> {
        usage::measure(self)
    }

    fn create_network(&self, spec: &NetworkSpec) -> Result<()> {
        Networks::open(self.layout.roots())?.create(spec)
    }

    fn remove_network(&self, name: &str) -> Result<()> {
        match self.take_network(name) {
            Err(error @ EngineError::InUse { .. }) => {
                Networks::open(self.layout.roots())?.abandon(name, true)?;
                Err(error)
            }
            other => other,
        }
    }

    fn create_volume(&self, spec: &VolumeSpec) -> Result<()> {
        volumes::create(&self.layout, spec)
    }

    fn remove_volume(&self, name: &str) -> Result<()> {
        let users = names(Self::volume_users(&self.everywhere()?, name));
        if !users.is_empty() {
            return Err(EngineError::InUse {
                kind: "volume",
                name: name.to_owned(),
                users,
            });
        }
        volumes::remove(&self.layout, name)
    }

    fn create_container(&self, spec: &ContainerSpec) -> Result<()> {
        self.claim_networks(spec)?;
        let dir = self.layout.container(&spec.project, &spec.id);
        let failed = |error: io::Error| EngineError::failed("make the container's record", error);
        // Whole before it can be seen, as a command may be killed at any moment.
        let draft = ContainerDir {
            data: self.layout.hidden(&spec.project, &spec.id),
            ..dir.clone()
        };
        let make = || -> Result<()> {
            fs::make_dirs(&draft.data, 0o700).map_err(failed)?;
            fs::make_dirs(&draft.upper(), 0o755).map_err(failed)?;
            fs::make_dirs(&draft.work(), 0o700).map_err(failed)?;
            let record = Record {
                created: Timestamp::now(),
                spec: spec.clone(),
            };
            records::write(&draft.record(), &record, Durability::Synced)?;
            self.prepare_mounts(spec)?;
            std::fs::rename(&draft.data, &dir.data).map_err(failed)?;
            self.remember(&spec.id, &spec.project);
            // The name comes last: it is anybody's as long as no container of that id is there.
            records::reserve_name(&self.layout, &spec.name, &spec.project, &spec.id)
        };
        let noted = || journal::note(&self.layout, spec, &spec.name, "create", &[]);
        make().inspect(|()| noted()).inspect_err(|_| {
            // What can't be hidden is a draft still.
            let _ = std::fs::rename(&dir.data, &draft.data);
            let _ = sweep::discard(&self.layout, &draft.data);
            sweep::prune(&self.layout, &spec.project);
        })
    }

    fn lacks(&self, id: &ContainerId) -> Result<Vec<String>> {
        Ok(held::lacking(&self.layout, &self.find(id)?.record.spec))
    }

    fn hold(&self, id: &ContainerId, contents: &Contents) -> Result<()> {
        held::hold(&self.layout, &self.find(id)?.record.spec, contents)
    }

    fn fingerprint(&self, content: Digest) -> Result<Digest> {
        held::fingerprint(&self.layout, content)
    }

    fn start(&self, id: &ContainerId) -> Result<()> {
        let found = self.found(id)?;
        if matches!(found.state(), State::Paused { .. }) {
            let what = "cannot start a paused container, try unpause instead".to_owned();
            return Err(EngineError::Unsupported { what });
        }
        if found.supervised && found.state().is_up() {
            return Ok(());
        }
        Connection::start(&self.layout, &found)
    }

    fn stop(&self, id: &ContainerId, timeout: Option<Duration>) -> Result<()> {
        let mut cause = "its supervisor does not answer".to_owned();
        for _ in 0..STOP_TRIES {
            let found = match self.found(id) {
                Err(EngineError::Failed { .. }) => return self.end_by_force(id),
                found => found?,
            };
            let told = Connection::open(&found).and_then(|connection| connection.stop(timeout));
            if matches!(told, Ok(true)) || !self.find(id)?.state().is_up() {
                return Ok(());
            }
            if let Err(EngineError::Failed { cause: why, .. }) = told {
                cause = why;
            }
            // Its supervisor was killed meanwhile: the next look gives it another one.
            std::thread::sleep(PAUSE);
        }
        let step = format!("stop container {}", id.short());
        Err(EngineError::failed(step, cause))
    }

    fn save_volume(&self, name: &str, to: &Path, cancel: &Cancel) -> Result<Vec<PathBuf>> {
        volumes::save(&self.layout, name, to, cancel)
    }

    fn restore_volumes(&self, copies: &[(String, PathBuf)], cancel: &Cancel) -> Result<()> {
        volumes::restore(&self.layout, copies, cancel)
    }

    fn slow_stop(&self, id: &ContainerId) -> Result<Option<SlowStop>> {
        Ok(self.find(id)?.standing.slow)
    }

    fn kill(&self, id: &ContainerId, signal: Signal) -> Result<()> {
        let told = Connection::open(&self.found(id)?)?.kill(signal);
        let lost = matches!(told, Err(EngineError::Failed { .. }));
        if !lost || signal != Signal::KILL {
            return told;
        }
        // Its supervisor died over it: if it is down, that is what was asked for.
        match self.find(id)?.state().is_up() {
            true => Connection::open(&self.found(id)?)?.kill(signal),
            false => Ok(()),
        }
    }

    fn pause(&self, id: &ContainerId, frozen: bool) -> Result<()> {
        Connection::open(&self.found(id)?)?.pause(frozen)
    }

    fn note(&self, id: &ContainerId, action: &str, more: &[(&str, String)]) {
        if let Ok(found) = self.find(id) {
            let name = &found.standing.name;
            journal::note(&self.layout, &found.record.spec, name, action, more);
        }
    }

    fn happenings(&self, project: &ProjectName, past: bool) -> Result<Box<dyn Happenings>> {
        let reader = journal::Reader::open(&self.layout, project, past)?;
        Ok(Box::new(reader))
    }

    fn load(&self, id: &ContainerId) -> Result<Load> {
        self.gauges.measure(id, || self.find(id))
    }

    fn remove(&self, id: &ContainerId, force: Force, anonymous: AnonymousVolumes) -> Result<()> {
        let found = match self.found(id) {
            Ok(found) => found,
            Err(EngineError::NotFound {
                kind: "container", ..
            }) => return Ok(()),
            Err(EngineError::Failed { .. }) if force == Force::Yes => {
                self.end_by_force(id)?;
                self.find(id)?
            }
            Err(error) => return Err(error),
        };
        if found.supervised {
            if force == Force::No && found.state().is_up() {
                let step = format!("remove container {}", found.standing.name);
                return Err(EngineError::failed(
                    step,
                    "it is running; stop it first, or use force",
                ));
            }
            self.stop(id, Some(Duration::ZERO))?;
        }
        self.forget(&found, anonymous)?;
        self.leave_networks(&found.record.spec)
    }

    fn remove_damaged(&self, project: &ProjectName) -> Result<Vec<ContainerId>> {
        self.take_damaged(project)
    }

    fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        let found = self.found(id)?;
        let project = &found.record.spec.project;
        let old = found.standing.name.clone();
        records::reserve_name(&self.layout, name, project, id)?;
        let renamed = match Connection::open(&found) {
            Ok(connection) => connection.rename(name),
            Err(EngineError::NotRunning { .. }) => {
                let standing = Standing {
                    name: name.to_owned(),
                    ..found.standing.clone()
                };
                records::write(&found.dir.state(), &standing, Durability::Synced)
            }
            Err(error) => Err(error),
        };
        records::release_name(
            &self.layout,
            if renamed.is_ok() { &old } else { name },
            project,
            id,
        );
        if renamed.is_ok() {
            let more = [("oldName", format!("/{old}"))];
            journal::note(&self.layout, &found.record.spec, name, "rename", &more);
        }
        renamed
    }

    fn wait_telling(
        &self,
        id: &ContainerId,
        until: Until,
        cancel: &Cancel,
        told: &mut dyn FnMut(&Health),
    ) -> Result<Waited> {
        loop {
            let found = match self.found(id) {
                Ok(found) => found,
                Err(EngineError::NotFound { .. }) => return Ok(Waited::Gone),
                Err(error) => return Err(error),
            };
            let mut connection = match Connection::open(&found) {
                Ok(connection) => connection,
                Err(none @ EngineError::NotRunning { .. }) => {
                    match self.find(id)?.state() {
                        State::Exited { exit } => return Ok(Waited::Exited(exit)),
                        State::Created => return Err(none),
                        State::Removing => return Ok(Waited::Gone),
                        // Its supervisor does not listen yet, or not any more.
                        _ if cancel.is_cancelled() => return Ok(Waited::Cancelled),
                        _ => std::thread::sleep(PAUSE),
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            if connection.watch().is_err() {
                std::thread::sleep(PAUSE);
                continue;
            }
            loop {
                if cancel.is_cancelled() {
                    return Ok(Waited::Cancelled);
                }
                if !connection.changed(LOOK_FOR_CANCEL) {
                    break;
                }
                let found = self.find(id)?;
                if let Some(waited) = verdict(&found, until) {
                    return Ok(waited);
                }
                if until != Until::Exited
                    && let Some(health) = found.observed().health
                {
                    told(&health);
                }
            }
        }
    }

    fn exec(&self, id: &ContainerId, spec: &ExecSpec, io: ExecIo) -> Result<Box<dyn ExecSession>> {
        let found = self.found(id)?;
        if !found.state().is_up() {
            return Err(EngineError::NotRunning {
                name: found.standing.name,
            });
        }
        supervisor::exec_in(&found, spec, &io)
    }

    fn files(&self, id: &ContainerId, cancel: &Cancel) -> Result<Box<dyn Files>> {
        let found = self.found(id)?;
        let spare = std::iter::from_fn(|| self.spares().pop()).find(copy::Spare::is_there);
        let (spec, name) = (&found.record.spec, &*found.standing.name);
        let open = |spare| copy::Session::open(&self.layout, spec, (name, spare), cancel);
        // One that has just been ended by somebody is no reason to fail.
        let opened = spare.and_then(|spare| open(Some(spare)).ok());
        Ok(Box::new(match opened {
            Some(session) => session,
            None => open(None)?,
        }))
    }

    fn expect_files(&self, count: usize) {
        let mut spares = self.spares();
        while spares.len() < count.min(MOST_SPARES) {
            match copy::Spare::start(&self.layout) {
                Ok(spare) => spares.push(spare),
                // Who needs one starts it, and tells why that fails.
                Err(_) => return,
            }
        }
    }

    fn attach(&self, id: &ContainerId) -> Result<AttachSession> {
        let socket = Connection::attach(&self.layout, &self.found(id)?)?;
        Ok(AttachSession { socket })
    }

    fn logs(&self, id: &ContainerId, query: &LogQuery) -> Result<Box<dyn LogStream>> {
        let found = self.found(id)?;
        if !found.record.spec.log.keep && !query.passing {
            return Err(EngineError::Unsupported {
                what: format!(
                    "the logging driver of {} keeps nothing that could be read",
                    found.standing.name
                ),
            });
        }
        let log = logs::FileLog::open(found.dir, query.clone()).map_err(|error| {
            EngineError::failed(format!("read the log of {}", found.standing.name), error)
        })?;
        Ok(Box::new(log))
    }

    fn dossier(&self, id: &ContainerId, failure: &str) -> Result<Dossier> {
        let query = LogQuery {
            tail: Some(DOSSIER_LINES),
            ..LogQuery::default()
        };
        let mut lines = Vec::new();
        // A log that can't be read is one fact less.
        if let Ok(mut log) = self.logs(id, &query) {
            while let Ok(Some(record)) = log.next(DOSSIER_PATIENCE) {
                lines.push(String::from_utf8_lossy(&record.line).trim_end().to_owned());
            }
        }
        dossier::write(&self.layout, &self.find(id)?, failure, &lines)
    }

    fn lock(
        &self,
        project: &ProjectName,
        cancel: &Cancel,
        on_wait: &dyn Fn(&Holder),
    ) -> Result<Option<Box<dyn Send>>> {
        let path = self.layout.project_lock(project);
        let failed = |error: io::Error| {
            let step = format!("lock project {project} with {}", path.display());
            EngineError::failed(step, error)
        };
        let Some(turn) = turn::take(&path, cancel, on_wait).map_err(failed)? else {
            return Ok(None);
        };
        sweep::halves(&self.layout, project)?;
        if turn.was_killed || self.fresh {
            sweep::remains(&self.layout, project)?;
        }
        self.await_stops(project)?;
        Ok(Some(Box::new(turn)))
    }
}

/// So many processes wait at most for files to copy.
const MOST_SPARES: usize = 4;

/// Log lines in a dossier.
const DOSSIER_LINES: usize = 100;

/// How long the next of them may take: all are there already.
const DOSSIER_PATIENCE: Duration = Duration::from_millis(500);

/// How often a stop is asked for when supervisors die over it.
const STOP_TRIES: u32 = 1000;

/// How long a wait pauses where there is nobody to wait on.
const PAUSE: Duration = Duration::from_millis(1);

/// A wait looks this often whether it was cancelled.
const LOOK_FOR_CANCEL: Duration = Duration::from_millis(100);

fn verdict(found: &Found, until: Until) -> Option<Waited> {
    let exited = |exit: Exit| Some(Waited::Exited(exit));
    let process = found.standing.process.as_ref();
    let age = || process.map_or(Duration::ZERO, records::InitProcess::age);
    match (found.standing.state, until) {
        // Only the supervisor's own word counts: it is alive here.
        (State::Exited { exit }, _) => exited(exit),
        (State::Removing, _) => Some(Waited::Gone),
        (State::Running { .. }, Until::Healthy | Until::Steady(_)) => {
            match found.observed().health {
                None => match until {
                    // By the clock that nobody sets: the wall clock may have gone back since the start.
                    Until::Steady(long) if age() < long => None,
                    _ => Some(Waited::Reached),
                },
                Some(health) => match health.status {
                    HealthStatus::Starting => None,
                    HealthStatus::Healthy => Some(Waited::Reached),
                    HealthStatus::Unhealthy => Some(Waited::Unhealthy(health)),
                },
            }
        }
        _ => None,
    }
}
