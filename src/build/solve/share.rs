//! What a build takes from caches elsewhere, and what it leaves there.
//!
//! In: the request, results. Out: results that were fetched; caches that were written. Imports: `cache::{remote, spec}`.

use std::time::Instant;

use super::{Results, Solver};
use crate::base::event::{BuildStep, Event, internal};
use crate::build::cache::Made;
use crate::build::cache::remote::{self, Document, Imported, Means};
use crate::build::cache::spec::{CacheTo, Sink};
use crate::build::error::BuildError;
use crate::build::lower::{Base, Graph};
use crate::build::{BuildRequest, Builder};
use crate::image::digest::Digest;

fn means<'a>(request: &'a BuildRequest, builder: &Builder<'a>) -> Means<'a> {
    Means {
        store: builder.store,
        env: &request.env,
        platform: request.platform.as_deref(),
        events: builder.events,
        cancel: builder.cancel,
    }
}

impl Solver<'_> {
    /// What a cache elsewhere knows of a step. Sources are read when the first step is not known here.
    pub(super) fn elsewhere(&self, key: &Digest) -> Option<Made> {
        if self.request.cache_from.is_empty() {
            return None;
        }
        let said = |text: String| self.builder.events.send(Event::Warn(text));
        let means = means(self.request, self.builder);
        let imported = self.imported.get_or_init(|| {
            let sources = &self.request.cache_from;
            let names: Vec<String> = sources.iter().map(remote::shown).collect();
            let title = format!("importing cache manifest from {}", names.join(", "));
            self.teller
                .tell(internal::CACHE_IMPORT, BuildStep::Started(title));
            let begun = Instant::now();
            let imported = Imported::open(sources, &means, &said);
            let seconds = begun.elapsed().as_secs_f64();
            self.teller
                .tell(internal::CACHE_IMPORT, BuildStep::Done(seconds));
            imported
        });
        imported.get(key, &means, &said)
    }
}

/// Stages that the image stands on, itself first.
fn chain(graph: &Graph) -> Vec<usize> {
    let mut chain = Vec::new();
    let mut at = Some(graph.target);
    while let Some((index, stage)) = at.and_then(|index| Some((index, graph.stages.get(&index)?))) {
        chain.push(index);
        at = match stage.base {
            Base::Stage(base) => Some(base),
            Base::Scratch | Base::Image { .. } => None,
        };
    }
    chain
}

fn document(stages: impl Iterator<Item = usize>, results: &Results) -> Document {
    Document::new(stages.flat_map(|stage| results.known(stage)))
}

/// The cache that the image itself is to carry.
pub(in crate::build) fn inline(
    graph: &Graph,
    results: &Results,
    request: &BuildRequest,
) -> Option<Document> {
    let asked = request.cache_to.iter().any(|to| to.to == Sink::Inline);
    let argument = request
        .args
        .iter()
        .any(|(name, value)| name == "BUILDKIT_INLINE_CACHE" && value.as_deref() == Some("1"));
    (asked || argument).then(|| document(chain(graph).into_iter(), results))
}

/// Writes results to where the request says.
///
/// # Errors
/// [`BuildError`], unless it is to be ignored.
pub(in crate::build) fn export(
    graph: &Graph,
    results: &Results,
    request: &BuildRequest,
    builder: &Builder<'_>,
) -> Result<(), BuildError> {
    let tell = |what| {
        builder.events.send(Event::Build {
            target: request.target_name.clone(),
            step: internal::CACHE_EXPORT,
            what,
        });
    };
    let outside = |to: &&CacheTo| to.to != Sink::Inline;
    let sinks: Vec<_> = request.cache_to.iter().filter(outside).collect();
    if sinks.is_empty() {
        return Ok(());
    }
    tell(BuildStep::Started("exporting cache".to_owned()));
    let begun = Instant::now();
    for to in sinks {
        let document = match to.max {
            true => document(graph.stages.keys().copied(), results),
            false => document(chain(graph).into_iter(), results),
        };
        let done = remote::export(&document, to, &means(request, builder));
        if builder.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        match done {
            Ok(()) => {}
            Err(why) if to.ignore_error => {
                let text = format!("the cache was not exported: {why}");
                builder.events.send(Event::Warn(text));
            }
            Err(why) => {
                tell(BuildStep::Failed(why.clone()));
                let cause = std::io::Error::other(why);
                return Err(BuildError::io("export the cache", cause));
            }
        }
    }
    tell(BuildStep::Done(begun.elapsed().as_secs_f64()));
    Ok(())
}
