//! `completion`: what a shell reads to have hoist complete its words.
//!
//! In: a shell. Out: its script, which asks hoist itself ([`crate::cli::complete`]).
//! Imports: `cli`.

use crate::cli::args::CompletionArgs;
use crate::cli::complete;
use crate::cli::exit::{Failure, Outcome};
use crate::ui::write_out;

/// Prints the script for the name that hoist is called by.
///
/// # Errors
/// When standard output is closed.
pub(in crate::cli) fn run(args: &CompletionArgs, name: &str) -> Outcome {
    let script = complete::script(args.shell, name);
    let script =
        script.map_err(|error| Failure::new(format!("cannot make the script: {error}")))?;
    write_out(script)?;
    Ok(0)
}
