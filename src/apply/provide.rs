//! Runs what stands behind provider services and models: programs of the host that tell what containers need.
//!
//! In: a step of the plan. Out: variables for the containers of those who depend on it. A program is one of the docker
//! command's plugins or of `PATH`; the user's own file names it, and a project from elsewhere only with consent.
//! Imports: `base`, `compose::model`, `engine::spec`, `image::digest`, `plan`, `run`, `sys::process`.
//! Source: Compose, `pkg/compose/{plugins,model}.go`, `docs/extension.md`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::run::{Run, tell};
use super::{ApplyError, Context};
use crate::base::env::Env;
use crate::base::event::{Event, Kind, Status};
use crate::base::name::ServiceName;
use crate::compose::model::{Project, Provider, Service};
use crate::engine::spec::ContainerSpec;
use crate::image::digest::Digest;
use crate::plan::{Programs, labels, reconcile::provided};
use crate::sys::process::unblock;

/// How often is looked whether the user ended the run.
const TICK: Duration = Duration::from_millis(50);
/// Longest line of a program, and longest answer of the model plugin, in bytes.
const LONGEST: u64 = 1 << 20;

/// What a program told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Variables {
    /// Get the service's name in front.
    pub(super) prefixed: BTreeMap<String, String>,
    /// Are taken as they are.
    pub(super) raw: BTreeMap<String, String>,
}

impl Variables {
    pub(super) fn digest(&self) -> Digest {
        let text = serde_json::to_vec(&(&self.prefixed, &self.raw));
        Digest::of(&text.unwrap_or_default())
    }
}

/// Looks for the programs that a project names.
pub(super) fn programs(env: &Env, project: &Project) -> Programs {
    let mut found = Programs::default();
    for service in project.services.values() {
        if let Some(provider) = &service.provider {
            let kind = provider.value.kind.as_str();
            if let Some(path) = provider_of(env, kind) {
                found.providers.insert(kind.to_owned(), path);
            }
        }
        if !service.models.is_empty() && found.models.is_none() {
            found.models = plugin(env, "model");
        }
    }
    found
}

/// A plugin of the docker command, else a program of `PATH`; a type with a slash is a path. As Compose.
fn provider_of(env: &Env, kind: &str) -> Option<PathBuf> {
    if kind.is_empty() || kind == "compose" {
        return None;
    }
    if kind.contains('/') {
        return Some(env.cwd.join(kind)).filter(|path| is_program(path));
    }
    let dirs = env
        .get("PATH")
        .unwrap_or_default()
        .split(':')
        .filter(|dir| dir.starts_with('/'));
    plugin(env, kind).or_else(|| {
        dirs.map(|dir| Path::new(dir).join(kind))
            .find(|path| is_program(path))
    })
}

/// Where the docker command looks for its plugins. Source: docker/cli, `cli-plugins/manager`.
fn plugin(env: &Env, name: &str) -> Option<PathBuf> {
    let own = env.non_empty("DOCKER_CONFIG").map(|dir| env.cwd.join(dir));
    let own = own.or_else(|| Some(env.home.as_ref()?.join(".docker")));
    let own = own.map(|dir| dir.join("cli-plugins"));
    let system = [
        "/usr/local/lib/docker/cli-plugins",
        "/usr/local/libexec/docker/cli-plugins",
        "/usr/lib/docker/cli-plugins",
        "/usr/libexec/docker/cli-plugins",
    ];
    let dirs = own.into_iter().chain(system.map(PathBuf::from));
    dirs.map(|dir| dir.join(format!("docker-{name}")))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A line of a provider.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    message: String,
}

/// What a provider says of itself: `compose metadata`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    description: String,
    up: Option<Parameters>,
    down: Option<Parameters>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    parameters: Option<Vec<Parameter>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameter {
    name: String,
    required: bool,
}

impl Run<'_> {
    /// Has a provider make what a service stands for, and keeps what it tells.
    pub(super) fn provide(&self, service: &ServiceName, program: &Path) -> Result<(), ApplyError> {
        self.provider(service, program, ("up", "Creating", "Created"))
    }

    /// Has a provider take it away.
    pub(super) fn withdraw(&self, service: &ServiceName, program: &Path) -> Result<(), ApplyError> {
        self.provider(service, program, ("down", "Removing", "Removed"))
    }

    fn provider(
        &self,
        name: &ServiceName,
        program: &Path,
        (command, begins, ends): (&str, &'static str, &'static str),
    ) -> Result<(), ApplyError> {
        let context = self.context;
        let say = |status| tell(context, Kind::Provider, name.as_str(), status, None);
        say(Status::Working(begins));
        let done = self.options(name, program, command).and_then(|options| {
            let mut run = command_of(context, program);
            run.arg("compose")
                .arg(format!("--project-name={}", self.plan.project))
                .arg(command);
            run.args(options).arg(name.as_str());
            follow(context, run, name, self.config(name))
        });
        match done {
            Ok(variables) => {
                say(Status::Done(ends));
                self.gave(name, variables);
                Ok(())
            }
            Err(error) if error.is_cancelled() => Err(error),
            Err(error) => {
                say(Status::Failed(error.to_string()));
                Err(error)
            }
        }
    }

    fn service_of(&self, name: &ServiceName) -> Option<&Service> {
        let project = match &self.plan.desired {
            Some(desired) => &desired.project,
            None => self.plan.files.as_deref()?,
        };
        project.services.get(name)
    }

    /// `--name=value` of the options that the program knows; all, if it says nothing of itself.
    fn options(
        &self,
        name: &ServiceName,
        program: &Path,
        command: &str,
    ) -> Result<Vec<String>, ApplyError> {
        let Some(Provider { kind, options }) = self
            .service_of(name)
            .and_then(|s| s.provider.as_ref())
            .map(|p| &p.value)
        else {
            return Ok(Vec::new());
        };
        let metadata = metadata(self.context, program);
        let known = metadata.and_then(|metadata| {
            let part = if command == "up" {
                &metadata.up
            } else {
                &metadata.down
            };
            let said = |part: &Option<Parameters>| {
                part.as_ref().is_some_and(|part| part.parameters.is_some())
            };
            let empty =
                metadata.description.is_empty() && !said(&metadata.up) && !said(&metadata.down);
            let parameters = part.as_ref().and_then(|part| part.parameters.as_ref());
            let names =
                |all: &Vec<Parameter>| all.iter().map(|p| (p.name.clone(), p.required)).collect();
            (!empty).then(|| parameters.map(names).unwrap_or_default())
        });
        if let Some(known) = &known {
            let known: &Vec<(String, bool)> = known;
            if let Some((missing, _)) = known
                .iter()
                .find(|(name, required)| *required && !options.contains_key(name))
            {
                let text = format!(
                    "service `{name}`: required parameter \"{missing}\" is missing from provider \"{kind}\" definition"
                );
                return Err(ApplyError::new(text).hint(format!("set `provider.options.{missing}`")));
            }
        }
        let takes = |name: &String| {
            known
                .as_ref()
                .is_none_or(|known| known.iter().any(|(have, _)| have == name))
        };
        let each = options.iter().filter(|(name, _)| takes(name));
        Ok(each
            .flat_map(|(name, values)| values.iter().map(move |value| format!("--{name}={value}")))
            .collect())
    }

    /// The service as `config` prints it, for a program that asks.
    fn config(&self, name: &ServiceName) -> Value {
        let document = match &self.plan.desired {
            Some(desired) => Some(&desired.project.document),
            None => self.plan.files.as_ref().map(|project| &project.document),
        };
        let services = document.and_then(|document| document.get("services"));
        services
            .and_then(|all| all.get(name.as_str()))
            .cloned()
            .unwrap_or_default()
    }

    /// Has the Docker Model plugin fetch and serve the project's models, and keeps where they are reached.
    pub(super) fn models(&self, program: &Path) -> Result<(), ApplyError> {
        let context = self.context;
        let Some(desired) = &self.plan.desired else {
            return Ok(());
        };
        let project = &desired.project;
        let used = |key: &&String| {
            project
                .services
                .values()
                .any(|service| service.models.contains_key(*key))
        };
        let mut names: Vec<&String> = project.models.keys().filter(used).collect();
        names.sort();
        let status: Value = json_of(context, program, &["status", "--json"])?;
        let endpoint = status
            .get("endpoint")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if endpoint.is_empty() {
            return Err(ApplyError::new(
                "the Docker Model plugin does not say where its models are reached",
            )
            .hint("look at `docker model status`"));
        }
        let listed: Value = json_of(context, program, &["ls", "--json"])?;
        let tags = listed
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|model| model.get("tags")?.as_array());
        let here: Vec<&str> = tags.flatten().filter_map(Value::as_str).collect();
        let mut variables = Variables::default();
        for key in names {
            let Some(model) = project.models.get(key) else {
                continue;
            };
            let reference = model.model.value.as_str();
            let say = |status| tell(context, Kind::Model, &model.name, status, None);
            if !here.contains(&reference) {
                say(Status::Working("Pulling"));
                quiet(context, program, &["pull", reference])?;
            }
            say(Status::Working("Configuring"));
            let size = model.context_size.map(|size| size.to_string());
            let mut words = vec!["configure"];
            if let Some(size) = &size {
                words.extend(["--context-size", size]);
            }
            words.push(reference);
            if !model.runtime_flags.is_empty() {
                words.push("--");
                words.extend(model.runtime_flags.iter().map(String::as_str));
            }
            quiet(context, program, &words)?;
            say(Status::Done("Configured"));
            variables
                .raw
                .insert(format!("model {key}"), reference.to_owned());
        }
        variables
            .raw
            .insert("endpoint".to_owned(), endpoint.to_owned());
        self.gave(&provided::models_name(), variables);
        Ok(())
    }
}

/// Gives a container the variables of its providers and models, and notes what they were made from.
pub(super) fn give(
    context: &Context,
    project: &Project,
    service: &Service,
    given: &BTreeMap<ServiceName, Variables>,
    spec: &mut ContainerSpec,
) {
    let mut digests = BTreeMap::new();
    for name in provided::sources(project, service) {
        let Some(variables) = given.get(&name) else {
            continue;
        };
        digests.insert(name.clone(), variables.digest());
        if name == provided::models_name() {
            let endpoint = variables.raw.get("endpoint").cloned().unwrap_or_default();
            for (key, grant) in &service.models {
                let Some(model) = project.models.get(key) else {
                    continue;
                };
                let prefix = key.to_uppercase().replace('-', "_");
                let named = |own: &Option<String>, end: &str| {
                    own.clone().unwrap_or_else(|| format!("{prefix}_{end}"))
                };
                set(
                    spec,
                    &named(&grant.value.model_var, "MODEL"),
                    &model.model.value,
                );
                set(spec, &named(&grant.value.endpoint_var, "URL"), &endpoint);
            }
            continue;
        }
        let prefix = name.as_str().to_uppercase();
        for (key, value) in &variables.prefixed {
            set(spec, &format!("{prefix}_{key}"), value);
        }
        for (key, value) in &variables.raw {
            let own = service.environment.get(key).and_then(Option::as_ref);
            if own.is_some_and(|own| own.value != *value) {
                let text = format!(
                    "provider \"{name}\" overrides environment variable \"{key}\" in service \"{}\"",
                    service.name
                );
                context.events.send(Event::Warn(text));
            }
            set(spec, key, value);
        }
    }
    if !digests.is_empty() {
        spec.labels
            .insert(labels::PROVIDED.to_owned(), provided::label(&digests));
    }
}

fn set(spec: &mut ContainerSpec, name: &str, value: &str) {
    let env = &mut spec.process.env;
    env.retain(|entry| {
        entry
            .split_once('=')
            .map_or(entry.as_str(), |(name, _)| name)
            != name
    });
    env.push(format!("{name}={value}"));
}

fn command_of(context: &Context, program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(&context.env.vars)
        .current_dir(&context.env.cwd);
    command
}

fn metadata(context: &Context, program: &Path) -> Option<Metadata> {
    let mut command = command_of(context, program);
    command.args(["compose", "metadata"]);
    // One that does not know the word is one that says nothing of itself.
    let (status, out, _) = output(context, command).ok()?;
    status
        .success()
        .then(|| serde_json::from_slice(&out).ok())
        .flatten()
}

/// Runs a command of the model plugin whose output is one JSON value.
fn json_of(context: &Context, program: &Path, words: &[&str]) -> Result<Value, ApplyError> {
    let out = quiet(context, program, words)?;
    serde_json::from_slice(&out).map_err(|error| {
        ApplyError::new(format!(
            "docker model {}: its answer is no JSON: {error}",
            words.join(" ")
        ))
    })
}

fn quiet(context: &Context, program: &Path, words: &[&str]) -> Result<Vec<u8>, ApplyError> {
    let mut command = command_of(context, program);
    command.args(words);
    let (status, out, err) = output(context, command)?;
    if status.success() {
        return Ok(out);
    }
    Err(ApplyError::new(format!(
        "docker model {} failed ({status}){}",
        words.join(" "),
        told(&err)
    )))
}

fn told(err: &[u8]) -> String {
    match String::from_utf8_lossy(err).trim() {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

fn output(
    context: &Context,
    mut command: Command,
) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), ApplyError> {
    command.stdin(Stdio::null());
    let mut out = Vec::new();
    let (status, err) = attend(context, command, |child| {
        if let Some(stdout) = child.stdout.take() {
            let _ = stdout.take(LONGEST).read_to_end(&mut out);
        }
        Ok(())
    })?;
    Ok((status, out, err))
}

/// Runs a program while `body` deals with it; what it said on standard error comes back. Ctrl-C ends it.
fn attend(
    context: &Context,
    mut command: Command,
    body: impl FnOnce(&mut Child) -> Result<(), ApplyError>,
) -> Result<(ExitStatus, Vec<u8>), ApplyError> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    unblock(&mut command);
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |error: std::io::Error| ApplyError::new(format!("cannot run {name}: {error}"));
    let mut child = command.spawn().map_err(failed)?;
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let stderr = child.stderr.take();
    let (over, told) = channel::<()>();
    std::thread::scope(|scope| {
        let heard = scope.spawn(move || {
            let mut text = Vec::new();
            if let Some(stderr) = stderr {
                let _ = stderr.take(LONGEST).read_to_end(&mut text);
            }
            text
        });
        let watch = scope.spawn(move || {
            while told.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                if context.cancel.is_cancelled() {
                    // Nobody waits for it before this thread has ended: the number is still its own.
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
                    return;
                }
            }
        });
        let done = body(&mut child);
        if done.is_err() {
            // It may have ended by itself.
            let _ = child.kill();
        }
        drop(child.stdin.take());
        drop(over);
        let _ = watch.join();
        let status = end_of(context, &mut child).map_err(failed);
        let err = heard.join().unwrap_or_default();
        if context.cancel.is_cancelled() {
            return Err(ApplyError::cancelled());
        }
        done?;
        Ok((status?, err))
    })
}

/// Waits for the end of a program that has nothing more to say.
fn end_of(context: &Context, child: &mut Child) -> std::io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if context.cancel.is_cancelled() {
            child.kill()?;
        }
        // It closes its output when it ends, so this is a turn or two.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a provider to its end and takes what it tells, a JSON value a line.
fn follow(
    context: &Context,
    mut command: Command,
    name: &ServiceName,
    config: Value,
) -> Result<Variables, ApplyError> {
    command.stdin(Stdio::piped());
    let mut variables = Variables::default();
    let (status, err) = attend(context, command, |child| {
        let Some(stdout) = child.stdout.take() else {
            return Ok(());
        };
        let mut reader = BufReader::new(stdout);
        loop {
            let mut line = Vec::new();
            let read = reader.by_ref().take(LONGEST).read_until(b'\n', &mut line);
            if read.unwrap_or(0) == 0 {
                return Ok(());
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let wrong = |what: &str| {
                ApplyError::new(format!(
                    "service `{name}`: invalid response from its provider: {what}"
                ))
            };
            let said: Line = serde_json::from_slice(&line)
                .map_err(|_| wrong(String::from_utf8_lossy(&line).trim()))?;
            let pair = || {
                let pair = said
                    .message
                    .split_once('=')
                    .filter(|(key, _)| !key.is_empty());
                let pair = pair.map(|(key, value)| (key.to_owned(), value.to_owned()));
                pair.ok_or_else(|| wrong(&said.message))
            };
            match said.kind.as_str() {
                "error" => {
                    return Err(ApplyError::new(format!(
                        "service `{name}`: {}",
                        said.message.trim_end()
                    )));
                }
                "info" => {
                    let first = said.message.lines().next().unwrap_or_default().to_owned();
                    tell(
                        context,
                        Kind::Provider,
                        name.as_str(),
                        Status::Working("Creating"),
                        Some(first),
                    );
                }
                "setenv" => variables.prefixed.extend([pair()?]),
                "rawsetenv" => variables.raw.extend([pair()?]),
                "debug" => {}
                "get-service-config" => {
                    if let Some(stdin) = &mut child.stdin {
                        // One that does not read what it asked for misses it.
                        let _ = writeln!(stdin, "{config}");
                    }
                }
                other => return Err(wrong(other)),
            }
        }
    })?;
    match status.success() {
        true => Ok(variables),
        false => Err(ApplyError::new(format!(
            "service `{name}`: its provider failed ({status}){}",
            told(&err)
        ))),
    }
}
