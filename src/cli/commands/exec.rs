//! `exec`: runs a command in a running container and ends as it does.
//!
//! Imports: `engine`, `sys::mount`, `cli::streams`.

use std::io::{self, IsTerminal as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::fcntl::OFlag;

use super::containers::of_service;
use crate::cli::app::App;
use crate::cli::args::ExecArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::interrupts::Interrupts;
use crate::cli::{parse, streams};
use crate::engine::spec::{ExecSpec, Process};
use crate::engine::{ExecIo, ExecSession};
use crate::sys::mount::open_null;

pub(super) fn run(app: &App, args: &ExecArgs) -> Outcome {
    if app.globals.dry_run {
        // As Compose: what a command does can't be told without running it.
        return Err(Failure::new(
            "interactive exec is not supported in dry-run mode",
        ));
    }
    let engine = app.engine()?;
    let container = of_service(app, engine.as_ref(), &args.service, args.index)?;
    let interactive = args.interactive.unwrap_or(true) && !args.detach;
    let tty = wants_terminal(args.no_tty || args.detach, args.tty);
    let process = Process {
        args: args.command.clone(),
        env: parse::environment(&args.env, &app.env),
        cwd: args.workdir.clone().unwrap_or_default(),
        user: args.user.clone().unwrap_or_default(),
        groups: Vec::new(),
        privileged: args.privileged,
        tty,
    };
    let spec = ExecSpec {
        process,
        stdin: interactive,
    };
    let Streams {
        theirs,
        input,
        output,
        error,
    } = own_streams(interactive, args.detach)?;
    let begun = engine.exec(&container.id, &spec, theirs);
    let mut session = begun.map_err(|error| match args.detach {
        // As Docker: only one that is waited for has a code of its own.
        true => Failure::from(error).code(1),
        false => Failure::from(error),
    })?;
    if args.detach {
        return Ok(0);
    }
    if let Some(master) = session.master() {
        return with_terminal(session.as_mut(), master);
    }
    with_pipes(session, input, output, error)
}

/// Whether the process gets a terminal: both ends of this command's must be one, unless the user says.
pub(super) fn wants_terminal(refused: bool, asked: bool) -> bool {
    let both = io::stdin().is_terminal() && io::stdout().is_terminal();
    !refused && (both || asked)
}

/// The process's streams, and our ends of them.
struct Streams {
    theirs: ExecIo,
    /// Where its input is written; `None` when it has none.
    input: Option<OwnedFd>,
    output: OwnedFd,
    error: OwnedFd,
}

/// Makes streams of its own for the process, never this command's: a file or directory of the host that a shell has
/// opened for us must not get into a container.
fn own_streams(interactive: bool, detach: bool) -> Result<Streams, Failure> {
    let cannot = |errno: nix::errno::Errno| Failure::new(format!("cannot make streams: {errno}"));
    let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(cannot);
    let (read, input) = pipe()?;
    let (output, mut write) = pipe()?;
    let (error, mut write_error) = pipe()?;
    if detach {
        write = open_null().map_err(cannot)?;
        write_error = open_null().map_err(cannot)?;
    }
    Ok(Streams {
        theirs: ExecIo {
            input: read,
            output: write,
            error: write_error,
        },
        input: interactive.then_some(input),
        output,
        error,
    })
}

/// Copies both ways until the process ends.
fn with_pipes(
    mut session: Box<dyn ExecSession>,
    input: Option<OwnedFd>,
    output: OwnedFd,
    error: OwnedFd,
) -> Outcome {
    let cannot = |error: io::Error| Failure::new(format!("cannot copy the streams: {error}"));
    let thread = || std::thread::Builder::new();
    if let Some(input) = input {
        let copy = move || streams::input(&input);
        thread().spawn(copy).map_err(cannot)?;
    }
    let (ended, held) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|e| cannot(e.into()))?;
    let wait = move || {
        let code = session.wait();
        drop(held);
        code
    };
    let waiting = thread().spawn(wait).map_err(cannot)?;
    streams::outputs(output, error, &ended).map_err(cannot)?;
    match waiting.join() {
        Ok(code) => Ok(code?),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Copies between the two terminals until the process ends.
fn with_terminal(session: &mut dyn ExecSession, master: OwnedFd) -> Outcome {
    let master = Arc::new(master);
    streams::follow_size(master.as_ref());
    let sized = Arc::clone(&master);
    // In raw mode Ctrl-C is a byte like others; a changed window is all there is to tell.
    let _interrupts = Interrupts::catch(move |_| streams::follow_size(sized.as_ref()))?;
    let raw = streams::Raw::enter();
    let copied = streams::terminal(&master);
    drop(raw);
    copied?;
    Ok(session.wait()?)
}
