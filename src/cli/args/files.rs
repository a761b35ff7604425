//! The commands that read the compose files and run nothing.
//!
//! Imports: clap. `config` as docker compose; the others are hoist's own.

use std::path::PathBuf;

use clap::Args;

/// `config`
#[derive(Debug, Default, Args)]
pub struct ConfigArgs {
    /// `yaml` or `json`; errors are JSON as well then
    #[arg(long, default_value = "", hide_default_value = true)]
    pub format: String,
    /// Only check
    #[arg(short, long)]
    pub quiet: bool,
    /// Write to a file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Service names only
    #[arg(long)]
    pub services: bool,
    /// Volume names only
    #[arg(long)]
    pub volumes: bool,
    /// Network names only
    #[arg(long)]
    pub networks: bool,
    /// Models only
    #[arg(long)]
    pub models: bool,
    /// Image names only
    #[arg(long)]
    pub images: bool,
    /// Profile names only
    #[arg(long)]
    pub profiles: bool,
    /// Hashes of services, by name or `*`
    #[arg(long, value_name = "SERVICE")]
    pub hash: Option<String>,
    /// Values of variables the files see
    #[arg(long)]
    pub environment: bool,
    /// Variables the files refer to, with their defaults
    #[arg(long)]
    pub variables: bool,
    /// Write images with the digests they have now
    #[arg(long)]
    pub resolve_image_digests: bool,
    /// Write an override file with nothing but the digests of images
    #[arg(long)]
    pub lock_image_digests: bool,
    /// Don't check that what services refer to is there
    #[arg(long)]
    pub no_consistency: bool,
    /// For scripts: env files are always read, as docker compose does
    #[arg(long, hide = true)]
    pub no_env_resolution: bool,
    /// Don't fill in what is implied
    #[arg(long)]
    pub no_normalize: bool,
    /// Don't replace variables
    #[arg(long)]
    pub no_interpolate: bool,
    /// Leave relative paths as they are
    #[arg(long)]
    pub no_path_resolution: bool,
    /// Services; all when none is named
    pub names: Vec<String>,
}

/// `graph`
#[derive(Debug, Default, Args)]
pub struct GraphArgs {
    /// text, mermaid, dot or svg
    #[arg(long, short, default_value = "text")]
    pub format: String,
    /// Leave out what containers do now
    #[arg(long)]
    pub no_state: bool,
    /// Write to a file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Services; all when none is named
    pub services: Vec<String>,
}

/// `explain`
#[derive(Debug, Default, Args)]
#[command(
    after_help = "Examples:\n  hoist explain services.api.ports[1]\n  hoist explain 'services.api.labels.\"a.b\"'\n  \
                  hoist explain DATABASE_URL\n\nValues are shown as they are, passwords too."
)]
pub struct ExplainArgs {
    /// text or json
    #[arg(long, short, default_value = "text")]
    pub format: String,
    /// A path as `config` prints it (services.api.ports[1]), or the name of a variable
    #[arg(value_name = "PATH|VARIABLE")]
    pub what: String,
}

/// `schema`
#[derive(Debug, Default, Args)]
pub struct SchemaArgs {
    /// The schema of a line of `--progress json` instead
    #[arg(long)]
    pub events: bool,
    /// Write to a file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}
