//! What is mounted for a volume: by the first container that uses it, until the last one is gone.
//!
//! Each user is a file in `<run>/volumes/<name>/`, written before the mount and removed when its container has ended;
//! `.lock` there is held meanwhile. A container that is cleaned up after a crash gives its place back like any other.
//! A process of its own mounts, so that a server that does not answer holds nobody up for longer than [`LIMIT`], and
//! nothing of the attempt stays: it is attached in one last call.
//!
//! Imports: `base`, `engine`, `sys`; beside it `record`. Source: moby `daemon/volume/local/local_unix.go` (`mount`,
//! `unmount`, `getAddress`); nfs(5); mount_setattr(2).

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use super::{DATA, attrs, file_system, open_own};
use crate::base::name::ContainerId;
use crate::engine::native::layout::Layout;
use crate::engine::native::records;
use crate::engine::spec::volume::FileSystem;
use crate::engine::{EngineError, Result, Roots};
use crate::sys::lock::{Hold, Lock};
use crate::sys::{fs, mount, mountinfo, pidfd, process};

/// The first argument of the process that mounts.
const WORD: &str = "__mount";
/// How long a mount may take.
const LIMIT: Duration = Duration::from_secs(20);
/// How long a server may take to answer at all.
const KNOCK: Duration = Duration::from_secs(5);
/// The lock beside the users.
const LOCK: &str = ".lock";
/// So many mounts may lie on each other.
const PILE: usize = 64;

/// Makes sure that a volume's file system is mounted as long as a container uses it.
///
/// # Errors
/// [`EngineError::Unsupported`] for what can't be mounted and what to do, [`EngineError::Failed`].
pub(in crate::engine::native) fn hold(
    layout: &Layout,
    name: &str,
    user: &ContainerId,
) -> Result<()> {
    let Some(wanted) = file_system(layout, name)? else {
        return Ok(());
    };
    let users = layout.mounted_volumes().join(name);
    let failed = |error: io::Error| EngineError::failed(format!("use volume {name}"), error);
    let _held = lock(&users).map_err(failed)?;
    std::fs::write(users.join(user.as_str()), "").map_err(failed)?;
    let place = layout.volumes().join(name).join(DATA);
    let made = match mountinfo::is_mount_point(&place).map_err(failed)? {
        true => Ok(()),
        false => mount_apart(layout, name, &wanted),
    };
    made.inspect_err(|_| {
        let _ = give_back(layout, name, &users, user.as_str());
    })
}

/// Gives back all that a container has of mounted volumes; what nobody uses any more is unmounted.
///
/// # Errors
/// The first failure; goes on after it.
pub(in crate::engine::native) fn release(layout: &Layout, user: &ContainerId) -> Result<()> {
    let mut outcome = Ok(());
    for name in records::entries(&layout.mounted_volumes())? {
        let users = layout.mounted_volumes().join(&name);
        if !users.join(user.as_str()).exists() {
            continue;
        }
        let failed = |error: io::Error| EngineError::failed(format!("leave volume {name}"), error);
        let gone = lock(&users)
            .map_err(failed)
            .and_then(|_held| give_back(layout, &name, &users, user.as_str()));
        outcome = outcome.and(gone);
    }
    outcome
}

/// The caller holds the lock.
fn give_back(layout: &Layout, name: &str, users: &Path, user: &str) -> Result<()> {
    let failed = |error: io::Error| EngineError::failed(format!("leave volume {name}"), error);
    match std::fs::remove_file(users.join(user)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    if records::entries(users)?.iter().any(|entry| entry != LOCK) {
        return Ok(());
    }
    take_off(layout, name)?;
    fs::remove_tree(users).map_err(failed)
}

/// Takes a volume's mount away, whoever used it.
///
/// # Errors
/// [`EngineError::Failed`]: something is mounted there still.
pub(super) fn unmount(layout: &Layout, name: &str) -> Result<()> {
    let users = layout.mounted_volumes().join(name);
    if !users.exists() {
        return take_off(layout, name);
    }
    let failed = |error: io::Error| EngineError::failed(format!("unmount volume {name}"), error);
    let _held = lock(&users).map_err(failed)?;
    take_off(layout, name)?;
    fs::remove_tree(&users).map_err(failed)
}

fn take_off(layout: &Layout, name: &str) -> Result<()> {
    let place = layout.volumes().join(name).join(DATA);
    for _ in 0..PILE {
        match umount2(&place, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // Nothing is mounted there, or there is no such place.
            Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            Err(errno) => {
                let step = format!("unmount {}", place.display());
                return Err(EngineError::failed(step, errno.desc()));
            }
        }
    }
    let step = format!("unmount {}", place.display());
    Err(EngineError::failed(
        step,
        "something is mounted there again and again",
    ))
}

/// The last user takes the lock's file along; who waited for it makes another.
fn lock(users: &Path) -> io::Result<Lock> {
    loop {
        fs::make_dirs(users, 0o700)?;
        match Lock::acquire(&users.join(LOCK), Hold::Exclusive) {
            Ok(held) if held.is_at(&users.join(LOCK)) => return Ok(held),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Has a process of its own mount a volume, and waits for it so long.
fn mount_apart(layout: &Layout, name: &str, wanted: &FileSystem) -> Result<()> {
    let failed = |error: io::Error| EngineError::failed(format!("mount volume {name}"), error);
    let (data, run) = (&layout.roots().data, &layout.roots().run);
    let (data, run) = (data.to_string_lossy(), run.to_string_lossy());
    let (answer, theirs) = io::pipe().map_err(failed)?;
    let args = [WORD, &*data, &*run, name];
    let stdio = [None, None, Some(theirs.as_fd())];
    let child = process::spawn_self("hoist mount", &args, stdio, &[], false).map_err(failed)?;
    drop(theirs);
    let in_time =
        pidfd::has_ended(&child.pidfd, Some(LIMIT)).map_err(|errno| failed(errno.into()))?;
    if !in_time {
        let _ = pidfd::send_signal(&child.pidfd, libc::SIGKILL);
    }
    let ended = pidfd::wait(&child.pidfd).map_err(|errno| failed(errno.into()))?;
    if in_time && ended.code() == 0 {
        return Ok(());
    }
    let mut text = String::new();
    // Only what it said itself: a process of its own could hold the pipe open for as long as it likes.
    let _ = File::from(OwnedFd::from(answer))
        .take(4096)
        .read_to_string(&mut text);
    let why = match (in_time, text.trim()) {
        (false, _) => format!("it took longer than {} s", LIMIT.as_secs()),
        (true, "") => format!("the process that mounts ended with code {}", ended.code()),
        (true, text) => text.to_owned(),
    };
    // It may have been killed behind the last call.
    take_off(layout, name)?;
    let from = match wanted.server() {
        Some(server) => format!("{} of server {server}", wanted.device),
        None => wanted.device.clone(),
    };
    Err(EngineError::VolumeUnavailable {
        name: name.to_owned(),
        why: format!("cannot mount {from} ({}): {why}", wanted.kind),
    })
}

/// Mounts one volume: `DATA RUN NAME`. What goes wrong is told on standard error.
pub fn main(args: &[OsString]) -> i32 {
    let [data, run, name] = args else { return 2 };
    let layout = Layout::new(Roots {
        data: PathBuf::from(data),
        run: PathBuf::from(run),
    });
    let Some(name) = name.to_str() else { return 2 };
    let done = match file_system(&layout, name) {
        Ok(Some(wanted)) => mount_here(&layout, name, &wanted),
        Ok(None) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    match done {
        Ok(()) => 0,
        Err(why) => {
            let _ = writeln!(io::stderr(), "{why}");
            1
        }
    }
}

fn mount_here(layout: &Layout, name: &str, wanted: &FileSystem) -> std::result::Result<(), String> {
    let wanted = reachable(wanted)?;
    let target = open_own(name, &layout.volumes().join(name)).map_err(|error| error.to_string())?;
    let tree = make(&wanted)?;
    mount::attach(&tree, &target).map_err(|errno| errno.desc().to_lowercase())
}

fn make(wanted: &FileSystem) -> std::result::Result<OwnedFd, String> {
    let kind = c(&wanted.kind)?;
    let made = mount::Fs::open(&kind).map_err(|errno| match errno {
        Errno::ENODEV => format!(
            "this kernel has no file system `{0}`: load its module (`modprobe {0}`) or correct `type`",
            wanted.kind
        ),
        errno => errno.desc().to_lowercase(),
    })?;
    let told = |what: &str, errno: Errno| match made.complaint() {
        Some(text) => format!("{text} ({})", errno.desc().to_lowercase()),
        None if what.is_empty() => words(errno, wanted),
        None => format!("option `{what}`: {}", errno.desc().to_lowercase()),
    };
    let set = |key: &str, value: Option<&str>| {
        let name = c(key)?;
        let done = match value {
            Some(value) => made.set(&name, &c(value)?),
            None => made.flag(&name),
        };
        done.map_err(|errno| told(key, errno))
    };
    set("source", Some(&wanted.device))?;
    if wanted.words.read_only {
        set("ro", None)?;
    }
    for (key, value) in &wanted.options {
        set(key, value.as_deref())?;
    }
    made.create().map_err(|errno| match errno {
        Errno::ENOTBLK | Errno::ENOENT => words(errno, wanted),
        errno => told("", errno),
    })?;
    made.detached(attrs(wanted.words))
        .map_err(|errno| told("", errno))
}

fn c(text: &str) -> std::result::Result<CString, String> {
    CString::new(text).map_err(|_| "an option holds a zero byte".to_owned())
}

/// What an error of the mount means to who wrote the file.
fn words(errno: Errno, wanted: &FileSystem) -> String {
    let device = &wanted.device;
    match errno {
        Errno::ENOENT => format!("{device} does not exist"),
        Errno::ENOTBLK => format!(
            "{device} is no block device; attach an image file to one with `losetup --find --show {device}`"
        ),
        Errno::EINVAL => format!(
            "{device} holds no {} file system, or an option is wrong",
            wanted.kind
        ),
        errno => errno.desc().to_lowercase(),
    }
}

/// The file system with its server's address in numbers, as the kernel wants it, after the server has answered.
fn reachable(wanted: &FileSystem) -> std::result::Result<FileSystem, String> {
    let Some(server) = wanted.server() else {
        return Ok(wanted.clone());
    };
    let port = wanted.port().unwrap_or(0);
    let found: Vec<SocketAddr> = match server.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => (server.as_str(), port)
            .to_socket_addrs()
            .map_err(|error| format!("the name `{server}` does not resolve: {error}"))?
            .collect(),
    };
    let mut why = format!("the name `{server}` has no address");
    for address in found {
        if wanted.port().is_some()
            && let Err(error) = TcpStream::connect_timeout(&address, KNOCK)
        {
            why = match error.kind() {
                io::ErrorKind::TimedOut => format!(
                    "{address} does not answer within {} s: is the server up, and no firewall between?",
                    KNOCK.as_secs()
                ),
                io::ErrorKind::ConnectionRefused => {
                    format!("nothing listens at {address}: is the server's service running?")
                }
                _ => format!("{address} can't be reached: {error}"),
            };
            continue;
        }
        let mut resolved = wanted.clone();
        resolved.options.retain(|(key, _)| key != "addr");
        let address = Some(address.ip().to_string());
        resolved.options.insert(0, ("addr".to_owned(), address));
        return Ok(resolved);
    }
    Err(why)
}
