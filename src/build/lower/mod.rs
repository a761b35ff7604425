//! Dockerfile → [`Graph`]: stages with their images found, variables worked out, steps in order.
//!
//! In: the parsed file, the request, images. Out: what must run, and the configuration the image will have.
//! Only stages that the target needs are looked at. It runs nothing and copies nothing; it fetches images.
//! Imports: `base`, `image`, `dockerfile`, `step`. Rules: Dockerfile reference; order and scopes as BuildKit.

mod instruction;
mod run;
mod state;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

pub use state::Past;
use state::State;

use super::dockerfile::ast::{Dockerfile, Kind, StageDecl};
use super::dockerfile::mounts::{self, MountKind};
use super::dockerfile::parse::parse_triggers;
use super::dockerfile::vars::Expander;
use super::error::{BuildError, fault};
use super::images::{Images, Wanted};
use super::platform;
use super::sources::Remote;
use super::sources::layout::Layout;
use super::step::copy::{CopySource, CopyStep};
use super::step::{Operation, Origin};
use super::{BuildRequest, Builder, NamedContext};
use crate::base::diag::{Diagnostic, nearest};
use crate::base::event::Event;
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
    /// Numbers of the steps that are done whatever is known of them.
    pub fresh: BTreeSet<u32>,
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

/// Finds out what must be built.
///
/// # Errors
/// [`BuildError::Invalid`] with the instruction at fault.
pub fn lower(
    file: &Dockerfile,
    request: &BuildRequest,
    builder: &Builder<'_>,
    sources: &mut SourceMap,
) -> Result<Graph, BuildError> {
    let target = platform::wanted(request.platform.as_deref())
        .map_err(|why| fault(Diagnostic::error(why), sources))?;
    let mut lowering = Lowering::new(file, request, builder, target);
    let outcome = lowering.all(sources);
    let target = outcome.map_err(|refused| match refused {
        Refused::User(item) => fault(*item, sources),
        Refused::Ours(error) => error,
    })?;
    let unused: Vec<&str> = request
        .args
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !lowering.used_args.contains(*name) && !state::is_predefined(name))
        .filter(|name| !name.starts_with("BUILDKIT_"))
        .collect();
    if !unused.is_empty() {
        let text = format!(
            "one or more build-args [{}] were not consumed",
            unused.join(" ")
        );
        builder.events.send(Event::Warn(text));
    }
    let mut graph = Graph {
        stages: lowering.stages,
        target,
        fresh: BTreeSet::new(),
    };
    number(&mut graph, file);
    graph.fresh = fresh(&graph, file, request);
    Ok(graph)
}

/// Why lowering stops.
enum Refused {
    User(Box<Diagnostic>),
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
    let mut lowering = Lowering::new(file, request, builder, platform);
    let target = lowering.take_globals().and_then(|()| lowering.target());
    match target {
        Ok(target) => {
            let found = lowering.images_of(target).into_iter();
            Ok(found.map(|((name, _), place)| (name, place)).collect())
        }
        Err(Refused::User(item)) => Err(fault(*item, sources)),
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
}

/// What a name in `FROM` means.
enum Named {
    Scratch,
    Stage(usize),
    Image(String),
    Dir(PathBuf),
    Built(Box<crate::image::store::Image>),
    Layout(Layout),
    Remote(Box<Remote>),
}

impl<'a> Lowering<'a> {
    fn new(
        file: &'a Dockerfile,
        request: &'a BuildRequest,
        builder: &'a Builder<'a>,
        platform: Platform,
    ) -> Self {
        Self {
            file,
            request,
            builder,
            platform,
            images: Images::default(),
            globals: BTreeMap::new(),
            used_args: BTreeSet::new(),
            stages: BTreeMap::new(),
            states: BTreeMap::new(),
        }
    }
}

impl Lowering<'_> {
    fn all(&mut self, sources: &mut SourceMap) -> Result<usize, Refused> {
        self.take_globals()?;
        let target = self.target()?;
        self.prefetch(target);
        let mut todo = vec![target];
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
        Ok(target)
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
        let (_, value) = self
            .request
            .args
            .iter()
            .rev()
            .find(|(known, _)| known == name)?;
        value
            .clone()
            .or_else(|| self.request.env.get(name).map(str::to_owned))
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
    /// The stage of a name, among the first `before` ones.
    fn stage_named(&self, name: &str, before: usize) -> Option<usize> {
        let name = name.to_lowercase();
        self.file.stages[..before]
            .iter()
            .rposition(|stage| stage.name.as_deref() == Some(&name))
    }
    fn named_context(&self, name: &str, span: Span) -> Result<Option<Named>, Refused> {
        let contexts = &self.request.named_contexts;
        let lower = name.to_lowercase();
        let found = contexts
            .get(name)
            .or_else(|| contexts.get(&lower))
            .or_else(|| {
                let canonical = crate::image::reference::Reference::parse(name)
                    .ok()?
                    .canonical();
                let same = |known: &str| {
                    crate::image::reference::Reference::parse(known)
                        .is_ok_and(|known| known.canonical() == canonical)
                };
                contexts
                    .iter()
                    .find(|(known, _)| same(known))
                    .map(|(_, context)| context)
            });
        let Some(found) = found else { return Ok(None) };
        Ok(Some(match found {
            NamedContext::Dir(dir) => Named::Dir(dir.clone()),
            NamedContext::Image(reference) => Named::Image(reference.canonical()),
            NamedContext::Built(image) => Named::Built(Box::new(image.clone())),
            NamedContext::Layout(layout) => Named::Layout(layout.clone()),
            NamedContext::Remote(remote) => Named::Remote(Box::new(remote.clone())),
            NamedContext::Stage(stage) => {
                let index = self.stage_named(stage, self.file.stages.len());
                let missing = || {
                    let text = format!(
                        "the context {name} is the stage {stage:?}, which could not be found"
                    );
                    Diagnostic::error(text).at(span)
                };
                Named::Stage(index.ok_or_else(missing)?)
            }
        }))
    }
    /// What `FROM name` of stage `index` means.
    fn base_of(&self, index: usize, decl: &StageDecl) -> Result<Named, Refused> {
        let name = self.expand_global(&decl.base, decl.span)?;
        if name.is_empty() {
            let item = Diagnostic::error(format!("base name ({}) should not be blank", decl.base))
                .at(decl.span);
            return Err(item
                .hint("give the ARG a default, or a value with --build-arg")
                .into());
        }
        match self.named_context(&name, decl.span)? {
            Some(Named::Stage(stage)) if stage >= index => {
                return Err(self.out_of_order(stage, index, decl.span));
            }
            Some(named) => return Ok(named),
            None => {}
        }
        Ok(match self.stage_named(&name, index) {
            Some(stage) => Named::Stage(stage),
            None if name == "scratch" => Named::Scratch,
            None => Named::Image(name),
        })
    }
    /// What `--from` in stage `index` means. Only stages above it count.
    fn origin(&mut self, name: &str, index: usize, span: Span) -> Result<Origin, Refused> {
        if name.contains('$') {
            let item = Diagnostic::error("variable expansion is not supported for --from").at(span);
            return Err(item
                .hint("define a stage with FROM and that ARG, and name the stage here")
                .into());
        }
        match self.named_context(name, span)? {
            Some(Named::Stage(stage)) if stage >= index => {
                return Err(self.out_of_order(stage, index, span));
            }
            Some(named) => return self.origin_of(named, span),
            None => {}
        }
        let stage = match name.parse::<usize>() {
            Ok(index) if index < self.file.stages.len() => Some(index),
            Ok(_) => {
                return Err(Diagnostic::error(format!(
                    "invalid from flag value {name}: there is no such stage"
                ))
                .at(span)
                .into());
            }
            Err(_) => self.stage_named(name, self.file.stages.len()),
        };
        match stage {
            Some(stage) if stage < index => {
                // A context of the stage's name stands for it, by its number too.
                let own = self.file.stages[stage].name.clone();
                match own
                    .map(|own| self.named_context(&own, span))
                    .transpose()?
                    .flatten()
                {
                    Some(Named::Stage(_)) | None => Ok(Origin::Stage(stage)),
                    Some(named) => self.origin_of(named, span),
                }
            }
            Some(stage) => Err(self.out_of_order(stage, index, span)),
            None if name == "scratch" => Ok(Origin::Layers(Vec::new())),
            None => self.origin_of(Named::Image(name.to_owned()), span),
        }
    }
    fn origin_of(&mut self, named: Named, span: Span) -> Result<Origin, Refused> {
        Ok(match named {
            Named::Scratch => Origin::Layers(Vec::new()),
            Named::Stage(index) => Origin::Stage(index),
            Named::Dir(dir) => Origin::Named(dir),
            Named::Remote(remote) => Origin::Remote(remote),
            Named::Layout(layout) => {
                let platform = self.platform.clone();
                Origin::Layers(self.layout(&layout, &platform, span)?.layers().to_vec())
            }
            Named::Built(image) => Origin::Layers(image.layers().to_vec()),
            Named::Image(name) => {
                let platform = self.platform.clone();
                Origin::Layers(self.image(&name, platform, span)?.layers().to_vec())
            }
        })
    }
    fn layout(
        &mut self,
        layout: &Layout,
        platform: &Platform,
        span: Span,
    ) -> Result<crate::image::store::Image, Refused> {
        let found = self.images.layout(layout, platform, self.builder);
        found.map_err(|why| Diagnostic::error(why).at(span).into())
    }
    /// The platform that a stage is made for.
    fn platform_of(&self, decl: &StageDecl) -> Result<Platform, Refused> {
        let Some(text) = &decl.platform else {
            return Ok(self.platform.clone());
        };
        let text = self.expand_global(text, decl.span)?;
        platform::parse(&text).map_err(|why| Diagnostic::error(why).at(decl.span).into())
    }
    /// Refuses a `RUN` that can't run on this machine, before anything has.
    fn check_runs(&self, base: &Base, state: &State, span: Span) -> Result<(), Refused> {
        let mut base = base;
        while let Base::Stage(index) = base {
            match self.stages.get(index) {
                Some(stage) => base = &stage.base,
                None => break,
            }
        }
        let layers = match base {
            Base::Image { layers, .. } => layers.as_slice(),
            Base::Scratch | Base::Stage(_) => &[],
        };
        let architecture = &state.config.architecture;
        platform::check_runs(architecture, layers, self.builder.store).map_err(|foreign| {
            let item = Diagnostic::error(foreign.why).at(span).hint(foreign.hint);
            item.hint("or run it for the machine's own platform: FROM --platform=$BUILDPLATFORM")
                .into()
        })
    }
    fn image(
        &mut self,
        name: &str,
        platform: Platform,
        span: Span,
    ) -> Result<crate::image::store::Image, Refused> {
        if self.builder.cancel.is_cancelled() {
            return Err(Refused::Ours(BuildError::Cancelled));
        }
        self.images
            .get((name.to_owned(), platform), self.builder, self.request.pull)
            .map_err(|why| {
                let item = Diagnostic::error(why).at(span);
                let names = self
                    .file
                    .stages
                    .iter()
                    .filter_map(|stage| stage.name.as_deref());
                match nearest(name, names) {
                    Some(near) => item.hint(format!("did you mean the stage {near}?")).into(),
                    None => item.into(),
                }
            })
    }
    /// Fetches the images of all stages that will be needed, as far as that is known now.
    fn prefetch(&mut self, target: usize) {
        let all = self.images_of(target).into_keys().collect();
        self.images.prefetch(all, self.builder, self.request.pull);
    }
    /// The images that the stages behind a target name, as far as that is known without looking at one, with the first
    /// place of each.
    fn images_of(&self, target: usize) -> BTreeMap<Wanted, Span> {
        let mut names = BTreeMap::new();
        let mut todo = vec![target];
        let mut seen = BTreeSet::new();
        while let Some(index) = todo.pop() {
            let Some(decl) = self.file.stages.get(index).filter(|_| seen.insert(index)) else {
                continue;
            };
            match self.base_of(index, decl) {
                Ok(Named::Stage(stage)) => todo.push(stage),
                Ok(Named::Image(name)) => {
                    // What is wrong with it is told when its turn comes.
                    let platform = self.platform_of(decl);
                    let platform = platform.unwrap_or_else(|_| self.platform.clone());
                    names.entry((name, platform)).or_insert(decl.span);
                }
                _ => {}
            }
            for instruction in &decl.body {
                for from in origins_named(&instruction.kind) {
                    match from
                        .parse::<usize>()
                        .ok()
                        .or_else(|| self.stage_named(&from, self.file.stages.len()))
                    {
                        Some(stage) => todo.push(stage),
                        None if from != "scratch"
                            && matches!(self.named_context(&from, instruction.span), Ok(None)) =>
                        {
                            let wanted = (from, self.platform.clone());
                            names.entry(wanted).or_insert(instruction.span);
                        }
                        None => {}
                    }
                }
            }
        }
        names
    }
    /// Works one stage out, after the one it begins from; gives the stages it needs.
    fn stage(&mut self, index: usize, sources: &mut SourceMap) -> Result<Vec<usize>, Refused> {
        let decl = &self.file.stages[index];
        let platform = self.platform_of(decl)?;
        let scratch = || State::new(scratch_config(&platform));
        let mut steps = Vec::new();
        let (base, mut state) = match self.base_of(index, decl)? {
            Named::Scratch => (Base::Scratch, scratch()),
            Named::Stage(stage) => {
                let state = self.states.get(&stage).map(State::child);
                (Base::Stage(stage), state.unwrap_or_else(scratch))
            }
            Named::Image(name) => {
                let image = self.image(&name, platform.clone(), decl.span)?;
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
                    name: decl.base.clone(),
                    layers: image.layers().to_vec(),
                },
                State::new(image.config),
            ),
            Named::Layout(layout) => {
                let image = self.layout(&layout, &platform, decl.span)?;
                (
                    Base::Image {
                        name: decl.base.clone(),
                        layers: image.layers().to_vec(),
                    },
                    State::new(image.config),
                )
            }
            // As BuildKit: the files are all there is.
            Named::Dir(dir) => {
                steps.push(all_of(decl, Origin::Named(dir)));
                (Base::Scratch, scratch())
            }
            Named::Remote(remote) => {
                steps.push(all_of(decl, Origin::Remote(remote)));
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
            for instruction in &body {
                if let Kind::Run(_) = &instruction.kind {
                    self.check_runs(&base, &state, instruction.span)?;
                }
                self.instruction(instruction, index, &mut state, &mut steps)?;
            }
        }
        for instruction in &decl.body {
            if let Kind::Run(_) = &instruction.kind {
                self.check_runs(&base, &state, instruction.span)?;
            }
            self.instruction(instruction, index, &mut state, &mut steps)?;
        }
        let needed = steps.iter().flat_map(Stage::needs).collect();
        let (config, past) = (state.config.clone(), std::mem::take(&mut state.past));
        self.states.insert(index, state);
        self.stages.insert(
            index,
            Stage {
                base,
                first: None,
                steps,
                config,
                past,
            },
        );
        Ok(needed)
    }
    /// A stage that needs itself or one below it.
    fn out_of_order(&self, wanted: usize, index: usize, span: Span) -> Refused {
        let name = |index: usize| {
            let name = self.file.stages[index].name.clone();
            name.unwrap_or_else(|| index.to_string())
        };
        let item = if wanted == index {
            Diagnostic::error(format!(
                "circular dependency detected on stage: {}",
                name(index)
            ))
        } else {
            let (wanted, index) = (name(wanted), name(index));
            let what = format!(
                "cannot copy from stage {wanted:?}, it needs to be defined before current stage"
            );
            Diagnostic::error(format!("{what} {index:?}")).hint("move the stage up")
        };
        item.at(span)
            .related(self.file.stages[wanted].span, "the stage is here")
            .into()
    }
}

/// The step that takes all files of a context as what a stage begins with.
fn all_of(decl: &StageDecl, origin: Origin) -> Step {
    let text = format!("FROM {}", decl.base);
    Step {
        number: 0,
        title: text.clone(),
        text,
        span: Some(decl.span),
        arguments: Vec::new(),
        operation: Operation::Copy(Box::new(CopyStep {
            origin,
            sources: vec![CopySource::Exact("/".to_owned())],
            dest: "/".to_owned(),
            chown: None,
            chmod: None,
            chmod_text: None,
            exclude: Vec::new(),
            unpack: false,
        })),
    }
}

fn scratch_config(platform: &Platform) -> ImageConfig {
    ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        ..ImageConfig::default()
    }
}

/// Numbers of the steps of stages that are built anew. As BuildKit: a name that no stage has means nothing.
fn fresh(graph: &Graph, file: &Dockerfile, request: &BuildRequest) -> BTreeSet<u32> {
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
fn number(graph: &mut Graph, file: &Dockerfile) {
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
