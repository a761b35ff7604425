//! `watch`.
//!
//! Imports: clap.

use clap::Args;

/// `watch`
#[derive(Debug, Default, Args)]
pub struct WatchArgs {
    /// Don't build and start the services first
    #[arg(long)]
    pub no_up: bool,
    /// Remove the image of before when a rebuild has taken its name
    #[arg(
        long,
        default_value = "true",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    pub prune: bool,
    /// Don't show what builds print
    #[arg(long)]
    pub quiet: bool,
    /// Services; all when none is named
    pub services: Vec<String>,
}
