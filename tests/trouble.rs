//! Whoever calls hoist without rights, without a terminal any more, without a reader, or with words that are no text.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::process::{self, Done};
use crate::harness::{ENGINE, Sandbox, hoist as binary};

crate::cases!(ENGINE;
    an_ordinary_user_is_told_what_is_needed,
    words_that_are_no_text_are_refused_and_directories_need_not_be,
    containers_go_on_when_the_terminal_of_a_command_is_gone,
    a_reader_that_has_enough_ends_a_command_quietly,
);

const LIMIT: Duration = Duration::from_secs(60);

fn an_ordinary_user_is_told_what_is_needed() {
    let hoist = Sandbox::empty();
    hoist.compose("services: {a: {image: x}}\n");
    // Where a user may run it.
    let copy = hoist.dir().join("hoist");
    std::fs::copy(binary(), &copy).expect("copied");
    let called = |words: &[&str]| -> Done {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(&copy).args(words).current_dir(hoist.dir());
        command.env_clear().env("HOME", "/nonexistent");
        process::finish(command, None, LIMIT)
    };
    for line in [
        "ps",
        "logs",
        "top",
        "images",
        "ls",
        "volumes",
        "port a 80",
        "stats --no-stream",
        "events --until 0s",
        "image ls",
        "plan",
        "up -d",
        "down",
        "run a true",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        called(&words).code(1).says("hoist needs root").says("sudo");
    }
    // What reads files and runs nothing is anybody's.
    called(&["config", "--services"]).ok().prints("a");
    called(&["version"]).ok();
}

fn words_that_are_no_text_are_refused_and_directories_need_not_be() {
    let hoist = Sandbox::empty();
    let word = OsStr::from_bytes(b"a\xff");
    let called = |before: &[&str], word: &OsStr| {
        let mut command = hoist.command(before);
        command.arg(word);
        process::finish(command, None, LIMIT)
    };
    for before in [&["logs"][..], &["up"], &["-p"], &["-f"]] {
        called(before, word).code(1).says("invalid UTF-8");
    }
    let dir = hoist.dir().join(word);
    std::fs::create_dir_all(&dir).expect("made");
    std::fs::write(dir.join("compose.yaml"), "services: {a: {image: x}}\n").expect("written");
    let mut command = hoist.command(&["config", "--services"]);
    command.current_dir(&dir);
    process::finish(command, None, LIMIT).ok().prints("a");
}

fn containers_go_on_when_the_terminal_of_a_command_is_gone() {
    let hoist = Sandbox::new();
    hoist.file("src/x", "1");
    hoist.compose(
        "services:\n  a: {image: tiny, stop_signal: SIGKILL, command: [sh, -c, 'echo hello; sleep 3600'], \
         develop: {watch: [{action: sync, path: ./src, target: /src}]}}\n",
    );
    // As docker compose: the signal ends the command and nothing else.
    for (line, text) in [
        ("up", "hello"),
        ("logs -f", "hello"),
        ("watch", "Watch enabled"),
    ] {
        let running = hoist.start(line);
        running.says(text);
        running.signal(Signal::SIGHUP);
        assert_eq!(running.end(), 129, "{line}");
        assert_eq!(hoist.state("a"), "running", "{line}");
    }
}

fn a_reader_that_has_enough_ends_a_command_quietly() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, command: seq 200000}\n");
    hoist.ok("up");
    for line in ["logs", "config", "image ls", "ps -a"] {
        let mut command = hoist.command(&[]);
        command.args(["-p", &hoist.name]).args(line.split(' '));
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        // Nobody reads.
        drop(child.stdout.take());
        let done = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(said, "", "{line}");
        assert_ne!(done.status.code(), Some(101), "{line}");
    }
}
