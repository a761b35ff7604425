//! A question before something is removed.
//!
//! Imports: `ui`. As Docker: `cli/command/utils.go`, `PromptForConfirmation`.

use std::io::{self, BufRead as _};

use super::exit::Failure;
use crate::ui::write_err;

/// Asks on standard error and reads the answer from standard input, whatever that is; its end is a no.
///
/// # Errors
/// When the answer can't be read.
pub fn agreed(question: &str) -> Result<bool, Failure> {
    write_err(format!("{question} [y/N] "));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}
