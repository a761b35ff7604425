//! Processes by descriptor: what is meant can't be another process with the same number.
//!
//! Imports: nothing of ours. Source: pidfd_open(2), pidfd_send_signal(2), waitid(2), ioctl_pidfd(2).
#![expect(unsafe_code, reason = "pidfd calls have no safe binding")]

use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

impl Ended {
    /// The code as a shell gives it: 128 plus signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128 + signal,
        }
    }
    /// Reads a status as wait4(2) gives it.
    pub fn from_wait_status(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Signaled(libc::WTERMSIG(status))
        } else {
            Self::Exited(libc::WEXITSTATUS(status))
        }
    }
}

/// Opens a process by number.
///
/// # Errors
/// `ESRCH` when there is none.
pub fn open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: plain numbers.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0u32) })?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends a signal; 0 only asks whether that would be allowed.
///
/// # Errors
/// `ESRCH` when it has ended and was waited for, `EPERM`, `EINVAL`.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> Result<(), Errno> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open during the call; a null siginfo is allowed.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            none,
            0u32,
        )
    };
    Errno::result(done).map(drop)
}

/// Whether the process has ended, waiting at most `timeout` (forever when `None`) for it.
///
/// # Errors
/// The kernel's.
pub fn has_ended(pidfd: impl AsFd, timeout: Option<Duration>) -> Result<bool, Errno> {
    let limit = timeout.map_or(PollTimeout::NONE, |time| {
        PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)
    });
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, limit) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Waits for the end of a child of the caller.
///
/// # Errors
/// `ECHILD` when it is no child.
pub fn wait(pidfd: impl AsFd) -> Result<Ended, Errno> {
    loop {
        // SAFETY: siginfo_t is plain data for which all zero bytes are valid.
        let mut told: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let id = pidfd.as_fd().as_raw_fd() as libc::id_t;
        // SAFETY: `told` is a live siginfo_t that the kernel fills.
        let done = unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut told, libc::WEXITED) };
        match Errno::result(done) {
            // SAFETY: a successful waitid has filled the child's status.
            Ok(_) => return Ok(ended(told.si_code, unsafe { told.si_status() })),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn ended(code: i32, status: i32) -> Ended {
    if code == libc::CLD_EXITED {
        Ended::Exited(status)
    } else {
        Ended::Signaled(status)
    }
}

/// How a process that need not be a child has ended; `None` when the kernel can't tell (before Linux
/// 6.15), or it has not ended or was not waited for yet.
///
/// Source: ioctl_pidfd(2), `PIDFD_GET_INFO` with `PIDFD_INFO_EXIT`.
pub fn exit_of(pidfd: impl AsFd) -> Option<Ended> {
    /// `PIDFD_INFO_EXIT`
    const EXIT: u64 = 1 << 3;
    /// Size of the structure's first version, 64 bytes; bigger kernels accept it.
    const SIZE: usize = 64;
    /// `_IOWR(0xFF, 11, struct pidfd_info)`
    const GET_INFO: u64 = (3 << 30) | ((SIZE as u64) << 16) | (0xff << 8) | 11;
    /// Offset of `exit_code`, the last `__s32`.
    const CODE: usize = 60;
    let mut told = [0u64; SIZE / 8];
    told[0] = EXIT;
    // SAFETY: `told` is 64 live bytes, the size that the request names, aligned for its `__u64` fields.
    let done = unsafe {
        libc::ioctl(
            pidfd.as_fd().as_raw_fd(),
            GET_INFO as libc::Ioctl,
            told.as_mut_ptr(),
        )
    };
    let bytes: Vec<u8> = told.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let status = bytes.get(CODE..)?.first_chunk::<4>()?;
    (done == 0 && told[0] & EXIT != 0).then(|| Ended::from_wait_status(i32::from_ne_bytes(*status)))
}
