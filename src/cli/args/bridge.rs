//! `bridge`, and `alpha generate`: from compose files to other models, and from containers to compose files.
//!
//! Imports: clap. Names and letters as docker compose's; `--yes` is that of its version 5.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `bridge`
#[derive(Debug, Args)]
pub struct BridgeArgs {
    /// The command.
    #[command(subcommand)]
    pub command: BridgeCommand,
}

/// Commands of `bridge`.
#[derive(Debug, Subcommand)]
pub enum BridgeCommand {
    /// Convert the project to Kubernetes manifests, Helm charts, or whatever a transformation image makes of it
    Convert(BridgeConvertArgs),
    /// Work with transformation images
    Transformations(TransformationsArgs),
}

/// `bridge convert`
#[derive(Debug, Default, Args)]
pub struct BridgeConvertArgs {
    /// Directory that is written; what is in it goes
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    pub output: PathBuf,
    /// Directory with templates for the transformation
    #[arg(long, value_name = "DIR")]
    pub templates: Option<PathBuf>,
    /// Images that are run over the project, in this order [default: docker/compose-bridge-kubernetes]
    #[arg(short, long, value_name = "IMAGE")]
    pub transformation: Vec<String>,
    /// Remove what is in the directory without asking
    #[arg(short, long)]
    pub yes: bool,
}

/// `bridge transformations`
#[derive(Debug, Args)]
pub struct TransformationsArgs {
    /// The command.
    #[command(subcommand)]
    pub command: TransformationsCommand,
}

/// Commands of `bridge transformations`.
#[derive(Debug, Subcommand)]
pub enum TransformationsCommand {
    /// Write the templates of a transformation into a new directory, with a Dockerfile
    Create(TransformationsCreateArgs),
    /// List the transformation images that are here
    #[command(alias = "ls")]
    List(TransformationsListArgs),
}

/// `bridge transformations create`
#[derive(Debug, Default, Args)]
pub struct TransformationsCreateArgs {
    /// The transformation to copy [default: docker/compose-bridge-kubernetes]
    #[arg(short, long, value_name = "IMAGE")]
    pub from: Option<String>,
    /// The new directory
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
}

/// `bridge transformations list`
#[derive(Debug, Default, Args)]
pub struct TransformationsListArgs {
    /// `table` or `json`
    #[arg(long, default_value = "table")]
    pub format: String,
    /// Names only
    #[arg(short, long)]
    pub quiet: bool,
}

/// `alpha generate`
#[derive(Debug, Default, Args)]
pub struct GenerateArgs {
    /// `yaml` or `json`
    #[arg(long, default_value = "yaml")]
    pub format: String,
    /// Project name in the file
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Accepted for docker compose's sake: paths are written in full
    #[arg(long, value_name = "DIR")]
    pub project_dir: Option<PathBuf>,
    /// Containers of any project: parts of their names or ids
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}
