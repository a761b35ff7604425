//! One `watch`, from its beginning to its end: waits for hints, compares, copies, and hands the rest to workers.
//!
//! In: rules, hints, the time. Out: effects, told through [`Report`]. Files are copied at once, also while an image is
//! built; a service goes through one thing at a time, and what comes meanwhile is done once afterwards.
//! Imports: its siblings, `apply`, `engine`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::Scope;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::debounce::{Debounce, Nature};
use super::deliver::{ByRule, Carrier, Debts, all_written};
use super::events::{Events, Hint};
use super::files::{Tree, below};
use super::react::{Work, Worker};
use super::rules::Rule;
use crate::apply::{ApplyError, Context};
use crate::base::name::ServiceName;
use crate::compose::model::{Project, WatchAction};
use crate::engine::{Cancel, Engine};
use crate::image::store::Store;
use crate::plan::labels;

/// How long nothing else must have changed before something is restarted, run or built.
const SETTLED: Duration = Duration::from_millis(50);
/// How long lost hints have time to end before everything is compared.
const FLOOD: Duration = Duration::from_millis(50);
/// How often is looked for what is missing, and for containers that lack something.
const GLANCE: Duration = Duration::from_millis(300);
/// How often is looked for new containers, and everything compared where the kernel does not say what changes.
const ROUND: Duration = Duration::from_secs(1);
/// Files that are so much older than their image are still copied at the start: a build takes its time.
const BUILD_TIME: i64 = 600;

/// How it is told.
pub trait Report: Sync {
    /// A line of `watch` itself.
    fn say(&self, text: &str);
    /// Something went wrong, and `watch` goes on.
    fn warn(&self, text: &str);
    /// A part failed, and `watch` goes on.
    fn failed(&self, what: &str, error: ApplyError);
    /// Runs `act` with a context; with `steps`, what happens is shown step by step.
    ///
    /// # Errors
    /// Those of `act`.
    fn showing(
        &self,
        steps: bool,
        act: &mut dyn FnMut(&Context) -> Result<(), ApplyError>,
    ) -> Result<(), ApplyError>;
}

/// What the user asked.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The image of before goes when a rebuild has left it without a name.
    pub prune: bool,
}

/// Ends a session; shared by clones.
#[derive(Debug, Clone)]
pub struct Stop {
    cancel: Cancel,
    wake: Arc<PipeWriter>,
}

impl Stop {
    /// Ends it, and what it has under way.
    pub fn stop(&self) {
        self.cancel.cancel();
        self.wake();
    }
    fn wake(&self) {
        // A full pipe wakes as well.
        let _ = (&*self.wake).write(&[0]);
    }
}

/// Which services go through something now; shared by clones.
#[derive(Debug, Clone, Default)]
pub struct Busy(Arc<Mutex<BTreeSet<ServiceName>>>);

impl Busy {
    /// Whether a service's containers may end because of what `watch` does.
    pub fn has(&self, service: &str) -> bool {
        self.with(|busy| busy.contains(&ServiceName::new(service)))
    }
    fn with<T>(&self, act: impl FnOnce(&mut BTreeSet<ServiceName>) -> T) -> T {
        let mut busy = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        act(&mut busy)
    }
}

/// A `watch` that knows what the files are like.
#[derive(Debug)]
pub struct Session {
    rules: Vec<Rule>,
    trees: Vec<Tree>,
    events: Events,
    debounce: Debounce,
    /// When everything is compared.
    round: Option<Instant>,
    /// When was last looked for containers that others have made.
    met: Instant,
    /// Whether was told that the kernel does not say everything.
    told: bool,
    pending: Pending,
    busy: Busy,
    woken: PipeReader,
    stop: Stop,
}

/// What waits until nothing changes any more, or until its service is free.
#[derive(Debug, Default)]
struct Pending {
    rebuild: BTreeSet<ServiceName>,
    work: BTreeMap<ServiceName, Work>,
    since: Option<Instant>,
    /// Whether an image is being built.
    building: bool,
    /// Whether containers that do not run are being given what they lack.
    delivering: bool,
}

/// What a worker has done.
enum Ended {
    Build(BTreeSet<ServiceName>),
    Small(ServiceName),
    Delivery,
}

/// What a session works with while it runs.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The services that are watched, and all others of the project.
    pub project: &'a Project,
    /// Runs their containers.
    pub engine: &'a dyn Engine,
    /// Keeps their images.
    pub store: &'a Store,
    /// What the user asked.
    pub options: &'a Options,
    /// Is told.
    pub report: &'a dyn Report,
}

impl std::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl Session {
    /// Looks at all files; what changes from now on counts. `cancel` ends what is under way with the session.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn begin(rules: Vec<Rule>, cancel: Cancel) -> io::Result<Self> {
        let (woken, wake) = io::pipe()?;
        for end in [woken.as_fd(), wake.as_fd()] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let mut session = Self {
            trees: rules.iter().map(|_| Tree::default()).collect(),
            rules,
            events: Events::new(),
            debounce: Debounce::default(),
            round: None,
            met: Instant::now(),
            told: false,
            pending: Pending::default(),
            busy: Busy::default(),
            woken,
            stop: Stop {
                cancel,
                wake: Arc::new(wake),
            },
        };
        session.compare_all();
        Ok(session)
    }

    /// What ends it.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Which services it is at.
    pub fn busy(&self) -> Busy {
        self.busy.clone()
    }

    /// Runs until it is stopped.
    ///
    /// # Errors
    /// The engine's at the start, the system's when it can't wait.
    pub fn run(mut self, world: World<'_>) -> Result<(), ApplyError> {
        let debts = Mutex::new(Debts::default());
        let rules = self.rules.clone();
        let cancel = self.stop.cancel.clone();
        let worker = Worker {
            engine: world.engine,
            project: world.project,
            rules: &rules,
            options: world.options,
            report: world.report,
            cancel: &cancel,
            debts: &debts,
        };
        self.meet(&world, &worker)?;
        world.report.say("Watch enabled");
        // What has changed since the first look, as while images were built.
        self.round = Some(Instant::now());
        let (sender, ended) = channel();
        std::thread::scope(|scope| {
            let result = self.follow(scope, &worker, (&sender, &ended));
            // Whatever ended it, nothing goes on without it.
            cancel.cancel();
            result
        })
    }

    /// Looks which containers there are, and gives them what is newer than their image where rules ask for it.
    fn meet(&self, world: &World<'_>, worker: &Worker<'_>) -> Result<(), ApplyError> {
        let carrier = Carrier {
            engine: world.engine,
            project: &world.project.name,
            rules: &self.rules,
            cancel: &self.stop.cancel,
        };
        let containers = carrier.containers()?;
        world.engine.expect_files(containers.len());
        let mut debts = worker.debts();
        debts.know(&containers);
        for container in &containers {
            let image = world.store.find(&container.image_id.to_string()).ok();
            let created = image.and_then(|image| image.created());
            let since = created.map_or(i64::MIN, |at| at.0.div_euclid(1_000_000_000) - BUILD_TIME);
            let service = labels::service(container);
            for (at, (rule, tree)) in self.rules.iter().zip(&self.trees).enumerate() {
                if rule.initial && rule.copies() && Some(&rule.service) == service.as_ref() {
                    let files = tree.files().filter(|(_, changed)| *changed >= since);
                    let files = all_written(files.map(|(path, _)| path));
                    debts.owe_one(&container.id, at, &files);
                }
            }
        }
        let any = debts.any();
        drop(debts);
        if any {
            worker.deliver(false);
        }
        Ok(())
    }

    fn follow<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        worker: &'scope Worker<'scope>,
        (sender, ended): (&Sender<Ended>, &Receiver<Ended>),
    ) -> Result<(), ApplyError> {
        loop {
            self.wait(worker)?;
            if self.stop.cancel.is_cancelled() {
                return Ok(());
            }
            for ended in ended.try_iter() {
                self.ended(&ended);
            }
            let changes = self.look(Instant::now());
            if !changes.is_empty() {
                self.react(worker, &changes);
            }
            if self.met.elapsed() >= ROUND && worker.debts().any_touched() {
                self.met = Instant::now();
                worker.deliver(false);
            }
            self.begin_work(scope, worker, sender);
            if !self.told
                && let Some(errno) = self.events.short()
            {
                self.told = true;
                worker.report.warn(&short_words(errno));
            }
        }
    }

    /// Waits for a hint, a wake-up, or the time that something is due.
    fn wait(&mut self, worker: &Worker<'_>) -> Result<(), ApplyError> {
        let now = Instant::now();
        let mut due = [self.debounce.due(), self.round, self.settled()]
            .into_iter()
            .flatten()
            .min();
        let mut by = |time: Instant| due = Some(due.map_or(time, |due| due.min(time)));
        if self.events.short().is_some() || worker.debts().any_touched() {
            by(now + ROUND);
        }
        if self.trees.iter().any(Tree::is_missing) || worker.debts().any() {
            by(now + GLANCE);
        }
        let timeout = due.map(|due| due.saturating_duration_since(now));
        // Rounded up, so that it is due when it wakes.
        let timeout = timeout.map(|left| left + Duration::from_micros(999));
        let timeout = timeout.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            self.events
                .ready()
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN)),
        );
        match poll(&mut fds, timeout) {
            Ok(0) if self.round.is_none() && self.wants_round() => {
                self.round = Some(Instant::now());
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                let text = format!("cannot wait for changes: {}", errno.desc());
                return Err(ApplyError::new(text));
            }
        }
        // What it was woken for is looked at in any case.
        let _ = self.woken.read(&mut [0; 64]);
        Ok(())
    }

    /// Whether there is something that no hint will tell.
    fn wants_round(&self) -> bool {
        self.events.short().is_some() || self.trees.iter().any(Tree::is_missing)
    }

    /// When what is pending may begin.
    fn settled(&self) -> Option<Instant> {
        let free = |service: &ServiceName| !self.busy.has(service.as_str());
        let build = !self.pending.building && self.pending.rebuild.iter().any(free);
        let any = build || self.pending.work.keys().any(free);
        self.pending.since.filter(|_| any).map(|at| at + SETTLED)
    }

    /// Takes all hints and compares what is due.
    fn look(&mut self, now: Instant) -> ByRule {
        for hint in self.events.read() {
            match hint {
                Hint::Everywhere => self.round = Some(now + FLOOD),
                Hint::Lost(dir) => {
                    if self.rules.iter().any(|rule| rule.root.starts_with(&dir)) {
                        self.debounce.hint(now, dir, Nature::Going);
                    }
                }
                Hint::At(dir, name, nature) => {
                    let means = |rule: &Rule| match below(&rule.root, &dir, &name) {
                        Some(path) => rule.enters(&path),
                        None => rule.root.starts_with(dir.join(&name)),
                    };
                    if self.rules.iter().any(means) {
                        self.debounce.hint(now, dir.join(name), nature);
                    }
                }
            }
        }
        if self.round.is_some_and(|round| round <= now) {
            self.round = None;
            self.debounce = Debounce::default();
            return self.compare_all();
        }
        let due = self.debounce.take(now);
        match due.is_empty() {
            true => ByRule::new(),
            false => self.compare(&due),
        }
    }

    /// Compares everything.
    fn compare_all(&mut self) -> ByRule {
        let mut changes = ByRule::new();
        for at in 0..self.rules.len() {
            self.compare_rule(at, None, &mut changes);
        }
        changes
    }

    /// Compares what is at some paths.
    fn compare(&mut self, due: &[(PathBuf, bool)]) -> ByRule {
        let mut changes = ByRule::new();
        for at in 0..self.rules.len() {
            let Some(root) = self.rules.get(at).map(|rule| rule.root.clone()) else {
                continue;
            };
            // The root itself, or something above it.
            let whole = due
                .iter()
                .any(|(path, _)| root.starts_with(path) && *path != root);
            let inside: Vec<(&Path, bool)> = due
                .iter()
                .filter_map(|(path, written)| Some((path.strip_prefix(&root).ok()?, *written)))
                .collect();
            if whole {
                self.compare_rule(at, None, &mut changes);
            } else if !inside.is_empty() {
                self.compare_rule(at, Some(&inside), &mut changes);
            }
        }
        changes
    }

    fn compare_rule(&mut self, at: usize, paths: Option<&[(&Path, bool)]>, all: &mut ByRule) {
        let (Some(rule), Some(tree)) = (self.rules.get(at), self.trees.get_mut(at)) else {
            return;
        };
        let events = &mut self.events;
        // Where nothing is, what it will appear in is watched.
        anchor(events, &rule.root);
        let mut enter = |path: &Path| events.watch(&joined(&rule.root, path));
        let found = match paths {
            Some(paths) => tree.compare_at(rule, paths.iter().copied(), &mut enter),
            None => tree.compare(rule, &mut enter),
        };
        if !found.changes.is_empty() {
            all.insert(at, found.changes);
        }
    }

    /// Copies what has changed, and notes what else is to be done.
    fn react(&mut self, worker: &Worker<'_>, changes: &ByRule) {
        let mut copied: BTreeMap<&ServiceName, usize> = BTreeMap::new();
        let mut debts = worker.debts();
        for (at, changed) in changes {
            let Some(rule) = worker.rules.get(*at) else {
                continue;
            };
            if rule.copies() {
                debts.owe(worker.rules, *at, changed);
                *copied.entry(&rule.service).or_default() += changed.len();
            }
            let service = rule.service.clone();
            match rule.action {
                WatchAction::Sync => continue,
                WatchAction::Rebuild => drop(self.pending.rebuild.insert(service)),
                WatchAction::Restart | WatchAction::SyncRestart => {
                    self.pending.work.entry(service).or_default().restart = true;
                }
                WatchAction::SyncExec => {
                    let work = self.pending.work.entry(service).or_default();
                    work.exec.insert(*at);
                }
            }
            self.pending.since = Some(Instant::now());
        }
        drop(debts);
        if copied.is_empty() {
            return;
        }
        for (service, count) in copied {
            worker.report.say(&format!(
                "Syncing service {:?} after {count} changes were detected",
                service.as_str()
            ));
        }
        worker.deliver(false);
    }

    /// Has workers begin what is pending, where its service is free.
    fn begin_work<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        worker: &'scope Worker<'scope>,
        sender: &Sender<Ended>,
    ) {
        let wake = self.stop.clone();
        let spawn = |act: Box<dyn FnOnce() -> Ended + Send + 'scope>| {
            let (sender, wake) = (sender.clone(), wake.clone());
            scope.spawn(move || {
                // Nobody listens any more when the session ends.
                let _ = sender.send(act());
                wake.wake();
            });
        };
        if self.settled().is_some_and(|at| at <= Instant::now()) {
            for (services, work) in self.take_free() {
                match services {
                    Begun::Build(services) => spawn(Box::new(move || {
                        worker.rebuild(&services, &work.exec);
                        Ended::Build(services)
                    })),
                    Begun::Small(service) => spawn(Box::new(move || {
                        worker.small(&service, &work);
                        Ended::Small(service)
                    })),
                }
            }
        }
        let idle = !self.pending.delivering && self.busy.with(|busy| busy.is_empty());
        if idle && worker.debts().any() {
            self.pending.delivering = true;
            spawn(Box::new(move || {
                worker.deliver_locked();
                Ended::Delivery
            }));
        }
    }

    /// Takes what may begin now, and marks its services.
    fn take_free(&mut self) -> Vec<(Begun, Work)> {
        let pending = &mut self.pending;
        let mut begun = Vec::new();
        self.busy.with(|busy| {
            if !pending.building {
                let free: BTreeSet<ServiceName> =
                    pending.rebuild.difference(busy).cloned().collect();
                if !free.is_empty() {
                    let mut work = Work::default();
                    for service in &free {
                        pending.rebuild.remove(service);
                        // Containers made anew need no restart.
                        let own = pending.work.remove(service).unwrap_or_default();
                        work.exec.extend(own.exec);
                    }
                    busy.extend(free.iter().cloned());
                    pending.building = true;
                    begun.push((Begun::Build(free), work));
                }
            }
            let free: Vec<ServiceName> = pending
                .work
                .keys()
                .filter(|service| !busy.contains(*service) && !pending.rebuild.contains(*service))
                .cloned()
                .collect();
            for service in free {
                let work = pending.work.remove(&service).unwrap_or_default();
                busy.insert(service.clone());
                begun.push((Begun::Small(service), work));
            }
        });
        begun
    }

    fn ended(&mut self, ended: &Ended) {
        match ended {
            Ended::Delivery => self.pending.delivering = false,
            Ended::Small(service) => {
                self.busy.with(|busy| busy.remove(service));
            }
            Ended::Build(services) => {
                self.pending.building = false;
                self.busy
                    .with(|busy| busy.retain(|service| !services.contains(service)));
            }
        }
    }
}

/// What a worker begins.
enum Begun {
    Build(BTreeSet<ServiceName>),
    Small(ServiceName),
}

/// Watches the directory that a root lies in, or the nearest one above it that there is.
fn anchor(events: &mut Events, root: &Path) {
    let above = root.ancestors().skip(1).find(|dir| dir.is_dir());
    if let Some(above) = above {
        events.watch(above);
    }
}

fn joined(root: &Path, below: &Path) -> PathBuf {
    match below.as_os_str().is_empty() {
        true => root.to_owned(),
        false => root.join(below),
    }
}

/// What to do about a kernel that does not say everything.
fn short_words(errno: Errno) -> String {
    let every = "files are compared every second instead";
    match errno {
        Errno::ENOSPC => format!(
            "the kernel watches no more directories; {every}: raise its limit with `sysctl -w fs.inotify.max_user_watches=524288`"
        ),
        Errno::EMFILE => format!(
            "the kernel watches for no more programs; {every}: raise its limit with `sysctl -w fs.inotify.max_user_instances=1024`"
        ),
        errno => format!("the kernel watches no files ({}); {every}", errno.desc()),
    }
}
