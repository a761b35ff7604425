//! Why an action is in a plan, with old and new.
//!
//! Imports: `base`, `engine::state`.

use std::fmt;

use crate::base::name::ServiceName;

/// Why an action is in the plan; one phrase each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It is not there.
    Missing,
    /// What the compose file says of it changed.
    SpecChanged(Vec<Change>),
    /// It was made from another image than the name means now.
    ImageChanged {
        /// Short id it was made from.
        was: String,
        /// Short id now.
        now: String,
    },
    /// Its image is being pulled or built.
    ImagePending,
    /// The variables it gets of a provider or of models are being made.
    Provided,
    /// The user asked for new containers.
    Forced,
    /// It shares something with a service that is replaced, or asks to be restarted with it.
    DependencyReplaced {
        /// That service.
        service: ServiceName,
    },
    /// A network or volume it uses is made anew, or another one is used now.
    Rewired {
        /// Its name.
        name: String,
    },
    /// It does not run.
    NotRunning {
        /// `created`, `exited (3)`.
        state: String,
    },
    /// It was just created or replaced.
    New,
    /// A removal of it was cut short, or a replacement left it behind.
    Leftover,
    /// More containers than `scale` asks for.
    Excess {
        /// How many are wanted.
        scale: u32,
    },
    /// The project has no such service any more.
    Orphan,
    /// The user asked for it.
    Asked,
    /// Others wait for it.
    NeededBy {
        /// One that waits.
        service: ServiceName,
    },
    /// `pull_policy` or `--pull` says so.
    PullPolicy,
    /// The service is to be built each time.
    BuildAsked,
}

/// One difference between what a container was made from and what the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `environment.V`.
    pub path: String,
    /// The old value, unless it was not there or is not for showing.
    pub was: Option<String>,
    /// The new value, unless it is gone or is not for showing.
    pub now: Option<String>,
}

impl Cause {
    /// The same as one word that programs compare: it never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::SpecChanged(_) => "configuration_changed",
            Self::ImageChanged { .. } => "image_changed",
            Self::ImagePending => "image_pending",
            Self::Provided => "variables_pending",
            Self::Forced => "forced",
            Self::DependencyReplaced { .. } => "dependency_replaced",
            Self::Rewired { .. } => "resource_changed",
            Self::NotRunning { .. } => "not_running",
            Self::New => "new",
            Self::Leftover => "left_over",
            Self::Excess { .. } => "scaled_down",
            Self::Orphan => "orphan",
            Self::Asked => "asked_for",
            Self::NeededBy { .. } => "needed",
            Self::PullPolicy => "pull_policy",
            Self::BuildAsked => "build_asked_for",
        }
    }
    /// What changed, key by key, where that is known.
    pub fn changes(&self) -> &[Change] {
        match self {
            Self::SpecChanged(changes) => changes,
            _ => &[],
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.was, &self.now) {
            (Some(was), Some(now)) => write!(f, "{} changed: {was} → {now}", self.path),
            (None, Some(now)) => write!(f, "{} added: {now}", self.path),
            (Some(was), None) => write!(f, "{} removed: {was}", self.path),
            (None, None) => write!(f, "{} changed", self.path),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::SpecChanged(changes) => match changes.as_slice() {
                [] => f.write_str("configuration changed"),
                [one] => one.fmt(f),
                [one, two] => write!(f, "{one}, {two}"),
                [one, two, rest @ ..] => write!(f, "{one}, {two}, and {} more", rest.len()),
            },
            Self::ImageChanged { was, now } => write!(f, "image changed: {was} → {now}"),
            Self::ImagePending => f.write_str("image is new"),
            Self::Provided => f.write_str("variables are new"),
            Self::Forced => f.write_str("asked for anew"),
            Self::DependencyReplaced { service } => write!(f, "`{service}` is replaced"),
            Self::Rewired { name } => write!(f, "`{name}` changed"),
            Self::NotRunning { state } => f.write_str(state),
            Self::New => f.write_str("new"),
            Self::Leftover => f.write_str("left over"),
            Self::Excess { scale } => write!(f, "scale is {scale}"),
            Self::Orphan => f.write_str("orphan"),
            Self::Asked => f.write_str("asked for"),
            Self::NeededBy { service } => write!(f, "needed by `{service}`"),
            Self::PullPolicy => f.write_str("pull policy"),
            Self::BuildAsked => f.write_str("build asked for"),
        }
    }
}
