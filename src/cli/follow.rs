//! The logs of many containers as one stream of messages, also of containers that come later.
//!
//! In: an engine, a project, which containers. Out: [`Message`]s on a channel, from one thread that looks for new
//! containers and one thread a container. What is there when containers are found comes by time over all of them.
//! Imports: `merge`, `news`, `base`, `engine`, `plan::desired` (names), `ui::logs`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::focus::Focus;
use super::merge::{Log, merge};
use super::news::Bell;
pub use super::news::Done;
use crate::base::clock::Timestamp;
use crate::base::event::{Event, EventSink};
use crate::base::name::{ContainerId, ProjectName};
use crate::engine::state::{ObservedContainer, State};
use crate::engine::{Engine, EngineError, LogEnd, LogQuery, LogRecord, LogStream as _};
use crate::plan::desired::screen_name;
use crate::ui::logs::Lines;
use crate::ui::menu::{Menu, has};
use crate::ui::{Progress, write_err, write_out};

/// Time between two looks for new containers where the engine does not tell of them.
const LOOK: Duration = Duration::from_millis(150);

/// Time between two looks for new containers when none came for long.
const SELDOM: Duration = Duration::from_millis(600);

/// How long a reader waits for a container that is silent: what happens wakes it.
const SILENCE: Duration = Duration::from_secs(10);

/// Nanoseconds without a line that a restart takes at least, where its delay is not set to less.
const PAUSE: i64 = 50_000_000;

/// So many messages may wait: who reads logs faster than they are shown waits, too.
pub const WAITING: usize = 1024;

/// Text for standard output is written when so much has come together.
const TOGETHER: usize = 32 * 1024;

/// Something about one container.
#[derive(Debug)]
pub enum Message {
    /// A line of its output.
    Line {
        /// The container's name on screen.
        name: String,
        /// The line.
        record: LogRecord,
    },
    /// Its process has ended.
    Exited {
        /// The container's name on screen.
        name: String,
        /// The service it belongs to.
        service: String,
        /// Exit code.
        code: i32,
        /// Whether its restart policy will start it again.
        restarting: bool,
    },
    /// Nothing more will come of it.
    Gone {
        /// The container's name on screen.
        name: String,
    },
    /// Its log can't be read.
    Problem(String),
    /// A word of `watch`, which follows files beside.
    Watch(String),
    /// Text as it is.
    Text {
        /// Whether it is for standard error.
        stderr: bool,
        /// It.
        text: Vec<u8>,
    },
    /// Keys that were pressed.
    Keys(Vec<u8>),
}

/// Which containers are followed, and from where.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The project.
    pub project: ProjectName,
    /// Services; `None` is all.
    pub services: Option<BTreeSet<String>>,
    /// Only the container of this number.
    pub index: Option<u32>,
    /// The first lines of each container. Later containers are shown from their beginning.
    pub query: LogQuery,
    /// Ends before this time are not told.
    pub after: Timestamp,
}

impl Scope {
    /// Whether a container is meant; one-off containers never are.
    pub fn covers(&self, container: &ObservedContainer) -> bool {
        let label = |key: &str| {
            container
                .labels
                .get(&format!("com.docker.compose.{key}"))
                .map(String::as_str)
        };
        let service = label("service").unwrap_or_default();
        label("oneoff") != Some("True")
            && self
                .services
                .as_ref()
                .is_none_or(|names| names.contains(service))
            && self
                .index
                .is_none_or(|index| label("container-number") == Some(index.to_string().as_str()))
    }
}

/// Follows all containers of a scope until `done`; the channel closes when everything has been told.
pub fn follow(engine: Arc<dyn Engine>, scope: Scope, done: Done) -> Receiver<Message> {
    let (sender, receiver) = sync_channel(WAITING);
    follow_into(engine, scope, done, sender);
    receiver
}

/// As [`follow`], into a channel that others use too.
pub fn follow_into(engine: Arc<dyn Engine>, scope: Scope, done: Done, sender: SyncSender<Message>) {
    thread::spawn(move || discover(&engine, &scope, &done, &sender));
}

/// Shows what hooks print among the containers' lines, and hands other events on.
pub struct HookLines {
    /// Takes the other events.
    pub beside: Arc<dyn EventSink>,
    /// Takes the lines.
    pub lines: SyncSender<Message>,
}

impl std::fmt::Debug for HookLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HookLines").finish_non_exhaustive()
    }
}

impl EventSink for HookLines {
    fn send(&self, event: Event) {
        let Event::Output { source, line } = event else {
            return self.beside.send(event);
        };
        let record = LogRecord {
            time: Timestamp::now(),
            stderr: false,
            line: format!("{line}\n").into_bytes(),
        };
        // Nobody looks any more when the command ends.
        let _ = self.lines.send(Message::Line {
            name: source,
            record,
        });
    }
}

/// Starts readers for the containers that appear.
fn discover(engine: &Arc<dyn Engine>, scope: &Scope, done: &Done, sender: &SyncSender<Message>) {
    // Before the first look: what comes after it is told.
    let mut bell = Bell::new(engine.as_ref(), &scope.project, done);
    let mut known: BTreeSet<ContainerId> = BTreeSet::new();
    let (mut first, mut pause) = (true, LOOK);
    loop {
        // The last look comes after `done`, so that what was there before is not missed.
        let last = done.is_told();
        pause = (pause * 9 / 8).min(SELDOM);
        match engine.observe(&scope.project) {
            Ok(world) => {
                let mut readers = Vec::new();
                for container in world.containers.iter().filter(|c| scope.covers(c)) {
                    if known.insert(container.id.clone()) {
                        pause = LOOK;
                        let query = if first {
                            scope.query.clone()
                        } else {
                            LogQuery {
                                passing: scope.query.passing,
                                ..LogQuery::default()
                            }
                        };
                        readers.push(Reader::new(container, scope, query, done.clone()));
                    }
                }
                // A channel that nobody reads any more means that the command ends.
                if start(engine, readers, sender).is_err() {
                    return;
                }
            }
            Err(error) => {
                let _ = sender.send(Message::Problem(error.to_string()));
                return;
            }
        }
        if last {
            return;
        }
        first = false;
        match &mut bell {
            Some(bell) => bell.wait(&known),
            None => done.sleep(pause),
        }
    }
}

/// Tells what the containers have printed up to now, by time over all of them, and has each of them read from there on.
fn start(
    engine: &Arc<dyn Engine>,
    readers: Vec<Reader>,
    sender: &SyncSender<Message>,
) -> Result<(), SendError<Message>> {
    let (mut open, mut logs) = (Vec::new(), Vec::new());
    for reader in readers {
        match reader.open(engine.as_ref()) {
            Ok(log) => {
                open.push(reader);
                logs.push(log);
            }
            Err(problem) => {
                problem.map_or(Ok(()), |problem| sender.send(problem))?;
                sender.send(Message::Gone { name: reader.name })?;
            }
        }
    }
    // One that prints without end must not keep the others from being followed.
    merge(&mut logs, Some(Timestamp::now()), |at, record| {
        let name = open.get(at).map(|reader| reader.name.clone());
        let name = name.unwrap_or_default();
        sender.send(Message::Line { name, record })
    })?;
    for (reader, log) in open.into_iter().zip(logs) {
        let (engine, sender) = (Arc::clone(engine), sender.clone());
        thread::spawn(move || reader.run(log, engine.as_ref(), &sender));
    }
    Ok(())
}

/// Reads one container's log through its restarts.
struct Reader {
    id: ContainerId,
    name: String,
    service: String,
    query: LogQuery,
    /// When it had ended last, of what was told.
    told: Timestamp,
    /// When its last line was printed.
    last: Timestamp,
    /// How often it was started again, by what is known.
    restarts: u32,
    done: Done,
}

impl Reader {
    fn new(container: &ObservedContainer, scope: &Scope, query: LogQuery, done: Done) -> Self {
        Self {
            id: container.id.clone(),
            name: screen_name(&scope.project, &container.name).to_owned(),
            service: container
                .labels
                .get("com.docker.compose.service")
                .cloned()
                .unwrap_or_default(),
            query: LogQuery {
                follow: true,
                ..query
            },
            told: scope.after,
            last: Timestamp::default(),
            restarts: container.restarts,
            done,
        }
    }

    /// Its log, or what is to be told of why there is none; a container that is gone is no problem.
    fn open(&self, engine: &dyn Engine) -> Result<Log, Option<Message>> {
        match engine.logs(&self.id, &self.query) {
            Ok(stream) => Ok(Log::new(stream)),
            Err(EngineError::NotFound { .. }) => Err(None),
            // It names the container.
            Err(error @ EngineError::Unsupported { .. }) => {
                Err(Some(Message::Problem(error.to_string())))
            }
            Err(error) => Err(Some(Message::Problem(format!("{}: {error}", self.name)))),
        }
    }

    fn run(mut self, mut log: Log, engine: &dyn Engine, sender: &SyncSender<Message>) {
        // A channel that nobody reads any more means that the command ends.
        let _ = self.read(&mut log, engine, sender);
        let _ = sender.send(Message::Gone { name: self.name });
    }

    /// Reads until there is nothing more to wait for. A container that has ended may be started again, and its
    /// lines go on behind the last one then.
    fn read(
        &mut self,
        log: &mut Log,
        engine: &dyn Engine,
        sender: &SyncSender<Message>,
    ) -> Result<(), ()> {
        self.done.wakes(log.waker());
        self.done.wakes_reader(&self.id, log.waker());
        // Whether what is there is read before a new run is told of.
        let mut rest = false;
        loop {
            // Asked before it is read: what was there by then is shown.
            let told = self.done.is_told();
            let happened = self.done.happened(&self.id);
            let patience = if told || rest {
                Duration::ZERO
            } else {
                SILENCE
            };
            match log.next(patience) {
                Ok(Some(record)) => {
                    self.look_back(engine, record.time);
                    self.renewed(record.time, sender)?;
                    self.send(
                        sender,
                        Message::Line {
                            name: self.name.clone(),
                            record,
                        },
                    )?;
                }
                Ok(None) => {
                    rest = false;
                    if !self.look(engine, sender)? || told {
                        return Ok(());
                    }
                    self.done.sleep_over(&self.id, happened);
                }
                Err(LogEnd::TimedOut) if !rest && self.done.is_renewed(&self.id) => rest = true,
                Err(LogEnd::TimedOut) => {
                    rest = false;
                    if !self.look(engine, sender)? || told {
                        return Ok(());
                    }
                }
                Err(LogEnd::Failed(why)) => {
                    self.send(
                        sender,
                        Message::Problem(format!("{}: cannot read the log: {why}", self.name)),
                    )?;
                    return Ok(());
                }
            }
        }
    }

    /// Tells of an end that was not told yet; `false` when the container is gone.
    fn look(&mut self, engine: &dyn Engine, sender: &SyncSender<Message>) -> Result<bool, ()> {
        let Ok(container) = engine.container(&self.id) else {
            return Ok(false);
        };
        self.renewed(Timestamp::now(), sender)?;
        let Some(exit) = container.state.exit().filter(|exit| exit.at > self.told) else {
            return Ok(true);
        };
        self.told = exit.at;
        let message = Message::Exited {
            name: self.name.clone(),
            service: self.service.clone(),
            code: exit.code(),
            restarting: matches!(container.state, State::Restarting { .. }),
        };
        self.send(sender, message)?;
        Ok(true)
    }

    /// A line that comes after a pause may be of a new run: then what is told of that comes first.
    fn look_back(&mut self, engine: &dyn Engine, time: Timestamp) {
        let last = std::mem::replace(&mut self.last, time);
        if time.0.saturating_sub(last.0) < PAUSE {
            return;
        }
        let restarts = engine
            .container(&self.id)
            .map(|container| container.restarts);
        let Ok(restarts) = restarts else { return };
        if restarts > self.restarts {
            self.done.until_renewed(&self.id);
        }
        self.restarts = restarts;
    }

    /// Tells of the ends after which it was started again.
    fn renewed(&mut self, time: Timestamp, sender: &SyncSender<Message>) -> Result<(), ()> {
        for end in self.done.renewed(&self.id, time) {
            if end.at <= self.told {
                continue;
            }
            self.told = end.at;
            let message = Message::Exited {
                name: self.name.clone(),
                service: self.service.clone(),
                code: end.code,
                restarting: true,
            };
            self.send(sender, message)?;
        }
        Ok(())
    }

    fn send(&self, sender: &SyncSender<Message>, message: Message) -> Result<(), ()> {
        sender.send(message).map_err(drop)
    }
}

/// What is told of an end. In Compose's words.
pub(super) fn ended(code: i32, restarting: bool) -> String {
    let then = if restarting { " (restarting)" } else { "" };
    format!("exited with code {code}{then}")
}

/// Writes messages: lines to the stream they came from, ends to standard output.
#[derive(Debug)]
pub struct Printer {
    lines: Lines,
    progress: Option<Arc<Progress>>,
    exits: bool,
    /// Text for standard output that is not written yet.
    held: Vec<u8>,
    /// Only lines with this text are shown.
    filter: String,
    /// Only lines of these containers are shown.
    focus: Option<Focus>,
    /// The line below everything, and how wide it is when it stands there.
    menu: Option<(Menu, Option<usize>)>,
    /// What is said before the first line.
    heading: Option<String>,
}

impl Printer {
    /// Writes above `progress` where there is one; `exits` is whether ends are told.
    pub fn new(lines: Lines, progress: Option<Arc<Progress>>, exits: bool) -> Self {
        Self {
            lines,
            progress,
            exits,
            held: Vec::new(),
            filter: String::new(),
            focus: None,
            menu: None,
            heading: None,
        }
    }
    /// This is said before the first line, or with [`Printer::say_heading`].
    pub fn head(&mut self, text: String) {
        self.heading = Some(text);
    }
    /// Says what stands before all lines, unless it is said already.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn say_heading(&mut self) -> std::io::Result<()> {
        self.heading.take().map_or(Ok(()), |text| self.say(&text))
    }
    /// From now on lines are written above this display.
    pub fn above(&mut self, progress: &Arc<Progress>) {
        self.progress = Some(Arc::clone(progress));
    }
    /// Makes a name known, so that prefixes are padded to the longest of all.
    pub fn add(&mut self, name: &str) {
        self.lines.add(name);
    }
    /// From now on only lines with this text are shown.
    pub fn filter(&mut self, text: String) {
        self.filter = text;
    }
    /// From now on only lines of one service are shown, or of all again. The menu must be told besides.
    pub fn focus(&mut self, focus: Option<Focus>) {
        if let (None, Some(menu)) = (&focus, self.menu()) {
            menu.focus(None);
        }
        self.focus = focus;
    }
    /// What is focused.
    pub fn focused(&self) -> Option<&Focus> {
        self.focus.as_ref()
    }
    /// From now on a menu stands below the lines.
    pub fn with_menu(&mut self, menu: Menu) {
        self.menu = Some((menu, None));
    }
    /// The menu, if there is one.
    pub fn menu(&mut self) -> Option<&mut Menu> {
        self.menu.as_mut().map(|(menu, _)| menu)
    }
    /// Takes the menu away for good.
    pub fn close_menu(&mut self) {
        self.hide_menu();
        self.menu = None;
    }
    /// Clears the menu's line until something is written, or [`Printer::draw_menu`].
    pub fn hide_menu(&mut self) {
        if let Some((_, shown @ Some(_))) = &mut self.menu {
            *shown = None;
            // A closed output is seen with the next line.
            let _ = write_out("\r\x1b[J");
        }
    }
    /// Draws the menu as it is now.
    pub fn draw_menu(&mut self) {
        if let Some((menu, shown)) = &mut self.menu {
            let columns = usize::from(console::Term::stdout().size().1);
            *shown = Some(columns);
            let line = menu.line(columns.saturating_sub(1));
            // The cursor stays in front: what others write covers the line.
            let _ = write_out(format!("\r\x1b[J{line}\r"));
        }
    }
    /// Draws the menu again if the window has another width now.
    pub fn refit_menu(&mut self) {
        let columns = usize::from(console::Term::stdout().size().1);
        if self
            .menu
            .as_ref()
            .is_some_and(|(_, shown)| *shown != Some(columns))
        {
            self.draw_menu();
        }
    }
    /// Writes one message.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn print(&mut self, message: &Message) -> std::io::Result<()> {
        self.show(message)?;
        self.flush()
    }
    /// Writes one message, at the latest with [`Printer::flush`].
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn show(&mut self, message: &Message) -> std::io::Result<()> {
        if matches!(message, Message::Line { .. } | Message::Exited { .. }) {
            self.say_heading()?;
        }
        match message {
            Message::Line { name, .. } if self.focus.as_ref().is_some_and(|f| !f.shows(name)) => {
                Ok(())
            }
            Message::Line { name, record } => {
                let text = self
                    .lines
                    .record(name, record.stderr, record.time, &record.line);
                if !has(&text, &self.filter) {
                    return Ok(());
                }
                self.put(record.stderr, &text)
            }
            Message::Exited {
                name,
                code,
                restarting,
                ..
            } => {
                self.rest(name)?;
                if !self.exits {
                    return Ok(());
                }
                let text = self.lines.status(name, &ended(*code, *restarting));
                self.put(false, text.as_bytes())
            }
            Message::Gone { name } => self.rest(name),
            Message::Problem(text) => self.put(true, format!("warning: {text}\n").as_bytes()),
            Message::Text { stderr, text } => self.put(*stderr, text),
            Message::Keys(_) => Ok(()),
            Message::Watch(text) => {
                let text = self.lines.own(text);
                self.put(false, text.as_bytes())?;
                self.flush()
            }
        }
    }
    /// Writes text of the command's own between the lines.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn say(&mut self, text: &str) -> std::io::Result<()> {
        self.put(false, format!("{text}\n").as_bytes())?;
        self.flush()
    }
    /// Writes a line of the command's own to standard error.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn say_aside(&mut self, text: &str) -> std::io::Result<()> {
        self.put(true, text.as_bytes())
    }
    /// Writes what is still held.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn flush(&mut self) -> std::io::Result<()> {
        let text = std::mem::take(&mut self.held);
        self.write(false, &text)
    }
    fn rest(&mut self, name: &str) -> std::io::Result<()> {
        let (out, err) = self.lines.flush(name);
        self.put(false, &out)?;
        self.put(true, &err)
    }
    fn put(&mut self, stderr: bool, text: &[u8]) -> std::io::Result<()> {
        if stderr {
            // Each stream in its order, and one behind the other as they came.
            self.flush()?;
            return self.write(true, text);
        }
        self.held.extend_from_slice(text);
        if self.held.len() < TOGETHER {
            return Ok(());
        }
        self.flush()
    }
    fn write(&mut self, stderr: bool, text: &[u8]) -> std::io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let menu = self.menu.as_ref().is_some_and(|(_, shown)| shown.is_some());
        self.hide_menu();
        let mut result = Ok(());
        let mut write = || {
            if stderr {
                write_err(text);
            } else {
                result = write_out(text);
            }
        };
        match &self.progress {
            Some(progress) => progress.above(&mut write),
            None => write(),
        }
        if menu {
            self.draw_menu();
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::cli::commands::fixture::{FakeEngine, container};
    use crate::engine::state::Exit;
    use crate::plan::desired::passing_name;
    use crate::ui::logs::Look;

    fn scope() -> Scope {
        Scope {
            project: container("a", &[], State::Created).project,
            services: Some(["a".to_owned(), "b".to_owned()].into()),
            index: None,
            query: LogQuery::default(),
            after: Timestamp(100),
        }
    }

    #[test]
    fn lines_come_before_the_end_and_later_containers_are_found() {
        let ended = |at| State::Exited {
            exit: Exit {
                code: Some(3),
                oom: false,
                at: Timestamp(at),
            },
        };
        let engine = Arc::new(FakeEngine {
            containers: Mutex::new(vec![
                container("a", &[], ended(200)),
                container("other", &[], ended(200)),
            ]),
            lines: vec![b"one\n".to_vec(), b"two\n".to_vec()],
        });
        let done = Done::default();
        let messages = follow(
            Arc::clone(&engine) as Arc<dyn Engine>,
            scope(),
            done.clone(),
        );
        let mut told = Vec::new();
        for message in messages {
            match message {
                Message::Line { name, record } => told.push(format!("{name} {:?}", record.line)),
                Message::Exited { name, code, .. } => {
                    told.push(format!("{name} ended {code}"));
                    if name == "a-1" {
                        // One that ended before `after` is shown, but its end is old news.
                        let mut world = engine.containers.lock().unwrap();
                        let mut late = container("b", &[], ended(50));
                        late.id = ContainerId::new("b");
                        world.push(late);
                    }
                }
                Message::Gone { name } => told.push(format!("{name} gone")),
                Message::Problem(text) | Message::Watch(text) => told.push(text),
                Message::Text { .. } | Message::Keys(_) => {}
            }
            if told.iter().filter(|text| text.starts_with("b-1")).count() == 2 {
                done.tell();
            }
        }
        let of = |name: &str| {
            told.iter()
                .filter(|t| t.starts_with(name))
                .cloned()
                .collect::<Vec<_>>()
        };
        let one = format!("{:?}", b"one\n");
        let two = format!("{:?}", b"two\n");
        assert_eq!(
            of("a-1"),
            [
                format!("a-1 {one}"),
                format!("a-1 {two}"),
                "a-1 ended 3".into(),
                "a-1 gone".into()
            ]
        );
        assert_eq!(
            of("b-1"),
            [
                format!("b-1 {one}"),
                format!("b-1 {two}"),
                "b-1 gone".into()
            ]
        );
        assert_eq!(told.len(), 7, "{told:?}");
    }

    #[test]
    fn names_lose_the_project_and_index_and_service_choose() {
        let project = container("a", &[], State::Created).project;
        assert_eq!(screen_name(&project, "cref-web-1"), "web-1");
        assert_eq!(screen_name(&project, "own"), "own");
        let id = ContainerId::new("0123456789abcdef");
        let passing = passing_name(&id, "cref-web-1");
        assert_eq!(passing, "0123456789ab_cref-web-1");
        assert_eq!(screen_name(&project, &passing), "web-1");
        let a = container("a", &[], State::Created);
        assert!(scope().covers(&a));
        assert!(
            !Scope {
                index: Some(2),
                ..scope()
            }
            .covers(&a)
        );
        let mut oneoff = a.clone();
        oneoff
            .labels
            .insert("com.docker.compose.oneoff".into(), "True".into());
        assert!(!scope().covers(&oneoff));
    }

    #[test]
    fn an_end_is_told_behind_the_last_line_even_without_line_end() {
        let lines = Lines::new(Look {
            prefix: true,
            ..Look::default()
        });
        let mut printer = Printer::new(lines, None, false);
        let record = LogRecord {
            time: Timestamp(0),
            stderr: false,
            line: b"half".to_vec(),
        };
        printer
            .print(&Message::Line {
                name: "a".into(),
                record,
            })
            .unwrap();
        assert_eq!(printer.lines.flush("a").0, b"a  | half\n");
    }
}
