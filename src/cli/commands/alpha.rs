//! `alpha`: what docker compose tries out. `viz` draws services and what they depend on.
//!
//! Imports: `compose::model`. As Compose: `cmd/compose/viz.go`, `pkg/compose/viz.go`, byte for byte; only the order of
//! lines is that of the file here, where it is another one each time there.

use crate::cli::app::{App, Deps};
use crate::cli::args::{AlphaCommand, VizArgs};
use crate::cli::exit::Outcome;
use crate::compose::model::{Port, Project, Service};
use crate::ui::{write_err, write_out};

pub(super) fn run(app: &App, command: &AlphaCommand) -> Outcome {
    match command {
        AlphaCommand::Viz(args) => viz(app, args),
        AlphaCommand::Scale(args) => super::scale::run(app, args),
        AlphaCommand::Generate(args) => super::alpha_generate::run(app, args),
        AlphaCommand::DryRun(args) => super::alpha_dry_run::run(app, args),
    }
}

fn viz(app: &App, args: &VizArgs) -> Outcome {
    write_err("viz command is EXPERIMENTAL\n");
    let project = app.select(&[], Deps::Include, Vec::new())?;
    write_out(format!("{}\n", graphviz(&project, args)))?;
    Ok(0)
}

fn graphviz(project: &Project, args: &VizArgs) -> String {
    let mark = if args.spaces == Some(true) { " " } else { "\t" };
    let indent = mark.repeat(args.indentation_size);
    let mut out = format!("digraph \"{}\" {{\n{indent}layout=dot;\n", project.name);
    for service in project.services.values() {
        out.push_str(&format!("{indent}{}\n", node(project, service, args)));
    }
    out.push('\n');
    for (name, service) in &project.services {
        for other in service.depends_on.keys() {
            out.push_str(&format!("{indent}\"{name}\" -> \"{other}\";\n"));
        }
    }
    out.push_str("}\n");
    out
}

fn node(project: &Project, service: &Service, args: &VizArgs) -> String {
    let name = &service.name;
    let mut label = format!("<font point-size=\"15\">{name}</font>");
    let mut part = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            let lines = lines.join("<br/>");
            label.push_str(&format!(
                "<font point-size=\"10\"><br/><br/><b>{title}:</b><br/>{lines}</font>"
            ));
        }
    };
    if args.networks {
        let mut networks: Vec<_> = service.networks.iter().collect();
        networks.sort_by_key(|(key, network)| (-network.priority, (*key).clone()));
        let names = networks.into_iter().map(|(key, _)| key.clone());
        part("Networks", names.collect());
    }
    if args.ports {
        let ports = service.ports.iter().map(|port| port_text(&port.value));
        part("Ports", ports.collect());
    }
    if args.image {
        let image = project.image_of(service);
        part("Image", vec![image]);
    }
    format!("\"{name}\" [style=\"filled\" label=<{label}>];")
}

fn port_text(port: &Port) -> String {
    let host = port.host_ip.map(|ip| format!("{ip}:")).unwrap_or_default();
    let published = match port.published {
        None => String::new(),
        Some((first, last)) if first == last => first.to_string(),
        Some((first, last)) => format!("{first}-{last}"),
    };
    let mode = port.mode.as_deref().unwrap_or("ingress");
    let (target, protocol) = (port.target, port.protocol.as_str());
    format!("{host}{published}:{target} ({protocol}, {mode})")
}
