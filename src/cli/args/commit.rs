//! Arguments of `commit` and `export`.
//!
//! Imports: nothing of ours. As Compose: `docker compose commit`, `docker compose export`.

use std::path::PathBuf;

use clap::{ArgAction, Args};

/// `commit`
#[derive(Debug, Default, Args)]
pub struct CommitArgs {
    /// Author, as `Name <mail@example.org>`
    #[arg(short, long)]
    pub author: Option<String>,
    /// Apply an instruction of a Dockerfile to the image: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR …
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Which of the service's containers, from 1
    #[arg(long, value_name = "N")]
    pub index: Option<u32>,
    /// What the image's history says of it
    #[arg(short, long)]
    pub message: Option<String>,
    /// Pause the container meanwhile
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = ArgAction::Set)]
    pub pause: bool,
    /// The service
    pub service: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub reference: Option<String>,
}

/// `export`
#[derive(Debug, Default, Args)]
pub struct ExportArgs {
    /// Which of the service's containers, from 1
    #[arg(long, value_name = "N")]
    pub index: Option<u32>,
    /// Write to a file in place of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The service
    pub service: String,
}
