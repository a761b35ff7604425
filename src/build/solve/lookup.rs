//! What a step is remembered under, and whether its result is known; where the files it takes come from.
//!
//! In: a step and the layers it stands on. Out: what it made, from the cache or by doing it.
//! Imports: `cache`, `context`, `step`.

use std::path::PathBuf;

use super::Solver;
use crate::build::ContextSource;
use crate::build::cache::Made;
use crate::build::context::Tree;
use crate::build::context::ignore::Ignore;
use crate::build::error::BuildError;
use crate::build::key::Key;
use crate::build::lower::Step;
use crate::build::slots::Work;
use crate::build::step::copy::{Ground, Selection};
use crate::build::step::mount::{Rooted, Trees};
use crate::build::step::{Operation, Origin, StepError};
use crate::image::digest::Digest;
use crate::sys::fs::Root;

impl Solver<'_> {
    pub(super) fn known_or_done(
        &self,
        step: &Step,
        layers: &[Digest],
    ) -> Result<(Made, bool), StepError> {
        let store = self.builder.store;
        let of = |origin: &Origin| self.tree(origin);
        let host = |origin: &Origin| self.host(origin);
        let trees = Trees {
            of: &of,
            host: &host,
            store,
            caches: &self.caches,
        };
        let mut to_copy = None;
        let key = match &step.operation {
            Operation::Run(run) => {
                let mut key = Key::of_step("run", layers);
                run.add_to(&mut key, &trees, &self.digests)?;
                key
            }
            Operation::Folder { path, user } => {
                let mut key = Key::of_step("folder", layers);
                key.texts([path.as_str(), user]);
                key
            }
            Operation::Copy(copy) => {
                let ground = Ground::of(copy, store, layers)?;
                let mut key = ground.key();
                let mut found = None;
                if let Origin::Stage(_) | Origin::Layers(_) = copy.origin {
                    // What stands on layers is known by them: nothing needs to be looked at.
                    let from = self.origin_layers(&copy.origin)?;
                    key.layers(&from);
                    key.text(&format!(
                        "{:?} {:?} {} {:?} {:?}",
                        copy.sources, copy.exclude, copy.dest, copy.unpack, copy.parents
                    ));
                    key.text(&format!("{:?} {:?}", copy.chown, copy.chmod_text));
                } else {
                    let (tree, _) = self.tree(&copy.origin)?;
                    let selection = Selection::find(copy, &tree)?;
                    selection.add_to(&mut key, &tree, &self.digests)?;
                    found = Some((tree, selection));
                }
                to_copy = Some((ground, found));
                key
            }
        };
        let mut key = key.finish();
        if !self.graph.fresh.contains(&step.number)
            && let Some(made) = self.cache.get(&key, store.layers())
        {
            return Ok((made, true));
        }
        let work = match step.operation {
            Operation::Run(_) => Work::Command,
            Operation::Folder { .. } | Operation::Copy(_) => Work::Files,
        };
        let slot = self.builder.slots.take(work, &self.cancel);
        let slot = slot.ok_or(BuildError::Cancelled)?;
        let made = match (&step.operation, to_copy) {
            (Operation::Copy(copy), Some((ground, Some((tree, found))))) => {
                debug_assert!(matches!(copy.origin, Origin::Context | Origin::Named(_)));
                // A context that changes while it is read: what was copied is what is remembered.
                let mut copied = ground.key();
                let watch = Some((&self.digests, &mut copied));
                let made = found.copy(&tree, store, &ground, watch)?;
                key = copied.finish();
                made
            }
            (Operation::Copy(copy), Some((ground, None))) => {
                let (tree, _) = self.tree(&copy.origin)?;
                Selection::find(copy, &tree)?.copy(&tree, store, &ground, None)?
            }
            _ => self.done(step, layers, &trees)?,
        };
        drop(slot);
        self.cache
            .put(&key, &made)
            .map_err(|error| BuildError::io("write the build cache", error))?;
        Ok((made, false))
    }
    pub(super) fn origin_layers(&self, origin: &Origin) -> Result<Vec<Digest>, BuildError> {
        match origin {
            Origin::Stage(index) => self.layers_of(*index),
            Origin::Layers(layers) => Ok(layers.clone()),
            Origin::Context | Origin::Named(_) => Ok(Vec::new()),
        }
    }
    /// The directory of an origin on the host.
    fn host(&self, origin: &Origin) -> Option<PathBuf> {
        match (origin, &self.request.context) {
            (Origin::Context, ContextSource::Dir(dir)) => Some(dir.clone()),
            (Origin::Named(dir), _) => Some(dir.clone()),
            _ => None,
        }
    }
    pub(super) fn tree(&self, origin: &Origin) -> Result<Rooted, StepError> {
        let open = |dir: &PathBuf| {
            Root::open(dir).map_err(|errno| {
                BuildError::io(format!("open the context {}", dir.display()), errno)
            })
        };
        match (origin, &self.request.context) {
            (Origin::Context, ContextSource::Dir(dir)) => {
                let ignore = Ignore::parse(&self.ignore)
                    .map_err(|why| StepError::new(format!(".dockerignore: {why}")))?;
                Ok((Tree::of_dir(open(dir)?, ignore), None))
            }
            (Origin::Named(dir), _) => {
                let text = std::fs::read_to_string(dir.join(".dockerignore")).unwrap_or_default();
                let ignore = Ignore::parse(&text).map_err(|why| {
                    StepError::new(format!("{}/.dockerignore: {why}", dir.display()))
                })?;
                Ok((Tree::of_dir(open(dir)?, ignore), None))
            }
            (origin, _) => {
                let layers = self.origin_layers(origin)?;
                let view = self.builder.store.layers().view(&layers)?;
                Ok((Tree::of_layers(view), Some(layers)))
            }
        }
    }
}
