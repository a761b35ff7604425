//! One instruction → a change of the stage's state, or a step.
//!
//! Imports: `dockerfile`, `step`, `image::config`.

use super::state::{Past, State, is_predefined, predefined};
use super::{Lowering, Refused, Step};
use crate::base::authorities;
use crate::base::diag::Diagnostic;
use crate::base::span::Span;
use crate::build::SecretSource;
use crate::build::dockerfile::ast::{ArgDecl, CommandLine, Instruction, Kind, Run, RunNetwork};
use crate::build::dockerfile::lex::Heredoc;
use crate::build::dockerfile::mounts::{self, Mount, MountKind};
use crate::build::dockerfile::vars::Expander;
use crate::build::settings;
use crate::build::step::mount::{MountStep, What};
use crate::build::step::run::RunStep;
use crate::build::step::{Operation, Origin};
use crate::engine::sandbox::SandboxNetwork;

/// Largest secret in bytes, as BuildKit.
const LARGEST_SECRET: u64 = 500 * 1024;

pub(super) fn refuse(why: impl Into<String>, span: Span) -> Refused {
    Diagnostic::error(why).at(span).into()
}

/// Variables in one text of an instruction.
pub(super) struct Words<'a> {
    pub(super) state: &'a State,
    pub(super) escape: char,
    pub(super) span: Span,
}

impl Words<'_> {
    pub(super) fn one(&self, text: &str) -> Result<String, Refused> {
        self.plain(text).map_err(|why| refuse(why, self.span))
    }
    fn plain(&self, text: &str) -> Result<String, String> {
        let lookup = |name: &str| self.state.scope.get(name).cloned();
        let word = Expander::new(self.escape, &lookup).word(text);
        word.map_err(|why| format!("failed to process {text:?}: {why}"))
    }
    fn many(&self, text: &str) -> Result<Vec<String>, Refused> {
        let lookup = |name: &str| self.state.scope.get(name).cloned();
        let words = Expander::new(self.escape, &lookup).words(text);
        words.map_err(|why| refuse(format!("failed to process {text:?}: {why}"), self.span))
    }
    pub(super) fn heredoc(&self, doc: &Heredoc) -> Result<String, Refused> {
        if !doc.expand {
            return Ok(doc.text());
        }
        let lookup = |name: &str| self.state.scope.get(name).cloned();
        let text = Expander::for_heredoc(&lookup).word(&doc.text());
        text.map_err(|why| {
            refuse(
                format!("failed to process the text {}: {why}", doc.name),
                self.span,
            )
        })
    }
    /// The instruction as progress shows it: variables worked out, quotes kept.
    fn title(&self, text: &str) -> String {
        let lookup = |name: &str| self.state.scope.get(name).cloned();
        let words = Expander::raw(&lookup)
            .word(text)
            .unwrap_or_else(|_| text.to_owned());
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

fn quoted_list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

impl Lowering<'_> {
    pub(super) fn instruction(
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
        let title = words.title(&instruction.text);
        let (operation, history) = step;
        state.past.push(Past::Step(steps.len(), history));
        steps.push(Step {
            number: 0,
            title,
            span: Some(span),
            operation,
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
            let name = words.one(&decl.name)?;
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
                let shown: Vec<String> = said.iter().map(|port| format!("{port}:{{}}")).collect();
                image.exposed_ports.extend(said);
                format!("EXPOSE map[{}]", shown.join(" "))
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
            Kind::Healthcheck(health) => {
                image.healthcheck = Some(health.clone());
                format!("HEALTHCHECK {}", quoted_list(&health.test))
            }
            Kind::Onbuild(text) => {
                image.on_build.push(text.clone());
                format!("ONBUILD {text}")
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
    fn run(
        &mut self,
        run: &Run,
        index: usize,
        state: &State,
        span: Span,
    ) -> Result<(Operation, String), Refused> {
        if run.insecure || !run.devices.is_empty() {
            return Err(refuse(
                "--security=insecure and --device are not supported yet",
                span,
            ));
        }
        let (args, script) = command(run, state);
        let mut step = RunStep {
            args,
            env: state
                .scope
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            unkeyed_env: Vec::new(),
            cwd: state.absolute(""),
            user: state.config.config.user.clone(),
            network: match run.network {
                None | Some(RunNetwork::Default) => self.request.network,
                Some(RunNetwork::None) => SandboxNetwork::None,
                Some(RunNetwork::Host) => SandboxNetwork::Host,
            },
            mounts: script.into_iter().collect(),
            secret_env: Vec::new(),
            extra_hosts: self.request.extra_hosts.clone(),
            shm_size: self.request.shm_size,
        };
        for text in &run.mounts {
            let words = Words {
                state,
                escape: self.file.escape,
                span,
            };
            let mount = mounts::parse(text, &|value| words.plain(value))
                .map_err(|why| refuse(why, span))?;
            self.mount(mount, (index, span), state, &mut step)?;
        }
        self.proxies(state, &mut step);
        if let Some(bundle) = &self.request.trust_host_ca {
            let what = What::Authorities(bundle.clone());
            step.mounts.push(MountStep {
                target: authorities::PATH.to_owned(),
                what,
            });
            let unset = |name: &&str| !state.scope.contains_key(*name);
            let variables = authorities::VARIABLES.into_iter().filter(unset);
            step.unkeyed_env
                .extend(variables.map(|name| format!("{name}={}", authorities::PATH)));
        }
        let mut history = "RUN ".to_owned();
        if !state.args.is_empty() {
            history.push_str(&format!("|{}", state.args.len()));
            state
                .args
                .iter()
                .for_each(|(name, value)| history.push_str(&format!(" {name}={value}")));
            history.push(' ');
        }
        history.push_str(&step.args.join(" "));
        history.push_str(" # buildkit");
        Ok((Operation::Run(Box::new(step)), history))
    }
    /// Proxy settings, in both cases: from arguments, else from the environment.
    fn proxies(&mut self, state: &State, step: &mut RunStep) {
        for (upper, lower) in predefined() {
            let mut value = None;
            for name in [upper, lower.as_str()] {
                if let Some(given) = self.given(name) {
                    self.used_args.insert(name.to_owned());
                    value = value.or(Some(given));
                }
            }
            let env = &self.request.env;
            let value = value.or_else(|| {
                env.non_empty(upper)
                    .or_else(|| env.non_empty(&lower))
                    .map(str::to_owned)
            });
            let Some(value) = value else { continue };
            for name in [upper, lower.as_str()]
                .into_iter()
                .filter(|name| !state.scope.contains_key(*name))
            {
                debug_assert!(is_predefined(name));
                step.unkeyed_env.push(format!("{name}={value}"));
            }
        }
    }
    fn mount(
        &mut self,
        mount: Mount,
        (index, span): (usize, Span),
        state: &State,
        step: &mut RunStep,
    ) -> Result<(), Refused> {
        let target = mount.target.as_deref().map(|target| state.absolute(target));
        let at = target.clone().unwrap_or_default();
        let what = match mount.kind {
            MountKind::Bind {
                from,
                source,
                writable,
            } => {
                let origin = match from {
                    Some(from) => self.origin(&from, index, span)?,
                    None => Origin::Context,
                };
                What::Files {
                    origin,
                    path: source,
                    writable,
                }
            }
            MountKind::Cache {
                id,
                from,
                source,
                sharing,
                read_only,
                mode,
                uid,
                gid,
            } => {
                let seed = match from {
                    Some(from) => Some((self.origin(&from, index, span)?, source)),
                    None => None,
                };
                let id = id.unwrap_or_else(|| at.clone());
                What::Cache {
                    id,
                    seed,
                    sharing,
                    read_only,
                    mode,
                    owner: (uid, gid),
                }
            }
            MountKind::Tmpfs { size } => What::Tmpfs(size),
            MountKind::Ssh { required: false } => return Ok(()),
            MountKind::Ssh { required: true } => {
                let item = Diagnostic::error("no ssh agent is forwarded to builds yet").at(span);
                return Err(item.hint("without `required` the mount is left out").into());
            }
            MountKind::Secret {
                id,
                required,
                env,
                mode,
                uid,
                gid,
            } => {
                let Some(content) = self.secret(&id, span)? else {
                    if required {
                        let item = Diagnostic::error(format!("secret {id}: not found")).at(span);
                        return Err(item
                            .hint(format!("give it with --secret id={id},src=FILE"))
                            .into());
                    }
                    return Ok(());
                };
                if let Some(name) = &env {
                    let text = String::from_utf8_lossy(&content);
                    step.unkeyed_env.push(format!("{name}={text}"));
                    step.secret_env.push(format!("{name}={id}"));
                    if target.is_none() {
                        return Ok(());
                    }
                }
                let name = id.rsplit('/').next().unwrap_or_default().to_owned();
                let target = target.unwrap_or_else(|| format!("/run/secrets/{name}"));
                let what = What::Secret {
                    id,
                    content,
                    mode,
                    owner: (uid, gid),
                };
                step.mounts.push(MountStep { target, what });
                return Ok(());
            }
        };
        if at == "/" {
            return Err(refuse("a mount can't have the target /", span));
        }
        step.mounts.push(MountStep { target: at, what });
        Ok(())
    }
    fn secret(&self, id: &str, span: Span) -> Result<Option<Vec<u8>>, Refused> {
        let content = match self.request.secrets.get(id) {
            None => return Ok(None),
            Some(SecretSource::Bytes(bytes)) => bytes.clone(),
            Some(SecretSource::File(path)) => std::fs::read(path).map_err(|error| {
                refuse(
                    format!("secret {id}: cannot read {}: {error}", path.display()),
                    span,
                )
            })?,
        };
        if content.len() as u64 > LARGEST_SECRET {
            return Err(refuse(format!("secret {id} is larger than 500 KiB"), span));
        }
        Ok(Some(content))
    }
}

/// A command as the image's configuration holds it.
fn in_form(command: &CommandLine, state: &State) -> Vec<String> {
    match command {
        CommandLine::Exec(args) => args.clone(),
        CommandLine::Shell(text) => {
            let mut args = state.shell();
            args.push(text.clone());
            args
        }
    }
}

/// What `RUN` runs. A single heredoc is the script itself, or a file if it names its interpreter; several
/// are given to the shell as they stand.
fn command(run: &Run, state: &State) -> (Vec<String>, Option<MountStep>) {
    let CommandLine::Shell(text) = &run.command else {
        return (in_form(&run.command, state), None);
    };
    let shell = |text: String| in_form(&CommandLine::Shell(text), state);
    let Some(first) = run.heredocs.first() else {
        return (shell(text.clone()), None);
    };
    if Heredoc::parse(text.trim()).is_some() {
        let script = first.text();
        if script.starts_with("#!") {
            let target = format!("/dev/pipes/{}", first.name);
            let mount = MountStep {
                target: target.clone(),
                what: What::Script(script),
            };
            return (shell(target), Some(mount));
        }
        return (shell(script), None);
    }
    let mut whole = text.clone();
    for doc in &run.heredocs {
        whole.push('\n');
        whole.push_str(&doc.content);
        whole.push_str(&doc.name);
    }
    (shell(whole), None)
}
