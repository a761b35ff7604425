//! Resource limits, kernel parameters and the memory killer's preference of a new container.
//!
//! Imports: `base::kernel`, `engine`, `sys`. Rules: getrlimit(2), proc_sys(5).

use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::message::{step, words};
use crate::base::kernel::{Scope, parameter_path, parameter_scope};
use crate::engine::spec::{ContainerSpec, Share};
use crate::engine::{EngineError, Result};
use crate::sys::fs::{Resolve, openat2};
use crate::sys::mount::{Fs, attr};

/// A proc file system that no image has seen: what is written through it goes to the kernel.
#[derive(Debug)]
pub(super) struct PrivateProc(OwnedFd);

impl PrivateProc {
    /// Makes one for the caller's PID namespace, mounted nowhere.
    pub(super) fn open() -> Result<Self> {
        Self::make(false)
    }
    /// As [`PrivateProc::open`], of processes only: somebody who could take it finds no switch of the machine in it.
    pub(super) fn of_processes() -> Result<Self> {
        Self::make(true)
    }
    fn make(processes: bool) -> Result<Self> {
        let made = Fs::open(c"proc").and_then(|fs| {
            if processes {
                // Linux 5.8.
                fs.set(c"subset", c"pid")?;
            }
            fs.mount(attr::NOSUID | attr::NODEV | attr::NOEXEC)
        });
        let proc = Self(made.map_err(step("mount a private proc"))?);
        let found = nix::sys::statfs::fstatfs(&proc.0).map_err(step("look at the private proc"))?;
        if found.filesystem_type() != nix::sys::statfs::PROC_SUPER_MAGIC {
            return Err(EngineError::failed(
                "mount a private proc",
                "it is something else",
            ));
        }
        Ok(proc)
    }
    /// Opens what a descriptor of the caller stands for once more, for reading and writing.
    pub(super) fn reopen(&self, fd: impl AsFd) -> std::result::Result<OwnedFd, Errno> {
        let link = format!("self/fd/{}", fd.as_fd().as_raw_fd());
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        nix::fcntl::openat(&self.0, link.as_str(), flags, nix::sys::stat::Mode::empty())
    }
    /// Writes a value to a file.
    pub(super) fn write(&self, path: &str, value: &str) -> std::result::Result<(), Errno> {
        let file = openat2(
            self.0.as_fd(),
            Path::new(path),
            OFlag::O_WRONLY,
            0,
            Resolve::InRoot,
        )?;
        let wrote = std::fs::File::from(file).write_all(value.as_bytes());
        wrote.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    }
}

/// A `ulimits` name as the kernel's resource.
fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::RLIMIT_AS,
        "core" => Resource::RLIMIT_CORE,
        "cpu" => Resource::RLIMIT_CPU,
        "data" => Resource::RLIMIT_DATA,
        "fsize" => Resource::RLIMIT_FSIZE,
        "locks" => Resource::RLIMIT_LOCKS,
        "memlock" => Resource::RLIMIT_MEMLOCK,
        "msgqueue" => Resource::RLIMIT_MSGQUEUE,
        "nice" => Resource::RLIMIT_NICE,
        "nofile" => Resource::RLIMIT_NOFILE,
        "nproc" => Resource::RLIMIT_NPROC,
        "rss" => Resource::RLIMIT_RSS,
        "rtprio" => Resource::RLIMIT_RTPRIO,
        "rttime" => Resource::RLIMIT_RTTIME,
        "sigpending" => Resource::RLIMIT_SIGPENDING,
        "stack" => Resource::RLIMIT_STACK,
        _ => return None,
    })
}

/// Sets the caller's resource limits.
pub(super) fn set_resource_limits(spec: &ContainerSpec) -> Result<()> {
    for (name, (soft, hard)) in &spec.ulimits {
        let Some(resource) = resource(name) else {
            let what = format!("ulimit `{name}` is not one that Linux knows");
            return Err(EngineError::Unsupported { what });
        };
        match setrlimit(resource, *soft, *hard) {
            Ok(()) => {}
            Err(Errno::EPERM) => {
                let most = getrlimit(resource).map_or(0, |(_, most)| most);
                let what = format!(
                    "ulimit {name}={hard} is above this machine's hard limit of {most}, and raising \
                     it needs CAP_SYS_RESOURCE: lower the ulimit, or raise the limit of hoist's caller"
                );
                return Err(EngineError::Unsupported { what });
            }
            Err(errno) => {
                return Err(EngineError::failed(
                    format!("set ulimit {name}={soft}:{hard}"),
                    words(errno),
                ));
            }
        }
    }
    Ok(())
}

/// Sets how readily the kernel ends the caller for memory.
pub(super) fn set_oom_score(proc: &PrivateProc, score: Option<i32>) -> Result<()> {
    let Some(score) = score else { return Ok(()) };
    match proc.write("self/oom_score_adj", &score.to_string()) {
        Err(Errno::EACCES) => {
            let what = format!(
                "oom_score_adj {score} is below hoist's own, and lowering it needs CAP_SYS_RESOURCE"
            );
            Err(EngineError::Unsupported { what })
        }
        other => other.map_err(step(format!("set oom_score_adj {score}"))),
    }
}

/// Whether a parameter belongs to a namespace that the container does not share with the host.
fn is_own(path: &str, spec: &ContainerSpec, own_network: bool) -> bool {
    match parameter_scope(path) {
        Some(Scope::Network) => own_network,
        Some(Scope::Ipc) => spec.namespaces.ipc.is_own(),
        Some(Scope::Uts) => spec.namespaces.uts == Share::Own,
        None => false,
    }
}

/// Sets the container's kernel parameters.
pub(super) fn set_parameters(
    proc: &PrivateProc,
    spec: &ContainerSpec,
    own_network: bool,
) -> Result<()> {
    if own_network {
        // As Docker: a container may use low ports and send pings without privilege.
        for (name, value) in [
            ("net/ipv4/ip_unprivileged_port_start", "0"),
            ("net/ipv4/ping_group_range", "0 2147483647"),
        ] {
            // An old kernel does not have them for each namespace.
            let _ = proc.write(&format!("sys/{name}"), value);
        }
    }
    for (name, value) in &spec.sysctls {
        let path = parameter_path(name);
        if !is_own(&path, spec, own_network) {
            let what = format!("sysctl `{name}` is not in a separate kernel namespace");
            return Err(EngineError::Unsupported { what });
        }
        let at = format!("sys/{path}");
        proc.write(&at, value)
            .map_err(step(format!("set sysctl {name}={value}")))?;
    }
    Ok(())
}
