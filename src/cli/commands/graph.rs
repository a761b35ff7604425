//! `graph`: the project as a picture: services and what they depend on, networks, volumes; with what their containers do
//! now, where there are some.
//!
//! It changes nothing: the engine is opened for looking, and only where it has something of the project.
//! Imports: `compose::model`, `engine`, `graph::draw`.

use std::path::Path;
use std::sync::Arc;

use super::containers::is_oneoff;
use crate::cli::app::{App, Deps};
use crate::cli::args::GraphArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::compose::model::{Port, Project, Service, VolumeSource};
use crate::engine;
use crate::engine::state::{HealthStatus, Observed, ObservedContainer, State};
use crate::graph::draw::{self, Drawing, Edge, Look, Node, Shape, Tone};
use crate::image::store::Store;
use crate::plan::labels;
use crate::ui::write_out;

/// The languages a picture is drawn in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Trees of text.
    Text,
    /// Mermaid.
    Mermaid,
    /// Graphviz.
    Dot,
    /// A picture.
    Svg,
}

impl Format {
    /// Reads `--format`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "text" => Self::Text,
            "mermaid" => Self::Mermaid,
            "dot" => Self::Dot,
            "svg" => Self::Svg,
            _ => return None,
        })
    }
}

pub(super) fn run(app: &App, args: &GraphArgs) -> Outcome {
    let format = Format::parse(&args.format)
        .ok_or_else(|| super::format::unknown(&args.format, &["text", "mermaid", "dot", "svg"]))?;
    let project = app.select(&args.services, Deps::Include, Vec::new())?;
    let mut drawing = project_drawing(&project);
    if !args.no_state
        && let Some(observed) = observed(app, &project)?
    {
        show_states(&mut drawing, &project, &observed);
    }
    let output = args.output.as_deref();
    let text = draw(&drawing, format, look(app, output));
    put(app, output, &text)?;
    Ok(0)
}

/// How text is shown where it goes.
pub(super) fn look(app: &App, output: Option<&Path>) -> Look {
    if output.is_some() {
        return Look::default();
    }
    let columns = usize::from(console::Term::stdout().size().1);
    Look {
        colour: app.screen.out_colour,
        width: app.screen.out_terminal.then_some(columns.max(20)),
    }
}

pub(super) fn draw(drawing: &Drawing, format: Format, look: Look) -> String {
    match format {
        Format::Text => draw::text(drawing, look),
        Format::Mermaid => draw::mermaid(drawing),
        Format::Dot => draw::dot(drawing),
        Format::Svg => draw::svg(drawing),
    }
}

/// Prints a text, or writes it to a file.
pub(super) fn put(app: &App, output: Option<&Path>, text: &str) -> Result<(), Failure> {
    match output {
        None => Ok(write_out(text)?),
        Some(path) => std::fs::write(app.env.cwd.join(path), text)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display()))),
    }
}

/// What the engine has of the project; `None` where it has nothing, or where this user may not look.
fn observed(app: &App, project: &Project) -> Result<Option<Observed>, Failure> {
    let Ok(roots) = app.roots() else {
        return Ok(None);
    };
    let store = Arc::new(Store::look(&roots.data));
    let observed = engine::look(&roots, store).observe(&project.name)?;
    Ok((!observed.containers.is_empty()).then_some(observed))
}

/// Services, networks and volumes with what connects them.
pub(super) fn project_drawing(project: &Project) -> Drawing {
    let mut drawing = Drawing::default();
    for (name, service) in &project.services {
        let id = format!("service/{name}");
        let label = service_label(service);
        drawing.nodes.push(Node::new(id.clone(), label, Shape::Box));
        let mut lead = |to: String, label: String| {
            drawing.edges.push(Edge {
                from: id.clone(),
                to,
                label,
            });
        };
        for (dependency, terms) in &service.depends_on {
            let label = terms.condition.as_str().trim_start_matches("service_");
            lead(format!("service/{dependency}"), label.to_owned());
        }
        for network in service.networks.keys() {
            lead(format!("network/{network}"), String::new());
        }
        for mount in &service.volumes {
            if let VolumeSource::Volume { key: Some(key), .. } = &mount.source {
                let suffix = if mount.read_only { " (ro)" } else { "" };
                lead(format!("volume/{key}"), format!("{}{suffix}", mount.target));
            }
        }
    }
    let outside = |external: bool| if external { "\nexternal" } else { "" };
    for (key, network) in &project.networks {
        let inner = if network.internal { "\ninternal" } else { "" };
        let label = format!("{key}{}{inner}", outside(network.external));
        let node = Node::new(format!("network/{key}"), label, Shape::Round);
        drawing.nodes.push(node);
    }
    for (key, volume) in &project.volumes {
        let label = format!("{key}{}", outside(volume.external));
        let node = Node::new(format!("volume/{key}"), label, Shape::Drum);
        drawing.nodes.push(node);
    }
    drawing
}

/// Name, number of containers, image, ports.
fn service_label(service: &Service) -> String {
    let mut label = service.name.to_string();
    if service.scale != 1 {
        label.push_str(&format!(" ×{}", service.scale));
    }
    match (&service.image, &service.build) {
        (Some(image), _) => label.push_str(&format!("\n{}", image.value)),
        (None, Some(_)) => label.push_str("\nbuilt"),
        (None, None) => {}
    }
    for port in &service.ports {
        label.push_str(&format!("\n{}", port_label(&port.value)));
    }
    label
}

fn port_label(port: &Port) -> String {
    let range = |(first, last): (u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    let published = port.published.map_or_else(|| "any".to_owned(), range);
    format!("{published} → {}/{}", port.target, port.protocol.as_str())
}

/// Writes into each box how it is about it.
fn show_states(drawing: &mut Drawing, project: &Project, observed: &Observed) {
    for node in &mut drawing.nodes {
        let Some((kind, key)) = node.id.split_once('/') else {
            continue;
        };
        let there = match kind {
            "service" => {
                if let Some(service) = project.service(key) {
                    (node.tone, node.note) = standing(service, observed);
                    node.label = with_ports(&node.label, service, observed);
                }
                continue;
            }
            "network" => project.networks.get(key).is_some_and(|network| {
                let mut all = observed.networks.iter();
                network.external || all.any(|have| have.name == network.name)
            }),
            _ => project.volumes.get(key).is_some_and(|volume| {
                let mut all = observed.volumes.iter();
                volume.external || all.any(|have| have.name == volume.name)
            }),
        };
        if !there {
            (node.tone, node.note) = (Tone::Absent, "missing".to_owned());
        }
    }
    let legend = [
        (Tone::Good, "running, healthy"),
        (Tone::Uneasy, "starting, paused, some down"),
        (Tone::Bad, "unhealthy, failed"),
        (Tone::Idle, "created, ended"),
        (Tone::Absent, "missing"),
    ];
    drawing.legend = legend.map(|(tone, text)| (tone, text.to_owned())).to_vec();
}

/// The containers of a service, without those of `run`.
fn of_service<'o>(service: &Service, observed: &'o Observed) -> Vec<&'o ObservedContainer> {
    let ours = |container: &&ObservedContainer| {
        let of = labels::service(container);
        of.as_ref() == Some(&service.name) && !is_oneoff(container) && !labels::is_hook(container)
    };
    observed.containers.iter().filter(ours).collect()
}

/// A service's state for the eye and in words: that of its container, or how many of them are in which.
fn standing(service: &Service, observed: &Observed) -> (Tone, String) {
    let all = of_service(service, observed);
    if service.provider.is_some() {
        return (Tone::Plain, String::new());
    }
    let wanted = usize::try_from(service.scale).unwrap_or(usize::MAX);
    let states: Vec<(Tone, String)> = all.iter().map(|container| state(container)).collect();
    match (&states[..], wanted) {
        ([], 0) => return (Tone::Idle, "scaled to 0".to_owned()),
        ([], _) => return (Tone::Absent, "missing".to_owned()),
        ([only], 1) => return only.clone(),
        _ => {}
    }
    let good = states
        .iter()
        .filter(|(tone, _)| *tone == Tone::Good)
        .count();
    let mut others: Vec<(&str, usize)> = Vec::new();
    for (_, text) in states.iter().filter(|(tone, _)| *tone != Tone::Good) {
        match others.iter_mut().find(|(known, _)| known == text) {
            Some((_, count)) => *count += 1,
            None => others.push((text, 1)),
        }
    }
    let bad = states.iter().any(|(tone, _)| *tone == Tone::Bad);
    let tone = match () {
        () if bad => Tone::Bad,
        () if good >= wanted => Tone::Good,
        () if states.iter().all(|(tone, _)| *tone == Tone::Idle) => Tone::Idle,
        () => Tone::Uneasy,
    };
    let others: Vec<String> = others
        .iter()
        .map(|(text, n)| format!(", {n} {text}"))
        .collect();
    (
        tone,
        format!("{good} of {wanted} running{}", others.concat()),
    )
}

/// One container's state: `running (healthy)`, `exited (3)`.
fn state(container: &ObservedContainer) -> (Tone, String) {
    let text = labels::state_text(container.state);
    let health = container.health.as_ref().map(|health| health.status);
    let probed = |health: HealthStatus| format!("{text} ({})", health.as_str());
    match (container.state, health) {
        (State::Running { .. }, None) => (Tone::Good, text),
        (State::Running { .. }, Some(HealthStatus::Healthy)) => {
            (Tone::Good, probed(HealthStatus::Healthy))
        }
        (State::Running { .. }, Some(HealthStatus::Unhealthy)) => {
            (Tone::Bad, probed(HealthStatus::Unhealthy))
        }
        (State::Running { .. }, Some(health)) => (Tone::Uneasy, probed(health)),
        (State::Exited { exit }, _) if exit.code() != 0 => (Tone::Bad, text),
        (State::Exited { .. } | State::Created, _) => (Tone::Idle, text),
        (State::Paused { .. } | State::Restarting { .. } | State::Removing, _) => {
            (Tone::Uneasy, text)
        }
    }
}

/// The label with the ports that the containers really have, in place of `any`.
fn with_ports(label: &str, service: &Service, observed: &Observed) -> String {
    let mut lines: Vec<String> = label.lines().map(str::to_owned).collect();
    for container in of_service(service, observed) {
        for port in &container.ports {
            let (target, protocol) = (port.container, port.protocol.as_str());
            let any = format!("any → {target}/{protocol}");
            let real = format!("{} → {target}/{protocol}", port.host);
            if lines.contains(&real) {
                continue;
            }
            match lines.iter_mut().find(|line| **line == any) {
                Some(line) => *line = real,
                // Further replicas, and what a range came to.
                None if service.scale > 1 => lines.push(real),
                None => {}
            }
        }
    }
    lines.join("\n")
}
