//! What users see: progress, logs, tables, errors. The only module that writes to standard output and error.
//!
//! In: [`Event`](crate::base::event::Event)s, [`Diagnostic`](crate::base::diag::Diagnostic)s, log lines, cells.
//! Out: text on the two streams. It decides nothing and knows no engine; it reads the clock only to
//! show how long a thing took, and to stamp what programs read.
//! Imports: `base`. Rules: docker compose's words and layout, so that eyes and scripts find what they know.

pub mod board;
pub mod build;
pub mod events;
pub mod json;
pub mod keys;
pub mod live;
pub mod logs;
pub mod menu;
pub mod plain;
pub mod progress;
pub mod render;
pub mod rows;
pub mod table;
pub mod template;

pub use progress::Progress;

use std::io::{self, IsTerminal as _, Write as _};

/// When control sequences are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ansi {
    /// Never.
    Never,
    /// Always.
    Always,
    /// When the stream is a terminal.
    #[default]
    Auto,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// [`Mode::Tty`] on a terminal, else [`Mode::Plain`].
    #[default]
    Auto,
    /// A list that is redrawn in place.
    Tty,
    /// One line an event.
    Plain,
    /// One JSON object an event: that of docker compose for what it makes, that of BuildKit for steps of builds.
    Json,
    /// Nothing but warnings and errors.
    Quiet,
}

/// What the two output streams can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Whether standard output is a terminal.
    pub out_terminal: bool,
    /// Whether standard error is a terminal.
    pub err_terminal: bool,
    /// Whether standard output gets colours.
    pub out_colour: bool,
    /// Whether standard error gets colours.
    pub err_colour: bool,
    /// Whether lines on standard error may be drawn over: it is a terminal, and control sequences are allowed.
    pub err_redraw: bool,
    /// The same of standard output.
    pub out_redraw: bool,
    /// Whether progress is shown on standard output, not on standard error.
    pub status_out: bool,
}

impl Screen {
    /// Looks at this process's streams. `no_color` is whether `NO_COLOR` is set.
    pub fn new(ansi: Ansi, no_color: bool) -> Self {
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let colour = |terminal: bool| match ansi {
            Ansi::Never => false,
            Ansi::Always => true,
            Ansi::Auto => terminal && !no_color,
        };
        Self {
            out_terminal: out,
            err_terminal: err,
            out_colour: colour(out),
            err_colour: colour(err),
            err_redraw: err && ansi != Ansi::Never,
            out_redraw: out && ansi != Ansi::Never,
            status_out: false,
        }
    }
}

/// Writes bytes to standard output at once.
///
/// # Errors
/// The system's, when the stream is closed or full.
pub fn write_out(bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes.as_ref())?;
    out.flush()
}

/// Writes bytes to standard error. A closed stream is nothing that could be told to anyone.
pub fn write_err(bytes: impl AsRef<[u8]>) {
    let mut err = io::stderr().lock();
    // Nothing is left to complain to when this fails.
    let _ = err.write_all(bytes.as_ref()).and_then(|()| err.flush());
}

/// Text in a colour: `code` is what stands between `ESC [` and `m`.
pub fn paint(colour: bool, code: &str, text: &str) -> String {
    if colour {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
