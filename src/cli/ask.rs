//! Questions before something is removed.
//!
//! Imports: `ui`. As Docker: `cli/command/utils.go`, `PromptForConfirmation`.

use std::io::{self, BufRead as _, IsTerminal as _};

use super::exit::Failure;
use crate::ui::{write_err, write_out};

/// Asks on standard error and reads the answer from standard input, whatever that is; its end is a no.
///
/// # Errors
/// When the answer can't be read.
pub fn agreed(question: &str) -> Result<bool, Failure> {
    write_err(format!("{question} [y/N] "));
    answered(&["y", "yes"])
}

/// Says what will be done and asks whether it is to be. As Compose: `pkg/prompt`, on standard output; only a terminal is
/// told that it is a question.
///
/// # Errors
/// When standard output is closed or the answer can't be read.
pub fn confirmed(what: &str) -> Result<bool, Failure> {
    match io::stdin().is_terminal() {
        true => write_out(format!("? {what} (y/N) "))?,
        false => write_out(what)?,
    }
    answered(&["y", "yes", "t", "true", "1"])
}

fn answered(yes: &[&str]) -> Result<bool, Failure> {
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
    Ok(yes.contains(&answer.trim().to_ascii_lowercase().as_str()))
}
