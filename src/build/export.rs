//! Results of a build → an image in the store.
//!
//! Imports: `image`, `base::clock`. History and configuration as BuildKit writes them.

use super::cache::Cache;
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
    let cache = Cache::new(&builder.cache_dir);
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
    let inherited = config.history.len();
    for (index, stage) in chain.into_iter().rev() {
        for past in &stage.past {
            let (text, key) = match past {
                Past::Setting(text) => (text, None),
                Past::Step(at, text) => (text, results.key_of_layer(index, *at)),
            };
            config.history.push(History {
                created: key
                    .map(|key| cache.made_at(&key).unwrap_or_else(Timestamp::now).rfc3339()),
                created_by: Some(text.clone()),
                author: None,
                comment: Some(COMMENT.to_owned()),
                empty_layer: key.is_none(),
            });
        }
    }
    match epoch.map(Epoch::rfc3339) {
        Some(epoch) => {
            let new = config.history.iter_mut().skip(inherited);
            new.for_each(|line| line.created = Some(epoch.clone()));
            config.created = Some(epoch);
        }
        None => config.created = date(&mut config.history, inherited),
    }
    config.build_cache = share::inline(graph, results, request).map(|cache| cache.value());
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

/// Dates the lines of a history that made no layer, of which the first `inherited` came with the base: as the layer before them,
/// or as the first that the build made. What was found is as old as it is, so that a build in which nothing changed gives
/// the same image again. Gives the image's own date: that of its last line; `None` where nothing of it has one.
fn date(history: &mut [History], inherited: usize) -> Option<String> {
    let dates = |lines: &[History]| -> Vec<String> {
        lines
            .iter()
            .filter_map(|line| line.created.clone())
            .collect()
    };
    let (base, new) = history.split_at_mut(inherited.min(history.len()));
    let first = dates(new).first().cloned();
    let mut last = first.or_else(|| dates(base).last().cloned());
    for line in new {
        match &line.created {
            Some(created) => last = Some(created.clone()),
            None => line.created.clone_from(&last),
        }
    }
    last
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

#[cfg(test)]
mod tests {
    use super::*;

    fn dated(lines: &[&str], inherited: usize) -> (Vec<String>, Option<String>) {
        let line = |created: &&str| History {
            created: Some((*created).to_owned()).filter(|created| !created.is_empty()),
            ..History::default()
        };
        let mut history: Vec<History> = lines.iter().map(line).collect();
        let last = date(&mut history, inherited);
        let shown = history
            .into_iter()
            .map(|line| line.created.unwrap_or_default());
        (shown.collect(), last)
    }

    #[test]
    fn lines_without_a_layer_have_the_date_of_one() {
        let (shown, last) = dated(&["base", "", "a", "", "b", ""], 1);
        assert_eq!(shown, ["base", "a", "a", "a", "b", "b"]);
        assert_eq!(last.as_deref(), Some("b"));
    }

    #[test]
    fn without_a_new_layer_an_image_is_as_old_as_its_base() {
        let (shown, last) = dated(&["old", "base", "", ""], 2);
        assert_eq!(shown, ["old", "base", "base", "base"]);
        assert_eq!(last.as_deref(), Some("base"));
        assert_eq!(dated(&["", ""], 1), (vec![String::new(); 2], None));
        assert_eq!(dated(&[], 0), (Vec::new(), None));
    }
}
