//! What the user asked of a decision, as values.
//!
//! Imports: `base`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::name::ContainerId;
use crate::base::scalar::Signal;
use crate::compose::model::PullPolicy;

/// When `up` builds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BuildChoice {
    /// An image that is not here and that the registry does not give.
    #[default]
    Missing,
    /// Every service that has a `build` (`--build`).
    Always,
    /// Nothing (`--no-build`): a missing image is an error.
    Never,
}

/// How images are got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImagePolicy {
    /// When images are built.
    pub build: BuildChoice,
    /// Replaces every service's own `pull_policy`.
    pub pull: Option<PullPolicy>,
}

/// Which existing containers are replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Recreate {
    /// Those that are not as the project says.
    #[default]
    Changed,
    /// All.
    Force,
    /// None.
    Never,
}

/// Images that `down` removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rmi {
    /// Images that hoist named itself.
    Local,
    /// All images of the project's services.
    All,
}

/// How `up` and `create` decide.
#[derive(Debug, Clone, Default)]
pub struct UpPolicy {
    /// Services named on the command line; empty is all. Others of the project are dependencies.
    pub services: Vec<String>,
    /// All services the files declare, selected or not. Containers of others are orphans; when it is empty
    /// and `services` is not, nothing is taken for one.
    pub declared: Vec<String>,
    /// Which existing containers are replaced; for dependencies see `recreate_deps`.
    pub recreate: Recreate,
    /// `--always-recreate-deps`: dependencies of named services are replaced in any case.
    pub recreate_deps: bool,
    /// `-y`: volumes that have changed in the file are made anew, without their data.
    pub renew_volumes: bool,
    /// `-V`: anonymous volumes are not handed on.
    pub renew_anonymous: bool,
    /// Replaces every container's own stop grace period.
    pub timeout: Option<Duration>,
    /// Orphans are removed.
    pub remove_orphans: bool,
    /// Orphans are not even warned about (`COMPOSE_IGNORE_ORPHANS`).
    pub ignore_orphans: bool,
    /// Containers are made but not started (`create`, `--no-start`).
    pub create_only: bool,
    /// The end is waited for.
    pub wait: bool,
    /// How long at most.
    pub wait_timeout: Option<Duration>,
}

impl UpPolicy {
    /// Which containers of `service` are replaced. As Compose: `--force-recreate` is for named services.
    pub fn recreate(&self, service: &str) -> Recreate {
        let named = self.services.is_empty() || self.services.iter().any(|name| name == service);
        match self.recreate {
            Recreate::Never => Recreate::Never,
            recreate if named => recreate,
            _ if self.recreate_deps => Recreate::Force,
            _ => Recreate::Changed,
        }
    }
}

/// How `down` decides.
#[derive(Debug, Clone, Default)]
pub struct DownPolicy {
    /// Only these services; empty is all.
    pub services: Vec<String>,
    /// Orphans are removed too.
    pub remove_orphans: bool,
    /// Orphans are not even warned about.
    pub ignore_orphans: bool,
    /// Volumes are removed too.
    pub volumes: bool,
    /// Replaces every container's own stop grace period.
    pub timeout: Option<Duration>,
    /// Images that are removed too.
    pub rmi: Option<Rmi>,
}

/// How `stop` and `restart` decide.
#[derive(Debug, Clone, Default)]
pub struct StopPolicy {
    /// Only these services; empty is all.
    pub services: Vec<String>,
    /// Replaces every container's own stop grace period.
    pub timeout: Option<Duration>,
    /// `restart --no-deps`: dependents that ask for a restart are left alone.
    pub no_deps: bool,
}

/// How `start` decides.
#[derive(Debug, Clone, Default)]
pub struct StartPolicy {
    /// Only these services; empty is all.
    pub services: Vec<String>,
    /// The end is waited for: all run, or are healthy where they have a probe.
    pub wait: bool,
    /// How long at most.
    pub wait_timeout: Option<Duration>,
}

/// How `rm` decides.
#[derive(Debug, Clone, Default)]
pub struct RmPolicy {
    /// Only these services; empty is all.
    pub services: Vec<String>,
    /// Running containers are stopped and removed too.
    pub stop: bool,
    /// Anonymous volumes are removed too.
    pub volumes: bool,
    /// None but these.
    pub only: Option<BTreeSet<ContainerId>>,
}

/// How `kill` decides.
#[derive(Debug, Clone)]
pub struct KillPolicy {
    /// Only these services; empty is all.
    pub services: Vec<String>,
    /// The signal.
    pub signal: Signal,
    /// Orphans are killed too.
    pub orphans: bool,
}

/// How `pause` and `unpause` decide.
#[derive(Debug, Clone, Default)]
pub struct PausePolicy {
    /// Only these services; empty is all.
    pub services: Vec<String>,
    /// Whether containers are frozen, or go on.
    pub frozen: bool,
}

/// How `pull` decides.
#[derive(Debug, Clone, Default)]
pub struct PullView {
    /// Only these services; empty is all.
    pub services: Vec<String>,
    /// Dependencies of named services too.
    pub include_deps: bool,
    /// Services with a `build` are left out.
    pub ignore_buildable: bool,
    /// A failure is only a warning.
    pub ignore_failures: bool,
    /// Replaces every service's own `pull_policy`.
    pub policy: Option<PullPolicy>,
}

/// How `push` decides.
#[derive(Debug, Clone, Default)]
pub struct PushView {
    /// Only these services; empty is all.
    pub services: Vec<String>,
    /// Dependencies of named services too.
    pub include_deps: bool,
    /// A failure is only a warning.
    pub ignore_failures: bool,
}
