//! The command line: reads arguments and the environment once, runs one command, ends with its exit code.
//!
//! In: arguments, [`Env`]. Out: text through `ui`, an exit code. It decides nothing about containers: `plan` does.
//! One file a command in `commands`; what several need: `app` (project, engine, progress), `follow` and `merge` (logs of many
//! containers), `streams` (terminals and pipes of one process), `terminal`, `interrupts`, `parse` (values of flags),
//! `called` (other names of hoist), `complete` (words being typed), `examples` (of `--help`),
//! `remote` (compose files that lie elsewhere), `lockfile` (digests of images).
//! Imports: all. Rules: docker compose's reference of commands, flags, variables and exit codes.

pub mod app;
pub mod args;
pub mod ask;
pub mod bake;
pub mod bootstrap;
pub mod called;
pub mod commands;
pub mod complete;
pub mod debugger;
pub mod detach;
pub mod examples;
pub mod exit;
pub mod focus;
pub mod follow;
pub mod help;
pub mod interrupts;
pub mod isolate;
pub mod keys;
pub mod lockfile;
mod merge;
mod news;
pub mod parse;
mod prompt;
pub mod remote;
pub mod roots;
pub mod snapshots;
pub mod streams;
pub mod terminal;
mod trace;

use std::ffi::OsString;
use std::time::Instant;

use clap::FromArgMatches as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::base::env::Env;
use crate::ui::{Ansi, Screen, events, write_err, write_out};
use app::App;
use args::Cli;
use called::Call;

/// Runs the command that `args` (program name first) name and gives its exit code.
pub fn main(args: impl IntoIterator<Item = OsString>, env: Env) -> i32 {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(shell) = env.non_empty(complete::VARIABLE) {
        let answer = complete::answer(shell, &args, &env);
        return i32::from(write_out(answer).is_err());
    }
    let (args, name) = match called::read(args) {
        Call::Command(args, name) => (args, name),
        Call::Metadata => return i32::from(write_out(called::metadata()).is_err()),
        Call::Complete(words) => {
            let answer = complete::answer_docker(&words, &env);
            return i32::from(write_out(answer).is_err());
        }
        Call::Refused(why) => {
            write_err(format!("error: {why}\n"));
            return 1;
        }
    };
    let grammar = || match name {
        Some(name) => help::command().bin_name(name),
        None => help::command(),
    };
    if args.len() < 2 {
        return shown(&grammar().render_help().ansi().to_string());
    }
    if let Some(settings) = terminal::Settings::of_stdin() {
        terminal::before_panic(move || settings.restore());
    }
    let begun = Instant::now();
    let (mut cli, spoken) = match parsed(&grammar, args) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    if let Some(name) = name
        && let Some(outcome) = called_as(name, &cli.command)
    {
        return outcome;
    }
    // It looks as a dry run does: nothing is made, nothing is tidied.
    cli.globals.dry_run |= matches!(cli.command, args::Command::Plan(_));
    let app = match App::new(cli.globals, env) {
        Ok(mut app) => {
            app.json_findings = cli.command.answers_in_json();
            app
        }
        Err((failure, screen)) => return failure.report(screen, false),
    };
    let streams = cli.command.is_long() && (app.json_progress() || cli.command.tells_json());
    if streams {
        write_err(events::start(&spoken));
    }
    let ended = match app.globals.dry_run && cli.command.has_no_dry_run() {
        true => Err(no_dry_run(&spoken)),
        false => commands::run(&app, cli.command),
    };
    let code = match ended.map_err(|failure| with_room(&app, failure)) {
        Ok(code) => code,
        Err(failure) if app.json_findings => failure.report_findings(),
        Err(failure) => failure.report(app.screen, app.json_progress()),
    };
    if streams {
        write_err(events::result(&spoken, code, begun.elapsed().as_millis()));
    }
    code
}

/// The words of the command: `up`, `image pull`.
fn words(matches: &clap::ArgMatches) -> String {
    let (mut words, mut at) = (Vec::new(), matches);
    while let Some((word, below)) = at.subcommand() {
        words.push(word);
        at = below;
    }
    words.join(" ")
}

/// Nothing is done, and nothing is said to have been.
fn no_dry_run(name: &str) -> exit::Failure {
    let text = format!("`{name}` can't tell what it would do: nothing was done");
    exit::Failure::new(text).hint("leave out --dry-run to do it")
}

/// What is another answer where hoist stands in for docker compose.
fn called_as(name: &str, command: &args::Command) -> Option<i32> {
    let outcome = match command {
        args::Command::Version(args) => commands::version::stand_in(args),
        args::Command::Completion(args) => commands::completion::run(args, name),
        _ => return None,
    };
    Some(outcome.unwrap_or(1))
}

/// Reads the arguments; also gives the words of the command. As docker's flags: one that is on or off takes `=true` and `=false`.
fn parsed(
    grammar: &dyn Fn() -> clap::Command,
    mut args: Vec<OsString>,
) -> Result<(Cli, String), clap::Error> {
    loop {
        let read = grammar()
            .try_get_matches_from(&args)
            .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, words(&matches))));
        match read {
            Err(error) if switched(&mut args, &error) => {}
            read => return read,
        }
    }
}

/// Replaces the first `--flag=true` that an error is about by `--flag`; `--flag=false` goes, with the flags before it.
fn switched(args: &mut Vec<OsString>, error: &clap::Error) -> bool {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (Some(flag), Some(value)) = (
        text(ContextKind::InvalidArg),
        text(ContextKind::InvalidValue),
    ) else {
        return false;
    };
    let on = match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
        _ => return false,
    };
    let word = format!("{flag}={value}");
    let Some(at) = args.iter().position(|arg| *arg == *word) else {
        return false;
    };
    if on {
        args[at] = flag.into();
    } else {
        let mut place = 0;
        args.retain(|arg| {
            place += 1;
            place > at + 1 || (place != at + 1 && *arg != *flag)
        });
    }
    true
}

/// Prints what was asked for, without a project and its settings; gives the exit code.
fn shown(text: &str) -> i32 {
    match write_out(text) {
        Ok(()) => 0,
        Err(error) => {
            let no_color = true;
            exit::Failure::from(error).report(Screen::new(Ansi::Auto, no_color), false)
        }
    }
}

/// Tells whose disk is full what would make room.
fn with_room(app: &App, failure: exit::Failure) -> exit::Failure {
    if !failure.is_full_disk() {
        return failure;
    }
    let Ok((usual, all)) = commands::system::room::reclaimable(app) else {
        return failure;
    };
    let size = |bytes| crate::base::scalar::ByteSize(bytes).decimal();
    match (usual, all) {
        (_, 0) => failure,
        (0, all) => failure.hint(format!(
            "`hoist system prune --all` would free {}",
            size(all)
        )),
        (usual, all) => failure.hint(format!(
            "`hoist system prune` would free {}, with --all {}",
            size(usual),
            size(all)
        )),
    }
}

/// Shows help, the version, or what is wrong with the arguments; exit code 1 for the latter, as docker compose.
fn usage(error: &clap::Error) -> i32 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => shown(&error.render().to_string()),
        _ => {
            write_err(error.render().to_string());
            1
        }
    }
}
