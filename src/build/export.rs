//! Results of a build → an image in the store.
//!
//! Imports: `image`, `base::clock`. History and configuration as BuildKit writes them.

use super::epoch::Epoch;
use super::error::BuildError;
use super::lower::{Base, Graph, Past};
use super::solve::{Results, share};
use super::{BuildRequest, Builder};
use crate::base::clock::Timestamp;
use crate::image::config::{History, RootFs};
use crate::image::digest::Digest;
use crate::image::store::Image;

/// What BuildKit says of every line that it adds to a history.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// Puts the image of the target stage into the store, unless it is not to stay there, and gives it its names. An image that is the same but
/// for its time stays the one that it was.
pub(super) fn export(
    graph: &Graph,
    results: &Results,
    request: &BuildRequest,
    builder: &Builder<'_>,
) -> Result<Image, BuildError> {
    let Some(target) = graph.stages.get(&graph.target) else {
        return Err(BuildError::Cancelled);
    };
    let epoch = Epoch::of(request)?;
    let now = epoch.map_or_else(|| Timestamp::now().rfc3339(), Epoch::rfc3339);
    let mut config = target.config.clone();
    let mut layers = results.layers(graph.target);
    if let Some(epoch) = epoch {
        // What the first stage stands on is as it came.
        let made = layers.split_off(base_of(graph).len().min(layers.len()));
        layers.extend(epoch.clamp(&made, builder)?);
    }
    config.rootfs = RootFs {
        diff_ids: layers,
        ..RootFs::default()
    };
    config.config.labels.extend(request.labels.clone());
    // The first of the chain stands on an image or nothing: the history it began with is still there.
    let mut chain = Vec::new();
    let mut at = Some(graph.target);
    while let Some((index, stage)) = at.and_then(|index| Some((index, graph.stages.get(&index)?))) {
        chain.push((index, stage));
        at = match stage.base {
            Base::Stage(base) => Some(base),
            Base::Scratch | Base::Image { .. } => None,
        };
    }
    if let Some((_, first)) = chain.last()
        && matches!(first.base, Base::Scratch)
    {
        config.history.clear();
    }
    for (index, stage) in chain.into_iter().rev() {
        for past in &stage.past {
            let (text, empty_layer) = match past {
                Past::Setting(text) => (text, true),
                Past::Step(at, text) => (text, results.made(index, *at).is_none()),
            };
            config.history.push(History {
                created: Some(now.clone()),
                created_by: Some(text.clone()),
                author: None,
                comment: Some(COMMENT.to_owned()),
                empty_layer,
            });
        }
    }
    config.build_cache = share::inline(graph, results, request).map(|cache| cache.value());
    config.created = Some(now);
    if !request.keeps() {
        let text = serde_json::to_vec(&config);
        let text = text.map_err(|error| BuildError::Output(error.to_string()))?;
        let id = Digest::of(&text);
        return Ok(Image { id, config });
    }
    for name in &request.tags {
        if let Some(known) = builder.store.resolve(name)?
            && (known.config == config || (epoch.is_none() && same(&known.config, &config)))
        {
            for other in request.tags.iter().filter(|other| *other != name) {
                builder.store.tag(&known.id, other)?;
            }
            return Ok(known);
        }
    }
    Ok(builder.store.put(&config, &request.tags)?)
}

/// The layers of the image that the target stands on in the end.
fn base_of(graph: &Graph) -> &[Digest] {
    let mut at = graph.target;
    loop {
        match graph.stages.get(&at).map(|stage| &stage.base) {
            Some(Base::Stage(below)) => at = *below,
            Some(Base::Image { layers, .. }) => return layers,
            Some(Base::Scratch) | None => return &[],
        }
    }
}

/// Whether two configurations differ in nothing but times.
fn same(
    known: &crate::image::config::ImageConfig,
    new: &crate::image::config::ImageConfig,
) -> bool {
    let timeless = |config: &crate::image::config::ImageConfig| {
        let mut config = config.clone();
        config.created = None;
        config
            .history
            .iter_mut()
            .for_each(|line| line.created = None);
        config
    };
    timeless(known) == timeless(new)
}
