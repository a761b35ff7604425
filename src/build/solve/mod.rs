//! Runs a [`Graph`]: stages side by side, their steps in order; each step is found in the cache or done.
//!
//! In: the graph. Out: the layer of each step. A stage waits only where it needs another one's result.
//! The first failure ends all. What a step's key is and where files come from: [`lookup`].
//! Imports: `image`, `step`, `cache`.

mod lookup;
pub(super) mod share;

use lookup::Place;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::attest::Material;
use super::cache::remote::Imported;
use super::cache::seen::Memory;
use super::cache::{Cache, Made};
use super::context::digest::Digests;
use super::context::file::{Unread, read};
use super::context::ignore;
use super::error::{BuildError, StepFailure, fault};
use super::lower::{Base, Graph, Stage, Step};
use super::sources::Sources;
use super::step::mount::Trees;
use super::step::output::{self, Printed};
use super::step::run::Means;
use super::step::{Operation, StepError, make_folder};
use super::told::{Teller, Told as _};
use super::{BuildRequest, Builder, ContextSource, DockerfileSource, LARGEST};
use crate::base::cancel::Cancel;
use crate::base::clock::Timestamp;
use crate::base::diag::Diagnostic;
use crate::base::event::BuildStep;
use crate::base::span::SourceMap;
use crate::image::digest::Digest;

use crate::sys::fs::make_dirs;

/// How often the caller's wish to stop is looked at while steps run.
const GLANCE: Duration = Duration::from_millis(100);

/// Layers of every stage.
#[derive(Debug, Default)]
pub(super) struct Results {
    stages: BTreeMap<usize, StageResult>,
    /// What steps fetched from elsewhere.
    pub(super) materials: Vec<Material>,
}

#[derive(Debug, Default)]
struct StageResult {
    base: Vec<Digest>,
    made: Vec<Made>,
    /// Which steps were done rather than found.
    ran: Vec<bool>,
    /// What they are remembered under.
    keys: Vec<Digest>,
}

impl Results {
    /// Whether a step was done rather than found.
    pub(super) fn ran(&self, stage: usize, step: usize) -> bool {
        let result = self.stages.get(&stage);
        result.is_some_and(|result| result.ran.get(step).copied().unwrap_or_default())
    }
    /// A stage's layers, base first.
    pub(super) fn layers(&self, stage: usize) -> Vec<Digest> {
        let Some(result) = self.stages.get(&stage) else {
            return Vec::new();
        };
        result
            .base
            .iter()
            .copied()
            .chain(result.made.iter().flatten().copied())
            .collect()
    }
    /// Keys of a stage's steps, and what they made.
    pub(super) fn known(&self, stage: usize) -> Vec<(Digest, Made)> {
        let result = self.stages.get(&stage);
        let pairs =
            result.map(|result| result.keys.iter().copied().zip(result.made.iter().copied()));
        pairs.into_iter().flatten().collect()
    }
    /// What a step that made a layer is remembered under.
    pub(super) fn key_of_layer(&self, stage: usize, step: usize) -> Option<Digest> {
        self.made(stage, step)?;
        self.stages.get(&stage)?.keys.get(step).copied()
    }
    /// What one step made.
    pub(super) fn made(&self, stage: usize, step: usize) -> Made {
        self.stages
            .get(&stage)
            .and_then(|result| result.made.get(step).copied())
            .flatten()
    }
}

/// What all stages share.
#[derive(Default)]
struct Progress {
    results: Results,
    failure: Option<BuildError>,
    /// Stages that are still at work.
    open: usize,
}

struct Solver<'a> {
    graph: &'a Graph,
    request: &'a BuildRequest,
    builder: &'a Builder<'a>,
    teller: Teller<'a>,
    sources: &'a SourceMap,
    ignore: String,
    cache: Cache,
    memory: Memory,
    imported: OnceLock<Imported>,
    /// When this build began: nanoseconds since 1970.
    begun: i64,
    digests: Digests,
    fetches: Sources<'a>,
    caches: PathBuf,
    cancel: Cancel,
    progress: Mutex<Progress>,
    changed: Condvar,
}

/// Runs everything that the target needs.
pub(super) fn solve(
    graph: &Graph,
    request: &BuildRequest,
    builder: &Builder<'_>,
    sources: &SourceMap,
) -> Result<Results, BuildError> {
    make_dirs(&builder.cache_dir, 0o700)
        .map_err(|error| BuildError::io("create the cache", error))?;
    let solver = Solver {
        graph,
        request,
        builder,
        teller: Teller::new(request, builder),
        sources,
        ignore: ignore_text(request)?,
        cache: Cache::new(&builder.cache_dir),
        memory: Memory::open(&builder.cache_dir, &identity(request)),
        imported: OnceLock::new(),
        begun: Timestamp::now().0,
        digests: Digests::open(digests_of(request, builder)),
        fetches: Sources::new(request, &builder.cache_dir),
        caches: builder.cache_dir.join("mounts"),
        cancel: Cancel::default(),
        progress: Mutex::new(Progress {
            open: graph.stages.len(),
            ..Progress::default()
        }),
        changed: Condvar::new(),
    };
    // While there is a staging place, no other process removes layers that the cache has named.
    let _kept = builder.store.layers().staging()?;
    std::thread::scope(|scope| {
        for (index, stage) in &graph.stages {
            let solver = &solver;
            scope.spawn(move || solver.stage(*index, stage));
        }
        let mut progress = solver.lock();
        while progress.open > 0 {
            if builder.cancel.is_cancelled() {
                solver.cancel.cancel();
            }
            let waited = solver.changed.wait_timeout(progress, GLANCE);
            progress = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    });
    solver
        .digests
        .save()
        .and_then(|()| solver.memory.save())
        .map_err(|error| BuildError::io("write the digest cache", error))?;
    let materials = solver.fetches.materials();
    let mut progress = solver
        .progress
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    progress.results.materials = materials;
    match progress.failure {
        Some(_) if builder.cancel.is_cancelled() => Err(BuildError::Cancelled),
        Some(failure) => Err(failure),
        None => Ok(progress.results),
    }
}

/// Where the digests of a context are remembered: each has a file of its own, so that only what is asked for is read.
fn digests_of(request: &BuildRequest, builder: &Builder<'_>) -> PathBuf {
    let name = match &request.context {
        ContextSource::Dir(dir) | ContextSource::Fetched(dir) => {
            Digest::of(dir.as_os_str().as_encoded_bytes()).hex()
        }
        _ => "other".to_owned(),
    };
    builder.cache_dir.join("contexts").join(name)
}

/// What the same build is known by the next time: its Dockerfile, its target and platform.
fn identity(request: &BuildRequest) -> String {
    let file = match &request.dockerfile {
        DockerfileSource::Path(path) => path.display().to_string(),
        DockerfileSource::Inline(_) => format!("inline {:?}", request.context),
        // Where its directory lies changes with every commit.
        DockerfileSource::InContext(name) => format!("{name} of {}", request.target_name),
    };
    format!("{file}\n{:?}\n{:?}", request.target, request.platform)
}

/// The ignore file that counts for this build.
pub(super) fn ignore_text(request: &BuildRequest) -> Result<String, BuildError> {
    let ContextSource::Dir(dir) = &request.context else {
        return Ok(String::new());
    };
    let dockerfile = match &request.dockerfile {
        DockerfileSource::Path(path) => Some(path.as_path()),
        DockerfileSource::Inline(_) | DockerfileSource::InContext(_) => None,
    };
    for path in ignore::candidates(dockerfile, dir) {
        match read(Some(dir), &path, LARGEST) {
            Ok(bytes) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            // As BuildKit.
            Err(Unread::Missing | Unread::Directory) => {}
            Err(Unread::Refused(why)) => {
                let shown = path.strip_prefix(dir).unwrap_or(&path).display();
                let item = Diagnostic::error(format!("failed to read {shown}: {why}"));
                return Err(fault(item, &SourceMap::default()));
            }
        }
    }
    Ok(String::new())
}

impl Solver<'_> {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn stage(&self, index: usize, stage: &Stage) {
        // Others wait for this stage: one that panics has failed. What a step holds is freed as the stack unwinds.
        let work = AssertUnwindSafe(|| self.steps(index, stage));
        let outcome = std::panic::catch_unwind(work).unwrap_or_else(|_| {
            let name = self.stage_name(index);
            let text = format!("a step of {name} ended hoist's own work: this is a fault of hoist");
            Err(BuildError::Output(text))
        });
        let mut progress = self.lock();
        progress.open -= 1;
        if let Err(error) = outcome {
            progress.failure.get_or_insert(error);
            self.cancel.cancel();
        }
        self.changed.notify_all();
    }
    /// Waits until a condition holds; the condition may change the progress.
    fn wait<T>(&self, mut until: impl FnMut(&mut Progress) -> Option<T>) -> Result<T, BuildError> {
        let mut progress = self.lock();
        loop {
            if self.cancel.is_cancelled() {
                return Err(BuildError::Cancelled);
            }
            if let Some(value) = until(&mut progress) {
                return Ok(value);
            }
            let waited = self.changed.wait_timeout(progress, GLANCE);
            progress = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
    /// A stage's layers, once it is done.
    fn layers_of(&self, index: usize) -> Result<Vec<Digest>, BuildError> {
        let steps = self
            .graph
            .stages
            .get(&index)
            .map_or(0, |stage| stage.steps.len());
        self.wait(|progress| {
            let done = progress
                .results
                .stages
                .get(&index)
                .is_some_and(|result| result.made.len() == steps);
            done.then(|| progress.results.layers(index))
        })
    }
    fn steps(&self, index: usize, stage: &Stage) -> Result<(), BuildError> {
        let mut layers = match &stage.base {
            Base::Scratch => Vec::new(),
            Base::Image { layers, .. } => layers.clone(),
            Base::Stage(base) => self.layers_of(*base)?,
        };
        let base = layers.clone();
        self.lock().results.stages.insert(
            index,
            StageResult {
                base,
                ..StageResult::default()
            },
        );
        self.changed.notify_all();
        if let Some((number, title)) = &stage.first {
            self.teller.tell(*number, BuildStep::Started(title.clone()));
            // It was found, or pulled, before any step began.
            self.teller.tell(*number, BuildStep::Done(0.0));
        }
        for (place, step) in stage.steps.iter().enumerate() {
            for needed in Stage::needs(step) {
                self.layers_of(needed)?;
            }
            let at = Place {
                stage: index,
                step: place,
            };
            let (key, made, known) = self.step(at, step, &layers)?;
            layers.extend(made);
            if let Some(result) = self.lock().results.stages.get_mut(&index) {
                result.made.push(made);
                result.ran.push(!known);
                result.keys.push(key);
            }
            self.changed.notify_all();
        }
        Ok(())
    }
    /// One step: from the cache, or done while others that run are few enough.
    fn step(
        &self,
        at: Place,
        step: &Step,
        layers: &[Digest],
    ) -> Result<(Digest, Made, bool), BuildError> {
        if self.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        let teller = self.teller;
        teller.tell(step.number, BuildStep::Started(step.title.clone()));
        let begun = Instant::now();
        match self.known_or_done(at, step, layers) {
            Ok((key, made, true)) => {
                teller.tell(step.number, BuildStep::Cached);
                Ok((key, made, true))
            }
            Ok((key, made, false)) => {
                teller.tell(step.number, BuildStep::Done(begun.elapsed().as_secs_f64()));
                Ok((key, made, false))
            }
            Err(error) => {
                let error = self.failure(step, error);
                teller.tell(step.number, error.told());
                Err(error)
            }
        }
    }
    fn failure(&self, step: &Step, error: StepError) -> BuildError {
        match error {
            StepError::Build(error) => error,
            StepError::Failed {
                message,
                hint,
                output,
                code,
            } => BuildError::Step(Box::new(StepFailure {
                title: self.teller.titled(&step.title),
                message,
                hints: hint.into_iter().collect(),
                span: step.span,
                sources: self.sources.clone(),
                output,
                code,
            })),
        }
    }
    fn done(&self, step: &Step, layers: &[Digest], trees: &Trees<'_>) -> Result<Made, StepError> {
        let store = self.builder.store;
        match &step.operation {
            Operation::Run(run) => {
                let output = |printed: Printed<'_>| {
                    let what = match printed {
                        Printed::Line(text) => BuildStep::Output(text.to_owned()),
                        Printed::Partial(text) => BuildStep::Partial(text.to_owned()),
                    };
                    self.teller.tell(step.number, what);
                };
                let sandbox = self.builder.sandbox;
                run.run(
                    &Means {
                        trees: *trees,
                        sandbox,
                        cancel: &self.cancel,
                        output: &output,
                        output_limit: output::limit(
                            self.request.env.non_empty(output::LIMIT_VARIABLE),
                        ),
                        debugger: self.builder.debugger,
                        title: &step.title,
                    },
                    layers,
                )
            }
            Operation::Folder { path, user } => make_folder(store, layers, path, user),
            // Done where it is looked up.
            Operation::Copy(_) => Ok(None),
        }
    }
}
