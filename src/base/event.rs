//! What is happening, told while it happens. Stages send; `ui` shows.
//!
//! Imports: nothing.

/// The kind of thing an [`Event`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An image, by reference.
    Image,
    /// A network, by full name.
    Network,
    /// A volume, by full name.
    Volume,
    /// A container, by name.
    Container,
    /// A service that a program of the host stands in for, by name.
    Provider,
    /// A model, by name.
    Model,
    /// A project in a registry, by reference.
    Artifact,
}

/// Where a thing stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Work has begun; the text is the verb: `Creating`, `Pulling`, `Waiting`.
    Working(&'static str),
    /// Work has ended well: `Created`, `Pulled`, `Healthy`.
    Done(&'static str),
    /// It failed; the text is the error's first line.
    Failed(String),
    /// It went on, but the user should know.
    Warning(String),
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A thing changed its standing. `detail` is the cause, if one is worth telling.
    Resource {
        /// What kind of thing.
        kind: Kind,
        /// Its name as users know it.
        name: String,
        /// Where it stands.
        status: Status,
        /// Why, in a few words: `environment.V changed`.
        detail: Option<String>,
    },
    /// Bytes of one layer of an image that is being pulled or pushed.
    Pull {
        /// The image.
        image: String,
        /// The layer's short digest.
        layer: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, if the registry said so.
        total: Option<u64>,
        /// `Pulling fs layer`, `Waiting`, `Downloading`, `Retrying`, `Download complete`, `Extracting`, `Pull complete`,
        /// `Already exists`; `Preparing`, `Pushing`, `Pushed`, `Mounted`,
        /// `Layer already exists`.
        phase: &'static str,
    },
    /// A step of a build began, printed a line, or ended.
    Build {
        /// The service or tag that is built.
        target: String,
        /// The step, unique within one build, from 1.
        step: u32,
        /// What happened to it.
        what: BuildStep,
    },
    /// A line that a hook printed. Only those who look at the containers' output want it.
    Output {
        /// Whose: `web-1 ->`.
        source: String,
        /// The line, without the line end.
        line: String,
    },
    /// A container that was told to stop ended by force, or late. Told at the end, once a service.
    SlowStop(Box<StopReport>),
    /// A line for the user that belongs to nothing above.
    Notice(String),
    /// A warning for the user that belongs to nothing above.
    Warn(String),
}

/// How a container took it when it was told to stop, where that cost time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StopReport {
    /// Its service.
    pub service: String,
    /// Its name.
    pub container: String,
    /// What it was sent: `SIGTERM`.
    pub signal: String,
    /// From the signal to the end.
    pub seconds: f64,
    /// Whether it was killed when its time was over.
    pub killed: bool,
    /// `unhandled`, `ignored`, `blocked`, `handled`, `unknown`; `slow` where it was not killed.
    pub reason: &'static str,
    /// All that in a sentence.
    pub text: String,
    /// What mends it, an act a line.
    pub hints: Vec<String>,
}

/// What happened to a build step. The first thing told of a step is [`BuildStep::Planned`] or [`BuildStep::Started`], the
/// last one `Cached`, `Done`, `Failed` or
/// `Cancelled`; a step that is planned may never start.
#[derive(Debug, Clone, PartialEq)]
pub enum BuildStep {
    /// It belongs to the build. Told before the first step starts, so that all can be counted.
    Planned {
        /// `[build 2/4] RUN make`.
        title: String,
        /// The stage it is a step of: `build`, `stage-2`, `internal`.
        stage: String,
        /// Steps that it needs, by number.
        inputs: Vec<u32>,
    },
    /// It began: `[build 2/4] RUN make`.
    Started(String),
    /// It waits for something: `a free slot`, `the same step of web`; with `None` it goes on.
    Waiting(Option<String>),
    /// Why its result was not taken from the cache, a reason each: `src/main.rs changed`.
    Because(Vec<String>),
    /// The key that its result is known by.
    Key(String),
    /// How far a part of its work is: a transfer, a scan, an upload.
    Part(Part),
    /// A line of its output, without the line end.
    Output(String),
    /// What stands on the line of output that has not ended yet: a bar that moves, a question. The next one, or the line
    /// itself, takes its place.
    Partial(String),
    /// Something in the file that works and should be different.
    Warned(BuildWarning),
    /// Its result was known.
    Cached,
    /// It ended after so many seconds.
    Done(f64),
    /// It failed.
    Failed(String),
    /// It was ended before it was done, since the build ends.
    Cancelled,
}

/// Whether a phase of [`Event::Pull`] is the last one of its layer.
pub fn is_last_phase(phase: &str) -> bool {
    matches!(
        phase,
        "Pull complete" | "Already exists" | "Pushed" | "Mounted" | "Layer already exists"
    )
}

/// A part of a step's work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// What is done, unique within the step: `transferring context:`, `writing image sha256:…`.
    pub id: String,
    /// How much is done; bytes, unless [`Part::unit`] says otherwise.
    pub current: u64,
    /// How much there is, if that is known.
    pub total: Option<u64>,
    /// What is counted, when it is not bytes: `files`. Empty for bytes.
    pub unit: &'static str,
    /// Whether it has ended.
    pub done: bool,
}

/// Something in a build's file that works and should be different.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildWarning {
    /// `StageNameCasing`.
    pub rule: String,
    /// What is found: `Stage name 'X' should be lowercase`.
    pub message: String,
    /// What the rule is about.
    pub detail: String,
    /// Where the rule is explained; may be empty.
    pub url: String,
    /// The file.
    pub file: String,
    /// The file's text.
    pub text: String,
    /// First and last line, from 1; 0 when it has no place.
    pub lines: (u32, u32),
}

/// Numbers of the steps of every build that no instruction stands for. They count down from the top, so that they never
/// meet those of instructions, which count up from 1.
pub mod internal {
    /// `[internal] load build definition from Dockerfile`.
    pub const DEFINITION: u32 = u32::MAX;
    /// `[internal] load build context`.
    pub const CONTEXT: u32 = u32::MAX - 1;
    /// `exporting to image`.
    pub const EXPORT: u32 = u32::MAX - 2;
    /// `exporting cache`.
    pub const CACHE_EXPORT: u32 = u32::MAX - 3;
    /// `importing cache manifest from …`.
    pub const CACHE_IMPORT: u32 = u32::MAX - 4;
    /// `pushing image`.
    pub const PUSH: u32 = u32::MAX - 5;

    /// `exporting to client directory` and its like: the n-th output of a build.
    pub const fn output(n: u32) -> u32 {
        u32::MAX - 100 - n
    }
    /// `[internal] load metadata for IMAGE`: the n-th image of a build.
    pub const fn metadata(n: u32) -> u32 {
        u32::MAX - 1_000 - n
    }
    /// `[context NAME] load …`: the n-th context with a name.
    pub const fn context(n: u32) -> u32 {
        u32::MAX - 1_000_000 - n
    }
}

/// The stage that a title names: `build` of `[build 2/4] RUN make`.
pub fn stage_of(title: &str) -> String {
    let inside = title
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'));
    let word = inside.and_then(|(inside, _)| inside.split_whitespace().next());
    match word {
        Some(word) if !word.contains('/') => word.to_owned(),
        Some(_) => "steps".to_owned(),
        None => "image".to_owned(),
    }
}

/// Takes events from any thread.
pub trait EventSink: Send + Sync {
    /// Takes one event. Must not block for long.
    fn send(&self, event: Event);
}

/// Drops every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl EventSink for Silent {
    fn send(&self, _: Event) {}
}
