//! `attach`: this command's streams at a running container's own.
//!
//! Imports: `engine`, `cli::streams`, `cli::detach`. As Docker: docker/cli `command/container/attach.go`.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;

use super::containers::of_service;
use crate::base::scalar::Signal;
use crate::cli::app::App;
use crate::cli::args::AttachArgs;
use crate::cli::detach::Keys;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::interrupts::{Others, ends};
use crate::cli::streams::{self, Ended};
use crate::engine::state::State;
use crate::engine::{Until, Waited};

pub(super) fn run(app: &App, args: &AttachArgs) -> Outcome {
    let keys = match args.detach_keys.as_deref() {
        None | Some("") => Keys::usual(),
        Some(text) => Keys::parse(text).map_err(|why| {
            Failure::new(format!("invalid --detach-keys: {why}"))
                .hint("write letters and ctrl-LETTER with commas between: ctrl-p,ctrl-q")
        })?,
    };
    let proxy = args.sig_proxy.unwrap_or(true);
    let engine = app.engine()?;
    let container = of_service(app, engine.as_ref(), &args.service, args.index)?;
    // As Docker: what has a terminal gets its signals from there.
    let others = (proxy && !container.tty).then(Others::catch).transpose()?;
    let work = app.work(false)?;
    if matches!(container.state, State::Paused { .. }) {
        let text = "You cannot attach to a paused container, unpause it first";
        return Err(Failure::new(text).hint(format!("hoist unpause {}", args.service)));
    }
    let stdin = io::stdin();
    if container.tty && !args.no_stdin && !stdin.is_terminal() {
        return Err(Failure::new("the input device is not a TTY").hint("or use --no-stdin"));
    }
    let socket = Arc::new(engine.attach(&container.id)?.socket);
    let raw = match container.tty && !args.no_stdin {
        true => streams::Raw::enter(),
        false => None,
    };
    let (engine_of, id, sized) = (
        Arc::clone(&engine),
        container.id.clone(),
        Arc::clone(&socket),
    );
    let tty = container.tty;
    if let Some(others) = others {
        let (engine, id) = (Arc::clone(&engine), container.id.clone());
        others.each(move |number| {
            // A container that has just ended takes no signal.
            let _ = engine.kill(&id, Signal(number));
        })?;
    }
    let cancel = work.context.cancel.clone();
    let (left, leave) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
        .map_err(|errno| Failure::new(format!("cannot make a pipe: {errno}")))?;
    let mut leave = Some(leave);
    work.interrupts.hand_to(move |signal| {
        if !ends(signal) {
            if tty {
                streams::send_size(sized.as_ref());
            }
        } else if proxy {
            // A container that has just ended takes no signal.
            let _ = engine_of.kill(&id, Signal(signal as i32));
        } else {
            cancel.cancel();
            drop(leave.take());
        }
    });
    if container.tty {
        streams::send_size(socket.as_ref());
    }
    // Docker looks for the keys only where a terminal is.
    let keys = container.tty.then_some(keys);
    let ended = streams::attached_until(&socket, !args.no_stdin, keys, Some(&left));
    drop(raw);
    match ended? {
        Ended::Code(code) => Ok(code),
        Ended::Detached => {
            crate::ui::write_err("read escape sequence\n");
            Err(Failure::said(1))
        }
        Ended::Left => Err(Failure::said(130)),
        // The container's own record says how it ended.
        Ended::Broken => match engine.wait(&container.id, Until::Exited, &work.context.cancel)? {
            Waited::Exited(exit) => Ok(exit.code()),
            Waited::Cancelled => Err(Failure::said(130)),
            _ => Err(Failure::new(
                "the container is gone; its exit code is not known",
            )),
        },
    }
}
