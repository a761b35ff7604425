//! The command line: reads arguments and the environment once, runs one command, ends with its exit code.
//!
//! In: arguments, [`Env`]. Out: text through `ui`, an exit code. It decides nothing about containers: `plan` does.
//! One file a command in `commands`; what several need: `app` (project, engine, progress), `follow` (logs of many
//! containers), `streams` (terminals and pipes of one process), `interrupts`, `parse` (values of flags),
//! `remote` (compose files that lie elsewhere), `lockfile` (digests of images).
//! Imports: all. Rules: docker compose's reference of commands, flags, variables and exit codes.

pub mod app;
pub mod args;
pub mod bake;
pub mod commands;
pub mod debugger;
pub mod exit;
pub mod follow;
pub mod help;
pub mod interrupts;
pub mod lockfile;
pub mod parse;
mod prompt;
pub mod remote;
pub mod roots;
pub mod streams;
mod trace;

use std::ffi::OsString;

use clap::FromArgMatches as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::base::env::Env;
use crate::ui::{write_err, write_out};
use app::App;
use args::Cli;

/// Runs the command that `args` (program name first) name and gives its exit code.
pub fn main(args: impl IntoIterator<Item = OsString>, env: Env) -> i32 {
    let args: Vec<OsString> = args.into_iter().collect();
    if args.len() < 2 {
        return match write_out(help::command().render_help().ansi().to_string()) {
            Ok(()) => 0,
            Err(_) => 1,
        };
    }
    let parsed = help::command()
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let app = match App::new(cli.globals, env) {
        Ok(mut app) => {
            app.json_findings = cli.command.answers_in_json();
            app
        }
        Err((failure, screen)) => return failure.report(screen, false),
    };
    match commands::run(&app, cli.command) {
        Ok(code) => code,
        Err(failure) if app.json_findings => failure.report_findings(),
        Err(failure) => failure.report(app.screen, app.json_progress()),
    }
}

/// Shows help, the version, or what is wrong with the arguments; exit code 1 for the latter, as docker compose.
fn usage(error: &clap::Error) -> i32 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            i32::from(write_out(error.render().to_string()).is_err())
        }
        ErrorKind::InvalidSubcommand => {
            let word = match error.get(ContextKind::InvalidSubcommand) {
                Some(ContextValue::String(word)) => word.as_str(),
                _ => "",
            };
            match help::not_yet(word) {
                Some(text) => write_err(format!("error: {text}\n")),
                None => write_err(error.render().to_string()),
            }
            1
        }
        _ => {
            write_err(error.render().to_string());
            1
        }
    }
}
