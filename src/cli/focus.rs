//! The service that has an attached `up`'s screen and keyboard to itself: only its lines are shown, and what is typed goes to its
//! standard input.
//!
//! In: an engine, the containers of a service. Out: which lines are shown; typed lines, sent.
//! Imports: `streams`, `engine`, `plan::desired` (names). A container's output comes from its log all the same, never from here.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;

use nix::sys::socket::{Shutdown, shutdown};

use super::streams::send_frame;
use crate::base::name::ProjectName;
use crate::engine::sandbox::frame;
use crate::engine::state::ObservedContainer;
use crate::engine::{Engine, EngineError};
use crate::plan::desired::screen_name;

/// One service before all others.
#[derive(Debug)]
pub struct Focus {
    names: BTreeSet<String>,
    input: Option<Input>,
}

/// A container's standard input; dropping it leaves the container as it is.
#[derive(Debug)]
struct Input {
    socket: OwnedFd,
    /// What ends a line: a terminal takes a carriage return for it.
    end: u8,
    echoes: bool,
}

impl Focus {
    /// Focuses these containers of one service; the first that takes input gets what is typed. `takes` says whether a container
    /// does.
    ///
    /// # Errors
    /// When the input can't be had.
    pub fn on(
        engine: &dyn Engine,
        project: &ProjectName,
        containers: &[&ObservedContainer],
        takes: bool,
    ) -> Result<Self, EngineError> {
        let names = containers
            .iter()
            .map(|c| screen_name(project, &c.name).to_owned());
        let first = containers
            .iter()
            .find(|c| c.state.is_up())
            .filter(|_| takes);
        let input = first.map(|container| {
            let socket = engine.attach(&container.id)?.socket;
            Input::new(socket, container.tty)
                .map_err(|error| EngineError::failed("start a thread", error))
        });
        Ok(Self {
            names: names.collect(),
            input: input.transpose()?,
        })
    }
    /// Whether lines of this container are shown.
    pub fn shows(&self, name: &str) -> bool {
        self.names.contains(name)
    }
    /// Whether typed lines go anywhere.
    pub fn takes(&self) -> bool {
        self.input.is_some()
    }
    /// Whether what is sent is seen in the container's own lines.
    pub fn echoes(&self) -> bool {
        self.input.as_ref().is_some_and(|input| input.echoes)
    }
    /// Sends a line.
    ///
    /// # Errors
    /// When the container has ended.
    pub fn send(&self, line: &str) -> io::Result<()> {
        let Some(input) = &self.input else {
            return Ok(());
        };
        let mut bytes = line.as_bytes().to_vec();
        bytes.push(input.end);
        send_frame(&input.socket, frame::STDIN, &bytes)
    }
}

impl Input {
    fn new(socket: OwnedFd, tty: bool) -> io::Result<Self> {
        // The output that comes along has to go somewhere, or the container would wait.
        let mut output = UnixStream::from(socket.try_clone()?);
        thread::Builder::new()
            .name("focus".to_owned())
            .spawn(move || {
                let mut buffer = [0; 4096];
                while output.read(&mut buffer).is_ok_and(|count| count > 0) {}
            })?;
        Ok(Self {
            socket,
            end: if tty { b'\r' } else { b'\n' },
            echoes: tty,
        })
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // Ends the thread; a container that has ended did so already.
        let _ = shutdown(self.socket.as_fd().as_raw_fd(), Shutdown::Both);
    }
}
