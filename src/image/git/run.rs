//! Runs `git`: with an environment that gives nothing away, for a limited time, its words made ours.
//!
//! In: arguments. Out: what it said, or a typed error. Imports: `base`.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::{Credentials, Git, GitError};

/// Longest time to ask a repository for its references, and for all that needs no host.
pub(super) const SHORT: Duration = Duration::from_secs(60);
/// Longest time to fetch or write the content.
pub(super) const LONG: Duration = Duration::from_secs(900);
/// Longest time that git gets to end after it was asked to.
const GRACE: Duration = Duration::from_secs(2);
/// Time between looks at the token.
const LOOK: Duration = Duration::from_millis(20);
/// Most bytes that are read of an answer.
const LONGEST: u64 = 8 << 20;
/// Protocols that git may use, whatever its configuration says.
const PROTOCOLS: &str = "http:https:ssh:git";
/// Variables of git that say how to connect; all others could point it at another repository or program.
const VARIABLES: [&str; 12] = [
    "GIT_ASKPASS",
    "GIT_CURL_VERBOSE",
    "GIT_EXEC_PATH",
    "GIT_PROXY_COMMAND",
    "GIT_PROXY_SSL_CAINFO",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_NO_VERIFY",
    "GIT_TERMINAL_PROMPT",
];
/// Configuration that wins over the user's: nothing of a repository runs a program.
const CONFIG: [&str; 16] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.autocrlf=false",
    "submodule.recurse=false",
    "filter.lfs.smudge=",
    "filter.lfs.process=",
    "filter.lfs.required=false",
    "protocol.allow=never",
    "protocol.http.allow=always",
    "protocol.https.allow=always",
    "protocol.ssh.allow=always",
    "protocol.git.allow=always",
    "gc.auto=0",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
];

/// What git said.
pub(super) struct Said {
    pub(super) status: ExitStatus,
    pub(super) out: String,
    pub(super) err: String,
}

impl Git<'_> {
    /// Git in a repository of ours.
    pub(super) fn command_in(&self, store: &Path) -> Command {
        let mut command = self.command(store);
        command.env("GIT_DIR", store);
        command
    }

    /// Git with nothing in its environment that could make it work elsewhere or ask questions.
    pub(super) fn command(&self, dir: &Path) -> Command {
        let mut command = Command::new("git");
        command.current_dir(dir).env_clear();
        let vars = self.options.env.vars.iter();
        let kept = |(name, _): &(&String, &String)| {
            !name.starts_with("GIT_") || VARIABLES.contains(&name.as_str())
        };
        command.envs(vars.filter(kept));
        command
            .env("GIT_ALLOW_PROTOCOL", PROTOCOLS)
            .env("GIT_CEILING_DIRECTORIES", "/")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .env("LC_ALL", "C");
        let unset = |name: &str| self.options.env.non_empty(name).is_none();
        if unset("GIT_TERMINAL_PROMPT") {
            command.env("GIT_TERMINAL_PROMPT", "0");
        }
        if unset("GIT_SSH") && unset("GIT_SSH_COMMAND") {
            let ssh = "ssh -o ControlMaster=no -o BatchMode=yes -o ConnectTimeout=15";
            command.env("GIT_SSH_COMMAND", ssh);
        }
        for setting in CONFIG {
            command.arg("-c").arg(setting);
        }
        self.give_password(&mut command);
        command
    }

    /// Hands the password over in the environment: arguments are there for every user to see.
    fn give_password(&self, command: &mut Command) {
        let Some((scheme, rest)) = self.git.url.split_once("://") else {
            return;
        };
        let (user, password) = match (&self.git.password, &self.options.credentials) {
            (Some(password), _) => ("", password),
            (None, Some(Credentials::Token(token))) => ("username=x-access-token\\n", token),
            (None, Some(Credentials::Header(header))) => {
                let authority = rest.split('/').next().unwrap_or_default();
                command
                    .env("GIT_CONFIG_COUNT", "1")
                    .env(
                        "GIT_CONFIG_KEY_0",
                        format!("http.{scheme}://{authority}/.extraHeader"),
                    )
                    .env("GIT_CONFIG_VALUE_0", format!("Authorization: {header}"));
                return;
            }
            (None, None) => return,
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        // For this host only, and instead of what else would keep or give one.
        let key = format!("credential.{scheme}://{host}.helper");
        let helper = format!(
            "!f() {{ test \"$1\" = get && printf '{user}password=%s\\n' \"$HOIST_GIT_PASSWORD\"; }}; f"
        );
        command
            .env("HOIST_GIT_PASSWORD", password)
            .env("GIT_CONFIG_COUNT", "2")
            .env("GIT_CONFIG_KEY_0", &key)
            .env("GIT_CONFIG_VALUE_0", "")
            .env("GIT_CONFIG_KEY_1", &key)
            .env("GIT_CONFIG_VALUE_1", helper);
    }

    /// Runs a command that must succeed.
    pub(super) fn must(
        &self,
        command: Command,
        step: &'static str,
        limit: Duration,
    ) -> Result<(), GitError> {
        let said = self.run(command, step, limit)?;
        match said.status.success() {
            true => Ok(()),
            false => Err(self.judge(step, &said.err)),
        }
    }

    /// Runs a command to its end, at most as long as `limit`.
    pub(super) fn run(
        &self,
        mut command: Command,
        step: &'static str,
        limit: Duration,
    ) -> Result<Said, GitError> {
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => GitError::Missing,
            _ => GitError::Io(error),
        })?;
        let (out, err) = (drain(child.stdout.take()), drain(child.stderr.take()));
        let end = Instant::now() + limit;
        let waited = self.wait(&mut child, &out, step, end, limit);
        let (text, status) = match waited {
            Ok(done) => done,
            Err(error) => {
                stop(&mut child);
                return Err(error);
            }
        };
        // What git has started may still hold its error output; the words so far are enough.
        let err = err.recv_timeout(GRACE).unwrap_or_default();
        Ok(Said {
            status,
            out: text,
            err,
        })
    }

    fn wait(
        &self,
        child: &mut Child,
        out: &Receiver<String>,
        step: &'static str,
        end: Instant,
        limit: Duration,
    ) -> Result<(String, ExitStatus), GitError> {
        let mut text = None;
        loop {
            match text {
                None => match out.recv_timeout(LOOK) {
                    Ok(read) => text = Some(read),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => text = Some(String::new()),
                },
                Some(ref mut read) => match child.try_wait()? {
                    Some(status) => return Ok((std::mem::take(read), status)),
                    None => std::thread::sleep(Duration::from_millis(1)),
                },
            }
            if self.options.cancel.is_cancelled() {
                return Err(GitError::Cancelled);
            }
            if Instant::now() >= end {
                return Err(GitError::Slow { step, limit });
            }
        }
    }

    /// What git's words mean.
    pub(super) fn judge(&self, step: &'static str, words: &str) -> GitError {
        let cause = self.clean(words);
        let has = |marks: &[&str]| marks.iter().any(|mark| words.contains(mark));
        if has(&[
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "Permission denied",
            "terminal prompts disabled",
            "Host key verification failed",
            "returned error: 403",
            "returned error: 401",
        ]) {
            return GitError::Unauthorized(cause);
        }
        if has(&[
            "does not appear to be a git repository",
            "not found",
            "access denied or repository not exported",
            "Repository not found",
            "no such repository",
        ]) && !has(&["remote ref", "command not found"])
        {
            return GitError::NoRepository(cause);
        }
        if has(&[
            "Could not resolve",
            "unable to look up",
            "Couldn't connect",
            "Failed to connect",
            "unable to connect",
            "Connection refused",
            "Connection timed out",
            "Connection reset",
            "Operation too slow",
            "No route to host",
            "Network is unreachable",
        ]) {
            return GitError::Unreachable(cause);
        }
        GitError::Failed { step, cause }
    }

    /// Git's words in one line, without control characters and without the password.
    pub(super) fn clean(&self, words: &str) -> String {
        let mut text = String::new();
        for line in words.lines().map(str::trim) {
            let line = ["fatal: ", "error: ", "remote: "]
                .iter()
                .fold(line, |line, word| line.strip_prefix(word).unwrap_or(line));
            let polite = ["Please make sure", "and the repository exists", "warning: "];
            if line.is_empty() || polite.iter().any(|start| line.starts_with(start)) {
                continue;
            }
            let separator = if text.is_empty() { "" } else { "; " };
            // Writing to a string can't fail.
            let _ = write!(text, "{separator}{line}");
        }
        let given = match &self.options.credentials {
            Some(Credentials::Token(text) | Credentials::Header(text)) => Some(text.as_str()),
            None => None,
        };
        let secrets = self.git.password.as_deref().into_iter().chain(given);
        for secret in secrets.filter(|text| !text.is_empty()) {
            text = text.replace(secret, "***");
        }
        text = text.replace(&self.git.url, &self.git.shown_url());
        let text: String = text.chars().filter(|c| !c.is_control()).take(400).collect();
        match text.trim_end_matches('.') {
            "" => "git gave no reason".to_owned(),
            text => text.to_owned(),
        }
    }
}

/// Reads a stream to its end in a thread; what is longer than an answer can be is thrown away.
fn drain(stream: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // A stream that breaks has given what it had.
            let _ = stream.by_ref().take(LONGEST).read_to_end(&mut bytes);
            let _ = io::copy(&mut stream, &mut io::sink());
        }
        let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receive
}

/// Ends a child: it is asked to first, so that it ends what it has started.
fn stop(child: &mut Child) {
    use nix::sys::signal::{Signal, kill};
    if let Ok(pid) = i32::try_from(child.id()) {
        // It may have ended just now.
        let _ = kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM);
    }
    let end = Instant::now() + GRACE;
    while Instant::now() < end {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(LOOK);
    }
    let _ = child.kill();
    let _ = child.wait();
}
