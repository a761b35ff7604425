//! Network namespaces: made, entered for one call, kept by a file.
//!
//! All of it happens on a thread of its own that ends with the call, so no caller's thread can be left in
//! the wrong namespace. Imports: nothing of ours. Source: network_namespaces(7), setns(2).

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// The calling thread's network namespace.
const OWN: &str = "/proc/thread-self/ns/net";

/// Runs `work` on another thread that has first done `enter`.
fn on_thread<T: Send>(
    enter: impl FnOnce() -> io::Result<()> + Send,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            enter()?;
            work()
        })?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a thread in a namespace panicked")))
    })
}

/// Runs `work` inside a network namespace; sockets it makes belong there for good.
///
/// # Errors
/// The kernel's, and those of `work`.
pub fn within<T: Send>(
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    on_thread(|| Ok(setns(netns, CloneFlags::CLONE_NEWNET)?), work)
}

/// Makes a network namespace and runs `work` inside; gives the namespace.
///
/// # Errors
/// The kernel's, and those of `work`.
pub fn create(work: impl FnOnce() -> io::Result<()> + Send) -> io::Result<OwnedFd> {
    on_thread(
        || Ok(unshare(CloneFlags::CLONE_NEWNET)?),
        || {
            work()?;
            current()
        },
    )
}

/// The calling thread's network namespace.
///
/// # Errors
/// The kernel's.
pub fn current() -> io::Result<OwnedFd> {
    Ok(File::open(OWN)?.into())
}

/// Binds a network namespace to a file, which is made if missing: it lives as long as the mount.
///
/// # Errors
/// The kernel's.
pub fn pin(netns: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    let source = crate::sys::fs::fd_path(netns);
    mount(
        Some(&source),
        path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?;
    Ok(())
}

/// Takes away what [`pin`] made; a missing one is fine.
///
/// # Errors
/// The kernel's.
pub fn unpin(path: &Path) -> io::Result<()> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH) {
            Ok(()) => {}
            // EINVAL: nothing is mounted there (any more).
            Err(Errno::EINVAL) => break,
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
