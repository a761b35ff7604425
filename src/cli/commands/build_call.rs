//! `--check` and `--call`: what is known of a Dockerfile without building it.
//!
//! Imports: `build::call`, `apply`. As Docker: `docker buildx build --call`.

use crate::apply::{self, BuildTweaks};
use crate::base::diag::nearest;
use crate::build::BuildError;
use crate::build::call::{Answer, Call};
use crate::cli::app::App;
use crate::cli::exit::{Failure, Outcome};
use crate::compose::model::Project;
use crate::ui::{Mode, write_out};

/// Names of questions, as they are offered.
const NAMES: [&str; 5] = [
    "build",
    "check",
    "outline",
    "targets",
    "subrequests.describe",
];

/// What is asked, and how the answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    /// What.
    pub(super) call: Call,
    json: bool,
    /// What is found is no failure.
    lenient: bool,
}

impl Question {
    /// Reads `--call METHOD[,format=json][,ignorestatus=true]` and `--check`; `None` is a build.
    pub(super) fn read(call: Option<&str>, check: bool) -> Result<Option<Self>, Failure> {
        let text = match (call, check) {
            (None, false) => return Ok(None),
            (None, true) => "check",
            (Some(text), false) => text,
            (Some(text), true) if text.split(',').next() == Some("check") => text,
            (Some(_), true) => {
                return Err(Failure::new(
                    "--check is --call check; only one of them can be given",
                ));
            }
        };
        let wrong = |why: String| Failure::new(format!("invalid --call `{text}`: {why}"));
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        let (mut json, mut lenient) = (false, false);
        for part in parts {
            match part.split_once('=') {
                Some(("format", "json")) => json = true,
                Some(("format", "text" | "")) => json = false,
                Some(("format", other)) => {
                    return Err(wrong(format!("`{other}` is no format: write text or json")));
                }
                Some(("ignorestatus", "true" | "1")) => lenient = true,
                Some(("ignorestatus", "false" | "0")) => lenient = false,
                _ => {
                    let why = format!("`{part}` is none of format=json, ignorestatus=true");
                    return Err(wrong(why));
                }
            }
        }
        if matches!(name, "build" | "") {
            return Ok(None);
        }
        let call = Call::named(name).ok_or_else(|| {
            let failure = wrong(format!("there is no request {name}"));
            match nearest(name, NAMES) {
                Some(near) => failure.hint(format!("did you mean {near}?")),
                None => failure.hint(format!("the requests are {}", NAMES.join(", "))),
            }
        })?;
        Ok(Some(Self {
            call,
            json,
            lenient,
        }))
    }
    /// Prints an answer; gives the exit code.
    pub(super) fn show(self, answer: Answer) -> Outcome {
        let text = match self.json {
            true => format!("{}\n", pretty(&answer.json)?),
            false => answer.text,
        };
        write_out(text)?;
        match answer.fault {
            Some(fault) => Err(fault.into()),
            None => Ok(i32::from(answer.found && !self.lenient)),
        }
    }
}

fn pretty(value: &serde_json::Value) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(format!("cannot write the answer: {error}")))
}

/// Checks the Dockerfiles of services, each below its name.
pub(super) fn check_services(
    app: &App,
    project: &Project,
    services: &[String],
    tweaks: &BuildTweaks,
) -> Outcome {
    let work = app.work_in(Mode::Quiet)?;
    let answers = apply::ask_builds(&work.context, project, (services, tweaks), Call::Check);
    work.progress.finish();
    let answers = answers?;
    if answers.is_empty() {
        app.warn("no services to build");
    }
    let mut found = false;
    let mut faults: Vec<BuildError> = Vec::new();
    for (at, (name, answer)) in answers.into_iter().enumerate() {
        let gap = if at == 0 { "" } else { "\n" };
        write_out(format!("{gap}{name}\n\n{}", answer.text))?;
        found |= answer.found;
        faults.extend(answer.fault);
    }
    match faults.into_iter().next() {
        Some(fault) => Err(fault.into()),
        None => Ok(i32::from(found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_name_with_options() {
        let read = |text| Question::read(Some(text), false).map_err(drop);
        assert_eq!(read("build"), Ok(None));
        let asked = read("check,format=json,ignorestatus=true")
            .unwrap()
            .unwrap();
        assert_eq!(
            (asked.call, asked.json, asked.lenient),
            (Call::Check, true, true)
        );
        assert_eq!(read("lint").unwrap().unwrap().call, Call::Check);
        assert_eq!(read("outline").unwrap().unwrap().call, Call::Outline);
        for bad in [
            "bogus",
            "outline,foo=1",
            "outline,format=xml",
            "targets,format",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let check = |call| Question::read(call, true).map(|asked| asked.map(|asked| asked.call));
        assert_eq!(check(None).ok(), Some(Some(Call::Check)));
        assert!(check(Some("outline")).is_err());
    }
}
