//! The commands below `cache`.
//!
//! Imports: clap. As Docker: `docker buildx du`, `docker buildx prune`; export and import are ours.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::BudgetArgs;

/// `cache`
#[derive(Debug, Args)]
pub struct CacheArgs {
    /// What to do
    #[command(subcommand)]
    pub command: CacheCommand,
}

/// Commands on the build cache.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// List what the build cache holds, and how much of it
    #[command(visible_alias = "du")]
    Ls(CacheLsArgs),
    /// Remove from the build cache
    Prune(CachePruneArgs),
    /// Write the build cache into an archive, for another machine
    Export(CacheExportArgs),
    /// Take what an archive of a build cache holds
    Import(CacheImportArgs),
}

/// `cache ls`
#[derive(Debug, Default, Args)]
pub struct CacheLsArgs {
    /// Only some: `until=24h`, `type=regular`, `id=…`, `description=…`
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// `table` or `json`
    #[arg(long, default_value = "table")]
    pub format: String,
    /// Ids only
    #[arg(short, long)]
    pub quiet: bool,
    /// Don't cut ids and instructions
    #[arg(long)]
    pub no_trunc: bool,
}

/// `cache prune`
#[derive(Debug, Default, Args)]
pub struct CachePruneArgs {
    /// Also what images have, and what projects were read from
    #[arg(short, long)]
    pub all: bool,
    /// Don't ask
    #[arg(short, long)]
    pub force: bool,
    /// Only some: `until=24h`, `type=regular`, `id=…`, `description=…`
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Budget
    #[command(flatten)]
    pub budget: BudgetArgs,
    /// `table` or `json`
    #[arg(long, default_value = "table")]
    pub format: String,
}

/// `cache export`
#[derive(Debug, Default, Args)]
pub struct CacheExportArgs {
    /// Only what images of this project were built from
    #[arg(long)]
    pub project: bool,
    /// Only what this image was built from
    #[arg(short, long, value_name = "IMAGE")]
    pub tag: Vec<String>,
    /// Cache mounts to take along: `all`, `none`, or an id
    #[arg(long, value_name = "WHICH", default_value = "all")]
    pub mounts: Vec<String>,
    /// No output
    #[arg(short, long)]
    pub quiet: bool,
    /// A file, a directory, or `-` for standard output
    #[arg(value_name = "FILE|DIR|-")]
    pub to: PathBuf,
}

/// `cache import`
#[derive(Debug, Default, Args)]
pub struct CacheImportArgs {
    /// No output
    #[arg(short, long)]
    pub quiet: bool,
    /// A file, a directory, or `-` for standard input
    #[arg(value_name = "FILE|DIR|-")]
    pub from: PathBuf,
}
