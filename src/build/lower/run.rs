//! `RUN` → a step: its command, environment, mounts.
//!
//! Imports: `dockerfile`, `step`. Rules: Dockerfile reference, "RUN"; words as BuildKit.

use super::instruction::{Words, in_form, refuse, refuse_word};
use super::state::{State, is_predefined, predefined};
use super::{Aim, Lowering, Refused};
use crate::base::authorities;
use crate::base::diag::Diagnostic;
use crate::base::span::Span;
use crate::build::SecretSource;
use crate::build::dockerfile::ast::{CommandLine, Run, RunNetwork};
use crate::build::dockerfile::lex::Heredoc;
use crate::build::dockerfile::mounts::{self, Mount, MountKind};
use crate::build::step::mount::{MountStep, What};
use crate::build::step::run::RunStep;
use crate::build::step::{Operation, Origin};
use crate::engine::sandbox::SandboxNetwork;

/// Largest secret in bytes, as BuildKit.
const LARGEST_SECRET: u64 = 500 * 1024;

impl Lowering<'_> {
    pub(super) fn run(
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
                .map_err(|why| refuse_word(why, span, text))?;
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
        if !state.declared.is_empty() {
            history.push_str(&format!("|{}", state.declared.len()));
            for name in &state.declared {
                let value = state.scope.get(name).map_or("", String::as_str);
                history.push_str(&format!(" {name}={value}"));
            }
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
        let private = matches!(mount.kind, MountKind::Secret { .. } | MountKind::Ssh { .. });
        if private && self.aim != Aim::Build {
            return Ok(());
        }
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
