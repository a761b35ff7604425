//! What the user asked of a command, as values.
//!
//! Imports: `base`, `compose::model`, `plan`.

use crate::compose::model::PullPolicy;
use crate::plan::BuildTweaks;
use crate::plan::policy::{BuildChoice, ImagePolicy, PullView, UpPolicy};

pub use crate::plan::policy::{
    DownPolicy as DownOptions, KillPolicy as KillOptions, PausePolicy as PauseOptions,
    PushView as PushOptions, RmPolicy as RmOptions, StartPolicy as StartOptions,
    StopPolicy as StopOptions,
};

/// What `up` and `create` were asked.
#[derive(Debug, Clone, Default)]
pub struct UpOptions {
    /// What decides what is done.
    pub policy: UpPolicy,
    /// How images are got.
    pub images: ImagePolicy,
    /// No layer-by-layer progress of pulls.
    pub quiet_pull: bool,
    /// No output of build steps.
    pub quiet_build: bool,
    /// Whether programs that know configs and secrets are run. Without them their contents count as unchanged.
    pub ask: bool,
}

/// What `build` was asked.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Only these services; empty is all that have a `build`.
    pub services: Vec<String>,
    /// What it was asked beyond what services say.
    pub tweaks: BuildTweaks,
    /// `--quiet`.
    pub quiet: bool,
}

impl BuildOptions {
    pub(super) fn as_up(&self) -> UpOptions {
        UpOptions {
            images: ImagePolicy {
                build: BuildChoice::Always,
                pull: None,
            },
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
            policy: self.policy,
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
    /// All services that the files declare: containers of others are orphans. None is one while this is empty.
    pub declared: Vec<String>,
    /// `--remove-orphans`.
    pub remove_orphans: bool,
    /// `COMPOSE_IGNORE_ORPHANS`.
    pub ignore_orphans: bool,
    /// `--quiet-pull`.
    pub quiet_pull: bool,
    /// `--quiet-build`.
    pub quiet_build: bool,
}
