//! `exec`: runs a command in a running container and ends as it does.
//!
//! Imports: `engine`, `cli::streams`.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use super::containers::of_service;
use crate::cli::app::App;
use crate::cli::args::ExecArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::interrupts::Interrupts;
use crate::cli::{parse, streams};
use crate::engine::spec::{ExecSpec, Process};
use crate::engine::{ExecIo, ExecSession};

pub(super) fn run(app: &App, args: &ExecArgs) -> Outcome {
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
    let io = own_streams(interactive, args.detach)?;
    let mut session = engine.exec(&container.id, &spec, io)?;
    if args.detach {
        return Ok(0);
    }
    if let Some(master) = session.master() {
        return with_terminal(session.as_mut(), master);
    }
    Ok(session.wait()?)
}

/// Whether the process gets a terminal: both ends of this command's must be one, unless the user says.
pub(super) fn wants_terminal(refused: bool, asked: bool) -> bool {
    let both = io::stdin().is_terminal() && io::stdout().is_terminal();
    !refused && (both || asked)
}

/// This command's own streams, or `/dev/null` for what is not connected.
fn own_streams(interactive: bool, detach: bool) -> Result<ExecIo, Failure> {
    let cannot = |error: io::Error| Failure::new(format!("cannot hand the streams on: {error}"));
    let null = || -> io::Result<OwnedFd> {
        Ok(OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")?
            .into())
    };
    let input = if interactive {
        io::stdin().as_fd().try_clone_to_owned()
    } else {
        null()
    };
    let output = if detach {
        null()
    } else {
        io::stdout().as_fd().try_clone_to_owned()
    };
    let error = if detach {
        null()
    } else {
        io::stderr().as_fd().try_clone_to_owned()
    };
    Ok(ExecIo {
        input: input.map_err(cannot)?,
        output: output.map_err(cannot)?,
        error: error.map_err(cannot)?,
    })
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
