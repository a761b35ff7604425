//! `plan` and `alpha`.
//!
//! Imports: clap. `alpha` as docker compose; `plan` has the flags of `up` that change what it does.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{MakeArgs, UpArgs};

/// `plan`
#[derive(Debug, Default, Args)]
#[command(
    after_help = "Exit code: 0 when there is nothing to do, 2 when `up` would change something, 1 on errors.\n\n\
                  Examples:\n  hoist plan\n  hoist plan --build web\n  hoist plan --format json | jq '.items[].action'\n  \
                  hoist plan --format svg -o plan.svg"
)]
pub struct PlanArgs {
    /// What it shares with `up`.
    #[command(flatten)]
    pub make: MakeArgs,
    /// Leave out the services these depend on
    #[arg(long)]
    pub no_deps: bool,
    /// Containers would be made, but not started
    #[arg(long)]
    pub no_start: bool,
    /// Dependencies would be made anew, too
    #[arg(long, conflicts_with = "no_recreate")]
    pub always_recreate_deps: bool,
    /// New anonymous volumes instead of those of the containers before
    #[arg(short = 'V', long)]
    pub renew_anon_volumes: bool,
    /// text, json, mermaid, dot or svg
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: String,
    /// Write to a file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl PlanArgs {
    /// The `up` that is planned.
    pub fn up(self) -> (UpArgs, String, Option<PathBuf>) {
        let up = UpArgs {
            make: self.make,
            detach: true,
            no_deps: self.no_deps,
            no_start: self.no_start,
            always_recreate_deps: self.always_recreate_deps,
            renew_anon_volumes: self.renew_anon_volumes,
            ..UpArgs::default()
        };
        (up, self.format, self.output)
    }
}

/// `alpha`
#[derive(Debug, Args)]
pub struct AlphaArgs {
    /// The command.
    #[command(subcommand)]
    pub command: AlphaCommand,
}

/// Commands of `alpha`.
#[derive(Debug, Subcommand)]
pub enum AlphaCommand {
    /// Draw the services in Graphviz's language (see `graph` for more)
    Viz(VizArgs),
    /// Set how many containers services have
    Scale(super::ScaleArgs),
    /// Write a compose file from containers
    Generate(super::GenerateArgs),
    /// Show what another command would do
    DryRun(super::DryRunArgs),
}

/// `alpha viz`
#[derive(Debug, Args)]
pub struct VizArgs {
    /// With the images of services
    #[arg(long)]
    pub image: bool,
    /// So many tabs or spaces before a line
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub indentation_size: usize,
    /// With the networks of services
    #[arg(long)]
    pub networks: bool,
    /// With the ports of services
    #[arg(long)]
    pub ports: bool,
    /// Spaces before a line, not tabs
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub spaces: Option<bool>,
    /// Accepted for docker compose's sake: all services are drawn
    #[arg(hide = true)]
    pub services: Vec<String>,
}
