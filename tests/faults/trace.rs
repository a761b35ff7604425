//! Runs a command under ptrace and lets a fault happen at its N-th call of the kernel that changes something.
//!
//! In: a command, a [`Fault`]. Out: a [`Traced`]: the calls, what was hit, how the command ended. Threads, supervisors and what becomes a container are
//! followed and counted together, until a program that is not hoist is executed; when the command has ended they are let go.
//! Imports: `harness`. Source: ptrace(2). Linux on x86-64.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// No command may take longer, whatever happens to it.
pub const LIMIT: Duration = Duration::from_secs(30);

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process that makes the call is killed.
    KillCaller,
    /// Every process of hoist that came from the command is killed, and the command.
    KillAll,
    /// The call fails.
    Fail(Errno),
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Name and, where it has one, the path.
    pub text: String,
    /// Who made it.
    pub pid: i32,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Traced {
    /// The calls that count, in order.
    pub calls: Vec<Call>,
    /// The one where the fault happened.
    pub hit: Option<Call>,
    /// Whether the command had to be killed since it did not end.
    pub hung: bool,
    /// Exit code; 128 and the number of the signal.
    pub code: i32,
    /// What it printed on both streams.
    pub text: String,
}

impl Traced {
    /// For messages.
    pub fn story(&self) -> String {
        let hit = self.hit.as_ref().map_or_else(
            || "at no call".to_owned(),
            |call| format!("at `{}`", call.text),
        );
        format!(
            "fault {hit}; exit code {}{}\n{}",
            self.code,
            if self.hung { " (hung, killed)" } else { "" },
            self.text
        )
    }
}

/// A process or thread that is followed.
#[derive(Debug, Clone, Copy, Default)]
struct Task {
    inside: bool,
    /// What the call under way is to give.
    answer: Option<Errno>,
    /// The process, as threads are counted with it.
    group: i32,
}

struct Tracer {
    command: i32,
    tasks: BTreeMap<i32, Task>,
    started: bool,
    at: Option<(usize, Fault)>,
    done: Traced,
    ended: bool,
}

/// Runs `command` and lets `fault` happen at its call number `at`, counted from 0; at none without it. The processes in
/// `others` are followed, too. Output goes through a file below `scratch`.
#[expect(
    clippy::zombie_processes,
    reason = "the tracer waits for it, as for all that it follows"
)]
pub fn run(
    command: &Command,
    at: Option<(usize, Fault)>,
    others: &[i32],
    scratch: &Path,
) -> Traced {
    let output = scratch.join("traced.txt");
    let file = std::fs::File::create(&output).expect("the scratch directory is writable");
    // Waits to be followed before it becomes the command.
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "read go; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear();
    let variables = command.get_envs();
    shell.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    if let Some(dir) = command.get_current_dir() {
        shell.current_dir(dir);
    }
    shell.stdin(Stdio::piped());
    shell.stdout(file.try_clone().expect("a copy of a descriptor"));
    shell.stderr(file);
    let mut child = shell.spawn().expect("there is a shell");
    let pid = i32::try_from(child.id()).expect("a process id fits");
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC;
    for pid in others.iter().chain([&pid]).copied().map(Pid::from_raw) {
        ptrace::seize(pid, options).expect("root may follow a process");
        ptrace::interrupt(pid).expect("a followed process can be stopped");
    }
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    stdin.write_all(b"\n").expect("the shell reads");
    drop(stdin);
    let mut tracer = Tracer {
        command: pid,
        tasks: BTreeMap::new(),
        started: false,
        at,
        done: Traced {
            calls: Vec::new(),
            hit: None,
            hung: false,
            code: 0,
            text: String::new(),
        },
        ended: false,
    };
    let (finished, watch) = channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let late = watch.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
        if late {
            // It can't have been waited for: that is what is waited for here.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        late
    });
    for pid in others.iter().chain([&pid]) {
        tracer.know(*pid);
    }
    tracer.follow();
    drop(finished);
    tracer.done.hung = watchdog.join().expect("the watchdog does not panic");
    tracer.let_go();
    tracer.done.text = std::fs::read_to_string(&output).unwrap_or_default();
    tracer.done
}

fn wait() -> Result<WaitStatus, Errno> {
    // Other threads of this program have children of their own.
    let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    loop {
        match waitpid(None, Some(flags)) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

impl Tracer {
    /// Until the command has ended.
    fn follow(&mut self) {
        while !self.ended {
            let Ok(status) = wait() else { return };
            self.see(status);
        }
    }

    fn see(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::Exited(pid, code) => self.gone(pid, code),
            WaitStatus::Signaled(pid, signal, _) => self.gone(pid, 128 + signal as i32),
            WaitStatus::PtraceSyscall(pid) => self.call(pid),
            WaitStatus::PtraceEvent(pid, signal, event) => self.event(pid, signal, event),
            WaitStatus::Stopped(pid, signal) => go_on(pid, Some(signal)),
            _ => {}
        }
    }

    fn gone(&mut self, pid: Pid, code: i32) {
        self.tasks.remove(&pid.as_raw());
        if pid.as_raw() == self.command {
            self.done.code = code;
            self.ended = true;
        }
    }

    /// Counts a process or thread among those that are followed, also before it has stopped for the first time.
    fn know(&mut self, pid: i32) -> &mut Task {
        self.tasks.entry(pid).or_insert_with(|| Task {
            group: group(pid),
            ..Task::default()
        })
    }

    fn event(&mut self, pid: Pid, signal: Signal, event: i32) {
        self.know(pid.as_raw());
        let births = [
            ptrace::Event::PTRACE_EVENT_CLONE,
            ptrace::Event::PTRACE_EVENT_FORK,
            ptrace::Event::PTRACE_EVENT_VFORK,
        ];
        if births.iter().any(|birth| *birth as i32 == event)
            && let Some(child) = ptrace::getevent(pid)
                .ok()
                .and_then(|pid| i32::try_from(pid).ok())
        {
            self.know(child);
        }
        if event == ptrace::Event::PTRACE_EVENT_EXEC as i32 {
            let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            let ours = program.to_string_lossy().contains("hoist");
            if pid.as_raw() == self.command {
                self.started = true;
            } else if !ours {
                self.tasks.remove(&pid.as_raw());
                let _ = ptrace::detach(pid, None);
                return;
            }
            // The call that executed it is about to give its answer.
            if let Some(task) = self.tasks.get_mut(&pid.as_raw()) {
                task.inside = true;
                task.answer = None;
            }
        }
        let stopped = event == ptrace::Event::PTRACE_EVENT_STOP as i32 && signal != Signal::SIGTRAP;
        go_on(pid, stopped.then_some(Signal::SIGCONT));
    }

    fn call(&mut self, pid: Pid) {
        let task = self.know(pid.as_raw());
        task.inside = !task.inside;
        let (inside, answer, who) = (task.inside, task.answer.take(), task.group);
        if !inside {
            if let (Some(errno), Ok(mut registers)) = (answer, ptrace::getregs(pid)) {
                registers.rax = (-i64::from(errno as i32)) as u64;
                let _ = ptrace::setregs(pid, registers);
            }
            return go_on(pid, None);
        }
        let Some(text) = self.started.then(|| describe(pid)).flatten() else {
            return go_on(pid, None);
        };
        let call = Call { text, pid: who };
        let number = self.done.calls.len();
        self.done.calls.push(call.clone());
        match self.at.filter(|(at, _)| *at == number) {
            None => go_on(pid, None),
            Some((_, fault)) => {
                self.done.hit = Some(call);
                self.strike(pid, fault);
            }
        }
    }

    fn strike(&mut self, pid: Pid, fault: Fault) {
        match fault {
            Fault::KillCaller => {
                let who = self.tasks.get(&pid.as_raw()).map_or(0, |task| task.group);
                let _ = kill(Pid::from_raw(who), Signal::SIGKILL);
            }
            Fault::KillAll => {
                let groups: std::collections::BTreeSet<i32> =
                    self.tasks.values().map(|task| task.group).collect();
                for who in groups.into_iter().filter(|who| *who > 0) {
                    let _ = kill(Pid::from_raw(who), Signal::SIGKILL);
                }
            }
            Fault::Fail(errno) => {
                if let Ok(mut registers) = ptrace::getregs(pid) {
                    registers.orig_rax = u64::MAX;
                    let _ = ptrace::setregs(pid, registers);
                }
                if let Some(task) = self.tasks.get_mut(&pid.as_raw()) {
                    task.answer = Some(errno);
                }
                go_on(pid, None);
            }
        }
    }

    /// Lets go of everything that lives on.
    fn let_go(&mut self) {
        for pid in self.tasks.keys() {
            let _ = ptrace::interrupt(Pid::from_raw(*pid));
        }
        while !self.tasks.is_empty() {
            let Ok(status) = wait() else { break };
            match status {
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _) => {
                    self.tasks.remove(&pid.as_raw());
                }
                WaitStatus::Stopped(pid, signal) => {
                    self.tasks.remove(&pid.as_raw());
                    let _ = ptrace::detach(pid, signal);
                }
                WaitStatus::PtraceSyscall(pid) => {
                    let task = self.tasks.remove(&pid.as_raw()).unwrap_or_default();
                    if let (true, Some(errno), Ok(mut registers)) =
                        (task.inside, task.answer, ptrace::getregs(pid))
                    {
                        registers.rax = (-i64::from(errno as i32)) as u64;
                        let _ = ptrace::setregs(pid, registers);
                    }
                    let _ = ptrace::detach(pid, None);
                }
                WaitStatus::PtraceEvent(pid, _, _) => {
                    self.tasks.remove(&pid.as_raw());
                    let _ = ptrace::detach(pid, None);
                }
                _ => {}
            }
        }
    }
}

fn go_on(pid: Pid, signal: Option<Signal>) {
    // It may have been killed meanwhile, which the next wait tells.
    let _ = ptrace::syscall(pid, signal);
}

/// The process of a thread.
fn group(task: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{task}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    line.and_then(|id| id.trim().parse().ok()).unwrap_or(task)
}

/// How a call is written, when it changes something.
fn describe(pid: Pid) -> Option<String> {
    let registers = ptrace::getregs(pid).ok()?;
    let number = i64::try_from(registers.orig_rax).ok()?;
    let (_, name, path) = CALLS.iter().find(|(call, _, _)| *call == number)?;
    let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
    let flags = match *name {
        "open" => arguments[1],
        "openat" => arguments[2],
        // The first field of the structure.
        "openat2" => u64::from_ne_bytes(memory_at::<8>(pid, arguments[2])),
        _ => u64::MAX,
    };
    if flags & (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT) as u64 == 0 {
        return None;
    }
    let place = match path {
        Place::Nothing => String::new(),
        Place::Path(at) => text_at(pid, arguments[*at]),
        Place::Descriptor => std::fs::read_link(format!("/proc/{pid}/fd/{}", arguments[0]))
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
    };
    Some(format!("{name} {place}").trim_end().to_owned())
}

fn text_at(pid: Pid, address: u64) -> String {
    let bytes = memory_at::<300>(pid, address);
    let text = bytes.split(|byte| *byte == 0).next();
    String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
}

/// What a process has in its memory; zeros where it has none.
fn memory_at<const LENGTH: usize>(pid: Pid, address: u64) -> [u8; LENGTH] {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = [0; LENGTH];
    if let Ok(memory) = std::fs::File::open(format!("/proc/{pid}/mem")) {
        // What lies beyond the end of a mapping stays zero.
        let _ = memory.read_at(&mut bytes, address);
    }
    bytes
}

/// What a call is about.
enum Place {
    Nothing,
    Path(usize),
    Descriptor,
}

/// The calls that change something outside the process that makes them.
const CALLS: &[(i64, &str, Place)] = &[
    (libc::SYS_openat, "openat", Place::Path(1)),
    (libc::SYS_open, "open", Place::Path(0)),
    (libc::SYS_creat, "creat", Place::Path(0)),
    (libc::SYS_write, "write", Place::Descriptor),
    (libc::SYS_writev, "writev", Place::Descriptor),
    (libc::SYS_pwrite64, "pwrite64", Place::Descriptor),
    (libc::SYS_rename, "rename", Place::Path(0)),
    (libc::SYS_renameat, "renameat", Place::Path(1)),
    (libc::SYS_renameat2, "renameat2", Place::Path(1)),
    (libc::SYS_mkdir, "mkdir", Place::Path(0)),
    (libc::SYS_mkdirat, "mkdirat", Place::Path(1)),
    (libc::SYS_rmdir, "rmdir", Place::Path(0)),
    (libc::SYS_unlink, "unlink", Place::Path(0)),
    (libc::SYS_unlinkat, "unlinkat", Place::Path(1)),
    (libc::SYS_link, "link", Place::Path(1)),
    (libc::SYS_linkat, "linkat", Place::Path(3)),
    (libc::SYS_symlink, "symlink", Place::Path(1)),
    (libc::SYS_symlinkat, "symlinkat", Place::Path(2)),
    (libc::SYS_mknod, "mknod", Place::Path(0)),
    (libc::SYS_mknodat, "mknodat", Place::Path(1)),
    (libc::SYS_chmod, "chmod", Place::Path(0)),
    (libc::SYS_fchmod, "fchmod", Place::Descriptor),
    (libc::SYS_fchmodat, "fchmodat", Place::Path(1)),
    (libc::SYS_fchown, "fchown", Place::Descriptor),
    (libc::SYS_fchownat, "fchownat", Place::Path(1)),
    (libc::SYS_ftruncate, "ftruncate", Place::Descriptor),
    (libc::SYS_fsync, "fsync", Place::Descriptor),
    (libc::SYS_fdatasync, "fdatasync", Place::Descriptor),
    (
        libc::SYS_copy_file_range,
        "copy_file_range",
        Place::Descriptor,
    ),
    (libc::SYS_flock, "flock", Place::Descriptor),
    (libc::SYS_mount, "mount", Place::Path(1)),
    (libc::SYS_umount2, "umount2", Place::Path(0)),
    (libc::SYS_move_mount, "move_mount", Place::Path(3)),
    (libc::SYS_open_tree, "open_tree", Place::Path(1)),
    (libc::SYS_fsopen, "fsopen", Place::Path(0)),
    (libc::SYS_fsmount, "fsmount", Place::Nothing),
    (libc::SYS_mount_setattr, "mount_setattr", Place::Nothing),
    (libc::SYS_pivot_root, "pivot_root", Place::Path(0)),
    (libc::SYS_unshare, "unshare", Place::Nothing),
    (libc::SYS_setns, "setns", Place::Descriptor),
    (libc::SYS_clone, "clone", Place::Nothing),
    (libc::SYS_clone3, "clone3", Place::Nothing),
    (libc::SYS_fork, "fork", Place::Nothing),
    (libc::SYS_vfork, "vfork", Place::Nothing),
    (libc::SYS_execve, "execve", Place::Path(0)),
    (libc::SYS_execveat, "execveat", Place::Descriptor),
    (libc::SYS_bind, "bind", Place::Descriptor),
    (libc::SYS_listen, "listen", Place::Descriptor),
    (libc::SYS_connect, "connect", Place::Descriptor),
    (libc::SYS_sendto, "sendto", Place::Descriptor),
    (libc::SYS_sendmsg, "sendmsg", Place::Descriptor),
    (libc::SYS_sendmmsg, "sendmmsg", Place::Descriptor),
    (libc::SYS_kill, "kill", Place::Nothing),
    (
        libc::SYS_pidfd_send_signal,
        "pidfd_send_signal",
        Place::Nothing,
    ),
    (libc::SYS_sethostname, "sethostname", Place::Nothing),
    (libc::SYS_memfd_create, "memfd_create", Place::Path(0)),
    (libc::SYS_bpf, "bpf", Place::Nothing),
    (libc::SYS_seccomp, "seccomp", Place::Nothing),
    (libc::SYS_openat2, "openat2", Place::Path(1)),
];
