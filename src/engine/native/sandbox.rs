//! One build step: a process in a root file system, in a process of ours that owns everything about it.
//!
//! In: a [`SandboxSpec`]. Out: an exit code, changes in `upper`. [`NativeSandbox::run`] starts our binary again
//! as `__sandbox`; [`main`] is that process: single-threaded, it makes cgroup, network and process, waits, and
//! takes everything away again, also when the command that started it is killed (it is told by a signal).
//! What mounts needed as targets and is still empty afterwards leaves no trace in `upper`.
//! Imports: `engine`, `runtime`, `cgroup`, `net`, `sys`. Rights of a step as Docker's builder: the default ones.

use std::collections::BTreeMap;
use std::io::{Seek as _, Write as _};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde::{Deserialize, Serialize};

use super::cgroup::{Cgroup, DeviceAccess};
use super::dns::Answerer;
use super::layout::Layout;
use super::net::{self, Networks};
use super::runtime::message::Report;
use super::runtime::{
    Birth, BirthMount, BirthSource, BirthStdio, Born, JoinedNamespaces, ReadOnly, RootfsSpec,
    give_birth_bound,
};
use crate::base::name::{ContainerId, ProjectName};
use crate::base::scalar;
use crate::engine::sandbox::{Sandbox, SandboxMount, SandboxNetwork, SandboxSource, SandboxSpec};
use crate::engine::spec::*;
use crate::engine::{Cancel, EngineError, Result, Roots};
use crate::image::digest::Digest;
use crate::sys::fs::{Root, is_kind};
use crate::sys::{pidfd, process};

/// Number of the descriptor that [`main`] reads its order from.
const ORDER: i32 = 3;
/// Number of the descriptor that [`main`] writes the outcome to.
const OUTCOME: i32 = 4;
/// How often a cancelled wait is noticed.
const GLANCE: Duration = Duration::from_millis(50);

/// Runs build steps on this machine.
#[derive(Debug, Clone)]
pub struct NativeSandbox {
    roots: Roots,
}

/// What [`main`] is told.
#[derive(Serialize, Deserialize)]
struct Order {
    spec: SandboxSpec,
    data: PathBuf,
    run: PathBuf,
    /// Who waits for it.
    parent: i32,
}

impl Order {
    fn layout(&self) -> Layout {
        Layout::new(Roots {
            data: self.data.clone(),
            run: self.run.clone(),
        })
    }
}

/// What [`main`] tells.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Ended(i32),
    Failed(Report),
}

/// A network that a step is connected to.
struct Connection {
    netns: Option<OwnedFd>,
    resolv_conf: String,
    /// What `host-gateway` stands for.
    gateway: Option<IpAddr>,
    /// The step's name server, to be driven while it runs.
    answerer: Option<Answerer>,
}

impl NativeSandbox {
    /// A sandbox over the unpacked layers below `roots`.
    pub fn new(roots: Roots) -> Self {
        Self { roots }
    }
}

fn memory(name: &std::ffi::CStr, content: &[u8]) -> std::io::Result<std::fs::File> {
    let fd = nix::sys::memfd::memfd_create(name, nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

impl Sandbox for NativeSandbox {
    fn run(&self, spec: &SandboxSpec, output: BorrowedFd<'_>, cancel: &Cancel) -> Result<i32> {
        let order = Order {
            spec: spec.clone(),
            data: self.roots.data.clone(),
            run: self.roots.run.clone(),
            parent: nix::unistd::getpid().as_raw(),
        };
        let fail = |error| EngineError::failed("start a build step", error);
        let bytes = serde_json::to_vec(&order)
            .map_err(|e| EngineError::failed("encode a build step", e))?;
        let order = memory(c"hoist-order", &bytes).map_err(fail)?;
        let outcome = memory(c"hoist-outcome", b"").map_err(fail)?;
        let pass = [(ORDER, order.as_fd()), (OUTCOME, outcome.as_fd())];
        let stdio = [None, Some(output), Some(output)];
        let child = process::spawn_self("hoist build step", &["__sandbox"], stdio, &pass, true)
            .map_err(fail)?;
        let mut told = false;
        loop {
            let ended = pidfd::has_ended(&child.pidfd, Some(GLANCE));
            if ended.map_err(|errno| fail(errno.into()))? {
                break;
            }
            if cancel.is_cancelled() && !told {
                told = true;
                // It may have ended just now; then there is nobody to tell.
                let _ = pidfd::send_signal(&child.pidfd, libc::SIGTERM);
            }
        }
        let ended = pidfd::wait(&child.pidfd).map_err(|errno| fail(errno.into()))?;
        let bytes = std::fs::read(crate::sys::fs::fd_path(&outcome)).map_err(fail)?;
        match serde_json::from_slice(&bytes) {
            Ok(Outcome::Ended(code)) => Ok(code),
            Ok(Outcome::Failed(report)) => Err(report.into()),
            Err(_) => {
                clean_up(&self.roots, spec);
                let cause = format!(
                    "its process ended with code {} before it was done",
                    ended.code()
                );
                Err(EngineError::failed("run a build step", cause))
            }
        }
    }
}

/// The process of one build step, as [`NativeSandbox::run`] starts it. Gives its exit code.
pub fn main(_args: &[std::ffi::OsString]) -> i32 {
    process::set_name(c"hoist-step");
    let outcome = match obey() {
        Ok(code) => Outcome::Ended(code),
        Err(error) => Outcome::Failed(error.into()),
    };
    let told = serde_json::to_vec(&outcome)
        .map_err(std::io::Error::from)
        .and_then(|bytes| std::fs::write(format!("/proc/self/fd/{OUTCOME}"), bytes));
    i32::from(told.is_err())
}

fn obey() -> Result<i32> {
    let fail = |errno: Errno| EngineError::failed("begin a build step", errno);
    let bytes = std::fs::read(format!("/proc/self/fd/{ORDER}"));
    let bytes = bytes.map_err(|error| EngineError::failed("read a build step", error))?;
    let order: Order = serde_json::from_slice(&bytes)
        .map_err(|error| EngineError::failed("read a build step", error))?;
    let mut stops = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        stops.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&stops), None).map_err(fail)?;
    let signals = SignalFd::with_flags(&stops, SfdFlags::SFD_CLOEXEC).map_err(fail)?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(fail)?;
    if nix::unistd::getppid().as_raw() != order.parent {
        // Whoever wanted this was gone before we could be told.
        return Ok(137);
    }
    let id = cgroup_name(&order.spec);
    let roots = Roots {
        data: order.data.clone(),
        run: order.run.clone(),
    };
    let done = connect(&roots, &order.spec).and_then(|connection| {
        let limits = Resources::default();
        let cgroup = Cgroup::create(&id, None, &limits, &DeviceAccess::Listed(Vec::new()))?;
        let ended = step(&order, connection, &cgroup, &signals);
        let cleaned = cgroup.kill().and_then(|()| cgroup.remove());
        ended.and_then(|code| cleaned.map(|()| code))
    });
    let left = disconnect(&roots, &order.spec);
    done.and_then(|code| left.map(|()| code))
}

/// Takes away what a step's process has left that was killed.
fn clean_up(roots: &Roots, spec: &SandboxSpec) {
    if let Some(cgroup) = Cgroup::find(&cgroup_name(spec), None) {
        let _ = cgroup.kill();
        let _ = cgroup.remove();
    }
    let _ = disconnect(roots, spec);
}

fn cgroup_name(spec: &SandboxSpec) -> String {
    format!("step-{}", spec.id)
}

/// Runs the process to its end.
fn step(
    order: &Order,
    mut network: Connection,
    cgroup: &Cgroup,
    signals: &SignalFd,
) -> Result<i32> {
    let spec = container(&order.spec);
    let lower = order.layout().lower(&order.spec.layers);
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let birth = Birth {
        spec: &spec,
        rootfs: RootfsSpec {
            lower: lower.clone(),
            upper: order.spec.upper.clone(),
            work: order.spec.work.clone(),
        },
        mounts: mounts(order, &network),
        netns: network.netns.as_ref().map(|fd| fd.as_fd()),
        join: JoinedNamespaces::default(),
        cgroup,
        stdio: BirthStdio::Streams {
            stdin: stdin.as_fd(),
            stdout: stdout.as_fd(),
            stderr: stderr.as_fd(),
        },
        init: false,
        brought: None,
    };
    let born = give_birth_bound(&birth)?;
    let code = wait(&born, network.answerer.as_mut(), cgroup, signals)?;
    remove_stubs(&order.spec.upper, &lower, &born.made)
        .map_err(|errno| EngineError::failed("take mount targets away", errno))?;
    Ok(code)
}

fn wait(
    born: &Born,
    mut answerer: Option<&mut Answerer>,
    cgroup: &Cgroup,
    signals: &SignalFd,
) -> Result<i32> {
    let fail = |errno: Errno| EngineError::failed("wait for a build step", errno);
    loop {
        let deadline = answerer.as_ref().and_then(|answerer| answerer.deadline());
        let timeout = deadline.map_or(PollTimeout::NONE, |time| {
            PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![
            PollFd::new(born.pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(
            answerer
                .as_ref()
                .map(|server| PollFd::new(server.as_fd(), PollFlags::POLLIN)),
        );
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(fail(errno)),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        drop(fds);
        if ready.first() == Some(&true) {
            return pidfd::wait(&born.pidfd)
                .map(pidfd::Ended::code)
                .map_err(fail);
        }
        if ready.get(1) == Some(&true) {
            cgroup
                .kill()
                .or_else(|_| pidfd::send_signal(&born.pidfd, libc::SIGKILL).map_err(fail))?;
            return pidfd::wait(&born.pidfd)
                .map(pidfd::Ended::code)
                .map_err(fail);
        }
        if let Some(answerer) = answerer.as_mut() {
            answerer.turn();
        }
    }
}

/// The step as a container.
fn container(spec: &SandboxSpec) -> ContainerSpec {
    ContainerSpec {
        id: ContainerId::new(spec.id.clone()),
        name: spec.id.clone(),
        project: ProjectName::normalized("build").expect("a literal of letters is a project name"),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        image: ImageRef {
            name: String::new(),
            id: Digest::of(b""),
            layers: spec.layers.clone(),
        },
        // No step has more rights than any container.
        process: Process {
            privileged: false,
            tty: false,
            ..spec.process.clone()
        },
        stdio: Stdio {
            tty: false,
            stdin: false,
            stdin_once: false,
        },
        init: false,
        hostname: spec.hostname.clone(),
        domainname: None,
        read_only: false,
        mounts: Vec::new(),
        shm_size: spec.shm_size,
        namespaces: Namespaces::default(),
        network: if spec.network == SandboxNetwork::Host {
            NetworkMode::Host
        } else {
            NetworkMode::None
        },
        dns: DnsConfig::default(),
        extra_hosts: spec.extra_hosts.clone(),
        ports: Vec::new(),
        exposed: Vec::new(),
        resources: Resources::default(),
        security: Security::default(),
        devices: Vec::new(),
        named_devices: Default::default(),
        device_cgroup_rules: Vec::new(),
        sysctls: BTreeMap::new(),
        ulimits: BTreeMap::new(),
        oom_score_adj: None,
        restart: RestartPolicy::No,
        restart_pace: Default::default(),
        stop_signal: scalar::Signal::KILL,
        stop_grace: Duration::ZERO,
        healthcheck: None,
        ready: None,
        on_unhealthy: Default::default(),
        log: LogConfig::default(),
        files: Vec::new(),
    }
}

fn mounts(order: &Order, network: &Connection) -> Vec<BirthMount> {
    let spec = &order.spec;
    let file = |target: &str, content: String| BirthMount {
        target: target.to_owned(),
        source: BirthSource::Bytes {
            content: content.into_bytes(),
            uid: 0,
            gid: 0,
            mode: 0o644,
        },
        read_only: ReadOnly::Whole,
    };
    let mut all = vec![
        file("/etc/resolv.conf", network.resolv_conf.clone()),
        file("/etc/hosts", hosts(spec, network.gateway)),
    ];
    all.retain(|own| !spec.mounts.iter().any(|mount| mount.target == own.target));
    all.extend(
        spec.mounts
            .iter()
            .map(|mount| birth_mount(mount, &order.layout())),
    );
    // Those nearer to the root first, or they would hide the deeper ones.
    all.sort_by_key(|mount| {
        crate::sys::fs::clean(Path::new(&mount.target))
            .components()
            .count()
    });
    all
}

fn birth_mount(mount: &SandboxMount, layout: &Layout) -> BirthMount {
    let source = match &mount.source {
        SandboxSource::Host { root, path } => BirthSource::Beneath {
            root: root.clone(),
            path: path.clone(),
        },
        SandboxSource::Layers {
            layers: digests,
            path,
        } => BirthSource::ImageView {
            lower: layout.lower(digests),
            subpath: path.clone(),
        },
        SandboxSource::Tmpfs { size } => BirthSource::Tmpfs {
            size: *size,
            mode: None,
            options: Vec::new(),
        },
        SandboxSource::Bytes {
            content,
            uid,
            gid,
            mode,
        } => BirthSource::Bytes {
            content: content.clone(),
            uid: *uid,
            gid: *gid,
            mode: *mode,
        },
    };
    BirthMount {
        target: mount.target.clone(),
        source,
        read_only: match mount.read_only {
            true => ReadOnly::Whole,
            false => ReadOnly::No,
        },
    }
}

fn hosts(spec: &SandboxSpec, gateway: Option<IpAddr>) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    for (name, address) in &spec.extra_hosts {
        let address = match address {
            HostAddr::Ip(address) => Some(*address),
            HostAddr::Gateway => gateway,
        };
        if let Some(address) = address {
            text.push_str(&format!("{address}\t{name}\n"));
        }
    }
    text
}

/// Gives a step its network.
fn connect(roots: &Roots, spec: &SandboxSpec) -> Result<Connection> {
    let host = || std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    match spec.network {
        SandboxNetwork::Host => Ok(Connection {
            netns: None,
            resolv_conf: host(),
            gateway: Some(IpAddr::from([127, 0, 0, 1])),
            answerer: None,
        }),
        SandboxNetwork::None => Ok(Connection {
            netns: Some(net::new_netns(None)?),
            resolv_conf: host(),
            gateway: None,
            answerer: None,
        }),
        SandboxNetwork::Default => {
            let netns = net::new_netns(None)?;
            let outside = Networks::open(roots)?.outside(&spec.id, netns.as_fd())?;
            Ok(Connection {
                netns: Some(netns),
                resolv_conf: outside.resolv_conf,
                gateway: outside.gateway.map(IpAddr::V4),
                answerer: Some(outside.answerer),
            })
        }
    }
}

/// Takes back what [`connect`] gave, also after a failure.
fn disconnect(roots: &Roots, spec: &SandboxSpec) -> Result<()> {
    match spec.network {
        SandboxNetwork::Default => Networks::open(roots)?.leave_outside(&spec.id),
        SandboxNetwork::None | SandboxNetwork::Host => Ok(()),
    }
}

/// Takes what was made for mounts out of `upper` where it is still empty, and with it the copies of
/// directories that overlay made only to hold it. Nothing is followed: the step may have put links anywhere.
fn remove_stubs(
    upper: &Path,
    lower: &[PathBuf],
    made: &[PathBuf],
) -> std::result::Result<(), Errno> {
    let root = Root::open(upper)?;
    let mut above: Vec<&Path> = Vec::new();
    for path in made.iter().rev() {
        remove_empty(&root, path)?;
        above.extend(
            path.ancestors()
                .skip(1)
                .filter(|dir| *dir != Path::new("/")),
        );
    }
    above.sort_by_key(|dir| std::cmp::Reverse(dir.components().count()));
    above.dedup();
    for dir in above {
        if is_mere_copy(&root, lower, dir) {
            remove_empty(&root, dir)?;
        }
    }
    Ok(())
}

/// Removes an empty file or directory; anything else stays.
fn remove_empty(root: &Root, path: &Path) -> std::result::Result<(), Errno> {
    use crate::sys::fs::{Resolve, openat2};
    use nix::fcntl::{AtFlags, OFlag};
    use nix::unistd::{UnlinkatFlags, unlinkat};
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    let above = match openat2(root, above, OFlag::O_DIRECTORY, 0, Resolve::NoLinks) {
        Ok(above) => above,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let Ok(found) = nix::sys::stat::fstatat(&above, name, AtFlags::AT_SYMLINK_NOFOLLOW) else {
        return Ok(());
    };
    let flag = if is_kind(&found, libc::S_IFDIR) {
        UnlinkatFlags::RemoveDir
    } else if is_kind(&found, libc::S_IFREG) && found.st_size == 0 {
        UnlinkatFlags::NoRemoveDir
    } else {
        return Ok(());
    };
    match unlinkat(&above, name, flag) {
        Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether a directory of `upper` says nothing that the layers below do not say: same owner and mode, and
/// no attributes, which an opaque one would have.
fn is_mere_copy(root: &Root, lower: &[PathBuf], dir: &Path) -> bool {
    let key = |found: &nix::sys::stat::FileStat| (found.st_mode, found.st_uid, found.st_gid);
    let Ok(copy) = root.lstat(dir) else {
        return false;
    };
    let below = lower
        .iter()
        .rev()
        .find_map(|layer| Root::open(layer).ok()?.lstat(dir).ok());
    let opaque = root
        .open_at(dir, nix::fcntl::OFlag::O_DIRECTORY, 0)
        .map_or(true, |open| {
            crate::sys::fs::xattrs(&crate::sys::fs::fd_path(&open).join(".")).is_ok_and(|found| {
                found
                    .iter()
                    .any(|(name, _)| name.to_string_lossy().ends_with("overlay.opaque"))
            })
        });
    below.is_some_and(|below| key(&below) == key(&copy)) && !opaque
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clone::in_fork;
    use std::fs;

    fn spec(dir: &Path, script: &str) -> SandboxSpec {
        let args = ["/bin/busybox", "sh", "-c", script]
            .map(str::to_owned)
            .to_vec();
        SandboxSpec {
            id: format!("{:012x}", std::process::id()),
            layers: vec![Digest::of(b"layer")],
            upper: dir.join("upper"),
            work: dir.join("work"),
            process: Process {
                args,
                ..Process::default()
            },
            network: SandboxNetwork::None,
            mounts: vec![SandboxMount {
                target: "/run/secrets/key".into(),
                source: SandboxSource::Bytes {
                    content: b"s3cret\n".to_vec(),
                    uid: 0,
                    gid: 0,
                    mode: 0o400,
                },
                read_only: true,
            }],
            hostname: "step".into(),
            extra_hosts: vec![("there".into(), HostAddr::Ip(IpAddr::from([1, 2, 3, 4])))],
            shm_size: None,
        }
    }

    /// What [`main`] does, without the process between.
    fn run(dir: &Path, spec: SandboxSpec) -> Result<i32> {
        let (data, run) = (dir.to_owned(), dir.to_owned());
        let parent = nix::unistd::getppid().as_raw();
        let order = Order {
            spec,
            data,
            run,
            parent,
        };
        let signals = SignalFd::new(&SigSet::empty()).unwrap();
        let roots = Roots {
            data: dir.to_owned(),
            run: dir.to_owned(),
        };
        let network = connect(&roots, &order.spec)?;
        let id = format!("step-test-{}", std::process::id());
        let cgroup = Cgroup::create(
            &id,
            None,
            &Resources::default(),
            &DeviceAccess::Listed(Vec::new()),
        )?;
        let code = step(&order, network, &cgroup, &signals);
        cgroup.kill().and_then(|()| cgroup.remove())?;
        code
    }

    #[test]
    fn a_step_leaves_only_what_it_wrote_itself() {
        if !nix::unistd::geteuid().is_root() || !Path::new("/usr/bin/busybox").exists() {
            eprintln!("skipped: needs root and /usr/bin/busybox");
            return;
        }
        let dir = std::env::temp_dir().join(format!("hoist-step-{}", std::process::id()));
        let layer = dir.join("layers").join(Digest::of(b"layer").hex());
        for part in [
            layer.join("bin"),
            layer.join("etc"),
            dir.join("upper"),
            dir.join("work"),
        ] {
            fs::create_dir_all(part).unwrap();
        }
        fs::copy("/usr/bin/busybox", layer.join("bin/busybox")).unwrap();
        let code = in_fork(|| {
            let script = "b=/bin/busybox; [ $($b cat /run/secrets/key) = s3cret ] || exit 1; \
                 $b grep -q 1.2.3.4 /etc/hosts || exit 2; echo made > /file; exit 7";
            assert_eq!(run(&dir, spec(&dir, script)).unwrap(), 7);
            let mut left: Vec<_> = fs::read_dir(dir.join("upper"))
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .collect();
            left.sort();
            assert_eq!(left, ["file"]);
            let script = "/bin/busybox touch /etc/mine; /bin/busybox rm -rf /run/secrets; \
                 /bin/busybox mkdir /run/kept; exit 0";
            assert_eq!(run(&dir, spec(&dir, script)).unwrap(), 0);
            assert!(dir.join("upper/etc/mine").exists());
            assert!(!dir.join("upper/etc/hosts").exists());
            assert!(dir.join("upper/run/kept").exists());
            let mut missing = spec(&dir, "");
            missing.process.args = vec!["nope".into()];
            assert!(matches!(
                run(&dir, missing),
                Err(EngineError::CannotRun { code: 127, .. })
            ));
            0
        });
        let _ = fs::remove_dir_all(&dir);
        assert_eq!(code, 0, "see the output above");
    }
}
