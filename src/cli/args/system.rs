//! The commands below `system`, and `volumes`.
//!
//! Imports: clap. As Docker: `docker system df`, `docker system prune`, `docker compose volumes`; `check` is ours.

use clap::{Args, Subcommand};

/// `system`
#[derive(Debug, Args)]
pub struct SystemArgs {
    /// What to do
    #[command(subcommand)]
    pub command: SystemCommand,
}

/// Commands on all that hoist keeps.
#[derive(Debug, Subcommand)]
pub enum SystemCommand {
    /// Look whether every image is whole
    Check(SystemCheckArgs),
    /// Show what takes how much of the disk
    Df(SystemDfArgs),
    /// Remove what nothing uses
    Prune(SystemPruneArgs),
}

/// `system check`
#[derive(Debug, Default, Args)]
pub struct SystemCheckArgs {
    /// Compare every byte with its digest
    #[arg(long)]
    pub deep: bool,
}

/// `system df`
#[derive(Debug, Default, Args)]
pub struct SystemDfArgs {
    /// `table`, `json`, or a Go template
    #[arg(long, default_value = "table")]
    pub format: String,
    /// Every image, container, volume and result of a build step
    #[arg(short, long)]
    pub verbose: bool,
    /// By project and service, as it is allocated on the disk
    #[arg(long, conflicts_with = "verbose")]
    pub project: bool,
}

/// `system prune`
#[derive(Debug, Default, Args)]
pub struct SystemPruneArgs {
    /// All images that no container uses, and all of the build cache
    #[arg(short, long)]
    pub all: bool,
    /// Only some: `until=24h`, `label=…`, `label!=…`
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Don't ask
    #[arg(short, long)]
    pub force: bool,
    /// Anonymous volumes that no container uses, too
    #[arg(long)]
    pub volumes: bool,
    /// Budget
    #[command(flatten)]
    pub budget: BudgetArgs,
}

/// How much may stay.
#[derive(Debug, Default, Args)]
pub struct BudgetArgs {
    /// Leave so much
    #[arg(long, value_name = "SIZE", alias = "keep-storage")]
    pub reserved_space: Option<String>,
    /// Leave no more than so much
    #[arg(long, value_name = "SIZE")]
    pub max_used_space: Option<String>,
    /// Make so much of the disk free
    #[arg(long, value_name = "SIZE")]
    pub min_free_space: Option<String>,
}

/// `volumes`
#[derive(Debug, Default, Args)]
pub struct VolumesArgs {
    /// `table`, `json`, or a Go template
    #[arg(long, default_value = "table")]
    pub format: String,
    /// Names only
    #[arg(short, long)]
    pub quiet: bool,
    /// Services; all when none is named
    pub services: Vec<String>,
}
