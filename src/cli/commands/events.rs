//! `events`: what happens to the project's containers, as it happens.
//!
//! Imports: `engine::happening`. As Compose: `cmd/compose/events.go`, `pkg/compose/events.go`; but that the end of
//! `--until` is no error.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;

use crate::base::clock::Timestamp;
use crate::cli::app::App;
use crate::cli::args::EventsArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::interrupts::{Interrupts, ends};
use crate::cli::parse;
use crate::engine::happening::Happening;
use crate::plan::labels;
use crate::ui::template::go_json;
use crate::ui::write_out;

/// Beginning of the labels that are Compose's own, which are not shown.
const OWN: &str = "com.docker.compose.";

pub(super) fn run(app: &App, args: &EventsArgs) -> Outcome {
    let now = Timestamp::now();
    let time = |text: &Option<String>| {
        let one = |text: &String| {
            parse::time(text, now).map_err(|_| {
                let why = format!("failed to parse value as time or duration: {text:?}");
                Failure::new(why).hint("write it as 2026-01-02T13:23:37Z, or as how long ago: 42m")
            })
        };
        text.as_ref().map(one).transpose()
    };
    let (since, until) = (time(&args.since)?, time(&args.until)?);
    let (name, project) = app.project_or_name()?;
    app.known(project.as_ref(), &args.services)?;
    let left = left_by_signal()?;
    let mut happenings = app.engine()?.happenings(&name, since.is_some())?;
    loop {
        for happening in happenings.read()? {
            let early = since.is_some_and(|since| happening.time < since);
            let late = until.is_some_and(|until| happening.time > until);
            if !early && !late && concerns(&happening, &args.services) {
                write_out(text(&happening, args.json))?;
            }
        }
        let rest = until.map(|until| Timestamp::now().until(until));
        if rest.is_some_and(|rest| rest.is_zero()) {
            return Ok(0);
        }
        if wait(&[happenings.ready(), left.as_fd()], rest)?.contains(&1) {
            return Err(Failure::said(130));
        }
    }
}

/// What becomes readable when a signal asks this command to end.
///
/// # Errors
/// When signals can't be caught.
pub(super) fn left_by_signal() -> Result<OwnedFd, Failure> {
    let (left, leave) = nix::unistd::pipe2(OFlag::O_CLOEXEC)
        .map_err(|errno| Failure::new(format!("cannot make a pipe: {errno}")))?;
    let mut leave = Some(leave);
    Interrupts::catch(move |signal| {
        if ends(signal) {
            drop(leave.take());
        }
    })?;
    Ok(left)
}

/// Waits until one of these is readable, at most so long; gives which are.
///
/// # Errors
/// The system's.
pub(super) fn wait(
    those: &[BorrowedFd<'_>],
    limit: Option<Duration>,
) -> Result<Vec<usize>, Failure> {
    let mut fds: Vec<PollFd<'_>> = those
        .iter()
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    // A millisecond more, so that what is due is due when poll returns; much more than a day is split.
    let day = Duration::from_secs(86_400);
    let timeout = limit.map_or(PollTimeout::NONE, |limit| {
        PollTimeout::try_from(limit.min(day) + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(Failure::new(format!("cannot wait: {errno}"))),
    }
    let ready = |(at, fd): (usize, &PollFd<'_>)| fd.any().unwrap_or(false).then_some(at);
    Ok(fds.iter().enumerate().filter_map(ready).collect())
}

/// Whether it is about one of these services, or any. Containers of `run` are left out.
fn concerns(happening: &Happening, services: &[String]) -> bool {
    let label = |key: &str| happening.attributes.get(&format!("{OWN}{key}"));
    let oneoff = label("oneoff").is_some_and(|value| value == "True");
    let service = label("service");
    !oneoff && (services.is_empty() || services.iter().any(|name| Some(name) == service))
}

fn text(happening: &Happening, as_json: bool) -> String {
    let shown = happening.attributes.iter();
    let shown = shown.filter(|(key, _)| !labels::is_ours(key));
    let time = happening.time.rfc3339();
    if as_json {
        let attributes: serde_json::Map<_, _> = shown
            .map(|(key, value)| (key.clone(), value.as_str().into()))
            .collect();
        let service = happening.attributes.get(&format!("{OWN}service"));
        let mut object = json!({
            "action": happening.action,
            "attributes": attributes,
            "id": happening.id.as_str(),
            "service": service.map_or("", String::as_str),
            "time": time,
            "type": "container",
        });
        object.sort_all_objects();
        return go_json(&object) + "\n";
    }
    let pairs: Vec<String> = shown.map(|(key, value)| format!("{key}={value}")).collect();
    let line = format!(
        "{} container {} {} ({})",
        in_micros(&time),
        happening.action,
        happening.id.as_str(),
        pairs.join(", ")
    );
    // As there, with an empty line between two; what others have named must not act on the terminal.
    let plain = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    line.chars().map(plain).collect::<String>() + "\n\n"
}

/// `2026-11-22 21:25:38.316553` of `2026-11-22T21:25:38.316553015Z`.
fn in_micros(time: &str) -> String {
    let (date, clock) = time.split_once('T').unwrap_or((time, ""));
    let (whole, fraction) = clock
        .trim_end_matches('Z')
        .split_once('.')
        .unwrap_or((clock.trim_end_matches('Z'), ""));
    let micros: String = fraction.chars().chain("000000".chars()).take(6).collect();
    format!("{date} {whole}.{micros}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::name::ContainerId;

    fn happening(oneoff: &str) -> Happening {
        let pairs = [
            ("com.docker.compose.service", "web"),
            ("com.docker.compose.oneoff", oneoff),
            ("image", "busybox"),
            ("name", "demo-web-1"),
            ("a.b", "x\x1b[2J"),
        ];
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Happening {
            time: Timestamp::parse("2026-11-22T21:25:38.316553015Z").expect("a time"),
            id: ContainerId::new("abc"),
            action: "create".to_owned(),
            attributes: pairs.into_iter().map(own).collect(),
        }
    }

    #[test]
    fn an_event_is_told_as_compose_tells_it() {
        let one = happening("False");
        assert_eq!(
            text(&one, false),
            "2026-11-22 21:25:38.316553 container create abc (a.b=x\\u{1b}[2J, image=busybox, name=demo-web-1)\n\n"
        );
        assert_eq!(
            text(&one, true),
            "{\"action\":\"create\",\"attributes\":{\"a.b\":\"x\\u001b[2J\",\"image\":\"busybox\",\"name\":\"demo-web-1\"},\
             \"id\":\"abc\",\"service\":\"web\",\"time\":\"2026-11-22T21:25:38.316553015Z\",\"type\":\"container\"}\n"
        );
        assert_eq!(
            in_micros("2026-11-22T21:25:38Z"),
            "2026-11-22 21:25:38.000000"
        );
    }

    #[test]
    fn only_the_services_that_are_asked_for_and_no_containers_of_run() {
        let (one, run) = (happening("False"), happening("True"));
        assert!(concerns(&one, &[]) && concerns(&one, &["db".into(), "web".into()]));
        assert!(!concerns(&one, &["db".into()]) && !concerns(&run, &[]));
    }
}
