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
        /// `Downloading`, `Extracting`, `Pull complete`, `Already exists`; `Preparing`, `Pushing`, `Pushed`, `Mounted`,
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
    /// A line for the user that belongs to nothing above.
    Notice(String),
    /// A warning for the user that belongs to nothing above.
    Warn(String),
}

/// What happened to a build step.
#[derive(Debug, Clone)]
pub enum BuildStep {
    /// It began: `[build 2/4] RUN make`.
    Started(String),
    /// A line of its output, without the line end.
    Output(String),
    /// Its result was known.
    Cached,
    /// It ended after so many seconds.
    Done(f64),
    /// It failed.
    Failed(String),
}

/// Whether a phase of [`Event::Pull`] is the last one of its layer.
pub fn is_last_phase(phase: &str) -> bool {
    matches!(
        phase,
        "Pull complete" | "Already exists" | "Pushed" | "Mounted" | "Layer already exists"
    )
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
