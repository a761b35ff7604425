//! Does the steps that are hooks: commands in a container, and containers of `pre_start`.
//!
//! In: a step. Out: what it printed, line by line as events, and as a part of the error when it fails.
//! Imports: `base`, `engine`, `plan`, `run`, `steps`, `wait`.
//! Source: Docker Compose 2.40, `pkg/compose/hook.go`; 5.3, `pkg/compose/pre_start.go`.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::run::{Run, tell};
use super::{ApplyError, Context, steps};
use crate::base::diag::Diagnostics;
use crate::base::event::{Event, EventSink, Kind, Status};
use crate::base::name::ContainerId;
use crate::base::scalar::Signal;
use crate::compose::model::{InitContainer, Service};
use crate::engine::spec::{ExecSpec, Process};
use crate::engine::{
    AnonymousVolumes, Engine, EngineError, ExecIo, Force, LogEnd, LogQuery, Until, Waited,
};
use crate::image::digest::Digest;
use crate::plan::action::Who;
use crate::plan::desired::{Desired, Peer, Replica, screen_name};
use crate::plan::hooks::{Hook, Moment};
use crate::plan::images::ImageFacts;

/// Lines of output that an error repeats.
const LAST_LINES: usize = 20;
/// Longest line that is kept and told, in bytes; the rest of it is the next one.
const LONGEST_LINE: u64 = 16 << 10;
/// How often a hook that runs is asked for Ctrl-C.
const LOOK_FOR_CANCEL: Duration = Duration::from_millis(100);
/// How often a log that is followed is asked whether its container has ended.
const LOOK: Duration = Duration::from_millis(20);
/// What a hook left running in the background may hold its output open; that long the rest is waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What a hook prints: told at once, and its end kept.
#[derive(Clone)]
pub(super) struct Output {
    source: String,
    events: Arc<dyn EventSink>,
    last: Arc<Mutex<VecDeque<String>>>,
}

impl Output {
    pub(super) fn new(source: String, events: &Arc<dyn EventSink>) -> Self {
        Self {
            source,
            events: Arc::clone(events),
            last: Arc::default(),
        }
    }
    fn line(&self, bytes: &[u8]) {
        let line = String::from_utf8_lossy(bytes).trim_end().to_owned();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.push_back(line.clone());
        if last.len() > LAST_LINES {
            last.pop_front();
        }
        drop(last);
        self.events.send(Event::Output {
            source: self.source.clone(),
            line,
        });
    }
    fn last(&self) -> Vec<String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().cloned().collect()
    }
}

/// Reads a pipe to its end on a thread of its own; the channel closes with it.
fn read(pipe: File, output: Output) -> Receiver<()> {
    let (open, over) = channel::<()>();
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while let Ok(1..) = (&mut pipe).take(LONGEST_LINE).read_until(b'\n', &mut line) {
            output.line(&line);
            line.clear();
        }
        drop(open);
    });
    over
}

impl Run<'_> {
    /// Runs a command in a container to its end.
    pub(super) fn hook(&self, who: &Who, hook: &Hook) -> Result<(), ApplyError> {
        let id = self.id(who)?;
        let name = format!("{} ->", self.short(&who.name));
        let output = Output::new(name, &self.context.events);
        let key = hook.moment.key();
        let subject = format!("{key}[{}] of container {}", hook.at, who.name);
        let code = match execute(self.context, &id, &hook.process, &output) {
            Ok(code) => code,
            // As Docker: what has ended by itself has no need of it.
            Err(HookError::Engine(EngineError::NotRunning { .. }))
                if hook.moment == Moment::PreStop =>
            {
                return Ok(());
            }
            Err(HookError::Engine(error)) => {
                return Err(advise(
                    ApplyError::new(format!("{subject}: {error}")),
                    who,
                    hook,
                ));
            }
            Err(HookError::Cancelled) => return Err(ApplyError::cancelled()),
        };
        if code == 0 || (hook.moment == Moment::PreStop && self.has_ended(&id)) {
            return Ok(());
        }
        let text = format!("{subject}: hook exited with status {code}");
        let error = ApplyError::new(text).note(format!("last lines of {subject}"), output.last());
        Err(advise(error, who, hook))
    }

    /// Whether a container went away while its hook ran in it.
    fn has_ended(&self, id: &ContainerId) -> bool {
        let found = self.context.engine.container(id);
        found.is_ok_and(|container| !container.state.is_up())
    }

    /// A container's name as it is on screen: without the project.
    fn short<'n>(&self, name: &'n str) -> &'n str {
        screen_name(&self.plan.project, name)
    }

    /// Runs a container of `pre_start` to its end and removes it.
    pub(super) fn pre_start(&self, who: &Who, at: usize) -> Result<(), ApplyError> {
        let desired = self.desired()?;
        let service = self.service(desired, &who.service)?;
        let gone = || ApplyError::new(format!("service `{}` has no pre_start[{at}]", who.service));
        let init = service.pre_start.get(at).ok_or_else(gone)?;
        let name = desired.init_name(service, at, who.number);
        let say = |status| tell(self.context, Kind::Container, &name, status, None);
        say(Status::Working("Starting"));
        let id = self.make_init(desired, service, init, who, &name)?;
        let result = self.run_init(&id, &name);
        // Ended well or not, nothing of it stays: what it printed is in the error.
        let removed = (self.context.engine).remove(&id, Force::Yes, AnonymousVolumes::Remove);
        match result.and_then(|()| Ok(removed?)) {
            Ok(()) => say(Status::Done("Exited")),
            Err(error) if error.is_cancelled() => return Err(error),
            Err(error) => {
                let error = error.on(&format!("pre_start[{at}] of service `{}`", who.service));
                say(Status::Failed(error.to_string()));
                return Err(error);
            }
        }
        Ok(())
    }

    fn make_init(
        &self,
        desired: &Desired,
        service: &Service,
        init: &InitContainer,
        who: &Who,
        name: &str,
    ) -> Result<ContainerId, ApplyError> {
        let image = match &init.image {
            Some(image) => self.image_named(desired, &image.value),
            None => self.image(&service.name),
        };
        let image = image.ok_or_else(|| {
            let own = desired.images.get(&service.name).map(|image| &image.name);
            let name = init.image.as_ref().map(|image| &image.value).or(own);
            let name = name.map_or("", String::as_str);
            ApplyError::new(format!("image `{name}` is not here"))
                .hint(format!("run `hoist up {}`", service.name))
        })?;
        let peer = |name: &str| -> Option<Peer> { self.peer(desired, name) };
        let id = steps::new_id()?;
        let replica = Replica {
            number: who.number,
            id: id.clone(),
            name: name.to_owned(),
            image: &image,
            mount_images: &self.mount_images(),
            anonymous: &BTreeMap::new(),
            peer: &peer,
            slug: Some(id.short().to_owned()),
        };
        let volumes = self.volumes_of(who);
        let mut found = Diagnostics::default();
        let mut spec = desired.init_spec(service, init, &replica, &volumes, &mut found);
        if found.has_errors() {
            return Err(ApplyError::faults(found, &desired.project.sources));
        }
        spec.image.id = image.id.unwrap_or_else(|| Digest::of(b""));
        steps::trust_host(self.context, service, &mut spec)?;
        self.context.engine.create_container(&spec)?;
        self.supply(&who.service, &id)?;
        Ok(id)
    }

    /// Anonymous volumes of a container that is there.
    fn volumes_of(&self, who: &Who) -> BTreeMap<String, String> {
        let there = self.find(who).unwrap_or_default();
        there.anonymous.unwrap_or_else(|| {
            let found = there
                .id
                .and_then(|id| self.context.engine.container(&id).ok());
            found.map_or_else(BTreeMap::new, |found| found.anonymous.into_iter().collect())
        })
    }

    fn image_named(&self, desired: &Desired, name: &str) -> Option<ImageFacts> {
        let pulled = self.mount_images().get(name).cloned();
        let built = || {
            let all = desired.images.iter();
            let (service, _) = all.clone().find(|(_, image)| image.name == name)?;
            self.image(service)
        };
        pulled.or_else(built)
    }

    fn run_init(&self, id: &ContainerId, name: &str) -> Result<(), ApplyError> {
        let output = Output::new(format!("{} ->", self.short(name)), &self.context.events);
        let engine = &self.context.engine;
        engine.start(id)?;
        let ended = AtomicBool::new(false);
        let waited = std::thread::scope(|scope| {
            let (output, ended) = (&output, &ended);
            scope.spawn(move || follow(engine.as_ref(), id, output, ended));
            let waited = engine.wait(id, Until::Exited, &self.waits);
            ended.store(true, Ordering::SeqCst);
            waited
        });
        let code = match waited? {
            Waited::Exited(exit) => exit.code(),
            Waited::Cancelled => return Err(ApplyError::cancelled()),
            _ => return Err(ApplyError::new(format!("container {name} is gone"))),
        };
        if code == 0 {
            return Ok(());
        }
        Err(ApplyError::new(format!("it exited with status {code}"))
            .note(format!("last log lines of {name}"), output.last()))
    }
}

/// Reads a container's log until it has ended. All it said is in the log before it is said to have ended.
fn follow(engine: &dyn Engine, id: &ContainerId, output: &Output, ended: &AtomicBool) {
    let query = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let Ok(mut log) = engine.logs(id, &query) else {
        return;
    };
    loop {
        let last = ended.load(Ordering::SeqCst);
        let patience = if last { Duration::ZERO } else { LOOK };
        match log.next(patience) {
            Ok(Some(record)) => output.line(&record.line),
            Err(LogEnd::TimedOut) if !last => {}
            _ => break,
        }
    }
}

/// Runs a command in a container to its end and gives its exit code; what it prints goes to `output`.
pub(super) fn execute(
    context: &Context,
    id: &ContainerId,
    process: &Process,
    output: &Output,
) -> Result<i32, HookError> {
    let pipe = || -> std::io::Result<(File, ExecIo)> {
        let (reader, writer) = std::io::pipe()?;
        let (output, input) = (OwnedFd::from(writer), File::open("/dev/null")?);
        let io = ExecIo {
            input: input.into(),
            error: output.try_clone()?,
            output,
        };
        Ok((File::from(OwnedFd::from(reader)), io))
    };
    let (reader, io) = pipe().map_err(|error| EngineError::failed("make a pipe", error))?;
    let spec = ExecSpec {
        process: process.clone(),
        stdin: false,
    };
    let mut session = context.engine.exec(id, &spec, io)?;
    let over = read(reader, output.clone());
    let code = loop {
        if let Some(code) = session.wait_for(LOOK_FOR_CANCEL)? {
            break code;
        }
        if context.cancel.is_cancelled() {
            // It may have ended just now.
            let _ = session.signal(Signal::KILL);
            return Err(HookError::Cancelled);
        }
    };
    let _ = over.recv_timeout(LAST_WORDS);
    Ok(code)
}

/// Why a hook has no exit code.
pub(super) enum HookError {
    Engine(EngineError),
    Cancelled,
}

impl From<EngineError> for HookError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// What to do about a hook that fails.
fn advise(error: ApplyError, who: &Who, hook: &Hook) -> ApplyError {
    match hook.moment {
        Moment::PreStop => error.hint(format!(
            "the container runs on; to end it without its hooks: hoist kill {}",
            who.service
        )),
        Moment::PostStart => error.hint(format!(
            "the container runs on; the hook runs again after its next start: hoist restart {}",
            who.service
        )),
    }
}
