//! Numbers and titles of a graph's steps, and which of them are done whatever is known.
//!
//! Imports: `dockerfile::ast`. As BuildKit.

use std::collections::BTreeSet;

use super::{Base, Graph};
use crate::build::BuildRequest;
use crate::build::dockerfile::ast::Dockerfile;

/// Numbers of the steps of stages that are built anew. As BuildKit: a name that no stage has means nothing.
pub(super) fn fresh(graph: &Graph, file: &Dockerfile, request: &BuildRequest) -> BTreeSet<u32> {
    let named = |index: &usize| {
        let stage = file
            .stages
            .get(*index)
            .and_then(|stage| stage.name.as_ref());
        let same = |wanted: &String| stage.is_some_and(|stage| stage.eq_ignore_ascii_case(wanted));
        request.no_cache || request.no_cache_filter.iter().any(same)
    };
    let stages = graph.stages.iter().filter(|(index, _)| named(index));
    stages
        .flat_map(|(_, stage)| stage.steps.iter().map(|step| step.number))
        .collect()
}

/// Gives steps their numbers and titles: `[build 2/4] RUN make`.
pub(super) fn number(graph: &mut Graph, file: &Dockerfile) {
    let several = file.stages.len() > 1;
    let mut next = 0;
    for (index, stage) in &mut graph.stages {
        let name = match &file.stages[*index].name {
            Some(name) => format!("{name} "),
            None if several => format!("stage-{index} "),
            None => String::new(),
        };
        // An image counts as the first step.
        let before = usize::from(matches!(stage.base, Base::Image { .. }));
        let total = stage.steps.len() + before;
        let width = total.to_string().len();
        if let Base::Image { name: image, .. } = &stage.base {
            next += 1;
            let place = 1;
            stage.first = Some((
                next,
                format!("[{name}{place:>width$}/{total}] FROM {image}"),
            ));
        }
        for (at, step) in stage.steps.iter_mut().enumerate() {
            next += 1;
            step.number = next;
            let place = at + 1 + before;
            step.title = format!("[{name}{place:>width$}/{total}] {}", step.title);
        }
    }
}
