//! Processes: our own binary as a container can't change it, new ones from it, and what is known of others.
//!
//! Imports: nothing of ours. Source: execveat(2), memfd_create(2), clone(2), close_range(2), proc_pid_stat(5).
#![expect(
    unsafe_code,
    reason = "clone with shared memory, execveat and close_range have no safe binding"
)]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::stat::Mode;

use super::mount::{Overlay, overlay};

/// Ends the process without running anything: what a forked copy must do.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Has a program begin with no signal blocked, as any program expects it, whatever the caller blocks: the mask is passed
/// on otherwise, and neither Ctrl-C nor a request to end would reach it.
pub fn unblock(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    let unblock = || Ok(nix::sys::signal::SigSet::empty().thread_set_mask()?);
    // SAFETY: between fork and execution it only sets the signal mask, which any thread may do at any time.
    unsafe { command.pre_exec(unblock) };
}

/// Whether the caller has no other thread.
///
/// Source: unshare(2), `CLONE_THREAD`: changes nothing, and fails beside other threads.
pub fn is_single_threaded() -> bool {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_THREAD).is_ok()
}

/// When a process was started, in clock ticks since boot; with its number it names a process for good.
///
/// # Errors
/// The system's; `NotFound` when there is no such process.
///
/// Source: proc_pid_stat(5), field 22.
pub fn start_time(pid: i32) -> io::Result<u64> {
    let fields = stat(pid)?;
    let field = fields.split_ascii_whitespace().nth(19);
    field
        .and_then(|ticks| ticks.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The parent of a process.
///
/// # Errors
/// The system's; `NotFound` when there is no such process.
///
/// Source: proc_pid_stat(5), field 4.
pub fn parent(pid: i32) -> io::Result<i32> {
    let fields = stat(pid)?;
    let field = fields.split_ascii_whitespace().nth(1);
    field
        .and_then(|pid| pid.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The caller's children, as long as it has one thread; none where the kernel does not tell.
///
/// Source: proc_tid_children(5).
pub fn children() -> Vec<i32> {
    let text = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    text.split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// The status, as wait4(2) gives it, of a process that has ended and that nobody has waited for yet; `None` for
/// every other one.
///
/// Source: proc_pid_stat(5), fields 3 and 52.
pub fn status_of_zombie(pid: i32) -> Option<i32> {
    let fields = stat(pid).ok()?;
    let mut fields = fields.split_ascii_whitespace();
    (fields.next()? == "Z").then(|| fields.nth(48)?.parse().ok())?
}

/// The fields of `/proc/PID/stat` from the third on. The name, field 2, may hold anything; the last parenthesis
/// ends it.
fn stat(pid: i32) -> io::Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(text
        .rsplit_once(')')
        .map_or_else(String::new, |(_, rest)| rest.to_owned()))
}

/// Gives all signals their default meaning and lets none wait.
///
/// # Errors
/// The kernel's.
pub fn default_signals() -> Result<(), Errno> {
    for number in (1..=64).filter(|number| ![libc::SIGKILL, libc::SIGSTOP, 32, 33].contains(number))
    {
        // SAFETY: the default action runs none of our code.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    nix::sys::signal::sigprocmask(
        nix::sys::signal::SigmaskHow::SIG_SETMASK,
        Some(&nix::sys::signal::SigSet::empty()),
        None,
    )
}

/// Marks every descriptor from `first` on as closed at the next execution.
///
/// # Errors
/// The kernel's; `EINVAL` before Linux 5.11.
pub fn close_on_exec(first: u32) -> Result<(), Errno> {
    // SAFETY: only a flag changes; no descriptor that somebody owns is closed.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    Errno::result(done).map(drop)
}

/// Closes every descriptor but these.
///
/// For a forked copy that will never drop what it inherited: it must leave through [`exit_now`] or an
/// execution.
///
/// # Errors
/// The kernel's.
pub fn keep_only(kept: &[RawFd]) -> Result<(), Errno> {
    let mut kept: Vec<u32> = kept
        .iter()
        .filter_map(|fd| u32::try_from(*fd).ok())
        .collect();
    kept.sort_unstable();
    let mut from = 0u32;
    for fd in kept.into_iter().map(Some).chain([None]) {
        let to = fd.map_or(u32::MAX, |fd| fd.wrapping_sub(1));
        if fd.is_none_or(|fd| fd > from) {
            // SAFETY: the caller has promised that owners of these descriptors are never dropped.
            Errno::result(unsafe { libc::syscall(libc::SYS_close_range, from, to, 0u32) })?;
        }
        from = fd.map_or(from, |fd| fd.saturating_add(1).max(from));
    }
    Ok(())
}

/// Puts three descriptors in the places of the standard streams.
///
/// # Errors
/// The kernel's.
pub fn set_streams(streams: [BorrowedFd<'_>; 3]) -> Result<(), Errno> {
    let mut moved = Vec::new();
    for stream in streams {
        // Above 2, so that no source is overwritten before it was used.
        let raw = fcntl(stream, FcntlArg::F_DUPFD_CLOEXEC(3))?;
        // SAFETY: the kernel has just made this descriptor for us.
        moved.push(unsafe { OwnedFd::from_raw_fd(raw) });
    }
    for (number, stream) in moved.iter().enumerate() {
        // SAFETY: the standard streams are nobody's property here; dup2 replaces them whole.
        Errno::result(unsafe { libc::dup2(stream.as_raw_fd(), number as RawFd) })?;
    }
    Ok(())
}

/// Opens our own binary in a form that a container can't write to: as a file of a detached read-only
/// overlay, or, where the kernel refuses that, as a sealed copy in memory. Everything that enters a
/// container must run from it.
///
/// # Errors
/// The system's.
pub fn self_exe() -> io::Result<OwnedFd> {
    let own = File::open("/proc/self/exe")?;
    if is_protected(&own) {
        return Ok(own.into());
    }
    match overlaid(&own) {
        Some(fd) => Ok(fd),
        None => sealed_copy(own),
    }
}

/// Whether the binary already runs from one of the two forms.
fn is_protected(exe: &File) -> bool {
    let sealed = fcntl(exe, FcntlArg::F_GET_SEALS)
        .is_ok_and(|seals| SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_WRITE));
    // Magic of overlayfs, linux/magic.h; only the detached one has no path that leads there.
    let overlay = nix::sys::statfs::fstatfs(exe)
        .is_ok_and(|found| found.filesystem_type().0 as u64 == 0x794c_7630);
    let path = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let elsewhere = match (std::fs::metadata(&path), exe.metadata()) {
        (Ok(there), Ok(here)) => (there.dev(), there.ino()) != (here.dev(), here.ino()),
        _ => true,
    };
    sealed || (overlay && elsewhere && path.parent() == Some(Path::new("/")))
}

fn overlaid(own: &File) -> Option<OwnedFd> {
    let path = std::fs::read_link("/proc/self/exe").ok()?;
    let (dir, name) = (path.parent()?.to_owned(), path.file_name()?);
    // An overlay without an upper directory wants two lower ones, the second below the first. Before Linux 6.15
    // neither may be detached, so it is one that is always there and never asked for anything.
    let lower: [PathBuf; 2] = [dir, PathBuf::from("/sys")];
    let mount = overlay(&Overlay {
        lower: &lower,
        upper: None,
    })
    .ok()?;
    let flags = OFlag::O_RDONLY;
    let exe = super::fs::openat2(
        &mount,
        Path::new(name),
        flags,
        0,
        super::fs::Resolve::NoLinks,
    )
    .ok()?;
    let exe = File::from(exe);
    // The file may have been replaced since we were started.
    let (found, ours) = (exe.metadata().ok()?, own.metadata().ok()?);
    ((found.ino(), found.len()) == (ours.ino(), ours.len())).then(|| exe.into())
}

fn sealed_copy(mut own: File) -> io::Result<OwnedFd> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let memory = memfd_create(c"hoist", flags)?;
    let mut copy = File::from(memory);
    io::copy(&mut own, &mut copy)?;
    let seals = SealFlag::F_SEAL_SEAL
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(seals))?;
    // A descriptor that was open for writing can't be executed.
    Ok(File::open(super::fs::fd_path(&copy))?.into())
}

/// A process that [`spawn_self`] has made.
#[derive(Debug)]
pub struct Spawned {
    /// Its number.
    pub pid: i32,
    /// The process itself.
    pub pidfd: OwnedFd,
}

/// What the child of [`spawn_self`] needs; everything is made before it exists.
struct Launch {
    exe: RawFd,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    /// Number in the child, and the descriptor here.
    places: Vec<(RawFd, RawFd)>,
    detach: bool,
    errno: i32,
}

/// Starts our own binary again with other arguments, from the form that [`self_exe`] gives.
///
/// `title` is argument 0. A stream that is `None` is `/dev/null`. The child has the descriptors of `pass`
/// under the numbers given (3 or more), and no others. With `detach` it leads a session of its own.
/// Safe beside other threads: the child shares memory until it executes, and only makes system calls.
///
/// # Errors
/// The system's.
pub fn spawn_self(
    title: &str,
    args: &[&str],
    stdio: [Option<BorrowedFd<'_>>; 3],
    pass: &[(i32, BorrowedFd<'_>)],
    detach: bool,
) -> io::Result<Spawned> {
    let exe = self_exe()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let text = |text: &str| CString::new(text).map_err(|_| io::Error::from(Errno::EINVAL));
    let words = std::iter::once(title).chain(args.iter().copied()).map(text);
    let words: Vec<CString> = words.collect::<io::Result<_>>()?;
    let env: Vec<CString> = std::env::vars_os()
        .filter_map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            CString::new(name.into_vec()).ok()
        })
        .collect();
    let pointers = |words: &[CString]| -> Vec<*const libc::c_char> {
        words
            .iter()
            .map(|word| word.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let streams = stdio.iter().enumerate().map(|(number, fd)| {
        (
            number as RawFd,
            fd.map_or(null.as_raw_fd(), |fd| fd.as_raw_fd()),
        )
    });
    let mut launch = Launch {
        exe: exe.as_raw_fd(),
        argv: pointers(&words),
        envp: pointers(&env),
        places: streams
            .chain(pass.iter().map(|(number, fd)| (*number, fd.as_raw_fd())))
            .collect(),
        detach,
        errno: 0,
    };
    vfork(&mut launch)
}

fn vfork(launch: &mut Launch) -> io::Result<Spawned> {
    use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
    const STACK: usize = 64 * 1024;
    let mut stack = vec![0u128; STACK / 16];
    let mut pidfd: RawFd = -1;
    // A signal handler must not run in the child: it would change the parent's memory.
    let mut old = SigSet::empty();
    sigprocmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::all()),
        Some(&mut old),
    )?;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: the stack is live, aligned and grows down from its end; CLONE_VFORK keeps this thread, and
    // with it the stack and `launch`, still until the child has executed or ended.
    let pid = unsafe {
        libc::clone(
            launched,
            stack.as_mut_ptr_range().end.cast(),
            flags,
            std::ptr::from_mut(launch).cast(),
            &raw mut pidfd,
        )
    };
    let done = Errno::result(pid);
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&old), None)?;
    let pid = done?;
    // SAFETY: the kernel has just written this descriptor; nobody else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    if launch.errno != 0 {
        super::pidfd::wait(&pidfd)?;
        return Err(io::Error::from_raw_os_error(launch.errno));
    }
    Ok(Spawned { pid, pidfd })
}

/// The child of [`vfork`]: system calls only, no allocation, no lock.
extern "C" fn launched(launch: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `vfork` passes a live Launch that nobody else touches while the child runs.
    let launch = unsafe { &mut *launch.cast::<Launch>() };
    launch.errno = match launch_steps(launch) {
        Ok(never) => match never {},
        Err(errno) => errno as i32,
    };
    127
}

fn launch_steps(launch: &mut Launch) -> Result<std::convert::Infallible, Errno> {
    if launch.detach {
        nix::unistd::setsid()?;
    }
    // All sources go above all places first, so that no source is overwritten before it was used.
    let above = launch
        .places
        .iter()
        .map(|(number, _)| *number)
        .max()
        .unwrap_or(2)
        + 1;
    for (_, source) in &mut launch.places {
        // SAFETY: plain numbers.
        *source = Errno::result(unsafe { libc::fcntl(*source, libc::F_DUPFD_CLOEXEC, above) })?;
    }
    // SAFETY: as above.
    launch.exe = Errno::result(unsafe { libc::fcntl(launch.exe, libc::F_DUPFD_CLOEXEC, above) })?;
    close_on_exec(0)?;
    for (number, source) in &launch.places {
        // SAFETY: as above; the child has its own descriptor table.
        Errno::result(unsafe { libc::dup2(*source, *number) })?;
    }
    default_signals()?;
    // SAFETY: argv and envp are null-terminated arrays of live NUL-terminated strings.
    let done = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            launch.exe,
            c"".as_ptr(),
            launch.argv.as_ptr(),
            launch.envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Err(Errno::result(done).err().unwrap_or(Errno::UnknownErrno))
}

/// Gives the caller the name that `ps` shows; at most 15 bytes count.
pub fn set_name(name: &CStr) {
    // A name is only for the eye: a refusal changes nothing.
    let _ = nix::sys::prctl::set_name(name);
}

/// Opens a descriptor's file again, for a caller who must not share its offset or flags.
///
/// # Errors
/// The kernel's.
pub fn reopen(fd: impl AsFd, flags: OFlag) -> Result<OwnedFd, Errno> {
    nix::fcntl::open(
        &super::fs::fd_path(fd),
        flags | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_binary_can_be_read_but_not_written_through_the_descriptor() {
        let exe = self_exe().unwrap();
        // A sealed copy can be opened, and then refuses the write itself.
        let written = reopen(&exe, OFlag::O_WRONLY).and_then(|fd| nix::unistd::write(&fd, b"x"));
        let refused = [Errno::EROFS, Errno::ETXTBSY, Errno::EPERM, Errno::EACCES];
        assert!(refused.contains(&written.unwrap_err()));
        assert_eq!(
            File::from(exe).metadata().unwrap().len(),
            std::fs::metadata("/proc/self/exe").unwrap().len()
        );
    }

    #[test]
    fn a_spawned_copy_has_only_the_descriptors_it_was_given() {
        use std::io::Read as _;
        let (mut out, into) = io::pipe().unwrap();
        let _leak = File::open("/dev/zero").unwrap();
        // The test binary lists its tests when asked so.
        let args = ["--list", "--exact", "nothing"];
        let child = spawn_self("self", &args, [None, Some(into.as_fd()), None], &[], true).unwrap();
        drop(into);
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(super::super::pidfd::wait(&child.pidfd).unwrap().code(), 0);
        assert!(text.contains("0 tests"), "{text}");
    }

    #[test]
    fn an_ended_process_tells_its_status_until_somebody_waits_for_it() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "exit 7"])
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let pidfd = crate::sys::pidfd::open(pid).unwrap();
        assert!(crate::sys::pidfd::has_ended(&pidfd, None).unwrap());
        assert_eq!(status_of_zombie(pid), Some(7 << 8));
        child.wait().unwrap();
        assert_eq!(status_of_zombie(pid), None);
        assert_eq!(status_of_zombie(std::process::id().cast_signed()), None);
    }

    #[test]
    fn a_process_is_known_by_number_and_start_time() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(start_time(own).unwrap(), start_time(own).unwrap());
        assert!(start_time(1).unwrap() <= start_time(own).unwrap());
        assert!(start_time(i32::MAX).is_err());
    }
}
