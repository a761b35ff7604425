//! The last steps: environment, working directory, streams, and the search for the program.
//!
//! Imports: `engine`, `sys`. The texts and codes of a program that can't be run are Docker's (Go `os/exec`
//! through runc): 127 when it or its directory is not there, 126 when it can't be executed.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use indexmap::IndexMap;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;

use super::limits::PrivateProc;
use super::message::{step, words};
use super::user::User;
use crate::engine::spec::Process;
use crate::engine::{EngineError, Result};
use crate::sys::fs::{Resolve, Root, is_kind, openat2};

/// As Docker: `DefaultPathEnv`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The whole environment: what is given, later entries winning, and what every process has.
pub(super) fn environment(
    layers: &[&[String]],
    hostname: Option<&str>,
    tty: bool,
    user: &User,
) -> IndexMap<String, String> {
    let mut env = IndexMap::new();
    env.insert("PATH".to_owned(), PATH.to_owned());
    if let Some(hostname) = hostname {
        env.insert("HOSTNAME".to_owned(), hostname.to_owned());
    }
    if tty {
        env.insert("TERM".to_owned(), "xterm".to_owned());
    }
    for (at, layer) in layers.iter().enumerate() {
        for entry in *layer {
            match entry.split_once('=') {
                Some((name, value)) => env.insert(name.to_owned(), value.to_owned()),
                None if at == 0 => env.insert(entry.clone(), String::new()),
                None => env.shift_remove(entry),
            };
        }
    }
    if env.get("HOME").is_none_or(String::is_empty) {
        env.insert("HOME".to_owned(), user.home.clone());
    }
    env
}

/// Goes to the working directory by a lookup that no magic link can lead astray.
///
/// A link such as `/proc/self/fd/7` could lead to a directory of the host; openat2 refuses it. As runc: one that is not
/// there is worded and counts as a program that is not.
pub(super) fn enter_directory(cwd: &str) -> Result<()> {
    let cwd = if cwd.is_empty() { "/" } else { cwd };
    let fail = || step(format!("enter the working directory {cwd}"));
    let root = nix::fcntl::open(
        c"/",
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )
    .map_err(fail())?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let cannot = |errno| {
        let why = words(errno);
        let text = format!("chdir to cwd ({cwd:?}) set in config.json failed: {why}");
        cannot_run(127, text)
    };
    let dir = openat2(&root, Path::new(cwd), flags, 0, Resolve::InRoot);
    let dir = dir.map_err(|errno| match errno {
        // A magic link, or links in a circle: neither is a directory that is missing.
        Errno::ELOOP => fail()(errno),
        errno => cannot(errno),
    })?;
    nix::unistd::fchdir(&dir).map_err(cannot)?;
    let here = nix::unistd::getcwd().map_err(fail())?;
    if !here.starts_with("/") {
        return Err(EngineError::failed(
            "enter the working directory",
            "it is outside the container",
        ));
    }
    Ok(())
}

/// Opens the container's own null device, if it has one that can be trusted to be it.
pub(super) fn own_null(proc: &PrivateProc) -> Option<OwnedFd> {
    let root = Root::open(Path::new("/")).ok()?;
    let found = openat2(
        &root,
        Path::new("dev/null"),
        OFlag::O_PATH,
        0,
        Resolve::NoLinks,
    )
    .ok()?;
    is_null(found.as_fd()).then(|| proc.reopen(&found).ok())?
}

fn is_null(stream: BorrowedFd<'_>) -> bool {
    let null = nix::sys::stat::makedev(1, 3);
    fstat(stream).is_ok_and(|found| is_kind(&found, libc::S_IFCHR) && found.st_rdev == null)
}

/// The stream, or the container's own null device where the stream is the host's. As runc: `reOpenDevNull`.
pub(super) fn null_in_place_of<'a>(
    stream: BorrowedFd<'a>,
    null: Option<&'a OwnedFd>,
) -> BorrowedFd<'a> {
    null.filter(|_| is_null(stream))
        .map_or(stream, |null| null.as_fd())
}

/// Gives pipes of the streams to the user, who may want to open `/dev/stdout` again. As runc:
/// `fixStdioPermissions`; files and devices of others stay theirs.
pub(super) fn own_streams(user: &User) {
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for stream in [input.as_fd(), output.as_fd(), error.as_fd()] {
        if fstat(stream)
            .is_ok_and(|found| is_kind(&found, libc::S_IFIFO) && found.st_uid != user.uid)
        {
            // A pipe that can't be given away still works as the open stream it is.
            let _ = nix::unistd::fchown(stream, Some(user.uid.into()), Some(user.gid.into()));
        }
    }
}

fn cannot_run(code: i32, message: String) -> EngineError {
    EngineError::CannotRun { code, message }
}

/// Executes the program. Returns only with the reason why not.
pub(super) fn execute(process: &Process, env: &IndexMap<String, String>) -> EngineError {
    let Some(program) = process.args.first() else {
        return cannot_run(127, "no command specified".to_owned());
    };
    let c = |text: &str| CString::new(text).ok();
    let args: Option<Vec<CString>> = process.args.iter().map(|word| c(word)).collect();
    let words: Option<Vec<CString>> = env
        .iter()
        .map(|(name, value)| c(&format!("{name}={value}")))
        .collect();
    let (Some(args), Some(env_words)) = (args, words) else {
        return cannot_run(
            126,
            format!("exec: {program:?}: a NUL byte in an argument or variable"),
        );
    };
    if program.contains('/') {
        return try_path(program, program, &args, &env_words).1;
    }
    let mut denied = None;
    for dir in env.get("PATH").map_or("", String::as_str).split(':') {
        let dir = if dir.is_empty() { "." } else { dir };
        let path = format!("{}/{program}", dir.trim_end_matches('/'));
        match try_path(&path, program, &args, &env_words) {
            (Errno::ENOENT | Errno::ENOTDIR, _) if !Path::new(&path).exists() => {}
            (Errno::EACCES | Errno::EISDIR, error) => denied = denied.or(Some(error)),
            (_, error) => return error,
        }
    }
    // As Go's LookPath: what can't be executed does not count, a directory neither.
    match denied {
        Some(EngineError::CannotRun { message, .. }) if message.ends_with("permission denied") => {
            cannot_run(126, message)
        }
        _ => cannot_run(
            127,
            format!("exec: {program:?}: executable file not found in $PATH"),
        ),
    }
}

fn try_path(path: &str, shown: &str, args: &[CString], env: &[CString]) -> (Errno, EngineError) {
    let Ok(file) = CString::new(path) else {
        return (
            Errno::EINVAL,
            cannot_run(127, format!("exec: {shown:?}: invalid name")),
        );
    };
    let there = Path::new(path);
    if there.is_dir() {
        return (
            Errno::EISDIR,
            cannot_run(126, format!("exec: {shown:?}: is a directory")),
        );
    }
    let file: &CStr = &file;
    let Err(errno) = nix::unistd::execve(file, args, env);
    let error = match errno {
        Errno::ENOENT if there.symlink_metadata().is_err() => cannot_run(
            127,
            format!("exec: {shown:?}: stat {path}: no such file or directory"),
        ),
        Errno::ENOTDIR => cannot_run(
            127,
            format!("exec: {shown:?}: stat {path}: not a directory"),
        ),
        // The file is there: its interpreter is not.
        Errno::ENOENT => cannot_run(127, format!("exec {path}: no such file or directory")),
        Errno::EACCES => cannot_run(126, format!("exec: {shown:?}: permission denied")),
        errno => cannot_run(126, format!("exec {path}: {}", words(errno))),
    };
    (errno, error)
}
