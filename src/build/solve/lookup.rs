//! What a step is remembered under, and whether its result is known; where the files it takes come from.
//!
//! In: a step and the layers it stands on. Out: what it made, from the cache or by doing it.
//! Imports: `cache`, `context`, `step`.

use std::cell::Cell;
use std::path::PathBuf;

use super::Solver;
use crate::base::event::{BuildStep, Part as Told};
use crate::build::ContextSource;
use crate::build::cache::Made;
use crate::build::cache::seen::{Below, MOST_FILES, Seen, Words};
use crate::build::context::Tree;
use crate::build::context::ignore::Ignore;
use crate::build::context::list::List;
use crate::build::error::BuildError;
use crate::build::key::{Input, Key, Part};
use crate::build::lower::{Base, Step};
use crate::build::slots::Work;
use crate::build::sources::{Fetched, Remote};
use crate::build::step::copy::{CopyStep, Ground, Selection};
use crate::build::step::mount::{Rooted, Trees};
use crate::build::step::{Operation, Origin, StepError};
use crate::image::digest::Digest;
use crate::image::reference::Reference;
use crate::sys::fs::Root;

/// A step's place: its stage, and its number there from 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) stage: usize,
    pub(super) step: usize,
}

/// What was looked up for a key and is of use for the step itself.
#[derive(Default)]
struct Selected<'a> {
    /// What a copy stands on.
    ground: Option<Ground<'a>>,
    found: Option<(Tree, Selection<'a>)>,
    /// The files that were found.
    list: Option<List>,
}

impl Solver<'_> {
    /// A step's key, what it made, and whether that was known.
    pub(super) fn known_or_done(
        &self,
        at: Place,
        step: &Step,
        layers: &[Digest],
    ) -> Result<(Digest, Made, bool), StepError> {
        let of = |origin: &Origin| self.tree(origin, step.number);
        let host = |origin: &Origin| self.host(origin, step.number);
        let trees = Trees {
            of: &of,
            host: &host,
            store: self.builder.store,
            caches: &self.caches,
        };
        let (key, mut selection) = self.key(step, layers, &trees)?;
        let (key, inputs) = key.inputs();
        let mut seen = Seen {
            text: step.text.clone(),
            key,
            inputs,
            done: true,
        };
        self.teller
            .tell(step.number, BuildStep::Key(key.to_string()));
        let same = self.memory.is_same(at.stage, at.step, &seen.text, &key);
        if !same && let Some(list) = selection.list.take() {
            self.list(&mut seen, list)?;
        }
        let fresh = self.graph.fresh.contains(&step.number);
        let since = fresh.then_some(self.begun);
        if let Some(made) = self.get(&key, since) {
            self.memory.note(at.stage, at.step, seen);
            return Ok((key, made, true));
        }
        let waits = Cell::new(false);
        let waiting = || {
            waits.set(true);
            let text = "the same step of another build".to_owned();
            self.teller
                .tell(step.number, BuildStep::Waiting(Some(text)));
        };
        let flight = self.cache.begin(&key, &self.cancel, waiting);
        let flight = flight.map_err(|error| BuildError::io("lock a step", error))?;
        if waits.get() {
            self.teller.tell(step.number, BuildStep::Waiting(None));
        }
        let _flight = flight.ok_or(BuildError::Cancelled)?;
        if let Some(made) = self.get(&key, since) {
            self.memory.note(at.stage, at.step, seen);
            return Ok((key, made, true));
        }
        if !fresh && let Some(made) = self.elsewhere(&key) {
            self.cache
                .put(&key, &made, words_of(&step.title))
                .map_err(|error| BuildError::io("write the build cache", error))?;
            self.memory.note(at.stage, at.step, seen);
            return Ok((key, made, true));
        }
        let reasons = match fresh {
            true => vec!["--no-cache".to_owned()],
            false => {
                let words = self.words(at, step);
                self.memory.reasons(at.stage, at.step, &seen, &words)
            }
        };
        self.teller.tell(step.number, BuildStep::Because(reasons));
        seen.done = false;
        self.memory.note(at.stage, at.step, seen.clone());
        let work = match step.operation {
            Operation::Run(_) => Work::Command,
            Operation::Folder { .. } | Operation::Copy(_) => Work::Files,
        };
        let slot = match self.builder.slots.take_now(work) {
            Ok(slot) => slot,
            Err(missing) => {
                let told = |what| self.teller.tell(step.number, BuildStep::Waiting(what));
                told(Some(missing.to_owned()));
                let slot = self.builder.slots.take(work, &self.cancel);
                told(None);
                slot.ok_or(BuildError::Cancelled)?
            }
        };
        let made = match (&step.operation, &selection) {
            (
                Operation::Copy(copy),
                Selected {
                    ground: Some(ground),
                    found,
                    ..
                },
            ) => {
                let (made, copied) = self.copy(step, copy, ground, found.as_ref())?;
                if let Some(copied) = copied {
                    (seen.key, seen.inputs) = self.copied(copied, seen.inputs);
                }
                made
            }
            _ => self.done(step, layers, &trees)?,
        };
        drop(slot);
        self.cache
            .put(&seen.key, &made, words_of(&step.title))
            .map_err(|error| BuildError::io("write the build cache", error))?;
        seen.done = true;
        let key = seen.key;
        self.memory.note(at.stage, at.step, seen);
        Ok((key, made, false))
    }
    /// Does a copy. Where files can change meanwhile, it gives the key of what was copied.
    fn copy(
        &self,
        step: &Step,
        copy: &CopyStep,
        ground: &Ground<'_>,
        found: Option<&(Tree, Selection<'_>)>,
    ) -> Result<(Made, Option<Key>), StepError> {
        let store = self.builder.store;
        if let Some((tree, found)) = found {
            let mut key = ground.key();
            let made = found.copy(tree, store, ground, Some((&self.digests, &mut key)))?;
            return Ok((made, Some(key)));
        }
        let (tree, _) = self.tree(&copy.origin, step.number)?;
        let fetch = |remote: &Remote| self.fetch(remote, step.number);
        let found = Selection::find(copy, &tree, &fetch)?;
        Ok((found.copy(&tree, store, ground, None)?, None))
    }
    /// The key of what was copied, with the list of files that was made for the one before.
    fn copied(&self, key: Key, before: Vec<Input>) -> (Digest, Vec<Input>) {
        let (key, mut inputs) = key.inputs();
        for input in &mut inputs {
            let same = |known: &&Input| known.part == input.part && known.digest == input.digest;
            input.list = before.iter().find(same).and_then(|known| known.list);
        }
        (key, inputs)
    }
    fn get(&self, key: &Digest, since: Option<i64>) -> Option<Made> {
        self.cache.get(key, self.builder.store.layers(), since)
    }
    fn key<'s>(
        &self,
        step: &'s Step,
        layers: &'s [Digest],
        trees: &Trees<'_>,
    ) -> Result<(Key, Selected<'s>), StepError> {
        match &step.operation {
            Operation::Run(run) => {
                let mut key = Key::of_step("run", layers);
                run.add_to(&mut key, trees, &self.digests)?;
                Ok((key, Selected::default()))
            }
            Operation::Folder { path, user } => {
                let mut key = Key::of_step("folder", layers);
                key.texts([path.as_str(), user]);
                Ok((key, Selected::default()))
            }
            Operation::Copy(copy) => {
                let ground = Ground::of(copy, self.builder.store, layers)?;
                let mut key = ground.key();
                if let Origin::Stage(_) | Origin::Layers(_) = copy.origin {
                    key.text(&format!(
                        "{:?} {:?} {} {:?} {:?}",
                        copy.sources, copy.exclude, copy.dest, copy.unpack, copy.parents
                    ));
                    key.text(&format!("{:?} {:?}", copy.chown, copy.chmod_text));
                    // What stands on layers is known by them: nothing needs to be looked at.
                    let from = self.origin_layers(&copy.origin)?;
                    key.part(Part::Other);
                    key.layers(&from);
                    let selected = Selected {
                        ground: Some(ground),
                        ..Selected::default()
                    };
                    return Ok((key, selected));
                }
                self.reading(step, false);
                let mut list = List::new(MOST_FILES);
                let found = self.select(step, copy, &mut key, &mut list);
                // What fails has been read as far as that went.
                self.reading(step, true);
                let selected = Selected {
                    ground: Some(ground),
                    found: Some(found?),
                    list: Some(list),
                };
                Ok((key, selected))
            }
        }
    }
    /// The files that a copy takes, added to its key.
    fn select<'s>(
        &self,
        step: &Step,
        copy: &'s CopyStep,
        key: &mut Key,
        list: &mut List,
    ) -> Result<(Tree, Selection<'s>), StepError> {
        let (tree, _) = self.tree(&copy.origin, step.number)?;
        let fetch = |remote: &Remote| self.fetch(remote, step.number);
        let found = Selection::find(copy, &tree, &fetch)?;
        found.add_to(key, &tree, &self.digests, list)?;
        Ok((tree, found))
    }
    /// Tells that the files of a step are looked at, and read where they are not known.
    fn reading(&self, step: &Step, done: bool) {
        let part = Told {
            id: "reading the context".to_owned(),
            done,
            ..Told::default()
        };
        self.teller.tell(step.number, BuildStep::Part(part));
    }
    /// Keeps the list of files that a key is made of.
    fn list(&self, seen: &mut Seen, list: List) -> Result<(), BuildError> {
        let copied = |input: &&mut Input| input.part == Part::Files(String::new());
        if let Some(input) = seen.inputs.iter_mut().find(copied) {
            let kept = list.text().map(|text| self.memory.keep_list(&text));
            let kept = kept.transpose();
            input.list = kept.map_err(|error| BuildError::io("write the build cache", error))?;
        }
        Ok(())
    }
    /// What a step's reasons call things.
    fn words(&self, at: Place, step: &Step) -> Words {
        let name = |stage: usize| format!("stage {}", self.stage_name(stage));
        let base = self.graph.stages.get(&at.stage).map(|stage| &stage.base);
        let below = match (at.step.checked_sub(1), base) {
            (Some(above), _) => Below::Step(self.lock().results.ran(at.stage, above)),
            (None, Some(Base::Stage(stage))) => Below::Stage(name(*stage)),
            (None, Some(Base::Image { name, .. })) => Below::Base(self.base_words(name)),
            (None, _) => Below::Base("the base changed".to_owned()),
        };
        let other = match &step.operation {
            Operation::Copy(copy) => match copy.origin {
                Origin::Stage(stage) => name(stage),
                _ => "the image".to_owned(),
            },
            _ => String::new(),
        };
        Words {
            below,
            other,
            arguments: step.arguments.clone(),
        }
    }
    fn base_words(&self, name: &str) -> String {
        let found = Reference::parse(name)
            .ok()
            .and_then(|reference| self.builder.store.resolve(&reference).ok().flatten());
        match found {
            Some(image) => format!("base image {name} is now sha256:{}", image.id.short()),
            None => format!("base image {name} changed"),
        }
    }
    /// As titles name a stage.
    pub(super) fn stage_name(&self, stage: usize) -> String {
        let title = self.graph.stages.get(&stage).and_then(|stage| {
            let step = stage.steps.first().map(|step| step.title.as_str());
            step.or(stage.first.as_ref().map(|(_, title)| title.as_str()))
        });
        let name = title.and_then(|title| title.strip_prefix('[')?.split_once(' '));
        name.map_or_else(|| stage.to_string(), |(name, _)| name.to_owned())
    }
    pub(super) fn origin_layers(&self, origin: &Origin) -> Result<Vec<Digest>, BuildError> {
        match origin {
            Origin::Stage(index) => self.layers_of(*index),
            Origin::Layers(layers) => Ok(layers.clone()),
            Origin::Context | Origin::Named(_) | Origin::Remote(_) => Ok(Vec::new()),
        }
    }
    /// The directory of an origin on the host.
    fn host(&self, origin: &Origin, step: u32) -> Option<PathBuf> {
        match (origin, &self.request.context) {
            (Origin::Context, ContextSource::Dir(dir) | ContextSource::Fetched(dir)) => {
                Some(dir.clone())
            }
            (Origin::Named(dir), _) => Some(dir.clone()),
            // Its tree was asked for first, and with it the error that there may be.
            (Origin::Remote(remote), _) => self.fetch(remote, step).ok().map(|got| got.dir),
            _ => None,
        }
    }
    /// Brings something here that a step needs.
    pub(super) fn fetch(&self, remote: &Remote, step: u32) -> Result<Fetched, StepError> {
        let tell = |line: &str| self.teller.tell(step, BuildStep::Output(line.to_owned()));
        Ok(self.fetches.fetch(remote, &self.cancel, &tell)?)
    }
    pub(super) fn tree(&self, origin: &Origin, step: u32) -> Result<Rooted, StepError> {
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
            // As BuildKit: what comes from elsewhere has no ignore file.
            (Origin::Context, ContextSource::Fetched(dir)) => {
                Ok((Tree::of_dir(open(dir)?, Ignore::default()), None))
            }
            (Origin::Remote(remote), _) => {
                let dir = self.fetch(remote, step)?.dir;
                Ok((Tree::of_dir(open(&dir)?, Ignore::default()), None))
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

/// The instruction of a title: `[build 2/4] RUN make` → `RUN make`.
fn words_of(title: &str) -> &str {
    match title
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
    {
        Some((_, text)) => text,
        None => title,
    }
}
