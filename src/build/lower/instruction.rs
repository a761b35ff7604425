//! One instruction → a change of the stage's state, or a step.
//!
//! Imports: `dockerfile`, `step`, `image::config`.

use std::cell::RefCell;

use super::history::{health, quoted_list};
use super::state::{Past, State};
use super::{Lowering, Refused, Step};
use crate::base::diag::Diagnostic;
use crate::base::span::Span;
use crate::build::dockerfile::ast::{ArgDecl, CommandLine, Instruction, Kind};
use crate::build::dockerfile::lex::Heredoc;
use crate::build::dockerfile::vars::Expander;
use crate::build::settings;
use crate::build::sources::without_credentials;
use crate::build::step::Operation;

pub(super) fn refuse(why: impl Into<String>, span: Span) -> Refused {
    Diagnostic::error(why).at(span).into()
}

/// Refuses a word of the instruction at `span`: the fault is shown where the word stands.
pub(super) fn refuse_word(why: impl Into<String>, span: Span, word: &str) -> Refused {
    Refused::Word(Box::new(Diagnostic::error(why).at(span)), word.to_owned())
}

/// Variables in one text of an instruction.
pub(super) struct Words<'a> {
    pub(super) state: &'a State,
    pub(super) escape: char,
    pub(super) span: Span,
}

impl Words<'_> {
    pub(super) fn one(&self, text: &str) -> Result<String, Refused> {
        let word = self.plain(text);
        word.map_err(|why| refuse_word(why, self.span, text))
    }
    pub(super) fn plain(&self, text: &str) -> Result<String, String> {
        let missed = RefCell::default();
        let lookup = |name: &str| self.state.value(name, &mut missed.borrow_mut());
        let word = Expander::new(self.escape, &lookup).word(text);
        word.map_err(|why| format!("failed to process {text:?}: {why}"))
    }
    fn many(&self, text: &str) -> Result<Vec<String>, Refused> {
        let lookup = |name: &str| self.state.scope.get(name).cloned();
        let words = Expander::new(self.escape, &lookup).words(text);
        words.map_err(|why| {
            refuse_word(
                format!("failed to process {text:?}: {why}"),
                self.span,
                text,
            )
        })
    }
    pub(super) fn heredoc(&self, doc: &Heredoc) -> Result<String, Refused> {
        if !doc.expand {
            return Ok(doc.text());
        }
        let missed = RefCell::default();
        let lookup = |name: &str| self.state.value(name, &mut missed.borrow_mut());
        let text = Expander::for_heredoc(&lookup).word(&doc.text());
        text.map_err(|why| {
            refuse(
                format!("failed to process the text {}: {why}", doc.name),
                self.span,
            )
        })
    }
    /// The instruction as progress shows it: variables worked out, quotes kept; those that hold secrets are hidden. As
    /// BuildKit.
    fn title(&self, text: &str, operation: &Operation) -> String {
        let secret = |name: &str| match operation {
            Operation::Run(run) => run.has_secret(name),
            Operation::Copy(_) | Operation::Folder { .. } => false,
        };
        let lookup = |name: &str| match secret(name) {
            true => Some("****".to_owned()),
            false => self.state.scope.get(name).cloned(),
        };
        let words = Expander::raw(&lookup)
            .word(text)
            .unwrap_or_else(|_| text.to_owned());
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Lowering<'_> {
    pub(super) fn instruction(
        &mut self,
        instruction: &Instruction,
        index: usize,
        state: &mut State,
        steps: &mut Vec<Step>,
    ) -> Result<(), Refused> {
        let known = state.scope.len();
        let outcome = self.work_out(instruction, index, state, steps);
        self.check(instruction, state, (known, outcome.is_ok()));
        outcome.map_err(|refused| {
            refused.within(|word| instruction.written.find(word, instruction.span.source))
        })
    }
    fn work_out(
        &mut self,
        instruction: &Instruction,
        index: usize,
        state: &mut State,
        steps: &mut Vec<Step>,
    ) -> Result<(), Refused> {
        let span = instruction.span;
        let step = match &instruction.kind {
            Kind::Run(run) => self.run(run, index, state, span)?,
            Kind::Copy(transfer) => self.transfer((transfer, "COPY"), index, state, span)?,
            Kind::Add(transfer) => self.transfer((transfer, "ADD"), index, state, span)?,
            Kind::Workdir(path) => match self.workdir(path, state, span)? {
                Some(step) => step,
                None => return Ok(()),
            },
            Kind::Arg(decls) => return self.arg(decls, state, span),
            kind => return self.setting(kind, state, span),
        };
        let words = Words {
            state,
            escape: self.file.escape,
            span,
        };
        let title = words.title(&instruction.text, &step.0);
        let (title, text) = match &instruction.kind {
            Kind::Add(_) => (
                without_credentials(&title),
                without_credentials(&instruction.text),
            ),
            _ => (title, instruction.text.clone()),
        };
        let (operation, history) = step;
        state.past.push(Past::Step(steps.len(), history));
        steps.push(Step {
            number: 0,
            title,
            text,
            span: Some(span),
            operation,
            arguments: state.args.keys().cloned().collect(),
        });
        Ok(())
    }
    fn workdir(
        &self,
        path: &str,
        state: &mut State,
        span: Span,
    ) -> Result<Option<(Operation, String)>, Refused> {
        let path = Words {
            state,
            escape: self.file.escape,
            span,
        }
        .one(path)?;
        // An absolute path stays as it is written.
        let written = if path.starts_with('/') {
            path.clone()
        } else {
            state.absolute(&path)
        };
        let path = state.absolute(&path);
        let history = format!("WORKDIR {written}");
        state.config.config.working_dir = written;
        if path == "/" {
            state.note(history);
            return Ok(None);
        }
        let user = state.config.config.user.clone();
        Ok(Some((Operation::Folder { path, user }, history)))
    }
    fn arg(&mut self, decls: &[ArgDecl], state: &mut State, span: Span) -> Result<(), Refused> {
        let mut said = Vec::new();
        for decl in decls {
            let words = Words {
                state,
                escape: self.file.escape,
                span,
            };
            // Unlike the value, the name is taken as it is written.
            let name = decl.name.clone();
            let given = self.given(&name);
            if given.is_some() {
                self.used_args.insert(name.clone());
            }
            let value = match (given, &decl.default) {
                (Some(value), _) => Some(value),
                (None, Some(default)) => Some(words.one(default)?),
                (None, None) => self.globals.get(&name).cloned(),
            };
            said.push(match &value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            });
            state.declared.insert(name.clone());
            if let Some(value) = value {
                state.scope.insert(name.clone(), value.clone());
                state.args.insert(name, value);
            }
        }
        state.note(format!("ARG {}", said.join(" ")));
        Ok(())
    }
    /// Instructions that only say something.
    fn setting(&mut self, kind: &Kind, state: &mut State, span: Span) -> Result<(), Refused> {
        let words = Words {
            state: &state.clone(),
            escape: self.file.escape,
            span,
        };
        let image = &mut state.config.config;
        let note = match kind {
            Kind::Env(pairs) => {
                let mut said = Vec::new();
                for (name, value) in pairs {
                    let (name, value) = (words.one(name)?, words.one(value)?);
                    state.set_env(&name, &value);
                    said.push(format!("{name}={value}"));
                }
                format!("ENV {}", said.join(" "))
            }
            Kind::Label(pairs) => {
                let mut said = Vec::new();
                for (name, value) in pairs {
                    let (name, value) = (words.one(name)?, words.one(value)?);
                    said.push(format!("{name}={value}"));
                    image.labels.insert(name, value);
                }
                format!("LABEL {}", said.join(" "))
            }
            Kind::Expose(given) => {
                let mut said = Vec::new();
                for word in given {
                    for word in words.many(word)? {
                        said.extend(settings::ports(&word).map_err(|why| refuse(why, span))?);
                    }
                }
                said.sort();
                let note = format!("EXPOSE [{}]", said.join(" "));
                image.exposed_ports.extend(said);
                note
            }
            Kind::Volume(paths) => {
                let mut said = Vec::new();
                for path in paths {
                    let path = words.one(path)?;
                    if path.is_empty() {
                        return Err(refuse("VOLUME specified can not be an empty string", span));
                    }
                    said.push(path);
                }
                let note = format!("VOLUME [{}]", said.join(" "));
                image.volumes.extend(said);
                note
            }
            Kind::User(user) => {
                image.user = words.one(user)?;
                format!("USER {}", image.user)
            }
            Kind::StopSignal(signal) => {
                let signal = words.one(signal)?;
                if !settings::is_signal(&signal) {
                    return Err(refuse(format!("invalid signal: {signal}"), span));
                }
                let note = format!("STOPSIGNAL {signal}");
                image.stop_signal = Some(signal);
                note
            }
            Kind::Maintainer(who) => {
                state.config.author = Some(who.clone());
                format!("MAINTAINER {who}")
            }
            Kind::Shell(shell) => {
                image.shell = Some(shell.clone());
                format!("SHELL [{}]", shell.join(" "))
            }
            Kind::Healthcheck(check) => {
                image.healthcheck = Some(check.clone());
                format!("HEALTHCHECK {}", health(check))
            }
            Kind::Onbuild(text) => {
                // The history tells nothing of it.
                image.on_build.push(text.clone());
                return Ok(());
            }
            Kind::Cmd(command) => {
                let args = in_form(command, words.state);
                let note = format!("CMD {}", quoted_list(&args));
                image.cmd = Some(args);
                state.cmd_said = true;
                note
            }
            Kind::Entrypoint(command) => {
                let args = in_form(command, words.state);
                let note = format!("ENTRYPOINT {}", quoted_list(&args));
                image.entrypoint = Some(args);
                // The base's command was meant for the base's entry point.
                if !state.cmd_said {
                    image.cmd = None;
                }
                note
            }
            Kind::Add(_) | Kind::Copy(_) | Kind::Run(_) | Kind::Workdir(_) | Kind::Arg(_) => {
                return Ok(());
            }
        };
        state.note(note);
        Ok(())
    }
}

/// A command as the image's configuration holds it.
pub(super) fn in_form(command: &CommandLine, state: &State) -> Vec<String> {
    match command {
        CommandLine::Exec(args) => args.clone(),
        CommandLine::Shell(text) => {
            let mut args = state.shell();
            args.push(text.clone());
            args
        }
    }
}
