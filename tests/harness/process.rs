//! Runs the binary: to its end with a time limit, or beside the test with its output at hand.
//!
//! In: a command. Out: [`Done`] or [`Running`]. Imports: `harness`.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::eventually;

/// How long one command may take.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A command that has ended.
#[derive(Debug)]
pub struct Done {
    /// What was run, for messages.
    pub command: String,
    /// Its exit code; 128 + the signal's number when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Done {
    /// Both outputs, standard output first.
    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
    /// All that is known, for a message.
    pub fn story(&self) -> String {
        let mut text = format!("`{}` exited with {}\n", self.command, self.code);
        for (name, output) in [("stdout", &self.out), ("stderr", &self.err)] {
            for line in output.lines() {
                // Writing to a string can't fail.
                let _ = writeln!(text, "{name}| {line}");
            }
        }
        text
    }
    /// Requires exit code 0.
    pub fn ok(self) -> Self {
        self.code(0)
    }
    /// Requires this exit code.
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "wrong exit code: {}", self.story());
        self
    }
    /// Requires a text in either output.
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.all().contains(text),
            "no {text:?} in: {}",
            self.story()
        );
        self
    }
    /// Requires a text to be in neither output.
    pub fn says_nothing_of(self, text: &str) -> Self {
        assert!(
            !self.all().contains(text),
            "unexpected {text:?} in: {}",
            self.story()
        );
        self
    }
    /// Requires this standard output, without white space at the ends.
    pub fn prints(self, text: &str) -> Self {
        assert_eq!(self.out.trim(), text, "{}", self.story());
        self
    }
}

/// Exit code as a shell gives it.
fn code_of(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Reads a stream to its end in a thread.
fn drain(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A stream that breaks has given what it had.
        let _ = stream.read_to_end(&mut bytes);
        let _ = send.send(bytes);
    });
    receive
}

/// The text that a thread of [`drain`] has read.
fn text_of(stream: &Receiver<Vec<u8>>, command: &str) -> String {
    match stream.recv_timeout(Duration::from_secs(10)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(RecvTimeoutError::Timeout) => {
            panic!("`{command}` ended, but something holds its output open")
        }
        Err(RecvTimeoutError::Disconnected) => {
            panic!("the thread that read the output of `{command}` died")
        }
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started or takes longer than `limit`; it is killed then.
pub fn finish(mut command: Command, stdin: Option<&[u8]>, limit: Duration) -> Done {
    let limit = limit * super::slowness();
    let name = describe(&command);
    command.stdin(if stdin.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run `{name}`: {error}"));
    let out = drain(child.stdout.take().expect("stdout is a pipe"));
    let err = drain(child.stderr.take().expect("stderr is a pipe"));
    if let (Some(bytes), Some(mut pipe)) = (stdin.map(<[u8]>::to_vec), child.stdin.take()) {
        // The other end may be gone, which the exit code tells.
        std::thread::spawn(move || pipe.write_all(&bytes));
    }
    let Some(status) = wait(&mut child, limit) else {
        // It may have ended just now.
        let _ = child.kill();
        let _ = child.wait();
        let (out, err) = (text_of(&out, &name), text_of(&err, &name));
        panic!(
            "`{name}` took longer than {} s\nstdout: {out}\nstderr: {err}",
            limit.as_secs()
        );
    };
    Done {
        code: code_of(status),
        out: text_of(&out, &name),
        err: text_of(&err, &name),
        command: name,
    }
}

fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The command line without the path of the binary.
fn describe(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut text = program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// A command that runs beside the test; killed when dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
    /// The keyboard of its terminal, when it has one.
    keyboard: Option<std::fs::File>,
    /// Who collects what its terminal shows.
    screen: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    /// Starts a command with no input.
    pub fn start(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let name = describe(&command);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run `{name}`: {error}"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        collect(child.stdout.take().expect("stdout is a pipe"), &seen);
        collect(child.stderr.take().expect("stderr is a pipe"), &seen);
        Self {
            name,
            child,
            seen,
            keyboard: None,
            screen: None,
        }
    }

    /// Starts a command on a terminal of its own, which is its controlling terminal (`setsid --ctty` sees to it).
    pub fn on_terminal(command: &Command, rows: u16, columns: u16) -> Self {
        let size = nix::pty::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let terminal = nix::pty::openpty(&size, None).expect("a pseudo terminal");
        let name = describe(command);
        let mut wrapped = Command::new("setsid");
        wrapped
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear();
        wrapped.envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        wrapped.env("TERM", "xterm-256color");
        if let Some(dir) = command.get_current_dir() {
            wrapped.current_dir(dir);
        }
        let end = || terminal.slave.try_clone().expect("a copy of the terminal");
        wrapped.stdin(end()).stdout(end()).stderr(end());
        let child = wrapped
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run `{name}`: {error}"));
        drop(terminal.slave);
        drop(wrapped);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let screen = std::fs::File::from(terminal.master);
        let collecting = collect(screen.try_clone().expect("a copy of the terminal"), &seen);
        Self {
            name,
            child,
            seen,
            keyboard: Some(screen),
            screen: Some(collecting),
        }
    }

    /// What it has printed so far.
    pub fn text(&self) -> String {
        let seen = self
            .seen
            .lock()
            .expect("the collecting thread does not panic");
        String::from_utf8_lossy(&seen).into_owned()
    }
    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id fits")
    }
    /// Waits until it has printed a text.
    pub fn says(&self, text: &str) -> &Self {
        eventually_or(
            &format!("`{}` prints {text:?}", self.name),
            || self.text(),
            || self.text().contains(text),
        );
        self
    }
    /// Types on its terminal.
    pub fn types(&mut self, text: &str) {
        let keyboard = self.keyboard.as_mut().expect("a command with a terminal");
        keyboard
            .write_all(text.as_bytes())
            .expect("the terminal takes input");
    }
    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("the command still runs");
    }
    /// Waits for its end and gives its exit code.
    pub fn end(mut self) -> i32 {
        self.wait()
    }
    /// As [`Running::end`]; what it has printed can be looked at afterwards, all of it where that was on a terminal.
    pub fn wait(&mut self) -> i32 {
        let status = wait(&mut self.child, super::patience());
        if let (Some(_), Some(screen)) = (status, &self.screen) {
            eventually_or(
                &format!("the terminal of `{}` is left by all", self.name),
                || self.text(),
                || screen.is_finished(),
            );
        }
        let text = self.text();
        code_of(
            status.unwrap_or_else(|| panic!("`{}` does not end; it printed:\n{text}", self.name)),
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `check` holds, as long as cases wait; else `story` is told.
///
/// # Panics
/// When it takes longer.
pub fn eventually_or(what: &str, story: impl Fn() -> String, check: impl Fn() -> bool) {
    let end = Instant::now() + super::patience();
    while !check() {
        assert!(
            Instant::now() < end,
            "not within {} s: {what}; so far:\n{}",
            super::patience().as_secs(),
            story()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Appends all that comes from a stream to `seen`.
fn collect(
    mut stream: impl Read + Send + 'static,
    seen: &Arc<Mutex<Vec<u8>>>,
) -> std::thread::JoinHandle<()> {
    let seen = Arc::clone(seen);
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        // EIO from a terminal's master is its end.
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            let Ok(mut seen) = seen.lock() else { return };
            seen.extend_from_slice(&bytes[..count]);
        }
    })
}

/// Kills one process by its id and waits until it is gone.
pub fn kill_and_wait(pid: i32) {
    // Gone already is as good.
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    eventually(&format!("process {pid} is gone"), || {
        (!is_alive(pid)).then_some(())
    });
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The state follows the name, which is in parentheses and may hold anything.
    !matches!(
        stat.rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next()),
        Some('Z' | 'X') | None
    )
}
