//! The commands that move what a project is made of: its images, its files, the digests of both.
//!
//! Imports: clap. `push` and `publish` as docker compose; `lock` is hoist's own.

use clap::Args;

/// `push`
#[derive(Debug, Default, Args)]
pub struct PushArgs {
    /// Go on when an image can't be pushed
    #[arg(long)]
    pub ignore_push_failures: bool,
    /// The services these depend on, too
    #[arg(long)]
    pub include_deps: bool,
    /// No output
    #[arg(short, long)]
    pub quiet: bool,
    /// Services; all when none is named
    pub services: Vec<String>,
}

/// `publish`
#[derive(Debug, Default, Args)]
pub struct PublishArgs {
    /// Version of the OCI image format: 1.0 or 1.1 [default: what the registry takes]
    #[arg(long, value_name = "VERSION")]
    pub oci_version: Option<String>,
    /// Write the images with the digests they have now beside the files
    #[arg(long)]
    pub resolve_image_digests: bool,
    /// Publish variables of services and env files, too
    #[arg(long)]
    pub with_env: bool,
    /// Answer every question with yes
    #[arg(short, long)]
    pub yes: bool,
    /// Speak to the registry without TLS
    #[arg(id = "insecure", long = "insecure-registry", hide = true)]
    pub insecure: bool,
    /// Where to: `registry/repository:tag`
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub repository: String,
}

/// `lock`
#[derive(Debug, Default, Args)]
#[command(
    after_help = "Images of all services are locked: what services name, what Dockerfiles build upon, what is mounted. \
                  Commit the file; `up --locked` then takes nothing else."
)]
pub struct LockArgs {
    /// Only look: exit with 2 when the file is not what the project asks for
    #[arg(long, conflicts_with = "update")]
    pub check: bool,
    /// Ask registries again, for the images of these services; of all when none is named
    #[arg(long, value_name = "SERVICE", num_args = 0..)]
    pub update: Option<Vec<String>>,
    /// Print only what is wrong
    #[arg(short, long)]
    pub quiet: bool,
}
