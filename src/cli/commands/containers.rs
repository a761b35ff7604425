//! Words about containers that several commands print: status, ports, names.
//!
//! In: observed containers and the time. Out: text. Imports: `base`, `engine::state`.
//! As Docker: `docker ps`; the seconds are counted down to whole ones as there.

use crate::base::clock::{Timestamp, human_duration};
use crate::base::name::ContainerId;
use crate::cli::app::App;
use crate::cli::exit::Failure;
use crate::engine::Engine;
use crate::engine::state::{ObservedContainer, PublishedPort, State};

/// A `com.docker.compose.` label; empty when there is none.
pub(super) fn label<'c>(container: &'c ObservedContainer, key: &str) -> &'c str {
    container
        .labels
        .get(&format!("com.docker.compose.{key}"))
        .map_or("", String::as_str)
}

/// Whether `run` made it.
pub(super) fn is_oneoff(container: &ObservedContainer) -> bool {
    label(container, "oneoff") == "True"
}

/// Whether a container runs or will run again by itself.
pub(super) fn will_print(container: &ObservedContainer) -> bool {
    container.state.is_up() || matches!(container.state, State::Restarting { .. })
}

/// `Up 3 minutes (healthy)`, `Exited (1) 5 seconds ago`, `Created`.
pub(super) fn status(container: &ObservedContainer, now: Timestamp) -> String {
    let ago = |at: Timestamp| human_duration(at.until(now));
    let health = container
        .health
        .as_ref()
        .map(|health| match health.status.as_str() {
            "starting" => " (health: starting)".to_owned(),
            other => format!(" ({other})"),
        });
    match container.state {
        State::Created => "Created".to_owned(),
        State::Running { since } => format!("Up {}{}", ago(since), health.unwrap_or_default()),
        State::Paused { since } => format!("Up {} (Paused)", ago(since)),
        State::Restarting { exit } => format!("Restarting ({}) {} ago", exit.code(), ago(exit.at)),
        State::Exited { exit } => format!("Exited ({}) {} ago", exit.code(), ago(exit.at)),
        State::Removing => "Removal In Progress".to_owned(),
    }
}

/// `0.0.0.0:8080->80/tcp, [::]:8080->80/tcp`.
pub(super) fn ports(ports: &[PublishedPort]) -> String {
    let one = |port: &PublishedPort| {
        let ip = match port.host_ip {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        };
        format!(
            "{ip}:{}->{}/{}",
            port.host,
            port.container,
            port.protocol.as_str()
        )
    };
    let mut sorted = ports.to_vec();
    sorted.sort_by_key(|port| {
        (
            port.container,
            port.protocol.as_str(),
            port.host_ip,
            port.host,
        )
    });
    sorted.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Text cut to `width` characters, the last of them an ellipsis.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// The container of a service that a command acts on: the one of that number, else the first that runs.
///
/// # Errors
/// `service … is not running`.
pub(super) fn of_service(
    app: &App,
    engine: &dyn Engine,
    service: &str,
    index: Option<u32>,
) -> Result<ObservedContainer, Failure> {
    let (name, _project) = app.project_or_name()?;
    let world = engine.observe(&name)?;
    let number = |c: &ObservedContainer| label(c, "container-number").parse::<u32>().unwrap_or(0);
    let mut candidates: Vec<ObservedContainer> = world
        .containers
        .into_iter()
        .filter(|c| label(c, "service") == service && !is_oneoff(c))
        .filter(|c| index.is_none_or(|index| number(c) == index))
        .filter(|c| c.state.is_up())
        .collect();
    candidates.sort_by_key(number);
    match (candidates.into_iter().next(), index) {
        (Some(container), _) => Ok(container),
        (None, Some(index)) => Err(Failure::new(format!(
            "service \"{service}\" is not running container #{index}"
        ))),
        (None, None) => {
            let text = format!("service \"{service}\" is not running");
            Err(Failure::new(text).hint(format!("start it with `hoist up -d {service}`")))
        }
    }
}

/// Ids as lists show them.
pub(super) fn id(id: &ContainerId, whole: bool) -> String {
    if whole {
        id.as_str().to_owned()
    } else {
        id.short().to_owned()
    }
}
