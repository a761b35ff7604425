//! `RUN`: one process in a sandbox; what it changes becomes the layer.
//!
//! Imports: `engine::{spec, sandbox}`, `image`, `build::context`.

use std::os::fd::AsFd as _;

use super::mount::{Held, MountStep, Trees};
use super::output::{Output, pass_on};
use super::{StepError, commit, distinct};
use crate::base::cancel::Cancel;
use crate::build::context::digest::Digests;
use crate::build::error::BuildError;
use crate::build::key::Key;
use crate::engine::EngineError;
use crate::engine::sandbox::{Sandbox, SandboxNetwork, SandboxSpec};
use crate::engine::spec::{HostAddr, Process};
use crate::image::digest::Digest;

/// As BuildKit names its sandboxes.
const HOSTNAME: &str = "buildkitsandbox";

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
}

impl std::fmt::Debug for Means<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Means")
            .field("trees", &self.trees)
            .finish_non_exhaustive()
    }
}

impl RunStep {
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
        self.mounts
            .iter()
            .try_for_each(|mount| mount.add_to(key, trees, digests))
    }
    /// Runs it; `None` if it changed nothing.
    ///
    /// # Errors
    /// [`StepError`] when it can't be run or does not end with 0.
    pub fn run(&self, means: &Means<'_>, layers: &[Digest]) -> Result<Option<Digest>, StepError> {
        let store = means.trees.store;
        let mut held = Held::default();
        let mounts = self
            .mounts
            .iter()
            .map(|mount| mount.open(&means.trees, &mut held));
        let mounts = mounts.collect::<Result<Vec<_>, _>>()?;
        let staging = store.layers().staging()?;
        let id = Digest::of(staging.upper().as_os_str().as_encoded_bytes()).short();
        let spec = SandboxSpec {
            id,
            layers: distinct(layers),
            upper: staging.upper(),
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
            hostname: HOSTNAME.to_owned(),
            extra_hosts: self.extra_hosts.clone(),
            shm_size: self.shm_size,
        };
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
            .map_err(|errno| BuildError::io("make a pipe", errno))?;
        let (ended, last) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| pass_on(&read, means.output));
            let ended = means.sandbox.run(&spec, write.as_fd(), means.cancel);
            // The reader ends when the last writer is gone.
            drop(write);
            (ended, reader.join().unwrap_or_default())
        });
        drop(held);
        match ended {
            _ if means.cancel.is_cancelled() => Err(BuildError::Cancelled.into()),
            Ok(0) => commit(staging, store),
            Ok(code) => Err(self.failed(code, last)),
            Err(EngineError::CannotRun { code, message }) => {
                let mut output = last;
                output.push(message);
                Err(self.failed(code, output))
            }
            Err(error) => Err(StepError::Failed {
                message: error.to_string(),
                hint: None,
                output: last,
                code: None,
            }),
        }
    }
    fn failed(&self, code: i32, output: Vec<String>) -> StepError {
        let command = self.args.join(" ");
        let message =
            format!("process {command:?} did not complete successfully: exit code: {code}");
        StepError::Failed {
            message,
            hint: None,
            output,
            code: Some(code),
        }
    }
}
