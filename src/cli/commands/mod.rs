//! One file a command: flags in, calls of `apply`, `engine`, `image` or `compose`, an exit code out.
//!
//! Imports: all.

mod alpha;
mod alpha_dry_run;
mod alpha_generate;
mod attach;
mod bridge;
mod build;
mod build_call;
mod build_output;
mod build_steps;
mod cache;
mod change;
mod commit;
pub(super) mod completion;
mod config;
mod containers;
mod cp;
mod doctor;
mod doctor_registries;
mod down;
mod enable;
mod events;
mod exec;
mod explain;
#[cfg(test)]
pub(super) mod fixture;
mod format;
mod gauge;
mod graph;
mod image;
mod image_archive;
mod image_build;
mod image_transfer;
mod images;
mod init;
mod live;
mod lock;
mod login;
mod logs;
mod ls;
mod man;
mod menu;
mod plan;
mod plugin;
mod port;
mod port_env;
mod ps;
mod publish;
mod pull;
mod push;
mod run;
mod scale;
mod schema;
mod snapshot;
mod stats;
mod store;
pub(super) mod system;
mod top;
mod up;
pub(super) mod version;
mod volumes;
mod wait;
mod watch;

use super::app::App;
use super::args::Command;
use super::exit::Outcome;

/// Runs a command.
///
/// # Errors
/// Why it failed.
pub fn run(app: &App, command: Command) -> Outcome {
    match command {
        Command::Up(args) => up::run(app, &args),
        Command::Down(args) => down::run(app, &args),
        Command::Create(args) => change::create(app, &args),
        Command::Start(args) => change::start(app, &args),
        Command::Stop(args) => change::stop(app, &args),
        Command::Restart(args) => change::restart(app, &args),
        Command::Kill(args) => change::kill(app, &args),
        Command::Pause(args) => change::pause(app, &args, true),
        Command::Unpause(args) => change::pause(app, &args, false),
        Command::Scale(args) => scale::run(app, &args),
        Command::Attach(args) => attach::run(app, &args),
        Command::Wait(args) => wait::run(app, &args),
        Command::Stats(args) => stats::run(app, &args),
        Command::Live(args) => live::run(app, &args),
        Command::Events(args) => events::run(app, &args),
        Command::Alpha(args) => alpha::run(app, &args.command),
        Command::Bridge(args) => bridge::run(app, &args.command),
        Command::Rm(args) => change::rm(app, &args),
        Command::Run(args) => run::run(app, &args),
        Command::Exec(args) => exec::run(app, &args),
        Command::Cp(args) => cp::run(app, &args),
        Command::Commit(args) => commit::commit(app, &args),
        Command::Export(args) => commit::export(app, &args),
        Command::Ps(args) => ps::run(app, &args),
        Command::Logs(args) => logs::run(app, &args),
        Command::Top(args) => top::run(app, &args),
        Command::Port(args) => port::run(app, &args),
        Command::Images(args) => images::run(app, &args),
        Command::Volumes(args) => volumes::run(app, &args),
        Command::Ls(args) => ls::run(app, &args),
        Command::Build(args) => build::run(app, &args),
        Command::Pull(args) => pull::run(app, &args),
        Command::Push(args) => push::run(app, &args),
        Command::Publish(args) => publish::run(app, &args),
        Command::Lock(args) => lock::run(app, &args),
        Command::Watch(args) => watch::run(app, &args),
        Command::Snapshot(args) => snapshot::run(app, &args),
        Command::Enable(args) => enable::enable(app, &args),
        Command::Disable(args) => enable::disable(app, &args),
        Command::Init(args) => init::run(app, &args),
        Command::Config(args) => config::run(app, &args),
        Command::Explain(args) => explain::run(app, &args),
        Command::Plan(args) => plan::run(app, *args),
        Command::Graph(args) => graph::run(app, &args),
        Command::Schema(args) => schema::run(app, &args),
        Command::Image(args) => image::run(app, &args.command),
        Command::Login(args) => login::run(app, &args),
        Command::Logout(args) => login::logout(app, &args),
        Command::Cache(args) => cache::run(app, &args.command),
        Command::System(args) => system::run(app, &args.command),
        Command::Doctor(args) => doctor::run(app, &args),
        Command::Plugin(args) => plugin::run(app, &args.command),
        Command::Completion(args) => completion::run(&args, "hoist"),
        Command::Man(args) => man::run(&args),
        Command::Version(args) => version::run(&args),
    }
}
