//! Credential helpers: programs that keep credentials elsewhere than in a file.
//!
//! In: a helper's name and a server. Out: credentials, or why there are none. A helper gets a limited time, and only
//! so much of its words is read; secrets go through its standard streams, never through arguments. Its own helpers end
//! with it. Imports: `base`. Source: docker-credential-helpers, `README.md` "Development" and `client/client.go`.

use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::super::secret::Secret;
use super::{DOCKER_HUB, Login};
use crate::base::cancel::Cancel;
use crate::base::env::Env;

/// How long a helper may take: it may ask a server, or the user.
const LIMIT: Duration = Duration::from_secs(60);
/// Time between looks at it.
const LOOK: Duration = Duration::from_millis(20);
/// Most bytes that are read of its answer.
const LONGEST: usize = 1 << 20;
/// Most characters of its words that are shown.
const LONGEST_WORDS: usize = 200;
/// What a helper says where it has no credentials. Source: `credentials/error.go`.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The name that stands for an identity token. Source: docker CLI, `native_store.go`.
const TOKEN: &str = "<token>";

/// Why a helper gave or took nothing.
#[derive(Debug, thiserror::Error)]
#[error("the credential helper docker-credential-{name} {why}")]
pub struct HelperError {
    name: String,
    why: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Asks for a server's credentials; `None` where there are none.
pub(super) fn get(
    name: &str,
    server: &str,
    env: &Env,
    cancel: &Cancel,
) -> Result<Option<Login>, HelperError> {
    let helper = Helper { name, env, cancel };
    let Some(answer) = helper.run("get", server)? else {
        return Ok(None);
    };
    let parsed: Answer = serde_json::from_slice(&answer)
        // Without the library's words: they may quote a secret.
        .map_err(|_| helper.error("answers with something else than the JSON of its protocol"))?;
    let secret = Secret::new(parsed.secret);
    if parsed.username.is_empty() && secret.expose().is_empty() {
        return Ok(None);
    }
    Ok(Some(match parsed.username.as_str() {
        TOKEN => Login::Identity(secret),
        _ => Login::Password(parsed.username, secret),
    }))
}

/// Hands over a server's credentials.
pub(super) fn store(
    name: &str,
    server: &str,
    user: &str,
    login: &Login,
    env: &Env,
    cancel: &Cancel,
) -> Result<(), HelperError> {
    let helper = Helper { name, env, cancel };
    let (user, secret) = match login {
        Login::Password(_, password) => (user, password),
        Login::Identity(token) | Login::Bearer(token) => (TOKEN, token),
    };
    let text = json!({"ServerURL": server, "Username": user, "Secret": secret.expose()});
    let text = Secret::new(text.to_string());
    let done = helper.run("store", text.expose());
    match done {
        // A helper may repeat what it was given.
        Err(error) if error.why.contains(secret.expose()) => {
            Err(helper.error("could not keep the credentials"))
        }
        other => other.map(drop),
    }
}

/// Has a server's credentials forgotten; whether there were any.
pub(super) fn erase(
    name: &str,
    server: &str,
    env: &Env,
    cancel: &Cancel,
) -> Result<bool, HelperError> {
    let helper = Helper { name, env, cancel };
    // A helper that has nothing says so when asked, and is silent or fails when told to forget it.
    let known = helper.run("get", server)?.is_some();
    if known {
        helper.run("erase", server)?;
    }
    if server == DOCKER_HUB {
        // Older clients left it under the bare name.
        let _ = helper.run("erase", "docker.io");
    }
    Ok(known)
}

struct Helper<'a> {
    name: &'a str,
    env: &'a Env,
    cancel: &'a Cancel,
}

/// A helper that is ended, with what it started, when it is not waited for any longer.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0.id())
            && self.0.try_wait().is_ok_and(|ended| ended.is_none())
        {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}

impl Helper<'_> {
    fn error(&self, why: impl Into<String>) -> HelperError {
        HelperError {
            name: self.name.to_owned(),
            why: why.into(),
        }
    }
    /// Runs it; `None` where it has nothing.
    fn run(&self, action: &str, input: &str) -> Result<Option<Zeroizing<Vec<u8>>>, HelperError> {
        // What a file names must not be a path to anything.
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.name.is_empty() || !self.name.chars().all(word) {
            return Err(self.error("has no name that a program can have"));
        }
        let mut child = Running(self.spawn(action)?);
        let (stdin, out, err) = (
            child.0.stdin.take(),
            child.0.stdout.take(),
            child.0.stderr.take(),
        );
        let input = Zeroizing::new(input.as_bytes().to_vec());
        std::thread::spawn(move || {
            if let Some(mut stdin) = stdin {
                // A helper that reads nothing says why in its answer.
                let _ = stdin.write_all(&input);
            }
        });
        let (out, err) = (gather(out), gather(err));
        let begun = Instant::now();
        let mut answer = None;
        let status = loop {
            answer = answer.or_else(|| out.try_recv().ok());
            if answer.as_ref().is_some_and(|answer| answer.len() > LONGEST) {
                return Err(self.error(format!("answers with more than {LONGEST} bytes")));
            }
            match child.0.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => {}
                Err(error) => return Err(self.error(format!("can't be waited for: {error}"))),
            }
            if self.cancel.is_cancelled() {
                return Err(self.error("was ended with this command"));
            }
            if begun.elapsed() > LIMIT {
                let text = format!("did not end within {} s", LIMIT.as_secs());
                return Err(self.error(text));
            }
            std::thread::sleep(LOOK);
        };
        // What it has started may hold the streams for ever.
        let wait = LIMIT
            .saturating_sub(begun.elapsed())
            .min(Duration::from_secs(2));
        let out = answer.or_else(|| out.recv_timeout(wait).ok());
        let out = out.unwrap_or_default();
        if out.len() > LONGEST {
            return Err(self.error(format!("answers with more than {LONGEST} bytes")));
        }
        if status.success() {
            return Ok(Some(out));
        }
        let err = err
            .recv_timeout(Duration::from_millis(200))
            .unwrap_or_default();
        let said = match words(&out) {
            text if text.is_empty() => words(&err),
            text => text,
        };
        if said.to_ascii_lowercase().contains(NOT_FOUND) || said.starts_with("no credentials") {
            return Ok(None);
        }
        let end = match status.code() {
            Some(code) => format!("fails with exit code {code}"),
            None => "was ended by a signal".to_owned(),
        };
        Err(self.error(match said.as_str() {
            "" => end,
            said => format!("{end}: {said}"),
        }))
    }
    fn spawn(&self, action: &str) -> Result<Child, HelperError> {
        let program = format!("docker-credential-{}", self.name);
        let found = self.program(&program);
        let path = found.ok_or_else(|| self.error("is not installed, or not in PATH"))?;
        let mut command = Command::new(path);
        command
            .arg(action)
            .env_clear()
            .envs(&self.env.vars)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if self.env.cwd.is_dir() {
            command.current_dir(&self.env.cwd);
        }
        crate::sys::process::unblock(&mut command);
        command
            .spawn()
            .map_err(|error| self.error(format!("can't be started: {error}")))
    }
    fn program(&self, name: &str) -> Option<std::path::PathBuf> {
        program(name, self.env)
    }
}

/// Whether a helper is installed.
pub(in crate::image::registry) fn is_there(name: &str, env: &Env) -> bool {
    program(&format!("docker-credential-{name}"), env).is_some()
}

fn program(name: &str, env: &Env) -> Option<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let dirs = env.non_empty("PATH")?.split(':');
    let mut places = dirs
        .filter(|dir| dir.starts_with('/'))
        .map(|dir| std::path::Path::new(dir).join(name));
    places.find(|path| {
        let found = path.metadata();
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}

/// Reads a stream beside the helper: a byte more than is taken, the rest into nothing.
fn gather<R: Read + Send + 'static>(stream: Option<R>) -> mpsc::Receiver<Zeroizing<Vec<u8>>> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Zeroizing::new(Vec::new());
        if let Some(mut stream) = stream {
            let limit = LONGEST as u64 + 1;
            let _ = (&mut stream).take(limit).read_to_end(&mut bytes);
            let _ = send.send(bytes);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    receive
}

/// The first line of a program's words, fit to be shown.
fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.trim().lines().next().unwrap_or_default();
    line.chars()
        .filter(|c| !c.is_control())
        .take(LONGEST_WORDS)
        .collect()
}
