//! `graph`: the project as a picture: services and what they depend on, networks, volumes.
//!
//! Imports: `compose::model`, `graph::draw`. It opens neither store nor engine.

use crate::cli::app::{App, Deps};
use crate::cli::args::GraphArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::compose::model::{Port, Project, Service, VolumeSource};
use crate::graph::draw::{self, Drawing, Edge, Node, Shape};
use crate::ui::write_out;

pub(super) fn run(app: &App, args: &GraphArgs) -> Outcome {
    let draw = match args.format.as_str() {
        "text" => draw::text,
        "mermaid" => draw::mermaid,
        "dot" => draw::dot,
        "svg" => draw::svg,
        other => {
            let text = format!("unknown format `{other}`");
            return Err(Failure::new(text).hint("write text, mermaid, dot or svg"));
        }
    };
    let project = app.select(&args.services, Deps::Include, Vec::new())?;
    let text = draw(&drawing(&project));
    match &args.output {
        None => write_out(text)?,
        Some(path) => std::fs::write(app.env.cwd.join(path), text)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?,
    }
    Ok(0)
}

/// Services, networks and volumes with what connects them.
fn drawing(project: &Project) -> Drawing {
    let mut drawing = Drawing::default();
    for (name, service) in &project.services {
        let id = format!("service/{name}");
        drawing.nodes.push(Node {
            id: id.clone(),
            label: service_label(service),
            kind: Shape::Box,
        });
        for (dependency, terms) in &service.depends_on {
            let label = terms
                .condition
                .as_str()
                .trim_start_matches("service_")
                .to_owned();
            drawing.edges.push(Edge {
                from: id.clone(),
                to: format!("service/{dependency}"),
                label,
            });
        }
        for network in service.networks.keys() {
            let to = format!("network/{network}");
            drawing.edges.push(Edge {
                from: id.clone(),
                to,
                label: String::new(),
            });
        }
        for mount in &service.volumes {
            if let VolumeSource::Volume { key: Some(key), .. } = &mount.source {
                let suffix = if mount.read_only { " (ro)" } else { "" };
                let label = format!("{}{suffix}", mount.target);
                drawing.edges.push(Edge {
                    from: id.clone(),
                    to: format!("volume/{key}"),
                    label,
                });
            }
        }
    }
    let outside = |external: bool| if external { "\nexternal" } else { "" };
    for (key, network) in &project.networks {
        let inner = if network.internal { "\ninternal" } else { "" };
        let label = format!("{key}{}{inner}", outside(network.external));
        drawing.nodes.push(Node {
            id: format!("network/{key}"),
            label,
            kind: Shape::Round,
        });
    }
    for (key, volume) in &project.volumes {
        let label = format!("{key}{}", outside(volume.external));
        drawing.nodes.push(Node {
            id: format!("volume/{key}"),
            label,
            kind: Shape::Drum,
        });
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
