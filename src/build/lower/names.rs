//! What names mean: in `FROM`, in `--from`, among named contexts; and the images they stand for.
//!
//! Imports: `image`, `images`, `platform`, `sources`. Rules: BuildKit: a named context comes before a stage, a stage before an
//! image; stages count by their names, and by their numbers in `--from`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::state::State;
use super::{Aim, Base, Lowering, Refused, origins_named};
use crate::base::diag::{Diagnostic, Diagnostics, nearest};
use crate::base::span::{SourceMap, Span};
use crate::build::NamedContext;
use crate::build::dockerfile::ast::StageDecl;
use crate::build::error::BuildError;
use crate::build::images::Wanted;
use crate::build::platform;
use crate::build::sources::Remote;
use crate::build::sources::layout::Layout;
use crate::build::step::Origin;
use crate::build::told::Teller;
use crate::image::manifest::Platform;

/// What a name in `FROM` means.
pub(super) enum Named {
    Scratch,
    Stage(usize),
    Image(String),
    Dir(PathBuf),
    Built(Box<crate::image::store::Image>),
    Layout(Layout),
    Remote(Box<Remote>),
}

impl Lowering<'_> {
    /// The stage of a name, among the first `before` ones.
    pub(super) fn stage_named(&self, name: &str, before: usize) -> Option<usize> {
        let name = name.to_lowercase();
        self.file.stages[..before]
            .iter()
            .rposition(|stage| stage.name.as_deref() == Some(&name))
    }
    pub(super) fn named_context(&self, name: &str, span: Span) -> Result<Option<Named>, Refused> {
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
    pub(super) fn base_of(&self, index: usize, decl: &StageDecl) -> Result<Named, Refused> {
        let name = self.expand_global(&decl.base, decl.place_of(&decl.base))?;
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
        // Names of stages are in lower case, and here, unlike in --from, only what is written so means one.
        let stage = self.stage_named(&name, index);
        let stage = stage.filter(|_| name == name.to_lowercase());
        Ok(match stage {
            Some(stage) => Named::Stage(stage),
            None if name == "scratch" => Named::Scratch,
            None => Named::Image(name),
        })
    }
    /// What `--from` in stage `index` means. Only stages above it count.
    pub(super) fn origin(
        &mut self,
        name: &str,
        index: usize,
        span: Span,
    ) -> Result<Origin, Refused> {
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
    pub(super) fn origin_of(&mut self, named: Named, span: Span) -> Result<Origin, Refused> {
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
    pub(super) fn layout(
        &mut self,
        layout: &Layout,
        platform: &Platform,
        span: Span,
    ) -> Result<crate::image::store::Image, Refused> {
        let found = self.images.layout(layout, platform, self.builder);
        found.map_err(|why| Diagnostic::error(why).at(span).into())
    }
    /// The platform that a stage is made for.
    pub(super) fn platform_of(&self, decl: &StageDecl) -> Result<Platform, Refused> {
        let Some(text) = &decl.platform else {
            return Ok(self.platform.clone());
        };
        let text = self.expand_global(text, decl.span)?;
        platform::parse(&text).map_err(|why| Diagnostic::error(why).at(decl.span).into())
    }
    /// Refuses a `RUN` that can't run on this machine, before anything has.
    pub(super) fn check_runs(&self, base: &Base, state: &State, span: Span) -> Result<(), Refused> {
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
    pub(super) fn image(
        &mut self,
        name: &str,
        platform: Platform,
        span: Span,
    ) -> Result<crate::image::store::Image, Refused> {
        if self.builder.cancel.is_cancelled() {
            return Err(Refused::Ours(BuildError::Cancelled));
        }
        let told = (self.builder, Teller::new(self.request, self.builder));
        self.images
            .get((name.to_owned(), platform), told, self.request.pull)
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
    ///
    /// # Errors
    /// All that can't be had, where something is to be built of them.
    pub(super) fn prefetch(&mut self, target: usize, sources: &SourceMap) -> Result<(), Refused> {
        let all = self.images_of(target);
        let told = (self.builder, Teller::new(self.request, self.builder));
        let wanted = all.keys().cloned().collect();
        self.images.prefetch(wanted, told, self.request.pull);
        if self.aim != Aim::Build {
            return Ok(());
        }
        let mut missing = Diagnostics::default();
        for ((name, platform), place) in all {
            match self.image(&name, platform, place) {
                Err(Refused::User(item)) => missing.push(*item),
                other => drop(other?),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Refused::Ours(BuildError::Invalid {
            diagnostics: missing.sorted(),
            sources: sources.clone(),
        }))
    }
    /// The images that the stages behind a target name, as far as that is known without looking at one, with the first
    /// place of each.
    pub(super) fn images_of(&self, target: usize) -> BTreeMap<Wanted, Span> {
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
                    let place = decl.place_of(&decl.base);
                    names.entry((name, platform)).or_insert(place);
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
    /// A stage that needs itself or one below it.
    pub(super) fn out_of_order(&self, wanted: usize, index: usize, span: Span) -> Refused {
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
