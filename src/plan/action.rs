//! What a plan consists of: actions with exactly the fields each needs, and what their edges wait for.
//!
//! Imports: `base`, `engine::spec`, `cause`, `hooks`, `rollout`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::cause::Cause;
use super::hooks::Hook;
use super::rollout::{Policy, Roll};
use crate::base::name::{ContainerId, ServiceName};
use crate::base::scalar::Signal;
use crate::engine::spec::{NetworkSpec, VolumeSpec};
use crate::image::digest::Digest;

/// One action and why it is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// Why.
    pub cause: Cause,
    /// Empty: it is always done. Else only if one of these images turns out to be another one.
    pub only_if: Vec<ImageChange>,
}

impl Step {
    /// A step that is always done.
    pub fn new(action: Action, cause: Cause) -> Self {
        Self {
            action,
            cause,
            only_if: Vec::new(),
        }
    }
    /// The cause as one phrase, with the condition if there is one.
    pub fn cause_text(&self) -> String {
        let cause = self.cause.to_string();
        match self.condition_text() {
            Some(condition) => format!("{cause}, if {condition}"),
            None => cause,
        }
    }
    /// On which condition it is done at all: `the image of `web` changes`.
    pub fn condition_text(&self) -> Option<String> {
        if self.only_if.is_empty() {
            return None;
        }
        let of = |provided: bool| {
            let changes = self
                .only_if
                .iter()
                .filter(|change| change.provided == provided);
            let mut names: Vec<&str> = changes.map(|change| change.service.as_str()).collect();
            names.dedup();
            names.join("` or `").replace(":models", "models")
        };
        let (images, provided) = (of(false), of(true));
        let images = (!images.is_empty()).then(|| format!("the image of `{images}` changes"));
        let provided =
            (!provided.is_empty()).then(|| format!("what `{provided}` provides changes"));
        let both: Vec<String> = images.into_iter().chain(provided).collect();
        Some(both.join(" or "))
    }
}

/// An image that is pulled or built by the same plan, or variables that it gets of a program, and what the container
/// has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageChange {
    /// Whose image.
    pub service: ServiceName,
    /// The id that a container of it was made from; of variables, their digest.
    pub was: Digest,
    /// Whether it is about variables.
    pub provided: bool,
}

/// A container the plan speaks of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    /// Its service.
    pub service: ServiceName,
    /// Its number, from 1.
    pub number: u32,
    /// Its name; after the plan has run, if the plan renames it.
    pub name: String,
    /// Its id, if it exists already and stays.
    pub id: Option<ContainerId>,
}

/// The container that a [`Action::Replace`] takes away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Old {
    /// Its id.
    pub id: ContainerId,
    /// Its name now.
    pub name: String,
}

/// What a [`Action::Wait`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitFor {
    /// Its probe passes.
    Healthy,
    /// It ends with exit code 0.
    Completed,
    /// It runs, and its probe passes if it has one (`up --wait`). `done` allows an end with exit code 0:
    /// others wait for its completion.
    Up {
        /// Whether an end with exit code 0 is fine.
        done: bool,
    },
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Fetches an image from its registry.
    Pull {
        /// As the user wrote it.
        image: String,
        /// `linux/arm64`, if the service says so.
        platform: Option<String>,
        /// Whether a failure is only a warning.
        tolerate: bool,
    },
    /// Sends an image to its registry.
    Push {
        /// As the user wrote it.
        image: String,
        /// Whether a failure is only a warning.
        tolerate: bool,
    },
    /// Builds the image of a service.
    Build {
        /// The service.
        service: ServiceName,
        /// The name it gets.
        image: String,
        /// Whether the registry is asked first.
        pull_first: bool,
    },
    /// Makes a network.
    CreateNetwork(Box<NetworkSpec>),
    /// Removes a network unless others use it.
    RemoveNetwork {
        /// Full name.
        name: String,
    },
    /// Makes a volume.
    CreateVolume(Box<VolumeSpec>),
    /// Removes a volume unless others use it.
    RemoveVolume {
        /// Full name.
        name: String,
    },
    /// Makes a container.
    Create {
        /// It.
        who: Who,
        /// Anonymous volumes it takes over: target → volume.
        anonymous: BTreeMap<String, String>,
    },
    /// Makes a container under a passing name, stops and removes the old one, and takes its name.
    Replace {
        /// The new one.
        who: Who,
        /// The old one.
        old: Old,
        /// Anonymous volumes it takes over: target → volume.
        anonymous: BTreeMap<String, String>,
        /// Replaces the old one's stop grace period.
        timeout: Option<Duration>,
    },
    /// Replaces a container under a policy: the new one has to prove itself, or the old one serves on.
    Roll(Box<Roll>),
    /// Ends the replacements of a service under a policy, well or not.
    Conclude {
        /// The service.
        service: ServiceName,
        /// How many of its containers were to be replaced.
        total: usize,
        /// What failures mean.
        policy: Policy,
        /// How replaced ones are brought back.
        back: Policy,
    },
    /// Gives a container the name it should have.
    Rename {
        /// It, with the new name.
        who: Who,
    },
    /// Starts a container.
    Start {
        /// It.
        who: Who,
    },
    /// Runs a container of `pre_start` to its end.
    PreStart {
        /// The container it comes before.
        who: Who,
        /// Which entry of `pre_start`, from 0.
        at: usize,
    },
    /// Runs a command in a container, after its start or before its stop.
    Hook {
        /// The container.
        who: Who,
        /// The command.
        hook: Box<Hook>,
    },
    /// Stops a container.
    Stop {
        /// It.
        who: Who,
        /// Replaces its own stop grace period.
        timeout: Option<Duration>,
    },
    /// Sends a container a signal.
    Kill {
        /// It.
        who: Who,
        /// The signal.
        signal: Signal,
    },
    /// Freezes a container where it is, or lets it go on.
    Freeze {
        /// It.
        who: Who,
        /// Whether it is frozen.
        frozen: bool,
    },
    /// Removes a container that does not run any more.
    Remove {
        /// It.
        who: Who,
        /// Whether its anonymous volumes go too.
        volumes: bool,
    },
    /// Waits for a container.
    Wait {
        /// It.
        who: Who,
        /// For what.
        until: WaitFor,
        /// Whether its failure is a failure of the plan; a warning otherwise.
        required: bool,
    },
    /// Has a program of the host provide what a service stands for.
    Provide {
        /// The service.
        service: ServiceName,
        /// The program.
        program: PathBuf,
    },
    /// Has a program of the host take away what it provided.
    Withdraw {
        /// The service.
        service: ServiceName,
        /// The program.
        program: PathBuf,
    },
    /// Has the Docker Model plugin serve the project's models.
    Models {
        /// The plugin.
        program: PathBuf,
    },
    /// Removes an image.
    RemoveImage {
        /// Its name.
        image: String,
    },
}

impl Action {
    /// `create`, `replace`, `start` …
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Pull { .. } => "pull",
            Self::Push { .. } => "push",
            Self::Build { .. } => "build",
            Self::CreateNetwork(_) | Self::CreateVolume(_) | Self::Create { .. } => "create",
            Self::RemoveNetwork { .. }
            | Self::RemoveVolume { .. }
            | Self::Remove { .. }
            | Self::RemoveImage { .. } => "remove",
            Self::Replace { .. } | Self::Roll(_) => "replace",
            Self::Conclude { .. } => "conclude",
            Self::Rename { .. } => "rename",
            Self::Start { .. } => "start",
            Self::PreStart { .. } => "pre_start",
            Self::Hook { hook, .. } => hook.moment.key(),
            Self::Stop { .. } => "stop",
            Self::Kill { .. } => "kill",
            Self::Freeze { frozen: true, .. } => "pause",
            Self::Freeze { frozen: false, .. } => "unpause",
            Self::Wait { .. } => "wait",
            Self::Provide { .. } | Self::Models { .. } => "provide",
            Self::Withdraw { .. } => "withdraw",
        }
    }
    /// Whether it may take long and be ended early.
    pub fn waits(&self) -> bool {
        matches!(
            self,
            Self::Wait { .. } | Self::PreStart { .. } | Self::Roll(_) | Self::Conclude { .. }
        )
    }
    /// `image`, `network`, `volume`, `container`, `service`, `provider`, `model`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pull { .. }
            | Self::Push { .. }
            | Self::Build { .. }
            | Self::RemoveImage { .. } => "image",
            Self::CreateNetwork(_) | Self::RemoveNetwork { .. } => "network",
            Self::CreateVolume(_) | Self::RemoveVolume { .. } => "volume",
            Self::Conclude { .. } => "service",
            Self::Provide { .. } | Self::Withdraw { .. } => "provider",
            Self::Models { .. } => "model",
            _ => "container",
        }
    }
    /// The full name of what it is about.
    pub fn name(&self) -> &str {
        match self {
            Self::Pull { image, .. }
            | Self::Push { image, .. }
            | Self::Build { image, .. }
            | Self::RemoveImage { image } => image,
            Self::CreateNetwork(spec) => &spec.name,
            Self::CreateVolume(spec) => &spec.name,
            Self::RemoveNetwork { name } | Self::RemoveVolume { name } => name,
            Self::Conclude { service, .. } => service.as_str(),
            Self::Provide { service, .. } | Self::Withdraw { service, .. } => service.as_str(),
            Self::Models { .. } => "models",
            _ => self.who().map_or("", |who| &who.name),
        }
    }
    /// The container it is about, if it is about one.
    pub fn who(&self) -> Option<&Who> {
        match self {
            Self::Create { who, .. }
            | Self::Replace { who, .. }
            | Self::Rename { who }
            | Self::Start { who }
            | Self::PreStart { who, .. }
            | Self::Hook { who, .. }
            | Self::Stop { who, .. }
            | Self::Kill { who, .. }
            | Self::Freeze { who, .. }
            | Self::Remove { who, .. }
            | Self::Wait { who, .. } => Some(who),
            Self::Roll(roll) => Some(&roll.who),
            _ => None,
        }
    }
    /// What it is about, as plan texts name it: `web/1`, `network demo_default`.
    pub fn subject(&self) -> String {
        let hook = match self {
            Self::PreStart { at, .. } => format!(" [{at}]"),
            Self::Hook { hook, .. } => format!(" [{}]", hook.at),
            Self::Roll(roll) => format!(" [{}]", roll.policy.word()),
            _ => String::new(),
        };
        match self.who() {
            Some(who) => format!("{}/{}{hook}", who.service, who.number),
            None => format!("{} {}", self.kind(), self.name()),
        }
    }
}

/// What an edge waits for. The waiting itself is an [`Action::Wait`], so each is met once the need is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The need was done.
    Done,
    /// … and its container is healthy.
    Healthy,
    /// … and its container has ended with exit code 0.
    Succeeded,
}
