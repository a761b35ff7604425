//! A plan as a picture: the project's graph, with what happens to each thing.
//!
//! In: a project and a [`Summary`]. Out: a [`Drawing`]. Imports: `graph::draw`, `plan::summary`, `commands::graph`.

use super::super::graph::project_drawing;
use crate::compose::model::Project;
use crate::graph::draw::{Drawing, Node, Shape, Tone};
use crate::plan::summary::{Item, Sign, Summary};

/// The project's graph with actions.
pub(super) fn drawing(project: &Project, summary: &Summary) -> Drawing {
    let mut drawing = project_drawing(project);
    let mut strangers = Vec::new();
    for item in &summary.items {
        let ids = ids(project, item);
        let mut found = false;
        for node in drawing.nodes.iter_mut().filter(|n| ids.contains(&n.id)) {
            mark(node, item);
            found = true;
        }
        if !found {
            strangers.push(item);
        }
    }
    for item in strangers {
        let shape = match item.kind {
            "network" => Shape::Round,
            "volume" => Shape::Drum,
            "image" => Shape::Page,
            _ => Shape::Box,
        };
        let mut node = Node::new(format!("{}/{}", item.kind, item.name), &item.name, shape);
        mark(&mut node, item);
        drawing.nodes.push(node);
    }
    let legend = [
        (Tone::Good, "comes (+)"),
        (Tone::Uneasy, "changes (~)"),
        (Tone::Bad, "goes (-)"),
        (Tone::Plain, "stays"),
    ];
    drawing.legend = legend.map(|(tone, text)| (tone, text.to_owned())).to_vec();
    drawing
}

/// The boxes that a thing belongs to.
fn ids(project: &Project, item: &Item) -> Vec<String> {
    match item.kind {
        "network" => {
            let mut all = project.networks.values();
            let found = all.find(|network| network.name == item.name);
            found
                .map(|n| format!("network/{}", n.key))
                .into_iter()
                .collect()
        }
        "volume" => {
            let mut all = project.volumes.values();
            let found = all.find(|volume| volume.name == item.name);
            found
                .map(|v| format!("volume/{}", v.key))
                .into_iter()
                .collect()
        }
        "image" => {
            let named =
                |service: &&crate::compose::model::Service| project.image_of(service) == item.name;
            let all = project.services.values().filter(named);
            all.map(|service| format!("service/{}", service.name))
                .collect()
        }
        "provider" => vec![format!("service/{}", item.name)],
        _ => {
            let service = item.service.as_ref();
            let known = service.filter(|name| project.service(name).is_some());
            known
                .map(|name| format!("service/{name}"))
                .into_iter()
                .collect()
        }
    }
}

/// Writes into a box what happens; the strongest sign gives it its tone.
fn mark(node: &mut Node, item: &Item) {
    let tone = match item.sign {
        Sign::Add => Tone::Good,
        Sign::Change => Tone::Uneasy,
        Sign::Remove => Tone::Bad,
        Sign::Look => Tone::Plain,
    };
    node.tone = match (node.tone, tone) {
        (Tone::Plain, new) => new,
        (old, Tone::Plain) => old,
        (old, new) if old == new => old,
        _ => Tone::Uneasy,
    };
    let change = item
        .reasons
        .iter()
        .flat_map(|reason| &reason.changes)
        .next();
    let why = match (change, item.reasons.first()) {
        (Some(change), _) => format!(": {}", change.path),
        (None, Some(reason)) => format!(": {}", reason.text),
        (None, None) => String::new(),
    };
    let text = format!("{} {}{why}", item.sign.mark(), item.action);
    let known = node.note.split('\n').any(|line| line == text);
    if !known {
        let gap = if node.note.is_empty() { "" } else { "\n" };
        node.note.push_str(&format!("{gap}{}", text.trim_start()));
    }
}
