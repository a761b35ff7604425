//! Arguments of `build`.
//!
//! Imports: clap. As Docker Compose: `cmd/compose/build.go`.

use std::path::PathBuf;

use clap::Args;

use super::ProgressArg;

/// `build`
#[derive(Debug, Default, Args)]
pub struct BuildArgs {
    /// Set a build argument
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Accepted for docker compose's sake: hoist builds by itself
    #[arg(long, value_name = "NAME", hide = true)]
    pub builder: Option<String>,
    /// Check the Dockerfiles and build nothing
    #[arg(long)]
    pub check: bool,
    /// Accepted for docker compose's sake: nothing is sent anywhere
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub compress: Option<String>,
    /// When a RUN fails, open a shell in it, then go on as you say
    #[arg(long)]
    pub debug: bool,
    /// Accepted for docker compose's sake: no container is left
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub force_rm: Option<String>,
    /// Memory of each RUN
    #[arg(short, long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Don't use results of earlier builds
    #[arg(long)]
    pub no_cache: bool,
    /// Accepted for docker compose's sake: no container is left
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub no_rm: Option<String>,
    /// Accepted for docker compose's sake: images are built side by side
    #[arg(long = "parallel", id = "build_parallel", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub in_parallel: Option<String>,
    /// Print the file with which `docker buildx bake` would build the same
    #[arg(long)]
    pub print: bool,
    /// How to show progress
    #[arg(long, value_name = "HOW", hide = true)]
    pub progress: Option<ProgressArg>,
    /// Attach how images were built to what is pushed: true, or `mode=min|max,version=v0.2|v1,…`
    #[arg(long, value_name = "VALUE")]
    pub provenance: Option<String>,
    /// Look for newer base images
    #[arg(long)]
    pub pull: bool,
    /// Push the images of services that say `image`
    #[arg(long)]
    pub push: bool,
    /// No output
    #[arg(short, long)]
    pub quiet: bool,
    /// Attach what is in images to what is pushed: true, or `generator=IMAGE`
    #[arg(long, value_name = "VALUE")]
    pub sbom: Option<String>,
    /// An ssh agent or keys for RUN: `default` or `ID=SOCKET` or `ID=KEY,KEY`
    #[arg(long, value_name = "ID[=PATH]")]
    pub ssh: Vec<String>,
    /// Write a timeline for a Chrome-trace viewer
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Build the services these depend on, too
    #[arg(long)]
    pub with_dependencies: bool,
    /// Services; all when none is named
    pub services: Vec<String>,
}
