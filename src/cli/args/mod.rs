//! The command line: every command and flag, and nothing that decides.
//!
//! In: arguments. Out: [`Cli`]. Names, letters and defaults are docker compose's, so that what fingers and scripts
//! know works here. Imports: clap.

mod bridge;
mod build;
mod cache;
mod commit;
mod control;
mod dev;
mod files;
mod image;
mod lifecycle;
mod login;
mod nature;
mod plan;
mod port;
mod shell;
mod steps;
mod system;
#[cfg(test)]
mod tests;
mod transfer;
mod watch;

pub use bridge::*;
pub use build::*;
pub use cache::*;
pub use commit::*;
pub use control::*;
pub use dev::*;
pub use files::*;
pub use image::*;
pub use lifecycle::*;
pub use login::*;
pub use plan::*;
pub use port::PortArgs;
pub use shell::*;
pub use steps::StepArgs;
pub use system::*;
pub use transfer::*;
pub use watch::WatchArgs;

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

/// compose up without Docker: builds, launches and looks after the containers of a compose file.
#[derive(Debug, Parser)]
#[command(
    name = "hoist",
    bin_name = "hoist",
    version,
    disable_version_flag = true,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = false,
    max_term_width = 100,
    infer_subcommands = false,
    args_override_self = true
)]
pub struct Cli {
    /// What stands before the command.
    #[command(flatten)]
    pub globals: Globals,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that stand before the command.
#[derive(Debug, Clone, Default, Args)]
pub struct Globals {
    /// Compose files, merged in this order; `-` is standard input; git and oci:// addresses
    #[arg(short, long = "file", value_name = "FILE")]
    pub file: Vec<String>,
    /// Project name
    #[arg(short, long, value_name = "NAME")]
    pub project_name: Option<String>,
    /// Profiles to enable; `*` is all
    #[arg(long, value_name = "NAME")]
    pub profile: Vec<String>,
    /// Files with variables, instead of `.env`
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Directory that relative paths start from [default: the first compose file's]
    #[arg(long, value_name = "DIR", alias = "workdir")]
    pub project_directory: Option<PathBuf>,
    /// When to write colours and control sequences [default: auto]
    #[arg(long, value_name = "WHEN")]
    pub ansi: Option<AnsiArg>,
    /// How to show progress [default: auto]
    #[arg(long, value_name = "HOW")]
    pub progress: Option<ProgressArg>,
    /// So many actions at a time, -1 for no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub parallel: Option<i64>,
    /// Show what would be done and do nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Act on networks and volumes that no service uses, too
    #[arg(long)]
    pub all_resources: bool,
    /// Name containers and images as Compose v1 did: with `_` between the parts
    #[arg(long)]
    pub compatibility: bool,
    /// Give builds and services that ask for it the host's CA certificates
    #[arg(long, global = true)]
    pub trust_host_ca: bool,
    /// Run what comes from elsewhere (`-f`, `include` of git and oci://) without asking
    #[arg(long, global = true)]
    pub trust: bool,
    /// Give this checkout a project name, a loopback address and images of its own, from now on; =false ends that
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub isolate: Option<bool>,
    /// Use no image but those that the lock file beside the compose file has (see `lock`)
    #[arg(long, global = true)]
    pub locked: bool,
    /// Speak to this registry of oci:// projects without TLS
    #[arg(long, value_name = "HOST", hide = true)]
    pub insecure_registry: Vec<String>,
    /// Accepted for docker compose's sake
    #[arg(long, hide = true)]
    pub verbose: bool,
    /// Show the version
    #[arg(short, long, short_alias = 'V', action = ArgAction::Version)]
    pub version: Option<bool>,
}

/// `--ansi`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnsiArg {
    /// Never.
    Never,
    /// Always.
    Always,
    /// On a terminal.
    Auto,
}

impl ValueEnum for AnsiArg {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Never, Self::Always, Self::Auto]
    }
    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Never => "never",
            Self::Always => "always",
            Self::Auto => "auto",
        }))
    }
}

/// `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressArg {
    /// `tty` on a terminal, else `plain`.
    Auto,
    /// A list redrawn in place.
    Tty,
    /// A line an event.
    Plain,
    /// A JSON object an event.
    Json,
    /// Nothing.
    Quiet,
}

impl ValueEnum for ProgressArg {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Tty, Self::Plain, Self::Json, Self::Quiet]
    }
    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Auto => PossibleValue::new("auto"),
            Self::Tty => PossibleValue::new("tty"),
            Self::Plain => PossibleValue::new("plain"),
            Self::Json => PossibleValue::new("json").alias("rawjson"),
            Self::Quiet => PossibleValue::new("quiet").alias("none"),
        })
    }
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create and start containers
    Up(Box<UpArgs>),
    /// Stop and remove containers and networks
    Down(DownArgs),
    /// Create containers without starting them
    Create(CreateArgs),
    /// Start existing containers
    Start(StartArgs),
    /// Stop containers without removing them
    Stop(StopArgs),
    /// Stop and start containers
    Restart(RestartArgs),
    /// Send a signal to containers
    Kill(KillArgs),
    /// Freeze containers where they are
    Pause(ServicesArgs),
    /// Let paused containers go on
    Unpause(ServicesArgs),
    /// Set how many containers services have
    Scale(ScaleArgs),
    /// Remove stopped containers
    Rm(RmArgs),
    /// Run a one-off command in a new container of a service
    Run(Box<RunArgs>),
    /// Run a command in a running container
    Exec(ExecArgs),
    /// Connect this terminal to a running container
    Attach(AttachArgs),
    /// Wait until containers of services have ended
    Wait(WaitArgs),
    /// Copy files between a service's container and the host
    Cp(CpArgs),
    /// Make an image of what a service's container has become
    Commit(CommitArgs),
    /// Write the files of a service's container as a tar archive
    Export(ExportArgs),
    /// List containers
    Ps(PsArgs),
    /// Show the output of containers
    Logs(LogsArgs),
    /// Show the processes of containers
    Top(ServicesArgs),
    /// Show what containers use: processor, memory, network, disk
    Stats(StatsArgs),
    /// See containers with what they use and print, and restart, stop or pause them by keys
    Live(LiveArgs),
    /// Show what happens to containers, as it happens
    Events(EventsArgs),
    /// Show the public address of a port
    Port(PortArgs),
    /// List the images containers were made from
    Images(ImagesArgs),
    /// List the volumes of a project
    Volumes(VolumesArgs),
    /// List projects
    Ls(LsArgs),
    /// Build the images of services
    Build(BuildArgs),
    /// Pull the images of services
    Pull(PullArgs),
    /// Push the images of services
    Push(PushArgs),
    /// Put the files of the project into a registry, for -f oci://
    Publish(PublishArgs),
    /// Write which digests the images of the project have, for --locked
    Lock(LockArgs),
    /// Follow changes of files: copy them into containers, restart, rebuild
    Watch(WatchArgs),
    /// Look at a directory and write a compose file and Dockerfiles that bring it up
    Init(InitArgs),
    /// Keep copies of the project's volumes, and bring them back
    Snapshot(SnapshotArgs),
    /// Bring the project up at each boot, by a systemd unit
    Enable(EnableArgs),
    /// Undo `enable`
    Disable(DisableArgs),
    /// Check the compose files and print them in full
    #[command(alias = "convert")]
    Config(ConfigArgs),
    /// Show what `up` would do and why; exit code 2 when there is something
    Plan(Box<PlanArgs>),
    /// Draw the project: services, networks, volumes
    Graph(GraphArgs),
    /// Show where a value or a variable comes from
    Explain(ExplainArgs),
    /// Print the JSON schema of compose files
    Schema(SchemaArgs),
    /// Work with images
    Image(ImageArgs),
    /// Authenticate to a registry; Docker Hub if none is named
    Login(LoginArgs),
    /// Log out from a registry; Docker Hub if none is named
    Logout(LogoutArgs),
    /// Work with the build cache
    Cache(CacheArgs),
    /// Show and remove what takes the disk
    System(SystemArgs),
    /// Look at what this host offers containers, and what mends what is missing
    Doctor(DoctorArgs),
    /// Commands that docker compose tries out
    Alpha(AlphaArgs),
    /// Convert the project into another model
    Bridge(BridgeArgs),
    /// Have `docker compose` call hoist
    Plugin(PluginArgs),
    /// Print what a shell needs to complete commands and names
    Completion(CompletionArgs),
    /// Write the manual pages
    Man(ManArgs),
    /// Show the version
    Version(VersionArgs),
}

/// Flags that `up` and `create` share.
#[derive(Debug, Default, Args)]
pub struct MakeArgs {
    /// Build images before starting, also where they are there
    #[arg(long)]
    pub build: bool,
    /// Don't build, even if an image is missing
    #[arg(long, conflicts_with = "build")]
    pub no_build: bool,
    /// Recreate containers even if nothing has changed
    #[arg(long, conflicts_with = "no_recreate")]
    pub force_recreate: bool,
    /// Leave existing containers as they are, even if something has changed
    #[arg(long)]
    pub no_recreate: bool,
    /// Pull before running: always, missing, never or build
    #[arg(long, value_name = "POLICY")]
    pub pull: Option<String>,
    /// Pull without showing each layer
    #[arg(long)]
    pub quiet_pull: bool,
    /// Remove containers of services the files don't have
    #[arg(long)]
    pub remove_orphans: bool,
    /// So many containers of a service
    #[arg(long, value_name = "SERVICE=N")]
    pub scale: Vec<String>,
    /// Answer every question with yes
    #[arg(short, long)]
    pub yes: bool,
    /// Services; all when none is named
    pub services: Vec<String>,
}

/// `up`
#[derive(Debug, Default, Args)]
pub struct UpArgs {
    /// What it shares with `create`.
    #[command(flatten)]
    pub make: MakeArgs,
    /// Run in the background
    #[arg(short, long)]
    pub detach: bool,
    /// Wait until services run or are healthy; implies -d
    #[arg(long)]
    pub wait: bool,
    /// Seconds to wait at most
    #[arg(long, value_name = "SECONDS")]
    pub wait_timeout: Option<u64>,
    /// Don't start the services these depend on
    #[arg(long)]
    pub no_deps: bool,
    /// Create containers, but don't start them
    #[arg(long)]
    pub no_start: bool,
    /// Recreate dependencies, too
    #[arg(long, conflicts_with = "no_recreate")]
    pub always_recreate_deps: bool,
    /// New anonymous volumes instead of those of the containers before
    #[arg(short = 'V', long)]
    pub renew_anon_volumes: bool,
    /// Build without showing each step's output
    #[arg(long)]
    pub quiet_build: bool,
    /// Seconds a container has to stop
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub timeout: Option<i64>,
    /// Write a timeline for a Chrome-trace viewer
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Show the output of these services only
    #[arg(long, value_name = "SERVICE")]
    pub attach: Vec<String>,
    /// Show the output of dependencies, too
    #[arg(long, conflicts_with = "attach")]
    pub attach_dependencies: bool,
    /// Don't show the output of these services
    #[arg(long, value_name = "SERVICE")]
    pub no_attach: Vec<String>,
    /// Don't show names before lines
    #[arg(long)]
    pub no_log_prefix: bool,
    /// No colours before lines
    #[arg(long)]
    pub no_color: bool,
    /// Show the time before lines
    #[arg(long)]
    pub timestamps: bool,
    /// Stop everything when any container has ended
    #[arg(long, conflicts_with = "detach")]
    pub abort_on_container_exit: bool,
    /// Stop everything when any container has failed
    #[arg(long, conflicts_with_all = ["detach", "abort_on_container_exit"])]
    pub abort_on_container_failure: bool,
    /// Exit as this service does; implies --abort-on-container-exit
    #[arg(long, value_name = "SERVICE", conflicts_with = "detach")]
    pub exit_code_from: Option<String>,
    /// Follow changes of files as `watch` does
    #[arg(short, long)]
    pub watch: bool,
    /// Show what keys do below the logs [default: on a terminal]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub menu: Option<bool>,
}

/// `down`
#[derive(Debug, Default, Args)]
pub struct DownArgs {
    /// Remove named volumes of the project and anonymous ones, too
    #[arg(short, long)]
    pub volumes: bool,
    /// Seconds a container has to stop
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub timeout: Option<i64>,
    /// Remove images, too: `local` (built here, without a name of their own) or `all`
    #[arg(long, value_name = "WHICH")]
    pub rmi: Option<String>,
    /// Remove containers of services the files don't have
    #[arg(long)]
    pub remove_orphans: bool,
    /// Services; all when none is named
    pub services: Vec<String>,
}

/// `create`
#[derive(Debug, Default, Args)]
pub struct CreateArgs {
    /// What it shares with `up`.
    #[command(flatten)]
    pub make: MakeArgs,
}

/// `run`
#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// Remove the container when it has ended
    #[arg(long)]
    pub rm: bool,
    /// Run in the background and print the container's name
    #[arg(short, long)]
    pub detach: bool,
    /// No terminal [default: a terminal when this command has one]
    #[arg(short = 'T', long = "no-tty", alias = "no-TTY")]
    pub no_tty: bool,
    /// A terminal
    #[arg(short, long, hide = true, overrides_with = "no_tty")]
    pub tty: bool,
    /// Keep standard input open
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub interactive: Option<bool>,
    /// Set a variable; without a value it is this command's own
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Set variables from a file
    #[arg(long, value_name = "FILE")]
    pub env_from_file: Vec<PathBuf>,
    /// Another entry point
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// User, name or number
    #[arg(short, long)]
    pub user: Option<String>,
    /// Directory inside the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Mount a volume or path
    #[arg(short, long, value_name = "SOURCE:TARGET")]
    pub volume: Vec<String>,
    /// Publish a port
    #[arg(short, long, value_name = "PORT")]
    pub publish: Vec<String>,
    /// Publish the service's own ports
    #[arg(short = 'P', long)]
    pub service_ports: bool,
    /// Name of the container
    #[arg(long)]
    pub name: Option<String>,
    /// Add a label
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Don't start the services this one depends on
    #[arg(long)]
    pub no_deps: bool,
    /// Use the service's network aliases
    #[arg(long)]
    pub use_aliases: bool,
    /// Build the image first
    #[arg(long)]
    pub build: bool,
    /// Pull before running: always, missing, never or build
    #[arg(long, value_name = "POLICY")]
    pub pull: Option<String>,
    /// Add a capability
    #[arg(long, value_name = "NAME")]
    pub cap_add: Vec<String>,
    /// Take a capability away
    #[arg(long, value_name = "NAME")]
    pub cap_drop: Vec<String>,
    /// Remove containers of services the files don't have
    #[arg(long)]
    pub remove_orphans: bool,
    /// Pull without showing each layer
    #[arg(long)]
    pub quiet_pull: bool,
    /// Build without showing each step's output
    #[arg(long)]
    pub quiet_build: bool,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
    /// The service
    pub service: String,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// `exec`
#[derive(Debug, Default, Args)]
pub struct ExecArgs {
    /// Run in the background
    #[arg(short, long)]
    pub detach: bool,
    /// Set a variable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Which of a service's containers, from 1
    #[arg(long, value_name = "N")]
    pub index: Option<u32>,
    /// No terminal [default: a terminal when this command has one]
    #[arg(short = 'T', long = "no-tty", alias = "no-TTY")]
    pub no_tty: bool,
    /// A terminal
    #[arg(short, long, hide = true, overrides_with = "no_tty")]
    pub tty: bool,
    /// Keep standard input open
    #[arg(short, long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub interactive: Option<bool>,
    /// With every capability
    #[arg(long)]
    pub privileged: bool,
    /// User, name or number
    #[arg(short, long)]
    pub user: Option<String>,
    /// Directory inside the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// The service
    pub service: String,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub command: Vec<String>,
}

/// `cp`
#[derive(Debug, Default, Args)]
#[command(
    override_usage = "hoist cp [OPTIONS] SERVICE:SRC_PATH DEST_PATH|-\n       hoist cp [OPTIONS] SRC_PATH|- SERVICE:DEST_PATH",
    after_help = "`-` is a tar archive on standard input or output. A directory is copied into one that exists and as \
                  one that does not; `SRC_PATH/.` is what lies in a directory."
)]
pub struct CpArgs {
    /// Containers that `run` made, too (deprecated)
    #[arg(long)]
    pub all: bool,
    /// Give copied files to the container's own user, if it has one
    #[arg(short, long)]
    pub archive: bool,
    /// Copy what a link in the source leads to
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// Which of a service's containers, from 1; all (of the source, the first) when it is 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub index: u32,
    /// `SERVICE:PATH`, `PATH` or `-`
    #[arg(value_name = "SOURCE")]
    pub source: std::ffi::OsString,
    /// `PATH`, `-` or `SERVICE:PATH`
    #[arg(value_name = "DESTINATION")]
    pub destination: std::ffi::OsString,
}

/// `ps`
#[derive(Debug, Default, Args)]
pub struct PsArgs {
    /// Stopped containers, too
    #[arg(short, long)]
    pub all: bool,
    /// `table` or `json`
    #[arg(long, default_value = "table")]
    pub format: String,
    /// Ids only
    #[arg(short, long)]
    pub quiet: bool,
    /// Service names only
    #[arg(long)]
    pub services: bool,
    /// Only containers in this state: created, running, paused, restarting, exited, removing
    #[arg(long, value_name = "STATE")]
    pub status: Vec<String>,
    /// Only what fits: `status=STATE`
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Don't cut long columns
    #[arg(long)]
    pub no_trunc: bool,
    /// Containers of services the files don't have, too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub orphans: Option<bool>,
    /// Services; all when none is named
    pub names: Vec<String>,
}

/// `logs`
#[derive(Debug, Default, Args)]
pub struct LogsArgs {
    /// Go on with new lines
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last so many lines of each container, or `all`
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value = "all",
        allow_negative_numbers = true
    )]
    pub tail: String,
    /// Show the time before lines
    #[arg(short, long)]
    pub timestamps: bool,
    /// Only lines at or after this time: `2026-01-02T13:23:37Z`, or how long ago: `42m`
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only lines before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// No colours before lines
    #[arg(long)]
    pub no_color: bool,
    /// Don't show names before lines
    #[arg(long)]
    pub no_log_prefix: bool,
    /// Which of a service's containers, from 1
    #[arg(long, value_name = "N")]
    pub index: Option<u32>,
    /// Services; all when none is named
    pub services: Vec<String>,
}

/// `top`
#[derive(Debug, Default, Args)]
pub struct ServicesArgs {
    /// Services; all when none is named
    pub services: Vec<String>,
}

/// `images`
#[derive(Debug, Default, Args)]
pub struct ImagesArgs {
    /// `table` or `json`
    #[arg(long, default_value = "table")]
    pub format: String,
    /// Ids only
    #[arg(short, long)]
    pub quiet: bool,
    /// Services; all when none is named
    pub services: Vec<String>,
}

/// `ls`
#[derive(Debug, Default, Args)]
pub struct LsArgs {
    /// Stopped projects, too
    #[arg(short, long)]
    pub all: bool,
    /// `table` or `json`
    #[arg(long, default_value = "table")]
    pub format: String,
    /// Names only
    #[arg(short, long)]
    pub quiet: bool,
    /// Only what fits: `name=TEXT`
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
}

/// `pull`
#[derive(Debug, Default, Args)]
pub struct PullArgs {
    /// Skip services that can be built
    #[arg(long)]
    pub ignore_buildable: bool,
    /// Go on when an image can't be pulled
    #[arg(long)]
    pub ignore_pull_failures: bool,
    /// The services these depend on, too
    #[arg(long)]
    pub include_deps: bool,
    /// `always` or `missing`
    #[arg(long, value_name = "POLICY")]
    pub policy: Option<String>,
    /// No output
    #[arg(short, long)]
    pub quiet: bool,
    /// Accepted for docker compose's sake: images are pulled side by side
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub parallel: Option<String>,
    /// Accepted for docker compose's sake
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub no_parallel: Option<String>,
    /// Services; all when none is named
    pub services: Vec<String>,
}

/// `doctor`
#[derive(Debug, Default, Args)]
pub struct DoctorArgs {
    /// `table` or `json`
    #[arg(long, default_value = "table")]
    pub format: String,
}

/// `version`
#[derive(Debug, Default, Args)]
pub struct VersionArgs {
    /// The number only
    #[arg(long)]
    pub short: bool,
    /// `pretty` or `json`
    #[arg(short, long, default_value = "pretty")]
    pub format: String,
}

/// `image`
#[derive(Debug, Args)]
pub struct ImageArgs {
    /// The command.
    #[command(subcommand)]
    pub command: ImageCommand,
}
