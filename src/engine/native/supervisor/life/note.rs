//! What the supervisor tells of its container: to the record that `events` reads.
//!
//! Imports: `base`, `engine`, `journal`; beside it the container's life. As Docker: moby `daemon/{monitor,exec,kill}.go`.
//! A probe's commands are left out, unlike there: a record of them would soon hold nothing else.

use std::io::Read as _;
use std::time::Duration;

use super::Life;
use crate::base::scalar::Signal;
use crate::engine::native::journal;
use crate::engine::state::Exit;
use crate::image::digest::Digest;

impl Life {
    /// Writes down that something happened.
    pub(in super::super) fn note(&self, action: &str, more: &[(&str, String)]) {
        let name = &self.standing.name;
        journal::note(&self.layout, &self.spec, name, action, more);
    }

    /// A signal was sent, if there is whom to send it to.
    pub(super) fn note_signal(&self, signal: Signal) {
        if self.init.is_some() {
            self.note("kill", &[("signal", signal.0.to_string())]);
        }
    }

    /// The container's process has ended, as it was told to or by itself.
    pub(super) fn note_end(&self, exit: Exit, ran: Duration, told: bool) {
        if exit.oom {
            self.note("oom", &[]);
        }
        let more = [
            ("exitCode", exit.code().to_string()),
            ("execDuration", ran.as_secs().to_string()),
        ];
        // The same time as in its state: who knows one end knows it here, too.
        let whose = (&self.layout, &self.spec, self.standing.name.as_str());
        journal::note_at(exit.at, whose, "die", &more);
        if told {
            self.note("stop", &[]);
        }
    }

    /// A command was started in it; gives the id that its end is told with.
    pub(in super::super) fn note_exec(&self, command: &[String]) -> String {
        let mut bytes = [0; 32];
        // An id says only which end belongs to which beginning.
        let _ =
            std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
        let id = Digest::from_bytes(bytes).hex();
        let command = command.join(" ");
        for action in ["exec_create", "exec_start"] {
            self.note(&format!("{action}: {command}"), &[("execID", id.clone())]);
        }
        id
    }

    /// A command in it has ended.
    pub(in super::super) fn note_exec_end(&self, id: &str, code: i32) {
        let more = [("execID", id.to_owned()), ("exitCode", code.to_string())];
        self.note("exec_die", &more);
    }
}
