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
use super::epoch;
use super::error::{BuildError, fault};
use super::images::Images;
use super::settings::{check_platform, host_arch};
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
    if let Some(platform) = &request.platform {
        check_platform(platform).map_err(|why| fault(Diagnostic::error(why), sources))?;
    }
    let mut lowering = Lowering::new(file, request, builder);
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
    let mut lowering = Lowering::new(file, request, builder);
    let target = lowering.take_globals().and_then(|()| lowering.target());
    match target {
        Ok(target) => Ok(lowering.images_of(target)),
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
    fn new(file: &'a Dockerfile, request: &'a BuildRequest, builder: &'a Builder<'a>) -> Self {
        Self {
            file,
            request,
            builder,
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
        if name == epoch::NAME {
            return epoch::given(self.request);
        }
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
        let arch = host_arch();
        for side in ["TARGET", "BUILD"] {
            for (name, value) in [
                ("PLATFORM", format!("linux/{arch}")),
                ("OS", "linux".to_owned()),
                ("ARCH", arch.to_owned()),
                ("VARIANT", String::new()),
                ("OSVERSION", String::new()),
            ] {
                self.globals.insert(format!("{side}{name}"), value);
            }
        }
        let stage = self
            .request
            .target
            .clone()
            .unwrap_or_else(|| "default".to_owned());
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
            Named::Layout(layout) => Origin::Layers(self.layout(&layout, span)?.layers().to_vec()),
            Named::Built(image) => Origin::Layers(image.layers().to_vec()),
            Named::Image(name) => Origin::Layers(self.image(&name, span)?.layers().to_vec()),
        })
    }
    fn layout(
        &mut self,
        layout: &Layout,
        span: Span,
    ) -> Result<crate::image::store::Image, Refused> {
        let platform = Platform::host();
        let found = self.images.layout(layout, self.builder, &platform);
        found.map_err(|why| Diagnostic::error(why).at(span).into())
    }
    fn image(&mut self, name: &str, span: Span) -> Result<crate::image::store::Image, Refused> {
        if self.builder.cancel.is_cancelled() {
            return Err(Refused::Ours(BuildError::Cancelled));
        }
        self.images
            .get(name, self.builder, self.request.pull)
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
        let names = self.images_of(target).into_keys();
        let names = names.collect();
        self.images.prefetch(names, self.builder, self.request.pull);
    }
    /// The images that the stages behind a target name, as far as that is known without looking at one, with the first
    /// place of each.
    fn images_of(&self, target: usize) -> BTreeMap<String, Span> {
        let mut names = BTreeMap::new();
        let mut todo = vec![target];
        let mut seen = BTreeSet::new();
        while let Some(index) = todo.pop() {
            let Some(decl) = self.file.stages.get(index).filter(|_| seen.insert(index)) else {
                continue;
            };
            match self.base_of(index, decl) {
                Ok(Named::Stage(stage)) => todo.push(stage),
                Ok(Named::Image(name)) => drop(names.entry(name).or_insert(decl.span)),
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
                            names.entry(from).or_insert(instruction.span);
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
        if let Some(platform) = &decl.platform {
            let platform = self.expand_global(platform, decl.span)?;
            check_platform(&platform).map_err(|why| Diagnostic::error(why).at(decl.span))?;
        }
        let mut steps = Vec::new();
        let (base, mut state) = match self.base_of(index, decl)? {
            Named::Scratch => (Base::Scratch, State::new(scratch_config())),
            Named::Stage(stage) => {
                let state = self.states.get(&stage).map(State::child);
                (
                    Base::Stage(stage),
                    state.unwrap_or_else(|| State::new(scratch_config())),
                )
            }
            Named::Image(name) => {
                let image = self.image(&name, decl.span)?;
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
                let image = self.layout(&layout, decl.span)?;
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
                (Base::Scratch, State::new(scratch_config()))
            }
            Named::Remote(remote) => {
                steps.push(all_of(decl, Origin::Remote(remote)));
                (Base::Scratch, State::new(scratch_config()))
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
                self.instruction(instruction, index, &mut state, &mut steps)?;
            }
        }
        for instruction in &decl.body {
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
    Step {
        number: 0,
        title: format!("FROM {}", decl.base),
        span: Some(decl.span),
        operation: Operation::Copy(Box::new(CopyStep {
            origin,
            sources: vec![CopySource::Exact("/".to_owned())],
            dest: "/".to_owned(),
            chown: None,
            chmod: None,
            chmod_text: None,
            exclude: Vec::new(),
            unpack: false,
            parents: false,
            link: false,
        })),
        arguments: Vec::new(),
    }
}

fn scratch_config() -> ImageConfig {
    let mut config = ImageConfig {
        architecture: host_arch().to_owned(),
        os: "linux".to_owned(),
        ..ImageConfig::default()
    };
    "/".clone_into(&mut config.config.working_dir);
    config
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
