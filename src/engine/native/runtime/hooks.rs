//! Programs that a device's description has run while a container is born: the hooks of the OCI runtime.
//!
//! In: hooks, and what is told of the container. Out: they have run, or which one failed and what it said.
//! Only the owner of this machine writes descriptions (see `cdi`); a program that others could change is refused all
//! the same. Each gets the environment its description gives, no descriptor but its three streams, and its time.
//! Imports: `engine`, `cdi`, `sys`. Rules: OCI Runtime Specification, "Lifecycle", "POSIX-platform Hooks", "State".

use std::ffi::CString;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;

use super::message::{step, words};
use crate::engine::native::cdi::{Hook, Moment, guarded_meta};
use crate::engine::spec::ContainerSpec;
use crate::engine::{EngineError, Result};
use crate::sys::clone::{Plan, Side, clone};
use crate::sys::pidfd;
use crate::sys::process::{close_on_exec, default_signals, exit_now, set_streams};

/// How long a hook may take that says nothing of it. The specification sets no end; a container that hangs for ever
/// in its birth helps nobody.
const LONGEST: Duration = Duration::from_secs(120);

/// So much of what a failed hook said is told.
const TOLD: usize = 4096;

/// Who looks where: a program of the host is checked, one of the container is the container's own affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The path is one of the host.
    Host,
    /// The path is one of the container, and so is the right to run it.
    Container,
}

/// What hooks are told of their container.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// What was decided.
    pub spec: &'a ContainerSpec,
    /// The directory with `config.json`.
    pub bundle: &'a Path,
    /// The container's process, as whoever runs the hook sees it.
    pub pid: i32,
}

/// Writes the bundle's `config.json`: what hooks look for in it, not a whole configuration.
///
/// # Errors
/// [`EngineError::Failed`].
pub fn write_bundle(bundle: &Path, rootfs: &Path, spec: &ContainerSpec) -> Result<()> {
    use crate::sys::fs::{Durability, make_dirs, write_atomic};
    let config = json!({
        "ociVersion": "1.2.0",
        "process": {
            "terminal": spec.process.tty,
            "args": spec.process.args,
            "env": spec.process.env,
            "cwd": if spec.process.cwd.is_empty() { "/" } else { &spec.process.cwd },
        },
        "root": {"path": rootfs, "readonly": spec.read_only},
        "hostname": spec.hostname,
        "annotations": spec.annotations,
    });
    let failed = |error: std::io::Error| EngineError::failed("write the container's bundle", error);
    make_dirs(bundle, 0o700).map_err(failed)?;
    let path = bundle.join("config.json");
    write_atomic(
        &path,
        config.to_string().as_bytes(),
        0o600,
        Durability::Renamed,
    )
    .map_err(failed)
}

/// Runs the hooks of some moments in their order; ends with the first that fails.
///
/// # Errors
/// [`EngineError::Failed`] with what the hook said.
pub fn run(hooks: &[Hook], moments: &[Moment], told: &Told<'_>) -> Result<()> {
    for hook in hooks.iter().filter(|hook| moments.contains(&hook.moment)) {
        let what = format!("run the hook {}", hook.path.display());
        let (status, whose) = match hook.moment {
            Moment::Prestart | Moment::CreateRuntime | Moment::CreateContainer => {
                ("creating", Whose::Host)
            }
            Moment::StartContainer => ("created", Whose::Container),
            Moment::Poststart => ("running", Whose::Host),
            Moment::Poststop => ("stopped", Whose::Host),
        };
        let state = json!({
            "ociVersion": "1.2.0",
            "id": told.spec.id.as_str(),
            "status": status,
            "pid": told.pid,
            "bundle": told.bundle,
            "annotations": told.spec.annotations,
        });
        run_one(hook, whose, state.to_string().as_bytes())
            .map_err(|cause| EngineError::failed(what, cause))?;
    }
    Ok(())
}

fn run_one(hook: &Hook, whose: Whose, state: &[u8]) -> std::result::Result<(), String> {
    if whose == Whose::Host {
        let meta = std::fs::metadata(&hook.path).map_err(|error| error.to_string())?;
        if !meta.is_file() {
            return Err("it is no program".to_owned());
        }
        guarded_meta(meta.uid(), meta.gid(), meta.mode())?;
    }
    let text = |errno: Errno| words(errno);
    let (input, feed) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(text)?;
    let (listen, output) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(text)?;
    let plan = Plan {
        flags: 0,
        cgroup: None,
    };
    match clone(&plan).map_err(text)? {
        Side::Child => become_hook(hook, &input, &output),
        Side::Parent { pidfd, .. } => {
            drop((input, output));
            let limit = hook
                .timeout
                .map_or(LONGEST, |seconds| Duration::from_secs(seconds.into()));
            follow(&pidfd, feed, listen, state, Instant::now() + limit)
                .inspect_err(|_| {
                    // It may have ended by itself; what went wrong is known.
                    let _ = pidfd::send_signal(&pidfd, libc::SIGKILL);
                    let _ = pidfd::wait(&pidfd);
                })
                .map_err(|cause| match cause {
                    Fault::Kernel(errno) => words(errno),
                    Fault::Late => format!("it did not end within {} s", limit.as_secs()),
                    Fault::Said(text) => text,
                })
        }
    }
}

enum Fault {
    Kernel(Errno),
    Late,
    Said(String),
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

/// Tells the hook the state, hears what it says, and waits for its end.
fn follow(
    pidfd: &OwnedFd,
    feed: OwnedFd,
    listen: OwnedFd,
    state: &[u8],
    end: Instant,
) -> std::result::Result<(), Fault> {
    // The state fits a pipe in practice; a hook that does not read must not hold us up in any case.
    for fd in [&feed, &listen] {
        fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    let (mut feed, mut left) = (Some(std::fs::File::from(feed)), state);
    let (mut listen, mut said) = (std::fs::File::from(listen), Vec::new());
    loop {
        let time = end.saturating_duration_since(Instant::now());
        if time.is_zero() {
            return Err(Fault::Late);
        }
        if let Some(file) = &mut feed {
            match file.write(left) {
                Ok(count) => left = left.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                // It does not want to know.
                Err(_) => left = &[],
            }
            if left.is_empty() {
                feed = None;
            }
        }
        let writes = feed
            .as_ref()
            .map(|file| PollFd::new(file.as_fd(), PollFlags::POLLOUT));
        let mut fds = vec![
            PollFd::new(pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(listen.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(writes);
        match poll(
            &mut fds,
            PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX),
        ) {
            Err(Errno::EINTR) => continue,
            other => drop(other?),
        }
        let ended = fds.first().and_then(PollFd::any).unwrap_or(false);
        hear(&mut listen, &mut said);
        if ended {
            break;
        }
        // All closed their output: only the end is left to wait for.
        if fds_hung(&listen) {
            let time = end.saturating_duration_since(Instant::now());
            if !pidfd::has_ended(pidfd, Some(time))? {
                return Err(Fault::Late);
            }
            break;
        }
    }
    hear(&mut listen, &mut said);
    match pidfd::wait(pidfd)?.code() {
        0 => Ok(()),
        code => {
            let said = String::from_utf8_lossy(&said);
            let said = said.trim();
            let colon = if said.is_empty() { "" } else { ": " };
            Err(Fault::Said(format!(
                "it ended with exit code {code}{colon}{said}"
            )))
        }
    }
}

fn fds_hung(listen: &std::fs::File) -> bool {
    let mut fds = [PollFd::new(listen.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds[0]
            .revents()
            .is_some_and(|got| got.contains(PollFlags::POLLHUP) && !got.contains(PollFlags::POLLIN))
}

fn hear(listen: &mut std::fs::File, said: &mut Vec<u8>) {
    let mut buffer = [0u8; 4096];
    while let Ok(count @ 1..) = listen.read(&mut buffer) {
        let room = TOLD.saturating_sub(said.len()).min(count);
        said.extend_from_slice(buffer.get(..room).unwrap_or_default());
    }
}

/// The child: executes the hook, or says why not and ends.
fn become_hook(hook: &Hook, input: &OwnedFd, output: &OwnedFd) -> ! {
    let go = || -> Result<std::convert::Infallible> {
        default_signals().map_err(step("reset signals"))?;
        set_streams([input.as_fd(), output.as_fd(), output.as_fd()])
            .map_err(step("connect the streams"))?;
        close_on_exec(3).map_err(step("close descriptors"))?;
        let nul = |_| EngineError::failed("execute it", "a NUL byte in a word");
        let path = CString::new(hook.path.as_os_str().as_bytes()).map_err(nul)?;
        let c = |words: &[String]| {
            words
                .iter()
                .map(|word| CString::new(word.as_str()))
                .collect::<std::result::Result<Vec<_>, _>>()
        };
        let mut args = c(&hook.args).map_err(nul)?;
        if args.is_empty() {
            args.push(path.clone());
        }
        nix::unistd::execve(&path, &args, &c(&hook.env).map_err(nul)?).map_err(step("execute it"))
    };
    let Err(error) = go();
    // Standard error leads to whoever waits; if it does not, the code is all there is.
    let _ = nix::unistd::write(output, error.to_string().as_bytes());
    exit_now(127)
}
