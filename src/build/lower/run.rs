//! `RUN` → a step: its command, environment, mounts.
//!
//! Imports: `dockerfile`, `step`. Rules: Dockerfile reference, "RUN"; words as BuildKit.

use std::io::Read as _;
use std::path::Path;

use super::instruction::{Words, in_form, refuse, refuse_word};
use super::state::{State, is_predefined, predefined};
use super::{Aim, Lowering, Refused};
use crate::base::authorities;
use crate::base::device::DeviceName;
use crate::base::diag::Diagnostic;
use crate::base::span::Span;
use crate::build::SecretSource;
use crate::build::dockerfile::ast::{CommandLine, Run, RunNetwork};
use crate::build::dockerfile::lex::Heredoc;
use crate::build::dockerfile::mounts::{self, Mount, MountKind};
use crate::build::step::agent::Agent;
use crate::build::step::cache_mount::CacheMount;
use crate::build::step::mount::{MountStep, What};
use crate::build::step::run::{HOSTNAME, RunStep};
use crate::build::step::{Operation, Origin};
use crate::engine::sandbox::{SandboxDevice, SandboxNetwork};

/// Largest secret in bytes, as BuildKit.
const LARGEST_SECRET: u64 = 500 * 1024;

/// The argument that gives sandboxes another name.
const HOSTNAME_ARG: &str = "BUILDKIT_SANDBOX_HOSTNAME";

/// The argument that keeps caches of equal ids apart.
const CACHE_NS_ARG: &str = "BUILDKIT_CACHE_MOUNT_NS";

impl Lowering<'_> {
    pub(super) fn run(
        &mut self,
        run: &Run,
        index: usize,
        state: &State,
        span: Span,
    ) -> Result<(Operation, String), Refused> {
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
            hostname: self.host_name(),
            limits: self.request.limits.clone(),
            ulimits: self.request.ulimits.clone(),
            insecure: run.insecure,
            devices: devices(&run.devices, span)?,
            device_dirs: self.request.device_dirs.clone(),
            missing: None,
        };
        self.permit(&step, run, span)?;
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
        agent_variable(state, &mut step);
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
    /// Proxy settings, in both cases: from arguments, else from the user's settings, else from the environment.
    fn proxies(&mut self, state: &State, step: &mut RunStep) {
        for (upper, lower) in predefined() {
            let mut value = None;
            for name in [upper, lower.as_str()] {
                let said = self.request.args.iter().any(|(known, _)| known == name);
                if let Some(given) = self.given(name).filter(|_| said) {
                    self.used_args.insert(name.to_owned());
                    value = value.or(Some(given));
                }
            }
            let env = &self.request.env;
            let value = value.or_else(|| self.proxy(upper)).or_else(|| {
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
    /// Refuses what the caller has not allowed. As BuildKit, before anything runs; `network: host` of the whole build is
    /// permission enough.
    fn permit(&self, step: &RunStep, run: &Run, span: Span) -> Result<(), Refused> {
        let given = &self.request.entitlements;
        let mut wanted = Vec::new();
        let network = step.network == SandboxNetwork::Host
            && self.request.network != SandboxNetwork::Host
            && !given.network_host;
        if network {
            wanted.push(("network.host", "use the host's network"));
        }
        if run.insecure && !given.insecure {
            wanted.push(("security.insecure", "run with every right"));
        }
        let device = step
            .devices
            .iter()
            .find(|want| !given.has_device(&want.name));
        if device.is_some() {
            wanted.push(("device", "use devices of the host"));
        }
        let Some((name, what)) = wanted.first() else {
            return Ok(());
        };
        let item = Diagnostic::error(format!("{name} is not allowed: the step wants to {what}"));
        Err(item
            .at(span)
            .hint(format!(
                "if you trust this Dockerfile: --allow {name}, or `entitlements: [{name}]` below `build` in the compose file"
            ))
            .into())
    }
    /// The host name of steps.
    fn host_name(&mut self) -> String {
        let given = self.given(HOSTNAME_ARG).filter(|name| !name.is_empty());
        given.unwrap_or_else(|| HOSTNAME.to_owned())
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
        let written = mount.target;
        let target = written.as_deref().map(|target| state.absolute(target));
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
                own,
            } => {
                let seed = match from {
                    Some(from) => Some(self.origin(&from, index, span)?),
                    None => None,
                };
                let id = id.unwrap_or_else(|| {
                    let path = written.clone().unwrap_or_default();
                    clean_name(&path)
                });
                What::Cache(CacheMount {
                    id: self.cache_id(&id),
                    seed,
                    source,
                    sharing,
                    read_only,
                    own,
                })
            }
            MountKind::Tmpfs { size, read_only } => What::Tmpfs { size, read_only },
            MountKind::Ssh {
                id,
                required,
                mode,
                uid,
                gid,
            } => {
                let agent = self.agent(&id, span)?;
                if agent.is_none() && required {
                    step.miss(
                        format!("no ssh agent or key was given as {id:?}"),
                        format!("give it with --ssh {id}, or `ssh: [{id}]` below `build` in the compose file"),
                    );
                }
                let count = step.mounts.iter().filter(|mount| mount.is_agent()).count();
                let target = target.unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{count}"));
                let owner = (uid, gid);
                let what = What::Agent {
                    id,
                    agent,
                    mode,
                    owner,
                };
                step.mounts.push(MountStep { target, what });
                return Ok(());
            }
            MountKind::Secret {
                id,
                required,
                env,
                mode,
                uid,
                gid,
            } => {
                let content = self.secret(&id, span)?;
                if content.is_none() && required {
                    step.miss(
                        format!("secret {id}: not found"),
                        format!("give it with --secret id={id},src=FILE"),
                    );
                }
                if let Some(name) = &env {
                    if let Some(content) = &content {
                        let text = String::from_utf8_lossy(content);
                        step.unkeyed_env.push(format!("{name}={text}"));
                    }
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
        // Without a target the working directory is meant.
        let target = target.unwrap_or_else(|| state.absolute(""));
        if target == "/" {
            return Err(refuse("invalid mount target \"/\"", span));
        }
        step.mounts.push(MountStep { target, what });
        Ok(())
    }
    /// A cache's name, apart from those of other namespaces.
    fn cache_id(&mut self, id: &str) -> String {
        match self.given(CACHE_NS_ARG).filter(|space| !space.is_empty()) {
            Some(space) => format!("{space}/{id}"),
            None => id.to_owned(),
        }
    }
    /// Where an id's keys are; `None` if the caller has given none.
    fn agent(&self, id: &str, span: Span) -> Result<Option<Agent>, Refused> {
        let Some(source) = self.request.ssh.get(id) else {
            return Ok(None);
        };
        let own = self.request.env.non_empty("SSH_AUTH_SOCK");
        let found = Agent::find(source, own, &self.request.env.cwd);
        found
            .map(Some)
            .map_err(|why| refuse(format!("ssh {id}: {why}"), span))
    }
    fn secret(&self, id: &str, span: Span) -> Result<Option<Vec<u8>>, Refused> {
        let content = match self.request.secrets.get(id) {
            None => return Ok(None),
            Some(SecretSource::Bytes(bytes)) => bytes.clone(),
            Some(SecretSource::File(path)) => read_secret(path).map_err(|error| {
                let path = path.display();
                refuse(format!("secret {id}: cannot read {path}: {error}"), span)
            })?,
        };
        if content.len() as u64 > LARGEST_SECRET {
            return Err(refuse(format!("secret {id} is larger than 500 KiB"), span));
        }
        Ok(Some(content))
    }
}

/// `--device=NAME[,required]`.
fn devices(flags: &[String], span: Span) -> Result<Vec<SandboxDevice>, Refused> {
    let mut found = Vec::new();
    for text in flags {
        let (name, rest) = text.split_once(',').unwrap_or((text, ""));
        let name = name.strip_prefix("name=").unwrap_or(name);
        let required = match rest {
            "" | "required=false" => false,
            "required" | "required=true" => true,
            other => {
                return Err(refuse(
                    format!("unexpected option {other:?} of --device; the option is required"),
                    span,
                ));
            }
        };
        let name = DeviceName::parse(name)
            .map_err(|why| refuse(format!("invalid device {name:?}: {why}"), span))?;
        found.push(SandboxDevice { name, required });
    }
    Ok(found)
}

/// Reads a secret, but not more of it than shows that it is too large.
fn read_secret(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(LARGEST_SECRET + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// A path as it is written, made plain: the name of a cache that has none.
fn clean_name(path: &str) -> String {
    let clean = crate::sys::fs::clean(Path::new(path));
    let clean = clean.to_string_lossy();
    match path.starts_with('/') {
        true => clean.into_owned(),
        false => clean.trim_start_matches('/').to_owned(),
    }
}

/// Tells the step's programs where the first agent is, whether there is one or not. As BuildKit.
fn agent_variable(state: &State, step: &mut RunStep) {
    let first = step.mounts.iter().find(|mount| mount.is_agent());
    if let Some(first) = first.filter(|_| !state.scope.contains_key("SSH_AUTH_SOCK")) {
        step.env.push(format!("SSH_AUTH_SOCK={}", first.target));
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
