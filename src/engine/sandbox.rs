//! One process in a root file system: what the builder asks of the engine, and the frames of an attached stream.
//!
//! In: a [`SandboxSpec`]. Out: an exit code, output bytes, and changed files in `upper`.
//! Imports: `base`, `image`, `spec`.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::spec::{HostAddr, Process, Resources};
use super::{Cancel, Result};
use crate::base::device::DeviceName;
use crate::image::digest::Digest;

/// A root file system and one process in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Unique name for kernel objects: 12 hex digits.
    pub id: String,
    /// Unpacked layers, base first.
    pub layers: Vec<Digest>,
    /// Takes the changes; must be an empty (or earlier) overlay upper directory.
    pub upper: PathBuf,
    /// Overlay's work directory, on the same file system as `upper`.
    pub work: PathBuf,
    /// What runs.
    pub process: Process,
    /// Its network.
    pub network: SandboxNetwork,
    /// Mounts beyond the default ones.
    pub mounts: Vec<SandboxMount>,
    /// UTS host name.
    pub hostname: String,
    /// Extra lines of `/etc/hosts`.
    pub extra_hosts: Vec<(String, HostAddr)>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// Limits of all its processes together.
    #[serde(default)]
    pub limits: Resources,
    /// Limits of each process: name → (soft, hard); `u64::MAX` is unlimited.
    #[serde(default)]
    pub ulimits: BTreeMap<String, (u64, u64)>,
    /// Whether it has every right: capabilities, devices, no filter, no masks.
    #[serde(default)]
    pub insecure: bool,
    /// Described devices it has.
    #[serde(default)]
    pub devices: Vec<SandboxDevice>,
    /// Where devices are described.
    #[serde(default)]
    pub device_dirs: Vec<PathBuf>,
}

/// A described device that a sandbox has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxDevice {
    /// Its full name.
    pub name: DeviceName,
    /// Whether it is an error that there is none.
    pub required: bool,
}

/// How a process in a sandbox ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its exit code; 128 plus the signal.
    pub code: i32,
    /// Processes that the kernel killed for want of memory.
    pub out_of_memory: u64,
    /// The limit of processes, if one more was wanted.
    pub forks_refused: Option<u64>,
}

/// What a sandbox can reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxNetwork {
    /// The outside through NAT.
    #[default]
    Default,
    /// Only loopback.
    None,
    /// The host's own network namespace.
    Host,
}

/// A mount of a sandbox. Targets that are missing in the root are made for the run and taken away
/// afterwards when still empty.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SandboxMount {
    /// Absolute path inside.
    pub target: String,
    /// What is mounted.
    pub source: SandboxSource,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// What a [`SandboxMount`] shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum SandboxSource {
    /// A file or directory of the host, resolved inside `root` without leaving it.
    Host {
        /// The directory that bounds the lookup.
        root: PathBuf,
        /// The path inside it; empty for `root` itself.
        path: PathBuf,
    },
    /// A path inside stacked layers.
    Layers {
        /// Unpacked layers, base first.
        layers: Vec<Digest>,
        /// Path inside them.
        path: PathBuf,
        /// An upper and a work directory of an overlay for what is written, which the caller drops afterwards; writes are
        /// kept in memory when `None`.
        changes: Option<(PathBuf, PathBuf)>,
    },
    /// Memory.
    Tmpfs {
        /// Bytes.
        size: Option<u64>,
    },
    /// A file made of these bytes, in memory only.
    Bytes {
        /// Content.
        content: Vec<u8>,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Permission bits.
        mode: u32,
    },
}

/// Runs single processes in root file systems.
pub trait Sandbox: Send + Sync {
    /// Runs the process to its end; standard output and error both go to `output`, standard input is
    /// `/dev/null`. On `cancel` everything in it is killed.
    ///
    /// # Errors
    /// [`super::EngineError::CannotRun`] when the command can't be started,
    /// [`super::EngineError::Failed`] when the sandbox can't be made.
    fn run(&self, spec: &SandboxSpec, output: BorrowedFd<'_>, cancel: &Cancel) -> Result<Ended>;
    /// Keeps what runs share between one and the next until the value is dropped: without it each makes and removes it anew.
    fn between_runs(&self) -> Box<dyn Send> {
        Box::new(())
    }
    /// Takes away what a run of this specification has left because there was no room to note that it went. Only for one
    /// that failed, once its files are gone.
    fn tidy(&self, spec: &SandboxSpec) {
        let _ = spec;
    }
    /// Runs the process with a terminal of its own; `connect` gets its master side and returns when nobody is there
    /// any more to talk to it.
    ///
    /// # Errors
    /// As [`Sandbox::run`].
    fn run_in_terminal(
        &self,
        spec: &SandboxSpec,
        connect: &mut dyn FnMut(OwnedFd),
        cancel: &Cancel,
    ) -> Result<Ended> {
        let _ = (spec, connect, cancel);
        let what = "this engine gives build steps no terminal".to_owned();
        Err(super::EngineError::Unsupported { what })
    }
}

/// Frames of an attached stream: one kind byte, a big-endian `u32` length, the bytes.
pub mod frame {
    /// Client to container: bytes for standard input.
    pub const STDIN: u8 = 0;
    /// Container to client: bytes of standard output (or of the terminal).
    pub const STDOUT: u8 = 1;
    /// Container to client: bytes of standard error.
    pub const STDERR: u8 = 2;
    /// Client to container: no more input. No bytes.
    pub const STDIN_END: u8 = 3;
    /// Client to container: the terminal's size, rows and columns as two big-endian `u16`.
    pub const RESIZE: u8 = 4;
    /// Container to client: it ended; the exit code as a big-endian `i32`.
    pub const EXIT: u8 = 5;
    /// Longest payload of one frame in bytes.
    pub const MAX: usize = 64 * 1024;
}
