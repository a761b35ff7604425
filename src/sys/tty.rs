//! Pseudo terminals of a given devpts instance, by descriptor.
//!
//! Imports: nothing of ours. Source: pty(7), ioctl_tty(2).
#![expect(unsafe_code, reason = "terminal ioctls have no safe binding")]

use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;

/// Unlocks the other side of a master and opens it without a path lookup, so that nobody can put
/// another file in its place.
///
/// # Errors
/// The kernel's; `ENOTTY` when it is no master.
///
/// Source: ioctl_tty(2), `TIOCGPTPEER` (Linux 4.13).
pub fn peer(master: impl AsFd) -> Result<OwnedFd, Errno> {
    let unlock: libc::c_int = 0;
    // SAFETY: the kernel reads one int through the pointer.
    let done = unsafe {
        libc::ioctl(
            master.as_fd().as_raw_fd(),
            libc::TIOCSPTLCK,
            &raw const unlock,
        )
    };
    Errno::result(done)?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the request takes open flags as a plain number.
    let fd = unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTPEER, flags) };
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(Errno::result(fd)?) })
}

/// Makes a terminal the controlling one of the caller, who leads a new session.
///
/// # Errors
/// The kernel's; `EPERM` when the caller leads no session.
pub fn take_control(terminal: impl AsFd) -> Result<(), Errno> {
    // SAFETY: the request takes a plain number: 0, do not steal.
    let done = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) };
    Errno::result(done).map(drop)
}

/// Sets a terminal's size; its foreground process group is told.
///
/// # Errors
/// The kernel's.
pub fn resize(terminal: impl AsFd, rows: u16, columns: u16) -> Result<(), Errno> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel reads one winsize through the pointer.
    let done = unsafe {
        libc::ioctl(
            terminal.as_fd().as_raw_fd(),
            libc::TIOCSWINSZ,
            &raw const size,
        )
    };
    Errno::result(done).map(drop)
}
