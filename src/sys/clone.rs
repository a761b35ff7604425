//! New processes of a single-threaded one.
//!
//! The child is a copy, as after fork(2), and may allocate: that is only right because no other thread can
//! hold a lock at that moment, so [`clone`] refuses to run beside other threads.
//!
//! Imports: nothing of ours. Source: clone(2), section clone3.
#![expect(unsafe_code, reason = "clone3 has no safe binding")]

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::errno::Errno;

/// Source: linux/sched.h; libc's constant overflows.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// How the child differs from its parent.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// `CLONE_NEW*`, and `CLONE_PARENT` for a sibling. `CLONE_PIDFD` is always added.
    pub flags: u64,
    /// The cgroup (v2) that the child is born in.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// Which side of a [`clone`] this is.
#[derive(Debug)]
pub enum Side {
    /// The new process.
    Child,
    /// The old one.
    Parent {
        /// The child's id, as the parent sees it.
        pid: i32,
        /// The child.
        pidfd: OwnedFd,
    },
}

/// Makes a child process.
///
/// # Errors
/// `EBUSY` beside other threads; the kernel's: `ENOSYS` before Linux 5.3, `EPERM`, `EAGAIN`.
///
/// Source: clone(2).
pub fn clone(plan: &Plan<'_>) -> Result<Side, Errno> {
    if !super::process::is_single_threaded() {
        return Err(Errno::EBUSY);
    }
    // SAFETY: no other thread exists, so that no lock is held that the child could wait for.
    unsafe { clone_beside_threads(plan) }
}

/// As [`clone`], without the look at other threads.
///
/// # Safety
/// No other thread may hold a lock that the child will want: the allocator's, standard output's.
unsafe fn clone_beside_threads(plan: &Plan<'_>) -> Result<Side, Errno> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is plain data for which all zero bytes are valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = plan.flags | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    // A sibling inherits the signal of the caller's own end.
    if plan.flags & libc::CLONE_PARENT as u64 == 0 {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = plan.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a live clone_args of the size given; without CLONE_VM the child gets its own copy
    // of memory and goes on on its own stack.
    let done = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    };
    match Errno::result(done)? {
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent {
            pid: pid as i32,
            // SAFETY: the kernel has just written this descriptor; nobody else owns it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// Runs `body` in a forked process and gives its exit code; for tests, whose harness has many threads.
#[cfg(test)]
pub(crate) fn in_fork(body: impl FnOnce() -> i32) -> i32 {
    use nix::sys::wait::{WaitStatus, waitpid};
    // SAFETY: libc's fork leaves the allocator usable in the child; the child only runs `body` and ends.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            super::process::exit_now(done.unwrap_or(101));
        }
        nix::unistd::ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
            WaitStatus::Exited(_, code) => code,
            other => panic!("{other:?}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_beside_other_threads_is_refused() {
        let (send, receive) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || receive.recv());
        let refused = clone(&Plan {
            flags: 0,
            cgroup: None,
        });
        drop(send);
        assert!(matches!(refused, Err(Errno::EBUSY)));
        assert!(thread.join().unwrap().is_err());
    }

    #[test]
    fn a_child_is_waited_for_through_its_pidfd() {
        let code = in_fork(|| {
            match clone(&Plan {
                flags: 0,
                cgroup: None,
            })
            .unwrap()
            {
                Side::Child => super::super::process::exit_now(7),
                Side::Parent { pidfd, .. } => super::super::pidfd::wait(&pidfd).unwrap().code(),
            }
        });
        assert_eq!(code, 7);
    }
}
