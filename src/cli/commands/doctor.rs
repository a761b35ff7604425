//! `doctor`: what this host offers containers, what is missing, and the command that mends it.
//!
//! Imports: `engine::host`, `doctor_registries`, `ui`. Exit code: 0, or 1 when something is missing that each container needs.

use serde_json::{Value, json};

use super::{doctor_registries, format};
use crate::cli::app::App;
use crate::cli::args::DoctorArgs;
use crate::cli::exit::Outcome;
use crate::cli::roots;
use crate::engine::host::{Row, Standing};
use crate::ui::{paint, write_out};

/// Width of the page, of its first two columns, and of what is left beside them.
const PAGE: usize = 80;
const STATUS: usize = 10;
const CHECK: usize = 20;

pub(super) fn run(app: &App, args: &DoctorArgs) -> Outcome {
    let root = nix::unistd::geteuid().is_root();
    let rows = || {
        let dirs = roots::device_dirs(&app.env);
        let mut rows = crate::engine::examine(&roots::roots(&app.env, root), &dirs);
        rows.extend(doctor_registries::rows(&app.env));
        rows
    };
    let (text, lacks) = match args.format.as_str() {
        "table" => {
            let rows = rows();
            (table(&rows, app.screen.out_colour), lacks(&rows))
        }
        "json" => {
            let rows = rows();
            (format!("{}\n", as_json(&rows)), lacks(&rows))
        }
        other => {
            return Err(format::unknown(other, &format::ROWS));
        }
    };
    write_out(text)?;
    Ok(i32::from(lacks))
}

/// Whether something is missing without which no container starts.
fn lacks(rows: &[Row]) -> bool {
    rows.iter()
        .any(|row| row.needed && row.standing == Standing::Missing)
}

fn as_json(rows: &[Row]) -> Value {
    let checks = rows.iter().map(|row| {
        json!({
            "name": row.name,
            "status": row.standing.as_str(),
            "needed": row.needed,
            "found": row.found,
            "means": row.means,
            "mend": row.mend,
        })
    });
    json!({ "version": 1, "ok": !lacks(rows), "checks": checks.collect::<Vec<_>>() })
}

/// Rows in three columns, each followed by what mends it.
fn table(rows: &[Row], colour: bool) -> String {
    let mut page = format!("{:<STATUS$}{:<CHECK$}FOUND\n", "STATUS", "CHECK");
    let indent = " ".repeat(STATUS + CHECK);
    for row in rows {
        let status = format!("{:<STATUS$}", row.standing.as_str());
        page.push_str(&paint(colour, colour_of(row.standing), &status));
        page.push_str(&format!("{:<CHECK$}", row.name));
        let text = format!("{}: {}", row.found, row.means);
        let lines = wrapped(&text, PAGE - STATUS - CHECK);
        page.push_str(&lines.join(&format!("\n{indent}")));
        page.push('\n');
        if let Some(mend) = row.mend.as_ref().filter(|_| row.standing != Standing::Ok) {
            // In one piece, so that it can be copied.
            page.push_str(&format!("{}mend: {mend}\n", " ".repeat(STATUS)));
        }
    }
    page.push('\n');
    page.push_str(&summary(rows));
    page
}

/// Green, yellow or red.
fn colour_of(standing: Standing) -> &'static str {
    match standing {
        Standing::Ok => "32",
        Standing::Degraded | Standing::Unknown => "33",
        Standing::Missing => "31",
    }
}

fn summary(rows: &[Row]) -> String {
    let count = |standing| rows.iter().filter(|row| row.standing == standing).count();
    let counts = [
        Standing::Ok,
        Standing::Degraded,
        Standing::Missing,
        Standing::Unknown,
    ];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|standing| count(*standing) > 0)
        .map(|standing| format!("{} {}", count(standing), standing.as_str()))
        .collect();
    let end = match lacks(rows) {
        true => "containers can't run here yet",
        false => "containers can run here",
    };
    format!("{}: {end}\n", counts.join(", "))
}

/// A text in lines of at most `width` characters, broken between words; a longer word has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_and_missing_fails() {
        let row = |standing, needed| Row {
            needed,
            ..Row::ok("x", "y", "z").stands(standing)
        };
        assert!(!lacks(&[
            row(Standing::Ok, true),
            row(Standing::Missing, false)
        ]));
        assert!(!lacks(&[
            row(Standing::Unknown, true),
            row(Standing::Degraded, true)
        ]));
        assert!(lacks(&[
            row(Standing::Ok, true),
            row(Standing::Missing, true)
        ]));
    }

    #[test]
    fn a_page_has_eighty_columns_and_commands_in_one_piece() {
        let long = "word ".repeat(30);
        let command = "x".repeat(90);
        let rows = [
            Row::ok("kernel", "Linux 6", "fine"),
            Row::ok("AppArmor", "not on", long)
                .stands(Standing::Degraded)
                .mend(command.clone()),
        ];
        let page = table(&rows, false);
        assert!(
            page.starts_with(
                "STATUS    CHECK               FOUND\nok        kernel              Linux 6: fine\n"
            ),
            "{page}"
        );
        assert!(
            page.contains(&format!("\n          mend: {command}\n")),
            "{page}"
        );
        let wide = page.lines().filter(|line| !line.contains("mend:"));
        assert!(
            wide.into_iter().all(|line| line.chars().count() <= 80),
            "{page}"
        );
        assert!(
            page.ends_with("1 ok, 1 degraded: containers can run here\n"),
            "{page}"
        );
    }
}
