//! Words about containers that several commands print: status, ports, names.
//!
//! In: observed containers and the time. Out: text. Imports: `base`, `engine::state`.
//! As Docker: `docker ps`; the seconds are counted down to whole ones as there.

use std::net::IpAddr;

use crate::base::clock::{Timestamp, human_duration};
use crate::base::name::ContainerId;
use crate::cli::app::App;
use crate::cli::exit::Failure;
use crate::compose::model::Project;
use crate::engine::Engine;
use crate::engine::spec::Protocol;
use crate::engine::state::{Observed, ObservedContainer, PublishedPort, State};

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
    let text = state(container.state, now);
    match (container.state, &container.health) {
        (State::Running { .. }, Some(health)) => match health.status.as_str() {
            "starting" => format!("{text} (health: starting)"),
            other => format!("{text} ({other})"),
        },
        _ => text,
    }
}

/// The same without health.
pub(super) fn state(state: State, now: Timestamp) -> String {
    let ago = |at: Timestamp| human_duration(at.until(now));
    match state {
        State::Created => "Created".to_owned(),
        State::Running { since } => format!("Up {}", ago(since)),
        State::Paused { since } => format!("Up {} (Paused)", ago(since)),
        State::Restarting { exit } => format!("Restarting ({}) {} ago", exit.code(), ago(exit.at)),
        State::Exited { exit } => format!("Exited ({}) {} ago", exit.code(), ago(exit.at)),
        State::Removing => "Removal In Progress".to_owned(),
    }
}

/// A port as `ps` shows it: one that is published, or one that a container is only said to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShownPort {
    /// The container's port.
    pub container: u16,
    /// The host's address; `None` for one that is not published.
    pub address: Option<IpAddr>,
    /// The host's port; 0 for one that is not published.
    pub host: u16,
    /// Transport.
    pub protocol: Protocol,
}

/// The ports of a container in the order of Docker: by the container's port, then by the host's address as text. As there,
/// one that does not run has none.
pub(super) fn shown_ports(container: &ObservedContainer) -> Vec<ShownPort> {
    if !container.state.is_up() {
        return Vec::new();
    }
    let published = container.ports.iter().map(|port| ShownPort {
        container: port.container,
        address: Some(port.host_ip),
        host: port.host,
        protocol: port.protocol,
    });
    let said = |(port, protocol): &(u16, Protocol)| {
        let same = |p: &PublishedPort| p.container == *port && p.protocol == *protocol;
        (!container.ports.iter().any(same)).then_some(ShownPort {
            container: *port,
            address: None,
            host: 0,
            protocol: *protocol,
        })
    };
    let mut all: Vec<ShownPort> = published
        .chain(container.exposed.iter().filter_map(said))
        .collect();
    all.sort_by_cached_key(|port| {
        let address = port.address.map(|address| address.to_string());
        (port.container, address, port.host, port.protocol)
    });
    all
}

/// `80/tcp, 0.0.0.0:9000-9001->9000-9001/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp`.
///
/// As Docker: ports in a row that are the same on both sides are one range, and come before those that are not.
/// Source: docker/cli, `cli/command/formatter`, `DisplayablePorts`.
pub(super) fn ports(container: &ObservedContainer) -> String {
    struct Row {
        address: Option<IpAddr>,
        protocol: Protocol,
        first: u16,
        last: u16,
    }
    let bracketed = |address: IpAddr| match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let show = |row: &Row| {
        let range = match row.first == row.last {
            true => row.first.to_string(),
            false => format!("{}-{}", row.first, row.last),
        };
        let protocol = row.protocol.as_str();
        match row.address {
            Some(address) => format!("{}:{range}->{range}/{protocol}", bracketed(address)),
            None => format!("{range}/{protocol}"),
        }
    };
    let (mut done, mut rows, mut moved) = (Vec::new(), Vec::<Row>::new(), Vec::new());
    for port in shown_ports(container) {
        if let Some(address) = port.address
            && port.host != port.container
        {
            let (address, protocol) = (bracketed(address), port.protocol.as_str());
            moved.push(format!(
                "{address}:{}->{}/{protocol}",
                port.host, port.container
            ));
            continue;
        }
        let same = |row: &&mut Row| row.address == port.address && row.protocol == port.protocol;
        let new = Row {
            address: port.address,
            protocol: port.protocol,
            first: port.container,
            last: port.container,
        };
        match rows.iter_mut().find(same) {
            Some(row) if row.last.checked_add(1) == Some(port.container) => {
                row.last = port.container;
            }
            Some(row) => {
                done.push(show(row));
                *row = new;
            }
            None => rows.push(new),
        }
    }
    done.extend(rows.iter().map(show));
    done.extend(moved);
    done.join(", ")
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
    // As Compose: 0 is none in particular.
    let index = index.filter(|index| *index > 0);
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

/// Checks that services are in the project, or have containers that were made when they were.
///
/// # Errors
/// `no such service`.
pub(super) fn known_or_made(
    app: &App,
    project: Option<&Project>,
    world: &Observed,
    names: &[String],
) -> Result<(), Failure> {
    let made = |name: &&String| {
        world
            .containers
            .iter()
            .any(|c| label(c, "service") == **name)
    };
    let others: Vec<String> = names.iter().filter(|name| !made(name)).cloned().collect();
    app.known(project, &others)
}

/// Ids as lists show them.
pub(super) fn id(id: &ContainerId, whole: bool) -> String {
    if whole {
        id.as_str().to_owned()
    } else {
        id.short().to_owned()
    }
}
