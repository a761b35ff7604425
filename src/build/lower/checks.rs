//! What the checks of `lint` need to know of a stage while it is worked out, and faults put where their word stands.
//!
//! Imports: `lint`, `dockerfile`.

use std::collections::BTreeMap;

use super::state::State;
use super::{Lowering, Refused};
use crate::base::span::Span;
use crate::build::dockerfile::ast::{Instruction, Kind, StageDecl};
use crate::build::dockerfile::vars::Expander;
use crate::build::lint::from;
use crate::build::lint::stage::{self, Here};
use crate::image::config::ImageConfig;
use crate::image::manifest::Platform;

impl Refused {
    /// Puts a fault of a word where the word stands.
    pub(super) fn within(self, find: impl FnOnce(&str) -> Option<Span>) -> Self {
        match self {
            Self::Word(mut item, word) => {
                item.span = find(&word).or(item.span);
                Self::User(item)
            }
            other => other,
        }
    }
}

impl StageDecl {
    /// Where a word of `FROM` stands.
    pub(super) fn place_of(&self, word: &str) -> Span {
        let found = self.written.find(word, self.span.source);
        found.unwrap_or(self.span)
    }
}

impl Lowering<'_> {
    /// Checks the `FROM` of every stage. Takes the arguments in as they are and as they would be if the caller gave none.
    pub(super) fn check_from(&mut self) -> Result<(), Refused> {
        self.nothing_given = true;
        // What is wrong with an argument is found again below.
        let _ = self.take_globals();
        self.nothing_given = false;
        let defaults: BTreeMap<String, String> = std::mem::take(&mut self.globals);
        self.take_globals()?;
        let globals = from::Globals {
            values: &self.globals,
            defaults: &defaults,
        };
        from::check(self.file, globals, self.lints);
        Ok(())
    }
    /// Checks an image that was found for a stage.
    pub(super) fn check_image(
        &self,
        (name, expected): (&str, &Platform),
        config: &ImageConfig,
        decl: &StageDecl,
    ) {
        let found = (config.os.as_str(), config.architecture.as_str());
        from::base_image(name, expected, found, decl.span, self.lints);
    }
    /// Checks an instruction that has been worked out, or has failed to be; before it so many variables were known.
    pub(super) fn check(
        &mut self,
        instruction: &Instruction,
        state: &mut State,
        (known, good): (usize, bool),
    ) {
        // An instruction of the base image is the FROM's affair.
        let span = self.triggered_at.unwrap_or(instruction.span);
        let missed = std::mem::take(&mut *state.missed.borrow_mut());
        let known = state.scope.keys().take(known).map(String::as_str);
        stage::undefined(&missed, known, &state.declared, span, self.lints);
        if !good {
            return;
        }
        let lookup = |name: &str| state.scope.get(name).cloned();
        let expander = Expander::new(self.file.escape, &lookup);
        let word = |text: &str| expander.word(text).ok();
        let words = |text: &str| expander.words(text).unwrap_or_default();
        let copies = matches!(&instruction.kind, Kind::Copy(_) | Kind::Add(_));
        let here = Here {
            span,
            word: &word,
            words: &words,
            workdir_said: state.workdir_said,
            shell_said: state
                .config
                .config
                .shell
                .as_ref()
                .is_some_and(|shell| !shell.is_empty()),
            ignore: if copies { self.ignored() } else { None },
        };
        let mut once = std::mem::take(&mut state.once);
        stage::check(instruction, &here, &mut once, self.lints);
        state.once = once;
        state.workdir_said |= matches!(instruction.kind, Kind::Workdir(_));
    }
    /// What the context leaves out. A fault of the ignore file is told when files are copied.
    fn ignored(&self) -> Option<&crate::build::context::ignore::Ignore> {
        let read = || {
            let text = crate::build::solve::ignore_text(self.request).ok()?;
            crate::build::context::ignore::Ignore::parse(&text).ok()
        };
        self.ignore.get_or_init(read).as_ref()
    }
}
