//! `pause`, `unpause`, `wait`, `scale`, `attach`, `events`, `stats`, `live`, `alpha dry-run`.
//!
//! Imports: clap.

use clap::{ArgAction, Args};

/// `wait`
#[derive(Debug, Default, Args)]
pub struct WaitArgs {
    /// Take the project down when the first container has ended
    #[arg(long)]
    pub down_project: bool,
    /// Services
    #[arg(required = true)]
    pub services: Vec<String>,
}

/// `scale`
#[derive(Debug, Default, Args)]
pub struct ScaleArgs {
    /// Don't start the services these depend on
    #[arg(long)]
    pub no_deps: bool,
    /// So many containers of a service
    #[arg(value_name = "SERVICE=REPLICAS", required = true)]
    pub services: Vec<String>,
}

/// `attach`
#[derive(Debug, Default, Args)]
pub struct AttachArgs {
    /// Keys that end this command and leave the container running [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Which of the service's containers, from 1
    #[arg(long, value_name = "N")]
    pub index: Option<u32>,
    /// Don't pass standard input on
    #[arg(long)]
    pub no_stdin: bool,
    /// Pass signals on to the container [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set, value_name = "BOOL")]
    pub sig_proxy: Option<bool>,
    /// The service
    pub service: String,
}

/// `events`
#[derive(Debug, Default, Args)]
pub struct EventsArgs {
    /// A JSON object an event
    #[arg(long)]
    pub json: bool,
    /// Events since this time first: `2026-01-02T13:23:37Z`, or how long ago: `42m`
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// No events after this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Services; all when none is named
    pub services: Vec<String>,
}

/// `stats`
#[derive(Debug, Default, Args)]
pub struct StatsArgs {
    /// Containers that don't run, too
    #[arg(short, long)]
    pub all: bool,
    /// `table`, `json`, `table TEMPLATE` or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "")]
    pub format: String,
    /// Print once and end
    #[arg(long)]
    pub no_stream: bool,
    /// Don't cut ids
    #[arg(long)]
    pub no_trunc: bool,
    /// The service; all when none is named
    pub service: Option<String>,
}

/// `live`
#[derive(Debug, Default, Args)]
pub struct LiveArgs {
    /// So many of the last lines of each container at first, or `all`
    #[arg(short = 'n', long, value_name = "NUMBER", default_value = "100")]
    pub tail: String,
    /// Services; all when none is named
    pub services: Vec<String>,
}

/// `alpha dry-run`
#[derive(Debug, Default, Args)]
pub struct DryRunArgs {
    /// The command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub command: Vec<String>,
}
