//! What the parts of a project say about each other.
//!
//! In: the canonical tree for places, the typed project for meaning. Out: findings.
//! Imports: `base`, `canon`, `model`, `session`, `tree`.
//! Rules: as Compose (`loader/validate.go`): a service that is off by its profiles is not held to them.

use std::collections::{BTreeMap, BTreeSet};

use super::Bound;
use crate::base::diag::{Diagnostic, Severity, nearest};
use crate::base::key::{Key, KeyPath};
use crate::base::name::ServiceName;
use crate::base::span::Span;
use crate::compose::canon::{Canonical, Frame};
use crate::compose::model::{ContextRef, Service, VolumeSource};
use crate::compose::session::Session;
use crate::compose::tree::Node;

/// Checks all services of a project.
pub(super) fn check(
    canonical: &Canonical,
    bound: &Bound,
    frame: &Frame<'_>,
    session: &mut Session<'_>,
) {
    let broken = broken_services(session);
    let mut compared = 0;
    for (name, service) in &bound.services {
        let Some(node) = canonical.services.get(name.as_str()) else {
            continue;
        };
        let path = KeyPath::root().key("services").key(name.as_str());
        let off = frame.is_off(node);
        let mut refs = Refs {
            session,
            bound,
            path,
            off,
            frame,
            compared: &mut compared,
        };
        refs.image(node, service, broken.contains(name.as_str()));
        refs.dependencies(name, service);
        refs.networks(node, service);
        refs.volumes(service);
        refs.grants(service);
        refs.contexts(service);
        refs.models(service);
        refs.replicas(node, service);
    }
    let on = |(name, _): &(&ServiceName, &Service)| {
        let node = canonical.services.get(name.as_str());
        !node.is_some_and(|node| frame.is_off(node))
    };
    let on: On<'_> = bound.services.iter().filter(on).collect();
    containers(&on, session);
    cycles(&on, session);
}

/// Reports each service that gives its container the name of another one's.
fn containers(on: &On<'_>, session: &mut Session<'_>) {
    let mut named: BTreeMap<&str, (&ServiceName, Option<Span>)> = BTreeMap::new();
    for (service, definition) in on {
        let Some(name) = &definition.container_name else {
            continue;
        };
        let Some((first, place)) = named.get(name.value.as_str()) else {
            named.insert(&name.value, (service, name.span));
            continue;
        };
        let text = format!(
            "the containers of `{first}` and `{service}` have one name: {}",
            name.value
        );
        let path = KeyPath::root().key("services").key(service.as_str());
        let fault = Diagnostic::error(text)
            .at(name.span)
            .path(&path.key("container_name"))
            .label("a container has this name already");
        let fault = match *place == name.span {
            true => {
                fault.hint("give each service a `container_name` of its own below its `extends`")
            }
            false => fault
                .related(*place, format!("`{first}` has it here"))
                .hint("give one of them another name, or leave `container_name` out"),
        };
        session.diags.push(fault);
    }
}

/// Services with an error already: a key that is missing there may be one that was refused.
fn broken_services(session: &Session<'_>) -> BTreeSet<String> {
    let name = |diag: &Diagnostic| match diag.path.as_ref()?.0.as_slice() {
        [Key::Name(section), Key::Name(name), ..] if section == "services" => Some(name.clone()),
        _ => None,
    };
    let errors = session
        .diags
        .iter()
        .filter(|diag| diag.severity == Severity::Error);
    errors.filter_map(name).collect()
}

struct Refs<'r, 'e> {
    session: &'r mut Session<'e>,
    bound: &'r Bound,
    path: KeyPath,
    off: bool,
    frame: &'r Frame<'r>,
    /// Names that were compared with others so far.
    compared: &'r mut usize,
}

/// Names that are compared with others to find the one meant, over all findings: beyond them, hints cost more than the rest.
const COMPARISONS: usize = 1_000_000;

impl Refs<'_, '_> {
    fn push(&mut self, place: Option<Span>, text: String, hint: Option<String>) {
        if self.off {
            return;
        }
        let fault = Diagnostic::error(text).at(place).path(&self.path);
        self.session.diags.push(match hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        });
    }

    /// Reports a name that its section does not define, unless it may have been refused or not read.
    fn undefined<'n>(
        &mut self,
        place: Option<Span>,
        (key, section): (&str, &str),
        name: &str,
        text: String,
        known: impl ExactSizeIterator<Item = &'n str>,
    ) {
        let section_path = KeyPath::root().key(section);
        let refused = self.session.partial
            || self.session.diags.is_refused(&section_path)
            || self.session.diags.is_refused(&section_path.key(name));
        if self.off || refused {
            return;
        }
        *self.compared += known.len();
        let near = match *self.compared > COMPARISONS {
            true => None,
            false => nearest(name, known),
        };
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => add(section, name),
        };
        // Of `data:/data` only the name is wrong.
        let part = place.and_then(|place| self.session.find(place, name));
        let fault = Diagnostic::error(text)
            .at(part.or(place))
            .path(&self.path.key(key));
        let label = format!("not defined under the top-level `{section}`");
        self.session.diags.push(fault.label(label).hint(hint));
    }

    fn image(&mut self, node: &Node, service: &Service, broken: bool) {
        let named = service
            .image
            .as_ref()
            .is_some_and(|image| !image.value.is_empty());
        let said = named || service.build.is_some();
        if !said
            && !broken
            && !self.session.partial
            && ["provider", "extends"]
                .iter()
                .all(|key| node.get(key).is_none())
        {
            let hint =
                "add `image: NAME`, or `build: .` for the Dockerfile beside this file".to_owned();
            let text = "the service has neither an image nor a build context".to_owned();
            self.push(service.span, text, Some(hint));
        }
    }

    fn dependencies(&mut self, name: &ServiceName, service: &Service) {
        for (other, dependency) in &service.depends_on {
            if !self.bound.services.contains_key(other) {
                let text = format!("service `{name}` depends on `{other}`, which is not defined");
                let known = self.bound.services.keys().map(ServiceName::as_str);
                self.undefined(
                    dependency.span,
                    ("depends_on", "services"),
                    other.as_str(),
                    text,
                    known,
                );
            }
        }
    }

    fn networks(&mut self, node: &Node, service: &Service) {
        for network in service.networks.keys() {
            if network == "default" && !self.frame.normalize
                || self.bound.networks.contains_key(network)
            {
                continue;
            }
            let place = node
                .get("networks")
                .and_then(|n| n.get(network))
                .map(Node::key_place);
            let text = format!("the network `{network}` is not defined");
            let known = self.bound.networks.keys().map(String::as_str);
            self.undefined(place, ("networks", "networks"), network, text, known);
        }
        if let (Some(mode), false) = (&service.network_mode, service.networks.is_empty()) {
            let text = "`network_mode` and `networks` exclude each other".to_owned();
            self.push(mode.span, text, Some("remove one of them".to_owned()));
        }
    }

    fn volumes(&mut self, service: &Service) {
        for mount in &service.volumes {
            let VolumeSource::Volume { key: Some(key), .. } = &mount.source else {
                continue;
            };
            if !self.bound.volumes.contains_key(key) {
                let text = format!("the volume `{key}` is not defined");
                let known = self.bound.volumes.keys().map(String::as_str);
                self.undefined(mount.span, ("volumes", "volumes"), key, text, known);
            }
        }
    }

    fn grants(&mut self, service: &Service) {
        let build = service.build.iter().flat_map(|build| &build.secrets);
        let build: Vec<(&'static str, String, Option<Span>)> = build
            .map(|secret| ("secret", secret.source.clone(), service.span))
            .collect();
        let secrets = service
            .secrets
            .iter()
            .map(|g| ("secret", g.source.clone(), g.span));
        let configs = service
            .configs
            .iter()
            .map(|g| ("config", g.source.clone(), g.span));
        for (kind, key, place) in secrets.chain(configs).chain(build) {
            let (known, section) = match kind {
                "secret" => (&self.bound.secrets, "secrets"),
                _ => (&self.bound.configs, "configs"),
            };
            if !known.contains_key(&key) {
                let text = format!("the {kind} `{key}` is not defined");
                let known = known.keys().map(String::as_str);
                self.undefined(place, (section, section), &key, text, known);
            }
        }
    }

    fn contexts(&mut self, service: &Service) {
        let Some(build) = &service.build else { return };
        for context in build.additional_contexts.values() {
            let ContextRef::Service(other) = &context.value else {
                continue;
            };
            let Some(target) = self.bound.services.get(other) else {
                let text = format!("the service `{other}` is not defined");
                let known = self.bound.services.keys().map(ServiceName::as_str);
                let sections = ("build", "services");
                self.undefined(context.span, sections, other.as_str(), text, known);
                continue;
            };
            if target.build.is_none() {
                let text = format!("the service `{other}` is not built, so it is no context");
                let hint = match &target.image {
                    Some(image) => format!("write `docker-image://{}`", image.value),
                    None => format!("give `{other}` a `build:`"),
                };
                self.push(context.span, text, Some(hint));
            }
        }
    }

    fn models(&mut self, service: &Service) {
        for (key, grant) in &service.models {
            if !self.bound.models.contains_key(key) {
                let text = format!("the model `{key}` is not defined");
                let known = self.bound.models.keys().map(String::as_str);
                self.undefined(grant.span, ("models", "models"), key, text, known);
            }
        }
    }

    fn replicas(&mut self, node: &Node, service: &Service) {
        if let Some(name) = service
            .container_name
            .as_ref()
            .filter(|_| service.scale > 1)
        {
            let place = node
                .get("scale")
                .map_or(name.span, |scale| Some(scale.place()));
            let text = format!(
                "`container_name: {}` allows one container, but {} are asked for",
                name.value, service.scale
            );
            self.push(place, text, Some("remove `container_name`".to_owned()));
        }
    }
}

/// How a name is defined that no defined one is near to.
fn add(section: &str, name: &str) -> String {
    let end = "at the top level";
    match section {
        "services" => format!("define it under `services`, or remove it here: {name}"),
        "volumes" => format!(
            "add {end}:\n  volumes:\n    {name}:\n  or write `./{name}` if a directory is meant"
        ),
        "networks" => format!("add {end}:\n  networks:\n    {name}:"),
        _ => format!("add {end}:\n  {section}:\n    {name}:\n      file: ./{name}.txt"),
    }
}

/// The services that are on.
type On<'b> = BTreeMap<&'b ServiceName, &'b Service>;

/// Reports each service that waits for itself, with the shortest way round.
fn cycles(on: &On<'_>, session: &mut Session<'_>) {
    let mut reported: BTreeSet<&ServiceName> = BTreeSet::new();
    for start in waiting(on) {
        if reported.contains(start) {
            continue;
        }
        let Some(way) = way_back(on, start) else {
            continue;
        };
        let names: Vec<&str> = way.iter().map(|(name, _)| name.as_str()).collect();
        let text = format!(
            "services depend on each other: {} -> {start}",
            names.join(" -> ")
        );
        let path = KeyPath::root()
            .key("services")
            .key(start.as_str())
            .key("depends_on");
        let mut fault = Diagnostic::error(text)
            .at(way.first().and_then(|(_, span)| *span))
            .path(&path)
            .label(format!("`{start}` depends on the next"));
        for (name, span) in way.iter().skip(1) {
            fault = fault.related(*span, format!("`{name}` depends on the next"));
        }
        session
            .diags
            .push(fault.hint("remove one of these dependencies"));
        reported.extend(way.into_iter().map(|(name, _)| name));
    }
}

/// The services that can't start for a cycle: those that stay when, again and again, what waits for nothing is taken out.
fn waiting<'b>(on: &On<'b>) -> Vec<&'b ServiceName> {
    let mut open: BTreeMap<&ServiceName, usize> = BTreeMap::new();
    let mut waiters: BTreeMap<&ServiceName, Vec<&ServiceName>> = BTreeMap::new();
    for (name, service) in on {
        let known = |other: &&ServiceName| on.contains_key(*other);
        let others: Vec<&ServiceName> = service.depends_on.keys().filter(known).collect();
        open.insert(name, others.len());
        for other in others {
            waiters.entry(other).or_default().push(name);
        }
    }
    let free = open.iter().filter(|(_, count)| **count == 0);
    let mut free: Vec<&ServiceName> = free.map(|(name, _)| *name).collect();
    while let Some(name) = free.pop() {
        open.remove(name);
        for waiter in waiters.remove(name).unwrap_or_default() {
            if let Some(count) = open.get_mut(waiter) {
                *count -= 1;
                if *count == 0 {
                    free.push(waiter);
                }
            }
        }
    }
    open.into_keys().collect()
}

/// The shortest way from a service back to itself: each service on it, and the place of its dependency on the next.
fn way_back<'b>(
    on: &On<'b>,
    start: &'b ServiceName,
) -> Option<Vec<(&'b ServiceName, Option<Span>)>> {
    let mut from: Vec<(&ServiceName, usize, Option<Span>)> = vec![(start, 0, None)];
    let mut seen: BTreeSet<&ServiceName> = BTreeSet::new();
    let mut at = 0;
    while at < from.len() {
        let (name, _, _) = from[at];
        for (next, dependency) in on.get(name).into_iter().flat_map(|s| &s.depends_on) {
            if next == start {
                let mut way = vec![(name, dependency.span)];
                let mut step = at;
                while step != 0 {
                    let (_, parent, span) = from[step];
                    way.push((from[parent].0, span));
                    step = parent;
                }
                way.reverse();
                return Some(way);
            }
            if seen.insert(next) {
                from.push((next, at, dependency.span));
            }
        }
        at += 1;
    }
    None
}
