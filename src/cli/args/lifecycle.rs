//! Commands that start, stop and remove what is there.
//!
//! Imports: clap. As docker compose.

use clap::Args;

/// `start`
#[derive(Debug, Default, Args)]
pub struct StartArgs {
    /// Wait until services run or are healthy
    #[arg(long)]
    pub wait: bool,
    /// Seconds to wait at most
    #[arg(long, value_name = "SECONDS")]
    pub wait_timeout: Option<u64>,
    /// Services; all when none is named
    pub services: Vec<String>,
}

/// `stop`
#[derive(Debug, Default, Args)]
pub struct StopArgs {
    /// Seconds a container has to stop
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub timeout: Option<i64>,
    /// Services; all when none is named
    pub services: Vec<String>,
}

/// `restart`
#[derive(Debug, Default, Args)]
pub struct RestartArgs {
    /// Seconds a container has to stop
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub timeout: Option<i64>,
    /// Leave services that depend on these alone
    #[arg(long)]
    pub no_deps: bool,
    /// Services; all when none is named
    pub services: Vec<String>,
}

/// `kill`
#[derive(Debug, Default, Args)]
pub struct KillArgs {
    /// The signal
    #[arg(short, long, default_value = "SIGKILL")]
    pub signal: String,
    /// Containers of services the files don't have, too
    #[arg(long)]
    pub remove_orphans: bool,
    /// Services; all when none is named
    pub services: Vec<String>,
}

/// `rm`
#[derive(Debug, Default, Args)]
pub struct RmArgs {
    /// Don't ask
    #[arg(short, long)]
    pub force: bool,
    /// Stop running containers first
    #[arg(short, long)]
    pub stop: bool,
    /// Remove anonymous volumes, too
    #[arg(short, long)]
    pub volumes: bool,
    /// Accepted for docker compose's sake
    #[arg(short, long, hide = true)]
    pub all: bool,
    /// Services; all when none is named
    pub services: Vec<String>,
}
