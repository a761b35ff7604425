//! What the user asked of a command, as values.
//!
//! Imports: `base`, `compose::model`, `plan`.

use std::time::Duration;

use crate::base::scalar::Signal;
use crate::compose::model::PullPolicy;
use crate::plan::policy::{
    BuildChoice, DownPolicy, KillView, PullView, Recreate, RestartView, RmView, Rmi, UpPolicy,
};

/// What `up` and `create` were asked.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// Services named on the command line; empty is all. Others of the project are dependencies.
    pub services: Vec<String>,
    /// All services the files declare, selected or not. Containers of others are orphans; when it is empty
    /// and `services` is not, nothing is taken for one.
    pub declared: Vec<String>,
    /// When images are built.
    pub build: BuildChoice,
    /// `--pull`, over every service's own `pull_policy`.
    pub pull: Option<PullPolicy>,
    /// Which existing containers are replaced; for dependencies see `recreate_deps`.
    pub recreate: Recreate,
    /// `--always-recreate-deps`: `recreate` is for dependencies too, not only for named services.
    pub recreate_deps: bool,
    /// `-V`: anonymous volumes are not handed on.
    pub renew_anonymous: bool,
    /// Replaces every container's own stop grace period.
    pub timeout: Option<Duration>,
    /// Containers of services the project does not have are removed.
    pub remove_orphans: bool,
    /// … or not even warned about (`COMPOSE_IGNORE_ORPHANS`).
    pub ignore_orphans: bool,
    /// Whether containers are started (`up`) or only created (`create`, `--no-start`).
    pub start: bool,
    /// Whether to wait until all are running or healthy.
    pub wait: bool,
    /// How long at most.
    pub wait_timeout: Option<Duration>,
    /// No layer-by-layer progress of pulls.
    pub quiet_pull: bool,
    /// No output of build steps.
    pub quiet_build: bool,
}

impl Default for UpOptions {
    fn default() -> Self {
        Self {
            services: Vec::new(),
            declared: Vec::new(),
            build: BuildChoice::Missing,
            pull: None,
            recreate: Recreate::Changed,
            recreate_deps: false,
            renew_anonymous: false,
            timeout: None,
            remove_orphans: false,
            ignore_orphans: false,
            start: true,
            wait: false,
            wait_timeout: None,
            quiet_pull: false,
            quiet_build: false,
        }
    }
}

impl UpOptions {
    pub(super) fn policy(&self) -> UpPolicy {
        UpPolicy {
            services: self.services.clone(),
            declared: self.declared.clone(),
            recreate: self.recreate,
            recreate_deps: self.recreate_deps,
            renew_anonymous: self.renew_anonymous,
            timeout: self.timeout,
            remove_orphans: self.remove_orphans,
            ignore_orphans: self.ignore_orphans,
            start: self.start,
            wait: self.wait,
            wait_timeout: self.wait_timeout,
        }
    }
}

/// What `down` was asked.
#[derive(Debug, Clone, Default)]
pub struct DownOptions {
    /// Only these services; empty is all of the project.
    pub services: Vec<String>,
    /// Containers of services the project does not have go too.
    pub remove_orphans: bool,
    /// No warning about those that stay.
    pub ignore_orphans: bool,
    /// Named volumes of the project and anonymous ones go too.
    pub volumes: bool,
    /// Replaces every container's own stop grace period.
    pub timeout: Option<Duration>,
    /// Images that go too.
    pub rmi: Option<Rmi>,
}

impl DownOptions {
    pub(super) fn policy(&self) -> DownPolicy {
        DownPolicy {
            services: self.services.clone(),
            remove_orphans: self.remove_orphans,
            ignore_orphans: self.ignore_orphans,
            volumes: self.volumes,
            timeout: self.timeout,
            rmi: self.rmi,
        }
    }
}

/// What `build` was asked.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Only these services; empty is all that have a `build`.
    pub services: Vec<String>,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--pull`: base images are looked for again.
    pub pull: bool,
    /// `--build-arg`; `None` takes the command's own environment.
    pub args: Vec<(String, Option<String>)>,
    /// `--quiet`.
    pub quiet: bool,
}

impl BuildOptions {
    pub(super) fn as_up(&self) -> UpOptions {
        UpOptions {
            build: BuildChoice::Always,
            quiet_build: self.quiet,
            ..UpOptions::default()
        }
    }
}

/// What `pull` was asked.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Only these services; empty is all.
    pub services: Vec<String>,
    /// `--include-deps`.
    pub include_deps: bool,
    /// `--ignore-buildable`.
    pub ignore_buildable: bool,
    /// `--ignore-pull-failures`.
    pub ignore_failures: bool,
    /// `--policy`.
    pub policy: Option<PullPolicy>,
    /// `--quiet`.
    pub quiet: bool,
}

impl PullOptions {
    pub(super) fn view(&self) -> PullView {
        PullView {
            services: self.services.clone(),
            include_deps: self.include_deps,
            ignore_buildable: self.ignore_buildable,
            ignore_failures: self.ignore_failures,
        }
    }
}

/// What `stop` and `restart` were asked.
#[derive(Debug, Clone, Default)]
pub struct StopOptions {
    /// Only these services; empty is all.
    pub services: Vec<String>,
    /// Replaces every container's own stop grace period.
    pub timeout: Option<Duration>,
    /// `restart --no-deps`: dependents that ask for a restart are left alone.
    pub no_deps: bool,
}

impl StopOptions {
    pub(super) fn view(&self) -> RestartView<'_> {
        RestartView {
            services: &self.services,
            timeout: self.timeout,
            dependents: !self.no_deps,
        }
    }
}

/// What `rm` was asked.
#[derive(Debug, Clone, Default)]
pub struct RmOptions {
    /// Only these services; empty is all.
    pub services: Vec<String>,
    /// Running containers are stopped first.
    pub stop: bool,
    /// Anonymous volumes go too.
    pub volumes: bool,
}

impl RmOptions {
    pub(super) fn view(&self) -> RmView {
        RmView {
            services: self.services.clone(),
            stop: self.stop,
            volumes: self.volumes,
        }
    }
}

/// What `kill` was asked.
#[derive(Debug, Clone)]
pub struct KillOptions {
    /// Only these services; empty is all.
    pub services: Vec<String>,
    /// The signal.
    pub signal: Signal,
    /// Containers of services the project does not have are killed too.
    pub remove_orphans: bool,
}

impl KillOptions {
    pub(super) fn view(&self) -> KillView {
        KillView {
            services: self.services.clone(),
            signal: self.signal,
            orphans: self.remove_orphans,
        }
    }
}

/// What `run` was asked.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The command; empty keeps the service's.
    pub command: Vec<String>,
    /// Replaces the entry point; `Some(empty)` drops it.
    pub entrypoint: Option<Vec<String>>,
    /// `-e`: `None` takes the command's own environment.
    pub env: Vec<(String, Option<String>)>,
    /// `-u`.
    pub user: Option<String>,
    /// `-w`.
    pub workdir: Option<String>,
    /// `-v`, parsed as `volumes` of a service is.
    pub volumes: Vec<crate::compose::model::VolumeMount>,
    /// `-p`, parsed as `ports` of a service is.
    pub publish: Vec<crate::compose::model::Port>,
    /// `-P`: the service's own ports are published.
    pub service_ports: bool,
    /// `--name`.
    pub name: Option<String>,
    /// `-l`.
    pub labels: Vec<(String, String)>,
    /// A terminal.
    pub tty: bool,
    /// Standard input stays open.
    pub stdin: bool,
    /// `-d`: nobody is attached.
    pub detach: bool,
    /// `--rm`. The caller removes the container after its end; kept as a fact for the label only.
    pub rm: bool,
    /// `--no-deps`.
    pub no_deps: bool,
    /// `--use-aliases`: the service's network aliases.
    pub use_aliases: bool,
    /// When images are built.
    pub build: BuildChoice,
    /// `--pull`.
    pub pull: Option<PullPolicy>,
    /// `--cap-add`.
    pub cap_add: Vec<String>,
    /// `--cap-drop`.
    pub cap_drop: Vec<String>,
    /// `--remove-orphans`.
    pub remove_orphans: bool,
    /// `COMPOSE_IGNORE_ORPHANS`.
    pub ignore_orphans: bool,
    /// `--quiet-pull`.
    pub quiet_pull: bool,
    /// `--quiet-build`.
    pub quiet_build: bool,
}
