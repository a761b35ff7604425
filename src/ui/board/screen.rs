//! The terminal that the live view is drawn on: another screen than that of the lines before, which come back in the end.
//!
//! In: a board. Out: what has changed since the last picture, on standard output.
//! Imports: `ratatui`. Source: XTerm Control Sequences, "The Alternate Screen Buffer".

use std::io::{self, Stdout};

use console::Term;
use nix::unistd::write;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};

use super::Board;
use crate::ui::write_out;

/// To the other screen, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";

/// All of it is empty.
const CLEAR: &str = "\x1b[2J";

/// Back.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// The screen; dropping it brings the lines before back.
///
/// Its area is given to `ratatui`, which else would ask the terminal where the cursor is and read the answer before the keyboard
/// does.
#[derive(Debug)]
pub struct Picture {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    size: Rect,
}

impl Picture {
    /// Takes the terminal of standard output.
    ///
    /// # Errors
    /// The system's, when it can't be written to.
    pub fn open() -> io::Result<Self> {
        write_out(ENTER)?;
        let size = size();
        Ok(Self {
            terminal: empty(size)?,
            size,
        })
    }
    /// Draws what is different now; all of it when the terminal has another size.
    ///
    /// # Errors
    /// The system's.
    pub fn draw(&mut self, board: &mut Board) -> io::Result<()> {
        if self.size != size() {
            self.again()?;
        }
        self.terminal.draw(|frame| board.draw(frame)).map(drop)
    }
    /// All is drawn with the next picture.
    ///
    /// # Errors
    /// The system's.
    pub fn again(&mut self) -> io::Result<()> {
        self.size = size();
        self.terminal = empty(self.size)?;
        Ok(())
    }
}

fn size() -> Rect {
    let (rows, columns) = Term::stdout().size();
    Rect::new(0, 0, columns, rows)
}

fn empty(size: Rect) -> io::Result<Terminal<CrosstermBackend<Stdout>>> {
    write_out(CLEAR)?;
    let viewport = Viewport::Fixed(size);
    Terminal::with_options(
        CrosstermBackend::new(io::stdout()),
        TerminalOptions { viewport },
    )
}

impl Drop for Picture {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = write_out(LEAVE);
    }
}

/// Brings the lines before back in the midst of everything: past the stream's lock, whose holder may wait for ever.
pub fn leave_at_once() {
    // Nobody is left to be told of a failure.
    let _ = write(io::stdout(), LEAVE.as_bytes());
}
