//! The commands of a development environment: hoist's own, docker compose has none of them.
//!
//! Imports: clap.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `init`
#[derive(Debug, Default, Args)]
#[command(
    after_help = "Examples:\n  hoist init                 look at this directory and write what brings it up\n  \
                  hoist init --dry-run api   only show what would be written for ./api"
)]
pub struct InitArgs {
    /// Replace a compose file that is there
    #[arg(long)]
    pub force: bool,
    /// Write without asking
    #[arg(short, long)]
    pub yes: bool,
    /// The directory [default: this one]
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// `snapshot`
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SnapshotCommand,
}

/// `snapshot …`
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Copy the project's volumes; containers that use them are held meanwhile
    #[command(
        after_help = "Examples:\n  hoist snapshot save before-migration -m 'schema 41'\n  \
                            hoist snapshot save --volume db-data --stop\n  hoist snapshot save --pause"
    )]
    Save(SnapshotSaveArgs),
    /// List the project's snapshots
    Ls(SnapshotLsArgs),
    /// Put copies in the place of what is in the volumes; containers that use them are stopped meanwhile
    Restore(SnapshotRestoreArgs),
    /// Remove snapshots
    Rm(SnapshotRmArgs),
}

/// `snapshot save`
#[derive(Debug, Default, Args)]
pub struct SnapshotSaveArgs {
    /// Only these volumes, by their key in the compose file or their name
    #[arg(long, value_name = "VOLUME")]
    pub volume: Vec<String>,
    /// Stop the containers that use the volumes, so that programs write out what they hold [default]
    #[arg(long)]
    pub stop: bool,
    /// Freeze them instead: they go on where they were, and the copy is what a power cut would have left
    #[arg(long, conflicts_with = "stop")]
    pub pause: bool,
    /// Words to find it again by
    #[arg(
        short = 'm',
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub comment: String,
    /// Its name [default: the time]
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// `snapshot ls`
#[derive(Debug, Default, Args)]
pub struct SnapshotLsArgs {
    /// `table` or `json`
    #[arg(long, default_value = "table")]
    pub format: String,
    /// Names only
    #[arg(short, long)]
    pub quiet: bool,
}

/// `snapshot restore`
#[derive(Debug, Default, Args)]
pub struct SnapshotRestoreArgs {
    /// Only these volumes, by their key in the compose file or their name
    #[arg(long, value_name = "VOLUME")]
    pub volume: Vec<String>,
    /// A snapshot of another project
    #[arg(long, value_name = "PROJECT")]
    pub from: Option<String>,
    /// Don't ask
    #[arg(short, long)]
    pub yes: bool,
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// `snapshot rm`
#[derive(Debug, Default, Args)]
pub struct SnapshotRmArgs {
    /// Their names
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

/// `enable`
#[derive(Debug, Default, Args)]
#[command(after_help = "Examples:\n  sudo hoist enable --now\n  hoist enable --print")]
pub struct EnableArgs {
    /// For the whole system [default for root]
    #[arg(long, conflicts_with = "user")]
    pub system: bool,
    /// For this user's sessions
    #[arg(long)]
    pub user: bool,
    /// Start the project now, too
    #[arg(long)]
    pub now: bool,
    /// Only show the unit
    #[arg(long, conflicts_with = "now")]
    pub print: bool,
}

/// `disable`
#[derive(Debug, Default, Args)]
pub struct DisableArgs {
    /// For the whole system [default for root]
    #[arg(long, conflicts_with = "user")]
    pub system: bool,
    /// For this user's sessions
    #[arg(long)]
    pub user: bool,
    /// Stop the project now, too
    #[arg(long)]
    pub now: bool,
}
