//! Builds that need the images of other services: which of those are built, and in which order.
//!
//! In: what each build takes of others. Out: more wanted builds, or that they go round in a circle.
//! Pure. Imports: `base`, `graph`, and the parts of `plan`.
//! Rules: Compose Specification, `additional_contexts` (`service:`). That `FROM` and `--from` may name the image of
//! another service is ours: Compose would ask the registry for it.

use std::collections::BTreeMap;

use super::cause::Cause;
use super::images::{Fetch, WantedImage};
use crate::base::diag::Diagnostic;
use crate::base::name::ServiceName;
use crate::base::span::Span;
use crate::graph::{Dag, NodeId};

/// What the build of one service takes of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildNeed {
    /// The other one.
    pub service: ServiceName,
    /// As what.
    pub role: Role,
    /// Where that is said.
    pub place: Option<Span>,
}

/// As what a build takes the image of another service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// As the named context of this name: `additional_contexts`.
    Context(String),
    /// As the image of this name: `FROM` and `--from` of the Dockerfile.
    Image(String),
}

/// What builds take of others, by service.
pub type BuildNeeds = BTreeMap<ServiceName, Vec<BuildNeed>>;

/// Whether an image that a build takes has to be built first. As Compose: a context always; an image only where it is
/// not here.
pub fn is_built_for(need: &BuildNeed, image: &WantedImage) -> bool {
    let builds = matches!(image.fetch, Some((Fetch::Build { .. }, _)));
    !builds && (matches!(need.role, Role::Context(_)) || image.here.is_none())
}

/// Has an image built for the sake of `user`.
pub fn build_for(user: &ServiceName, image: &mut WantedImage) {
    let cause = Cause::NeededBy {
        service: user.clone(),
    };
    image.fetch = Some((Fetch::Build { pull_first: false }, cause));
}

/// Builds that need each other, as one fault that names the places of all.
pub fn circle(needs: &BuildNeeds) -> Option<Diagnostic> {
    let mut graph: Dag<&ServiceName, &BuildNeed> = Dag::default();
    let mut nodes: BTreeMap<&ServiceName, NodeId> = BTreeMap::new();
    let others = needs.values().flatten().map(|need| &need.service);
    for name in needs.keys().chain(others) {
        nodes.entry(name).or_insert_with(|| graph.add(name));
    }
    for (name, all) in needs {
        for need in all {
            graph.need(nodes[name], nodes[&need.service], need);
        }
    }
    let circle = graph.shortest_cycle()?.0;
    let mut edges = Vec::new();
    for (at, node) in circle.iter().enumerate() {
        let next = circle[(at + 1) % circle.len()];
        let found = graph
            .needs(*node)
            .into_iter()
            .find(|(need, _)| *need == next);
        edges.extend(found.map(|(_, need)| (*graph.get(*node).unwrap_or(&&need.service), *need)));
    }
    let ((first, need), more) = edges.split_first().map(|(head, tail)| (*head, tail))?;
    let mut names: Vec<String> = edges.iter().map(|(name, _)| format!("`{name}`")).collect();
    names.push(format!("`{first}`"));
    let text = match edges.len() {
        1 => format!("the build of `{first}` needs its own image"),
        _ => format!("builds need each other's images: {}", names.join(" → ")),
    };
    let fault = Diagnostic::error(text)
        .at(need.place)
        .label(format!(
            "`{first}` takes the image of `{}` here",
            need.service
        ))
        .hint("let one of them take an image that none of the others builds");
    Some(more.iter().fold(fault, |fault, (name, need)| {
        fault.related(
            need.place,
            format!("`{name}` takes the image of `{}` here", need.service),
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::span::{SourceId, Span};

    fn need(on: &str, at: usize) -> BuildNeed {
        BuildNeed {
            service: ServiceName::new(on),
            role: Role::Image(on.to_owned()),
            place: Some(Span::new(SourceId(0), at, at + 1)),
        }
    }

    #[test]
    fn a_circle_names_all_its_places() {
        let needs = |pairs: &[(&str, &str, usize)]| {
            let mut all = BuildNeeds::new();
            for (name, on, at) in pairs {
                all.entry(ServiceName::new(*name))
                    .or_default()
                    .push(need(on, *at));
            }
            all
        };
        assert!(circle(&needs(&[("a", "b", 1), ("b", "c", 2), ("a", "c", 3)])).is_none());
        let found = circle(&needs(&[("a", "b", 1), ("b", "c", 2), ("c", "b", 3)])).unwrap();
        assert!(
            found.message.contains("`b` → `c` → `b`"),
            "{}",
            found.message
        );
        assert_eq!(found.span.map(|span| span.start), Some(2));
        assert_eq!(found.related.len(), 1);
        assert_eq!(found.related[0].0.start, 3);
    }

    #[test]
    fn a_context_is_always_built_and_an_image_only_where_it_is_missing() {
        let mut image = WantedImage {
            name: "x".to_owned(),
            platform: None,
            here: Some(Default::default()),
            fetch: None,
        };
        let context = BuildNeed {
            role: Role::Context("c".to_owned()),
            ..need("x", 0)
        };
        assert!(is_built_for(&context, &image) && !is_built_for(&need("x", 0), &image));
        image.here = None;
        assert!(is_built_for(&need("x", 0), &image));
        build_for(&ServiceName::new("y"), &mut image);
        assert!(!is_built_for(&context, &image));
    }
}
