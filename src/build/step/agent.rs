//! Ssh agents lent to a step: `RUN --mount=type=ssh`.
//!
//! A step gets a socket of our own. Whoever connects to it may list keys and have something signed; whatever else an agent
//! can do (add, remove, lock, extensions) is refused here, so that a step changes nothing of the caller's agent. Keys given
//! as files are held by an `ssh-agent` of the step's own: no key is ever in a file, a variable or a process of the step.
//! Everything ends with [`Lent`], and with our process, however it ends.
//! Imports: `image::layer` (a place that is cleared after a crash), `sys`. Rules: RFC draft-ietf-sshm-ssh-agent;
//! ssh-agent(1), ssh-add(1); what is passed on as BuildKit's session agent.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::build::grants::SshSource;
use crate::image::layer::Staging;
use crate::sys::stream;

/// The lent socket's name in its directory.
pub(super) const SOCKET: &str = "agent";
/// Name of the socket of an agent that was started for keys in files.
const KEYS: &str = "keys";
/// Longest message in bytes. Source: OpenSSH, `AGENT_MAX_LEN`.
const LONGEST: usize = 256 * 1024;
/// Connections of one step at a time.
const MOST: usize = 32;
/// Messages that are passed on: listing keys, signing. Source: draft-ietf-sshm-ssh-agent, "Message numbers".
const ALLOWED: [u8; 2] = [11, 13];
/// The answer to all others: `SSH_AGENT_FAILURE`.
const REFUSAL: [u8; 5] = [0, 0, 0, 1, 5];

/// Where keys are, found on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agent {
    /// An agent's socket.
    Socket(PathBuf),
    /// Files with keys.
    Keys(Vec<PathBuf>),
}

/// An agent as a step sees it; ends when dropped.
#[derive(Debug)]
pub struct Lent {
    place: Staging,
    /// Closed, it ends the thread.
    alive: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    _keys: Option<KeyAgent>,
}

/// An agent that holds keys of files.
#[derive(Debug)]
struct KeyAgent {
    /// Ends when its input does, and the agent with it, also if we are killed.
    keeper: Child,
}

/// Runs the agent until the input ends.
const KEEPER: &str = "command -v ssh-agent >/dev/null || exit 127; ssh-agent -D -a keys >/dev/null 2>&1 & agent=$!; \
                      cat >/dev/null; kill $agent 2>/dev/null; wait $agent";
/// How long an agent may need to begin, and how often it is looked whether it has.
const PATIENCE: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(5);

impl Agent {
    /// Finds the agent that a source means; `own` is the caller's.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(source: &SshSource, own: Option<&str>, cwd: &Path) -> Result<Self, String> {
        let paths: Vec<PathBuf> = match (source.paths.as_slice(), own) {
            ([], Some(own)) => vec![PathBuf::from(own)],
            ([], None) => {
                return Err(
                    "SSH_AUTH_SOCK is not set: start ssh-agent, or name a socket or a key file"
                        .to_owned(),
                );
            }
            (paths, _) => paths.iter().map(|path| cwd.join(path)).collect(),
        };
        let mut sockets = 0;
        for path in &paths {
            let meta = std::fs::metadata(path)
                .map_err(|error| format!("cannot use {}: {error}", path.display()))?;
            if meta.file_type().is_socket() {
                sockets += 1;
            } else if !meta.is_file() || source.paths.is_empty() {
                let path = path.display();
                return Err(format!(
                    "{path} is neither an agent's socket nor a key file"
                ));
            }
        }
        match (sockets, paths.as_slice()) {
            (0, _) => Ok(Self::Keys(paths)),
            (1, [socket]) => Ok(Self::Socket(socket.clone())),
            _ => Err("an agent's socket stands alone: name one socket, or key files".to_owned()),
        }
    }
    /// Lends it to a step.
    pub(super) fn lend(
        &self,
        place: Staging,
        mode: u32,
        owner: (u32, u32),
    ) -> Result<Lent, String> {
        let (keys, target) = match self {
            Self::Socket(path) => (None, path.clone()),
            Self::Keys(files) => (
                Some(KeyAgent::start(place.dir(), files)?),
                place.dir().join(KEYS),
            ),
        };
        // Who has no agent should learn it now, not from a program that gives up.
        stream::connect_to(&target).map_err(|error| {
            format!("the agent at {} does not answer: {error}", target.display())
        })?;
        let told = |error: io::Error| format!("cannot make a socket for the step: {error}");
        let path = place.dir().join(SOCKET);
        let listener = stream::listen_at(&path).map_err(told)?;
        std::os::unix::fs::chown(&path, Some(owner.0), Some(owner.1)).map_err(told)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).map_err(told)?;
        let (stop, alive) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|errno| told(errno.into()))?;
        let thread = std::thread::Builder::new()
            .name("ssh-agent".to_owned())
            .spawn(move || serve(&listener, &stop, &target))
            .map_err(told)?;
        Ok(Lent {
            place,
            alive: Some(alive),
            thread: Some(thread),
            _keys: keys,
        })
    }
}

impl Lent {
    /// Where its socket is.
    pub(super) fn dir(&self) -> PathBuf {
        self.place.dir().to_owned()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended, which is all that is wanted.
            let _ = thread.join();
        }
    }
}

impl KeyAgent {
    fn start(dir: &Path, files: &[PathBuf]) -> Result<Self, String> {
        let mut command = Command::new("sh");
        command
            .args(["-c", KEEPER])
            // The socket's name is relative, or it could be too long for one.
            .current_dir(dir)
            // Ctrl-C is this command's affair.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        crate::sys::process::unblock(&mut command);
        let keeper = command
            .spawn()
            .map_err(|error| format!("cannot run sh, which keeps ssh-agent: {error}"))?;
        let mut started = Self { keeper };
        started.wait_for(&dir.join(KEYS))?;
        for file in files {
            add_key(dir, file)?;
        }
        Ok(started)
    }
    /// Waits until the agent answers.
    fn wait_for(&mut self, socket: &Path) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        while stream::connect_to(socket).is_err() {
            let ended = self.keeper.try_wait();
            if !matches!(ended, Ok(None)) || Instant::now() > end {
                return Err(
                    "a key in a file needs the program ssh-agent, which did not start: install openssh-client, or name \
                     the socket of an agent that runs"
                        .to_owned(),
                );
            }
            std::thread::sleep(GLANCE);
        }
        Ok(())
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // It waits for the agent, so that nothing is left of either.
        let _ = self.keeper.wait();
    }
}

/// Gives a key to the agent in a directory. Nobody is asked for a passphrase.
fn add_key(dir: &Path, file: &Path) -> Result<(), String> {
    let mut command = Command::new("ssh-add");
    command
        .args(["-q", "--"])
        .arg(file)
        .current_dir(dir)
        .env("SSH_AUTH_SOCK", KEYS)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env("SSH_ASKPASS", "false")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    crate::sys::process::unblock(&mut command);
    let output = command
        .output()
        .map_err(|error| format!("cannot run ssh-add: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    Err(format!(
        "ssh-add does not take the key {}: {}; a key with a passphrase is added to an agent first (ssh-add {}), and the \
         agent given with --ssh",
        file.display(),
        said.join(" "),
        file.display()
    ))
}

/// Takes connections until `stop` hangs up, and cuts those that are open then.
fn serve(listener: &OwnedFd, stop: &OwnedFd, target: &Path) {
    let open: Arc<Mutex<Vec<(u64, UnixStream, UnixStream)>>> = Arc::default();
    let mut serial = 0;
    loop {
        let mut fds = [
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => break,
        }
        if fds.get(1).is_some_and(|fd| fd.any() == Some(true)) {
            break;
        }
        let Ok(Some(client)) = stream::accept(listener.as_fd()) else {
            continue;
        };
        serial += 1;
        // A client that can't be served is cut off, and may try again.
        let _ = connect(client, target, &open, serial);
    }
    for (_, client, agent) in open.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let _ = client.shutdown(std::net::Shutdown::Both);
        let _ = agent.shutdown(std::net::Shutdown::Both);
    }
}

type Open = Arc<Mutex<Vec<(u64, UnixStream, UnixStream)>>>;

/// Serves one connection in a thread of its own.
fn connect(client: OwnedFd, target: &Path, open: &Open, serial: u64) -> io::Result<()> {
    let mut all = open.lock().unwrap_or_else(PoisonError::into_inner);
    if all.len() >= MOST {
        return Ok(());
    }
    let mut client = UnixStream::from(client);
    client.set_nonblocking(false)?;
    let mut agent = UnixStream::from(stream::connect_to(target)?);
    all.push((serial, client.try_clone()?, agent.try_clone()?));
    drop(all);
    let known = Arc::clone(open);
    let talk = move || {
        // Either side may hang up at any time.
        let _ = pass(&mut client, &mut agent);
        let mut all = known.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(other, ..)| *other != serial);
    };
    let spawned = std::thread::Builder::new().name("ssh-client".to_owned());
    spawned.spawn(talk).map(drop)
}

/// Passes questions on and answers back, one after another, until either side hangs up.
fn pass(client: &mut (impl Read + Write), agent: &mut (impl Read + Write)) -> io::Result<()> {
    loop {
        let question = message(client)?;
        if !question.get(4).is_some_and(|kind| ALLOWED.contains(kind)) {
            client.write_all(&REFUSAL)?;
            continue;
        }
        agent.write_all(&question)?;
        client.write_all(&message(agent)?)?;
    }
}

/// One message with its length before it.
fn message(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let count = u32::from_be_bytes(length) as usize;
    if count == 0 || count > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut whole = length.to_vec();
    whole.resize(4 + count, 0);
    from.read_exact(whole.get_mut(4..).unwrap_or_default())?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listing_and_signing_reach_the_agent() {
        let (mut step, mut ours) = UnixStream::pair().unwrap();
        let (mut agent, mut behind) = UnixStream::pair().unwrap();
        let passing = std::thread::spawn(move || pass(&mut ours, &mut agent));
        let ask = |step: &mut UnixStream, kind: u8| {
            step.write_all(&[0, 0, 0, 1, kind]).unwrap();
        };
        // 17 adds a key, 19 removes all, 22 locks, 27 is an extension.
        for kind in [17, 19, 22, 27, 0] {
            ask(&mut step, kind);
            assert_eq!(message(&mut step).unwrap(), REFUSAL);
        }
        for kind in ALLOWED {
            ask(&mut step, kind);
            assert_eq!(message(&mut behind).unwrap(), [0, 0, 0, 1, kind]);
            behind.write_all(&[0, 0, 0, 2, 12, 0]).unwrap();
            assert_eq!(message(&mut step).unwrap(), [0, 0, 0, 2, 12, 0]);
        }
        step.write_all(&[0xff; 8]).unwrap();
        assert!(passing.join().unwrap().is_err(), "a message of 4 GiB");
    }

    #[test]
    fn a_source_is_a_socket_or_keys() {
        let dir = std::env::temp_dir().join(format!("hoist-agent-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let listener = stream::listen_at(&dir.join("sock")).unwrap();
        std::fs::write(dir.join("key"), "k").unwrap();
        let find = |paths: &[&str], own: Option<&str>| {
            let paths = paths.iter().map(PathBuf::from).collect();
            Agent::find(&SshSource { paths }, own, &dir)
        };
        assert_eq!(find(&["sock"], None), Ok(Agent::Socket(dir.join("sock"))));
        assert_eq!(find(&["key"], None), Ok(Agent::Keys(vec![dir.join("key")])));
        let own = dir.join("sock").display().to_string();
        assert_eq!(find(&[], Some(&own)), Ok(Agent::Socket(dir.join("sock"))));
        let key = dir.join("key").display().to_string();
        for (paths, own) in [
            (&[][..], None),
            (&["nope"], None),
            (&["."], None),
            (&["sock", "key"], None),
            (&[], Some(key.as_str())),
        ] {
            assert!(find(paths, own).is_err(), "{paths:?} {own:?}");
        }
        drop(listener);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
