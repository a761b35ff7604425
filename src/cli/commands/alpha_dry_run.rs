//! `alpha dry-run`: another command with `--dry-run`, as docker compose had it before that was a flag.
//!
//! Imports: `args`, `commands`. As Compose 2.17: `cmd/compose/alpha.go`.

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::cli::app::App;
use crate::cli::args::{Cli, DryRunArgs};
use crate::cli::exit::{Failure, Outcome};

/// The command that is named, as with `--dry-run`; flags that stood before `alpha` hold for it.
pub(super) fn run(app: &App, args: &DryRunArgs) -> Outcome {
    let words = std::iter::once("hoist").chain(args.command.iter().map(String::as_str));
    let read = Cli::command()
        .try_get_matches_from(words)
        .and_then(|found| Cli::from_arg_matches(&found));
    let cli = read.map_err(|error| {
        Failure::new(
            error
                .to_string()
                .trim_start_matches("error: ")
                .trim_end()
                .to_owned(),
        )
    })?;
    let mut globals = app.globals.clone();
    globals.dry_run = true;
    globals.trust |= cli.globals.trust;
    globals.locked |= cli.globals.locked;
    match App::new(globals, app.env.clone()) {
        Ok(inner) => super::run(&inner, cli.command),
        Err((failure, _)) => Err(failure),
    }
}
