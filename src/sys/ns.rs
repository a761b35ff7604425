//! Namespaces: the few calls that have no safe binding elsewhere.
//!
//! Imports: nothing of ours. Source: namespaces(7), pivot_root(2), setdomainname(2), keyctl(2).
#![expect(unsafe_code, reason = "setdomainname and keyctl have no safe binding")]

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;

/// Makes `root` the root of this mount namespace and takes the old one away.
///
/// `root` is a mount point that is not shared, and the caller is single-threaded: another thread would
/// keep the old root.
///
/// # Errors
/// The kernel's.
///
/// Source: pivot_root(2), `pivot_root(".", ".")`.
pub fn pivot_root(root: BorrowedFd<'_>) -> Result<(), Errno> {
    nix::unistd::fchdir(root)?;
    nix::unistd::pivot_root(c".", c".")?;
    // The old root now lies on top of the new one at "."; this takes it away.
    umount2(c".", MntFlags::MNT_DETACH)?;
    nix::unistd::chdir(c"/")
}

/// Sets the NIS domain name of this UTS namespace.
///
/// # Errors
/// The kernel's.
pub fn set_domain_name(name: &str) -> Result<(), Errno> {
    // SAFETY: pointer and length describe one live string, which the kernel only reads.
    Errno::result(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// Begins a new session keyring, so that the old one's keys can't be reached.
///
/// # Errors
/// The kernel's; `ENOSYS` without key support.
pub fn new_session_keyring(name: &CStr) -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: `name` is NUL-terminated and only read during the call.
    let done =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    Errno::result(done).map(drop)
}

/// Opens one of the caller's own namespaces: `net`, `mnt`, `pid`.
///
/// # Errors
/// The kernel's.
pub fn own(kind: &str) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/ns/{kind}");
    nix::fcntl::open(
        path.as_str(),
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}

/// Makes a network namespace and stays in the old one. The caller is single-threaded.
///
/// # Errors
/// The kernel's.
pub fn new_net() -> Result<OwnedFd, Errno> {
    let old = own("net")?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    let made = own("net").and_then(|made| loopback_up().map(|()| made));
    setns(&old, CloneFlags::CLONE_NEWNET)?;
    made
}

/// Runs `work` in the network namespace of a process, given by its pidfd, or in a given one, and comes back; sockets
/// that it makes belong there for good. The caller is single-threaded.
///
/// # Errors
/// The kernel's, and those of `work`.
pub fn in_net_of<T>(
    process: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let own = own("net")?;
    setns(process, CloneFlags::CLONE_NEWNET)?;
    let done = work();
    setns(&own, CloneFlags::CLONE_NEWNET)?;
    done
}

/// Makes a user namespace with these maps and stays in the old one: each line is the number inside, the one outside, and
/// how many. The caller is single-threaded.
///
/// # Errors
/// The kernel's; `ENOSPC` when the host allows no more of them.
///
/// Source: user_namespaces(7).
pub fn mapped_users(
    users: &[(u32, u32, u32)],
    groups: &[(u32, u32, u32)],
) -> Result<OwnedFd, Errno> {
    use super::clone::{Plan, Side, clone};
    let plan = Plan {
        flags: CloneFlags::CLONE_NEWUSER.bits() as u64,
        cgroup: None,
    };
    match clone(&plan)? {
        Side::Child => loop {
            // It only holds the namespace until it is killed, or whoever made it is.
            let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
            nix::unistd::pause();
        },
        Side::Parent { pid, pidfd } => {
            let made = name_users(pid, users, groups);
            let _ = super::pidfd::send_signal(&pidfd, libc::SIGKILL);
            super::pidfd::wait(&pidfd)?;
            made
        }
    }
}

fn name_users(
    pid: i32,
    users: &[(u32, u32, u32)],
    groups: &[(u32, u32, u32)],
) -> Result<OwnedFd, Errno> {
    for (file, lines) in [("uid_map", users), ("gid_map", groups)] {
        let line =
            |(inside, outside, count): &(u32, u32, u32)| format!("{inside} {outside} {count}\n");
        let text: String = lines.iter().map(line).collect();
        std::fs::write(format!("/proc/{pid}/{file}"), text)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    nix::fcntl::open(
        format!("/proc/{pid}/ns/user").as_str(),
        flags,
        Mode::empty(),
    )
}

/// Brings the loopback device of the current network namespace up. Source: netdevice(7).
fn loopback_up() -> Result<(), Errno> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    use std::os::fd::AsRawFd as _;
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain data for which all zero bytes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: `request` is a live ifreq with a NUL-terminated name; the kernel only reads it.
    let done = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as libc::Ioctl,
            &raw const request,
        )
    };
    Errno::result(done).map(drop)
}
