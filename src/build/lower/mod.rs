//! Dockerfile → [`Graph`]: stages with their images found, variables worked out, steps in order.
//!
//! In: the parsed file, the request, images. Out: what must run, and the configuration the image will have.
//! Only stages that the target needs are looked at. It runs nothing and copies nothing; it fetches images.
//! Imports: `base`, `image`, `dockerfile`, `step`. Rules: Dockerfile reference; order and scopes as BuildKit.

mod checks;
mod history;
mod instruction;
mod names;
mod number;
mod run;
mod state;
mod transfer;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use names::Named;
use number::{fresh, number};
pub use state::Past;
use state::State;

use super::attest::Used;
use super::context::ignore::Ignore;
use super::dockerfile::ast::{Dockerfile, Kind, StageDecl};
use super::dockerfile::mounts::{self, MountKind};
use super::dockerfile::parse::parse_triggers;
use super::dockerfile::vars::Expander;
use super::epoch;
use super::error::{BuildError, fault};
use super::images::Images;
use super::lint::Lints;
use super::platform;
use super::step::copy::CopyStep;
use super::step::{Operation, Origin};
use super::told::Teller;
use super::{BuildRequest, Builder};
use crate::base::diag::{Diagnostic, nearest};
use crate::base::event::{BuildStep, BuildWarning, internal};
use crate::base::span::{SourceMap, Span};
use crate::image::config::ImageConfig;
use crate::image::digest::Digest;
use crate::image::manifest::Platform;

/// Stages that one build may need: each is worked on by a thread of its own.
const MOST_STAGES: usize = 500;

/// What must be built.
#[derive(Debug)]
pub struct Graph {
    /// The stages that are needed, by index in the file.
    pub stages: BTreeMap<usize, Stage>,
    /// The one that becomes the image.
    pub target: usize,
    /// Arguments that `FROM` sees, with their values.
    pub globals: BTreeMap<String, String>,
    /// Numbers of the steps that are done whatever is known of them.
    pub fresh: BTreeSet<u32>,
    /// Images that it stands on or takes files of.
    pub images: Vec<Used>,
}

/// One stage.
#[derive(Debug)]
pub struct Stage {
    /// What it stands on.
    pub base: Base,
    /// Number and title of the image as a step: `[build 1/4] FROM debian`; `None` without an image.
    pub first: Option<(u32, String)>,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// Configuration of an image made of it, without layers and history.
    pub config: ImageConfig,
    /// Its history, after its base's.
    pub past: Vec<Past>,
    /// Its arguments that have a value.
    pub args: IndexMap<String, String>,
}

/// What a stage stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An image's layers.
    Image {
        /// As the file names it.
        name: String,
        /// Base first.
        layers: Vec<Digest>,
    },
    /// A stage.
    Stage(usize),
}

/// One step.
#[derive(Debug)]
pub struct Step {
    /// Unique within the build, from 1.
    pub number: u32,
    /// `[build 2/4] RUN make`.
    pub title: String,
    /// The instruction as it is written.
    pub text: String,
    /// The instruction's place.
    pub span: Option<Span>,
    /// What it does.
    pub operation: Operation,
    /// Names of the build arguments that it may use.
    pub arguments: Vec<String>,
}

impl Stage {
    /// The stages whose results a step needs beside its own stage's.
    pub fn needs(step: &Step) -> Vec<usize> {
        let mut origins: Vec<&Origin> = Vec::new();
        match &step.operation {
            Operation::Copy(copy) => origins.push(&copy.origin),
            Operation::Run(run) => {
                origins.extend(run.mounts.iter().filter_map(|mount| mount.origin()));
            }
            Operation::Folder { .. } => {}
        }
        let stage = |origin: &Origin| match origin {
            Origin::Stage(index) => Some(*index),
            _ => None,
        };
        origins.into_iter().filter_map(stage).collect()
    }
}

/// Finds out what must be built. What the checks find goes to `lints`.
///
/// # Errors
/// [`BuildError::Invalid`] with the instruction at fault.
pub fn lower(
    file: &Dockerfile,
    request: &BuildRequest,
    builder: &Builder<'_>,
    sources: &mut SourceMap,
    lints: &Lints,
) -> Result<Graph, BuildError> {
    work_out(file, request, builder, sources, (lints, Aim::Build))
}

/// As [`lower`], for a question: what only a build needs, such as secrets, need not be there.
///
/// # Errors
/// As [`lower`].
pub fn ask(
    file: &Dockerfile,
    request: &BuildRequest,
    builder: &Builder<'_>,
    sources: &mut SourceMap,
    lints: &Lints,
    every: bool,
) -> Result<Graph, BuildError> {
    let aim = if every { Aim::AskOfAll } else { Aim::Ask };
    work_out(file, request, builder, sources, (lints, aim))
}

/// What stages are worked out for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// To build the target.
    Build,
    /// To answer a question about the target.
    Ask,
    /// To answer a question about all stages.
    AskOfAll,
}

fn work_out(
    file: &Dockerfile,
    request: &BuildRequest,
    builder: &Builder<'_>,
    sources: &mut SourceMap,
    (lints, aim): (&Lints, Aim),
) -> Result<Graph, BuildError> {
    let target = platform::wanted(request.platform.as_deref())
        .map_err(|why| fault(Diagnostic::error(why), sources))?;
    let mut lowering = Lowering::new(file, request, builder, (target, lints));
    lowering.aim = aim;
    let outcome = lowering.all(sources);
    let target = outcome.map_err(|refused| match refused {
        Refused::User(item) | Refused::Word(item, _) => fault(*item, sources),
        Refused::Ours(error) => error,
    })?;
    let unused: Vec<&str> = request
        .args
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !lowering.used_args.contains(*name) && !is_built_in(name))
        .collect();
    if !unused.is_empty() {
        let message = format!(
            "one or more build-args [{}] were not consumed",
            unused.join(" ")
        );
        let warning = BuildWarning {
            message,
            ..BuildWarning::default()
        };
        let teller = Teller::new(request, builder);
        teller.tell(internal::DEFINITION, BuildStep::Warned(warning));
    }
    let mut graph = Graph {
        stages: lowering.stages,
        target,
        globals: lowering.globals,
        fresh: BTreeSet::new(),
        images: lowering.images.used(),
    };
    number(&mut graph, file);
    graph.fresh = fresh(&graph, file, request);
    Ok(graph)
}

/// Whether an argument needs no declaration: what it says reaches the builder itself.
fn is_built_in(name: &str) -> bool {
    state::is_predefined(name) || name.starts_with("BUILDKIT_") || name == "SOURCE_DATE_EPOCH"
}

/// Why lowering stops.
enum Refused {
    User(Box<Diagnostic>),
    /// A word of an instruction is at fault.
    Word(Box<Diagnostic>, String),
    Ours(BuildError),
}

impl From<Diagnostic> for Refused {
    fn from(item: Diagnostic) -> Self {
        Self::User(Box::new(item))
    }
}

/// The images that the target's stages name in `FROM`, `COPY --from` and `RUN --mount`, with the first place of each. It
/// fetches none, and leaves out names that the request's contexts stand for.
///
/// # Errors
/// [`BuildError::Invalid`]: there is no such target, or a base has no name.
pub fn images_named(
    file: &Dockerfile,
    request: &BuildRequest,
    builder: &Builder<'_>,
    sources: &SourceMap,
) -> Result<BTreeMap<String, Span>, BuildError> {
    let platform = platform::wanted(request.platform.as_deref())
        .map_err(|why| fault(Diagnostic::error(why), sources))?;
    let lints = Lints::default();
    let mut lowering = Lowering::new(file, request, builder, (platform, &lints));
    let target = lowering.take_globals().and_then(|()| lowering.target());
    match target {
        Ok(target) => {
            let found = lowering.images_of(target).into_iter();
            Ok(found.map(|((name, _), place)| (name, place)).collect())
        }
        Err(Refused::User(item) | Refused::Word(item, _)) => Err(fault(*item, sources)),
        Err(Refused::Ours(error)) => Err(error),
    }
}

/// What an instruction's flags name as the origin of files, where no variable is in it.
fn origins_named(kind: &Kind) -> Vec<String> {
    let named: Vec<String> = match kind {
        Kind::Copy(copy) => copy.from.iter().cloned().collect(),
        Kind::Run(run) => {
            let as_written = |text: &str| Ok(text.to_owned());
            let mounts = run
                .mounts
                .iter()
                .filter_map(|text| mounts::parse(text, &as_written).ok());
            mounts
                .filter_map(|mount| match mount.kind {
                    MountKind::Bind { from, .. } | MountKind::Cache { from, .. } => from,
                    _ => None,
                })
                .collect()
        }
        _ => Vec::new(),
    };
    named
        .into_iter()
        .filter(|name| !name.contains('$'))
        .collect()
}

/// An argument's own scope is the stage; these are seen by `FROM`.
type Globals = BTreeMap<String, String>;

struct Lowering<'a> {
    file: &'a Dockerfile,
    request: &'a BuildRequest,
    builder: &'a Builder<'a>,
    /// What the image is for.
    platform: Platform,
    images: Images,
    globals: Globals,
    used_args: BTreeSet<String>,
    stages: BTreeMap<usize, Stage>,
    states: BTreeMap<usize, State>,
    lints: &'a Lints,
    aim: Aim,
    /// Arguments are looked at as if the caller gave none.
    nothing_given: bool,
    /// The `FROM` whose image triggers the instructions that are worked out now.
    triggered_at: Option<Span>,
    /// What the context leaves out, once it is asked for.
    ignore: OnceCell<Option<Ignore>>,
}

impl<'a> Lowering<'a> {
    fn new(
        file: &'a Dockerfile,
        request: &'a BuildRequest,
        builder: &'a Builder<'a>,
        (platform, lints): (Platform, &'a Lints),
    ) -> Self {
        Self {
            file,
            request,
            builder,
            platform,
            images: Images::new(request.pins.clone()),
            globals: BTreeMap::new(),
            used_args: BTreeSet::new(),
            stages: BTreeMap::new(),
            states: BTreeMap::new(),
            lints,
            aim: Aim::Build,
            nothing_given: false,
            triggered_at: None,
            ignore: OnceCell::new(),
        }
    }
}

impl Lowering<'_> {
    fn all(&mut self, sources: &mut SourceMap) -> Result<usize, Refused> {
        self.check_from()?;
        let target = self.target()?;
        self.prefetch(target, sources)?;
        let first = self.lints.findings().len();
        let outcome = self.stages(target, sources);
        self.lints.sort_from(first);
        outcome.map(|()| target)
    }
    /// Works out what the target needs, or every stage.
    fn stages(&mut self, target: usize, sources: &mut SourceMap) -> Result<(), Refused> {
        let mut todo = match self.aim == Aim::AskOfAll {
            true => (0..self.file.stages.len()).rev().collect(),
            false => vec![target],
        };
        while let Some(index) = todo.pop() {
            for index in self.chain(index)? {
                todo.extend(self.stage(index, sources)?);
            }
            if self.stages.len() > MOST_STAGES {
                return Err(Diagnostic::error(format!(
                    "more than {MOST_STAGES} stages are needed"
                ))
                .into());
            }
        }
        Ok(())
    }
    /// The stages that a stage stands on and that are not worked out yet, lowest first, and itself. FROM
    /// names only stages above its own, so this ends.
    fn chain(&self, index: usize) -> Result<Vec<usize>, Refused> {
        let mut chain = Vec::new();
        let mut at = Some(index).filter(|index| !self.stages.contains_key(index));
        while let Some(index) = at {
            chain.push(index);
            at = match self.base_of(index, &self.file.stages[index])? {
                Named::Stage(base) if !self.stages.contains_key(&base) => Some(base),
                _ => None,
            };
        }
        chain.reverse();
        Ok(chain)
    }
    /// A value given with `--build-arg`.
    fn given(&self, name: &str) -> Option<String> {
        if self.nothing_given {
            return None;
        }
        if name == epoch::NAME {
            return epoch::given(self.request);
        }
        let said = self.request.args.iter().rev();
        match said.into_iter().find(|(known, _)| known == name) {
            Some((_, value)) => value
                .clone()
                .or_else(|| self.request.env.get(name).map(str::to_owned)),
            None => self.proxy(name),
        }
    }
    /// A proxy of the user's settings, in either case.
    fn proxy(&self, name: &str) -> Option<String> {
        let mut known = self.request.proxies.iter();
        let found = known.find(|(known, _)| *known == name || known.to_lowercase() == name)?;
        Some(found.1.clone())
    }
    fn take_globals(&mut self) -> Result<(), Refused> {
        self.globals.extend(platform::arguments(&self.platform));
        let last = || self.file.stages.last().and_then(|stage| stage.name.clone());
        let target = self.request.target.clone().filter(|name| !name.is_empty());
        let stage = target.or_else(last).unwrap_or_else(|| "default".to_owned());
        self.globals.insert("TARGETSTAGE".to_owned(), stage);
        let names: Vec<String> = self.globals.keys().cloned().collect();
        for name in names {
            if let Some(value) = self.given(&name) {
                self.used_args.insert(name.clone());
                self.globals.insert(name, value);
            }
        }
        for (decls, span) in &self.file.globals {
            for decl in decls {
                let name = self.expand_global(&decl.name, *span)?;
                let value = match (self.given(&name), &decl.default) {
                    (Some(value), _) => {
                        self.used_args.insert(name.clone());
                        Some(value)
                    }
                    (None, Some(default)) => Some(self.expand_global(default, *span)?),
                    (None, None) => None,
                };
                if let Some(value) = value {
                    self.globals.insert(name, value);
                }
            }
        }
        Ok(())
    }
    fn expand_global(&self, text: &str, span: Span) -> Result<String, Refused> {
        let lookup = |name: &str| self.globals.get(name).cloned();
        let word = Expander::new(self.file.escape, &lookup).word(text);
        word.map_err(|why| {
            Diagnostic::error(format!("failed to process {text:?}: {why}"))
                .at(span)
                .into()
        })
    }
    /// The index of the stage that becomes the image. Only names count, as in BuildKit.
    fn target(&self) -> Result<usize, Refused> {
        let stages = &self.file.stages;
        let Some(wanted) = self
            .request
            .target
            .as_deref()
            .filter(|name| !name.is_empty())
        else {
            return Ok(stages.len() - 1);
        };
        let found = stages
            .iter()
            .rposition(|stage| stage.name.as_deref() == Some(&wanted.to_lowercase()));
        found.ok_or_else(|| {
            let names: Vec<&str> = stages
                .iter()
                .filter_map(|stage| stage.name.as_deref())
                .collect();
            let item = Diagnostic::error(format!("target stage {wanted:?} could not be found"));
            match nearest(wanted, names.iter().copied()) {
                Some(near) => item.hint(format!("did you mean {near}?")),
                None if names.is_empty() => item.hint("give the stage a name: FROM image AS name"),
                None => item.hint(format!("the stages are {}", names.join(", "))),
            }
            .into()
        })
    }
    /// Works one stage out, after the one it begins from; gives the stages it needs.
    fn stage(&mut self, index: usize, sources: &mut SourceMap) -> Result<Vec<usize>, Refused> {
        let decl = &self.file.stages[index];
        let platform = self.platform_of(decl)?;
        let written = self.expand_global(&decl.base, decl.place_of(&decl.base))?;
        let scratch = || State::new(scratch_config(&platform));
        let mut steps = Vec::new();
        let (base, mut state) = match self.base_of(index, decl)? {
            Named::Scratch => (Base::Scratch, scratch()),
            Named::Stage(stage) => {
                let state = self.states.get(&stage).map(State::child);
                (Base::Stage(stage), state.unwrap_or_else(scratch))
            }
            Named::Image(name) => {
                let image = self.image(&name, platform.clone(), decl.place_of(&decl.base))?;
                self.check_image((&name, &platform), &image.config, decl);
                (
                    Base::Image {
                        name,
                        layers: image.layers().to_vec(),
                    },
                    State::new(image.config),
                )
            }
            Named::Built(image) => (
                Base::Image {
                    name: written,
                    layers: image.layers().to_vec(),
                },
                State::new(image.config),
            ),
            Named::Layout(layout) => {
                let image = self.layout(&layout, &platform, decl.span)?;
                (
                    Base::Image {
                        name: written,
                        layers: image.layers().to_vec(),
                    },
                    State::new(image.config),
                )
            }
            // As BuildKit: the files are all there is.
            Named::Dir(dir) => {
                steps.push(all_of((decl, &written), Origin::Named(dir)));
                (Base::Scratch, scratch())
            }
            Named::Remote(remote) => {
                steps.push(all_of((decl, &written), Origin::Remote(remote)));
                (Base::Scratch, scratch())
            }
        };
        for trigger in std::mem::take(&mut state.config.config.on_build) {
            let source = sources.add(format!("ONBUILD of {}", decl.base), trigger.as_str());
            let body = parse_triggers(&trigger, source, '\\').map_err(|found| {
                let items = found.sorted();
                Refused::Ours(BuildError::Invalid {
                    diagnostics: items,
                    sources: sources.clone(),
                })
            })?;
            self.triggered_at = Some(decl.span);
            let done = body.iter().try_for_each(|item| {
                if let Kind::Run(_) = &item.kind {
                    self.check_runs(&base, &state, item.span)?;
                }
                self.instruction(item, index, &mut state, &mut steps)
            });
            self.triggered_at = None;
            done?;
        }
        for instruction in &decl.body {
            if let Kind::Run(_) = &instruction.kind {
                self.check_runs(&base, &state, instruction.span)?;
            }
            self.instruction(instruction, index, &mut state, &mut steps)?;
        }
        let needed = steps.iter().flat_map(Stage::needs).collect();
        let (config, past) = (state.config.clone(), std::mem::take(&mut state.past));
        let args = state.args.clone();
        self.states.insert(index, state);
        self.stages.insert(
            index,
            Stage {
                base,
                first: None,
                steps,
                config,
                past,
                args,
            },
        );
        Ok(needed)
    }
}

/// The step that takes all files of a context as what a stage begins with.
fn all_of((decl, name): (&StageDecl, &str), origin: Origin) -> Step {
    Step {
        number: 0,
        title: format!("FROM {name}"),
        text: format!("FROM {name}"),
        span: Some(decl.span),
        arguments: Vec::new(),
        operation: Operation::Copy(Box::new(CopyStep::all(origin, "/".to_owned()))),
    }
}

fn scratch_config(platform: &Platform) -> ImageConfig {
    let mut config = ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        ..ImageConfig::default()
    };
    "/".clone_into(&mut config.config.working_dir);
    config
}
