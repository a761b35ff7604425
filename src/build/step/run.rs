//! `RUN`: one process in a sandbox; what it changes becomes the layer.
//!
//! Imports: `engine::{spec, sandbox}`, `image`, `build::context`.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use super::debug::{Debugger, Failed, Next};
use super::mount::{Held, MountStep, Trees, What};
use super::output::{self, Output};
use super::{StepError, commit, distinct, hints};
use crate::base::cancel::Cancel;
use crate::base::scalar::ByteSize;
use crate::build::context::digest::Digests;
use crate::build::error::BuildError;
use crate::build::key::Key;
use crate::engine::EngineError;
use crate::engine::sandbox::{
    Ended, Sandbox, SandboxDevice, SandboxMount, SandboxNetwork, SandboxSpec,
};
use crate::engine::spec::{HostAddr, Process, Resources};
use crate::image::digest::Digest;
use crate::image::layer::Staging;
use crate::image::store::Store;

/// As BuildKit names its sandboxes.
pub const HOSTNAME: &str = "buildkitsandbox";

/// One `RUN`, all variables worked out.
#[derive(Debug, Clone)]
pub struct RunStep {
    /// The command.
    pub args: Vec<String>,
    /// Environment that counts, `NAME=value`.
    pub env: Vec<String>,
    /// Environment that does not count: proxies, paths of the host's CA, secrets.
    pub unkeyed_env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// `user[:group]`
    pub user: String,
    /// What it can reach.
    pub network: SandboxNetwork,
    /// Mounts.
    pub mounts: Vec<MountStep>,
    /// Names of secrets shown as variables.
    pub secret_env: Vec<String>,
    /// Extra lines of `/etc/hosts`.
    pub extra_hosts: Vec<(String, HostAddr)>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// UTS host name.
    pub hostname: String,
    /// Limits of all its processes together; they do not count.
    pub limits: Resources,
    /// Limits of each process.
    pub ulimits: BTreeMap<String, (u64, u64)>,
    /// Whether it runs with every right.
    pub insecure: bool,
    /// Devices it has.
    pub devices: Vec<SandboxDevice>,
    /// Where devices are described.
    pub device_dirs: Vec<PathBuf>,
    /// What it needs and was not given, if anything.
    pub missing: Option<Missing>,
}

/// What a step needs and was not given. A known result does without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What there is not.
    pub message: String,
    /// How to give it.
    pub hint: String,
}

/// What a step runs with.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// Trees of mounts.
    pub trees: Trees<'a>,
    /// Runs the process.
    pub sandbox: &'a dyn Sandbox,
    /// Ends it.
    pub cancel: &'a Cancel,
    /// Takes what it prints.
    pub output: Output<'a>,
    /// Most bytes of output that are passed on.
    pub output_limit: u64,
    /// Asked what to do when the step fails.
    pub debugger: Option<&'a dyn Debugger>,
    /// The step as it is shown.
    pub title: &'a str,
}

impl std::fmt::Debug for Means<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Means")
            .field("trees", &self.trees)
            .finish_non_exhaustive()
    }
}

impl RunStep {
    /// Whether a variable holds a secret.
    pub fn has_secret(&self, variable: &str) -> bool {
        let names = self
            .secret_env
            .iter()
            .filter_map(|pair| pair.split_once('='));
        names.into_iter().any(|(name, _)| name == variable)
    }
    /// Adds all that counts to a key.
    ///
    /// # Errors
    /// [`StepError`] when a mounted file is missing.
    pub fn add_to(
        &self,
        key: &mut Key,
        trees: &Trees<'_>,
        digests: &Digests,
    ) -> Result<(), StepError> {
        key.texts(self.args.iter().map(String::as_str));
        key.variables(self.env.iter().map(String::as_str));
        key.texts(self.secret_env.iter().map(String::as_str));
        key.texts([
            self.cwd.as_str(),
            self.user.as_str(),
            &format!("{:?}", self.network),
        ]);
        key.texts([format!("{:?} {:?}", self.extra_hosts, self.shm_size).as_str()]);
        // What few steps say keeps the keys of all others as they are.
        if self.hostname != HOSTNAME {
            key.texts(["hostname", &self.hostname]);
        }
        if !self.ulimits.is_empty() {
            key.texts(["ulimits", &format!("{:?}", self.ulimits)]);
        }
        if self.insecure {
            key.texts(["insecure"]);
        }
        for device in &self.devices {
            let must = if device.required { "required" } else { "" };
            key.texts(["device", &device.name.to_string(), must]);
        }
        self.mounts
            .iter()
            .try_for_each(|mount| mount.add_to(key, trees, digests))
    }
    /// Notes what is needed and was not given; the first counts.
    pub fn miss(&mut self, message: String, hint: String) {
        self.missing.get_or_insert(Missing { message, hint });
    }
    /// Runs it; `None` if it changed nothing. Where somebody wants to look at a failure, it may be run more than once.
    ///
    /// # Errors
    /// [`StepError`] when it can't be run or does not end with 0.
    pub fn run(&self, means: &Means<'_>, layers: &[Digest]) -> Result<Option<Digest>, StepError> {
        if let Some(missing) = &self.missing {
            return Err(StepError::hinted(&missing.message, &missing.hint));
        }
        let store = means.trees.store;
        loop {
            let mut held = Held::new(means.cancel);
            let mounts = held.open(&self.mounts, &means.trees)?;
            let staging = store.layers().staging()?;
            let spec = self.spec(layers, &staging, mounts);
            let failure = match self.attempt(&spec, means) {
                Ok(()) => {
                    drop(held);
                    return commit(staging, store, None).map_err(|error| no_space(error, store));
                }
                Err(failure) => failure,
            };
            let asked = match (&failure, means.debugger) {
                (StepError::Failed { .. }, Some(debugger)) => {
                    let failed = Failed {
                        title: means.title,
                        error: &failure,
                        spec: &spec,
                        sandbox: means.sandbox,
                        cancel: means.cancel,
                    };
                    debugger.ask(&failed)
                }
                _ => Next::GiveUp,
            };
            drop(held);
            drop(staging);
            means.sandbox.tidy(&spec);
            match asked {
                Next::Retry => {}
                Next::ReadAgain => return Err(BuildError::ReadAgain.into()),
                Next::GiveUp => return Err(failure),
            }
        }
    }
    /// The process and all that it sees.
    fn spec(&self, layers: &[Digest], staging: &Staging, mounts: Vec<SandboxMount>) -> SandboxSpec {
        let upper = staging.upper();
        SandboxSpec {
            id: Digest::of(upper.as_os_str().as_encoded_bytes()).short(),
            layers: distinct(layers),
            upper,
            work: staging.work(),
            process: Process {
                args: self.args.clone(),
                env: self.env.iter().chain(&self.unkeyed_env).cloned().collect(),
                cwd: self.cwd.clone(),
                user: self.user.clone(),
                groups: Vec::new(),
                privileged: false,
                tty: false,
            },
            network: self.network,
            mounts,
            hostname: self.hostname.clone(),
            extra_hosts: self.extra_hosts.clone(),
            shm_size: self.shm_size,
            limits: self.limits.clone(),
            ulimits: self.ulimits.clone(),
            insecure: self.insecure,
            devices: self.devices.clone(),
            device_dirs: self.device_dirs.clone(),
        }
    }
    /// Runs the process once.
    fn attempt(&self, spec: &SandboxSpec, means: &Means<'_>) -> Result<(), StepError> {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
            .map_err(|errno| BuildError::io("make a pipe", errno))?;
        let (ended, last) = std::thread::scope(|scope| {
            let (limit, output, read) = (means.output_limit, means.output, &read);
            let reader = scope.spawn(move || output::pass_on(read, limit, output));
            let ended = means.sandbox.run(spec, write.as_fd(), means.cancel);
            // The reader ends when the last writer is gone.
            drop(write);
            (ended, reader.join().unwrap_or_default())
        });
        match ended {
            _ if means.cancel.is_cancelled() => Err(BuildError::Cancelled.into()),
            Ok(Ended { code: 0, .. }) => Ok(()),
            Ok(ended) => Err(self.failed(&ended, last, means.trees.store)),
            Err(EngineError::CannotRun { code, message }) => {
                let mut output = last;
                let foreign = message.contains(EXEC_FORMAT);
                output.push(message);
                let ended = Ended {
                    code,
                    ..Ended::default()
                };
                let mut error = self.failed(&ended, output, means.trees.store);
                if let StepError::Failed { hint, .. } = &mut error
                    && foreign
                {
                    *hint = Some(FOREIGN.to_owned());
                }
                Err(error)
            }
            Err(error) => Err(StepError::Failed {
                message: error.to_string(),
                hint: None,
                output: last,
                code: None,
            }),
        }
    }
    fn failed(&self, ended: &Ended, output: Vec<String>, store: &Store) -> StepError {
        let command = self.args.join(" ");
        let code = ended.code;
        let mut message =
            format!("process {command:?} did not complete successfully: exit code: {code}");
        let mut hint = None;
        if ended.out_of_memory > 0 {
            message = match self.limits.memory {
                Some(limit) => format!(
                    "process {command:?} was killed: it used more than its memory limit of {}",
                    ByteSize(limit)
                ),
                None => format!("process {command:?} was killed: the machine ran out of memory"),
            };
            hint = Some(match self.limits.memory {
                Some(_) => "raise --memory, or have the step use less, such as fewer jobs at once",
                None => {
                    "have the step use less, such as fewer jobs at once, or build fewer steps at once (--parallel)"
                }
            });
        } else if let Some(most) = ended.forks_refused {
            message.push_str(&format!("; it reached its limit of {most} processes"));
            hint = Some("if it really needs more: --pids-limit N, or -1 for none");
        }
        let trusting = |mount: &MountStep| matches!(mount.what, What::Authorities(_));
        let trusting = self.mounts.iter().any(trusting);
        let hint = hint
            .map(str::to_owned)
            .or_else(|| full(store))
            .or_else(|| hints::of_certificates(&output, trusting));
        StepError::Failed {
            message,
            hint,
            output,
            code: Some(code),
        }
    }
}

/// What the system says of a program for another machine.
const EXEC_FORMAT: &str = "exec format error";

/// What to do about it.
const FOREIGN: &str = "the program is for another machine than this one, or a script without #!: programs of another \
                       architecture run once an interpreter is registered: \
                       apt-get install qemu-user-static binfmt-support";

/// Bytes below which a disk counts as full.
const LITTLE: u64 = 1 << 20;

/// What to do about a disk that is full; `None` while there is room.
fn full(store: &Store) -> Option<String> {
    let place = store.layers().path(&Digest::of(b""));
    let place = place.parent()?;
    let found = nix::sys::statvfs::statvfs(place).ok()?;
    let free = found
        .blocks_available()
        .saturating_mul(found.fragment_size());
    let full = free < LITTLE || (found.files() > 0 && found.files_available() == 0);
    full.then(|| {
        format!(
            "the disk of {} is full: make room, with `hoist cache prune` and `hoist image prune` for example, or keep hoist's \
             data elsewhere (HOIST_DATA_ROOT)",
            place.display()
        )
    })
}

/// An error of the disk's, with what to do if it is full.
fn no_space(error: StepError, store: &Store) -> StepError {
    match (&error, full(store)) {
        (StepError::Build(BuildError::Cancelled), _) | (_, None) => error,
        (StepError::Build(other), Some(hint)) => StepError::hinted(other.to_string(), hint),
        (StepError::Failed { .. }, Some(_)) => error,
    }
}
