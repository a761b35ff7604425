//! `--format`: one of a few words, or a template; a word that is mistyped gets a suggestion.
//!
//! Imports: `base`, `ui::rows`.

use crate::base::diag::nearest;
use crate::cli::app::App;
use crate::cli::exit::Failure;
use crate::ui::rows::Format;
use crate::ui::template::Fault;

/// The words of lists that are tables else.
pub(super) const ROWS: [&str; 2] = ["table", "json"];

/// What may be written, and which of it may have been meant.
fn hint(text: &str, known: &[&str]) -> String {
    let all = match known.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => known.concat(),
    };
    match nearest(text, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? write {all}"),
        None => format!("write {all}"),
    }
}

/// A `--format` that is none of the known words.
pub(super) fn unknown(text: &str, known: &[&str]) -> Failure {
    Failure::new(format!("unknown format `{text}`")).hint(hint(text, known))
}

/// As [`unknown`], in the words of docker compose's `config`.
pub(super) fn unsupported(text: &str, known: &[&str]) -> Failure {
    Failure::new(format!("unsupported format `{text}`")).hint(hint(text, known))
}

/// A `--format` that is neither a known word nor a template, where docker compose takes no other.
pub(super) fn neither(text: &str) -> Failure {
    let failure = Failure::new(format!(
        "format value {text:?} could not be parsed: parsing failed"
    ));
    failure.hint(hint(text, &ROWS) + " or a template as '{{.Name}}'")
}

/// Reads the format of a list. As Docker, a word without a field is a template of that word; one that is nearly a known
/// word is printed all the same, with a warning.
///
/// # Errors
/// A template that is none.
pub(super) fn rows(app: &App, text: &str) -> Result<Format, Fault> {
    let format = Format::parse(text)?;
    if matches!(format, Format::Template { table: false, .. })
        && !text.contains("{{")
        && let Some(near) = nearest(text, ROWS)
    {
        app.warn(&format!(
            "--format {text} is a template without a field: each row is this word; did you mean `{near}`?"
        ));
    }
    Ok(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_nearly_right_is_suggested() {
        assert_eq!(
            hint("jsn", &["text", "json", "svg"]),
            "did you mean `json`? write text, json or svg"
        );
        assert_eq!(hint("spreadsheet", &ROWS), "write table or json");
    }
}
