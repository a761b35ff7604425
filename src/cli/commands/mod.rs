//! One file a command: flags in, calls of `apply`, `engine`, `image` or `compose`, an exit code out.
//!
//! Imports: all.

mod build;
mod build_call;
mod build_output;
mod build_steps;
mod cache;
mod change;
mod config;
mod containers;
mod cp;
mod doctor;
mod down;
mod exec;
mod explain;
#[cfg(test)]
pub(super) mod fixture;
mod graph;
mod image;
mod image_archive;
mod image_build;
mod image_transfer;
mod images;
mod lock;
mod login;
mod logs;
mod ls;
mod port;
mod ps;
mod publish;
mod pull;
mod push;
mod run;
mod schema;
mod top;
mod up;
mod version;
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
        Command::Rm(args) => change::rm(app, &args),
        Command::Run(args) => run::run(app, &args),
        Command::Exec(args) => exec::run(app, &args),
        Command::Cp(args) => cp::run(app, &args),
        Command::Ps(args) => ps::run(app, &args),
        Command::Logs(args) => logs::run(app, &args),
        Command::Top(args) => top::run(app, &args),
        Command::Port(args) => port::run(app, &args),
        Command::Images(args) => images::run(app, &args),
        Command::Ls(args) => ls::run(app, &args),
        Command::Build(args) => build::run(app, &args),
        Command::Pull(args) => pull::run(app, &args),
        Command::Push(args) => push::run(app, &args),
        Command::Publish(args) => publish::run(app, &args),
        Command::Lock(args) => lock::run(app, &args),
        Command::Watch(args) => watch::run(app, &args),
        Command::Config(args) => config::run(app, &args),
        Command::Explain(args) => explain::run(app, &args),
        Command::Graph(args) => graph::run(app, &args),
        Command::Schema(args) => schema::run(app, &args),
        Command::Image(args) => image::run(app, &args.command),
        Command::Login(args) => login::run(app, &args),
        Command::Logout(args) => login::logout(app, &args),
        Command::Cache(args) => cache::run(app, &args.command),
        Command::Doctor(args) => doctor::run(app, &args),
        Command::Version(args) => version::run(&args),
    }
}
