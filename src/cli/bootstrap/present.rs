//! Dockerfiles that are there already: they are used as they are.
//!
//! Imports: nothing but its neighbours. Source: Dockerfile reference, `EXPOSE`, `HEALTHCHECK`.

use super::{Component, Listing, Probe, Rule, first, service_name};

/// Names that are looked for, best first.
const NAMES: [&str; 3] = ["Dockerfile", "Containerfile", "dockerfile"];

/// The service of the Dockerfile in a directory.
pub(super) fn dockerfile(here: &Listing) -> Option<Component> {
    let name = NAMES.into_iter().find(|name| here.has(name))?;
    Some(component(here, name))
}

/// Services of files like `Dockerfile.api` and `api.Dockerfile`, where no directory has one of the usual name.
pub(super) fn named(listing: &Listing) -> Vec<Component> {
    let of = |file: &str| {
        let word = file.strip_prefix("Dockerfile.");
        let word = word.or_else(|| file.strip_suffix(".Dockerfile"))?;
        (word != "dockerignore" && !word.is_empty()).then(|| service_name(word))
    };
    let found = listing.top().filter_map(|file| Some((file, of(file)?)));
    found
        .map(|(file, service)| Component {
            service,
            ..component(listing, file)
        })
        .collect()
}

fn component(here: &Listing, name: &str) -> Component {
    let text = here.text(name).unwrap_or_default();
    let port = first(r"(?im)^\s*EXPOSE\s+(\d+)\b", text).and_then(|port| port.parse().ok());
    let checked = first(r"(?im)^\s*(HEALTHCHECK)\s", text).is_some();
    let mut seen = vec![format!("{name} is there already and is used as it is")];
    if let Some(port) = port {
        seen.push(format!("it exposes {port}: published on this machine"));
    }
    let mut notes = Vec::new();
    if port.is_none() {
        notes.push(format!(
            "{name} exposes no port, so none is published: add `ports` if it listens"
        ));
    }
    Component {
        what: "an image with a Dockerfile".to_owned(),
        seen,
        notes,
        named: (name != "Dockerfile").then(|| name.to_owned()),
        port,
        probe: match (checked, port) {
            (false, Some(_)) => Probe::Outside,
            _ => Probe::None,
        },
        watch: vec![Rule {
            ignore: vec![".git/", "node_modules/", ".venv/", "target/"],
            ..Rule::rebuild(
                "",
                "what changed is built anew and takes the old one's place",
            )
        }],
        ..Component::default()
    }
}
