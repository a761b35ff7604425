//! Asks before a project that comes from elsewhere acts on this machine.
//!
//! In: a [`Project`] that was loaded. Out: nothing, or why it must not go on. Commands that only read don't ask.
//! Imports: `compose::model`, `cli::app`, `ui`. As Compose (`cmd/compose/options.go`): the question and the table of
//! variables; what the project asks for is ours.

use std::io::{BufRead as _, IsTerminal as _};

use super::risk::risks;
use crate::base::env::Env;
use crate::cli::app::App;
use crate::cli::exit::Failure;
use crate::compose::model::Project;
use crate::ui::logs::sanitise;
use crate::ui::table::Table;
use crate::ui::write_err;

/// Shows what a project is and asks whether to go on, if any of it comes from elsewhere. `yes` answers for the user,
/// as `--trust` does; `--dry-run` does nothing that needs an answer.
///
/// # Errors
/// The answer is no, or there is no terminal to ask on.
pub fn ask(app: &App, project: &Project, yes: bool) -> Result<(), Failure> {
    let globals = &app.globals;
    if project.remote.sources.is_empty() || yes || globals.trust || globals.dry_run {
        return Ok(());
    }
    let story = String::from_utf8_lossy(&sanitise_lines(&story(project, &app.env))).into_owned();
    write_err(&story);
    if !std::io::stdin().is_terminal() || !app.screen.err_terminal {
        let text = "this project comes from elsewhere, and there is no terminal to ask on";
        let hint =
            "read it with `hoist config`; if you trust it, run the same command with --trust";
        return Err(Failure::new(text).hint(hint));
    }
    write_err("Do you want to proceed? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new("nothing was done: the answer was no")),
    }
}

/// Text of others without what would move the cursor.
fn sanitise_lines(text: &str) -> Vec<u8> {
    let lines = text.lines().map(|line| sanitise(line.as_bytes()));
    lines
        .flat_map(|line| [line, b"\n".to_vec()].concat())
        .collect()
}

/// Where the project comes from, what it asks for, and the variables it is given.
fn story(project: &Project, env: &Env) -> String {
    let mut text = "This project comes from elsewhere:\n".to_owned();
    for source in &project.remote.sources {
        let fetched = &source.fetched;
        text.push_str(&format!(
            "  {}\n    is {} in {}\n",
            source.reference,
            fetched.pin,
            fetched.root.display()
        ));
    }
    text.push_str("It runs these images:\n");
    for service in project.services.values() {
        let image = match (&service.image, &service.build) {
            (Some(image), None) => image.value.clone(),
            (Some(image), Some(_)) => {
                format!("{}, which it builds if it is not there", image.value)
            }
            (None, _) => "what it builds".to_owned(),
        };
        text.push_str(&format!("  {}: {image}\n", service.name));
    }
    let risks = risks(project);
    match risks.is_empty() {
        true => text.push_str("It asks for nothing beyond its own files and containers.\n"),
        false => text.push_str("Beyond its own files and containers it asks for:\n"),
    }
    for risk in risks {
        text.push_str(&format!("  {risk}\n"));
    }
    if !project.remote.variables.is_empty() {
        text.push_str("It is given these variables:\n");
        text.push_str(&variables(project, env));
    }
    text
}

fn variables(project: &Project, env: &Env) -> String {
    let head = ["VARIABLE", "VALUE", "SOURCE", "REQUIRED", "DEFAULT"];
    let mut table = Table::new(0, &head);
    for used in &project.remote.variables {
        let variable = &used.variable;
        let default = variable.default.clone().unwrap_or_default();
        let (value, source) = match &used.value {
            Some(value) if env.vars.contains_key(&variable.name) => (value.as_str(), "environment"),
            Some(value) => (value.as_str(), "env file"),
            None if !default.is_empty() => (default.as_str(), "compose file"),
            None => ("<unset>", "none"),
        };
        let required = if variable.required { "yes" } else { "no" };
        table.row([
            variable.name.clone(),
            value.replace('\n', " "),
            source.to_owned(),
            required.to_owned(),
            default.clone(),
        ]);
    }
    table.text()
}
