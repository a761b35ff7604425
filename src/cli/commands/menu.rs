//! The key menu of an attached `up`: whether there is one, and what its smaller keys do.
//!
//! Imports: `ui::menu`, `cli::{follow, keys}`. As Compose: `--menu`, `COMPOSE_MENU`.

use std::io::{self, IsTerminal as _, Write};
use std::sync::mpsc::SyncSender;

use crate::cli::app::App;
use crate::cli::follow::{Message, Printer};
use crate::cli::keys::Keys;
use crate::ui::menu::Asked;
use crate::ui::{Mode, Progress};

/// What ends the showing of lines; `R` is why the whole command ends.
#[derive(Debug)]
pub(super) enum Step<R> {
    /// The containers go on alone.
    Detach,
    /// Files are to be followed, or no longer.
    Watch,
    /// It is over.
    Over(Option<R>),
}

/// Whether keys are taken: on a terminal that can be drawn on, unless it is asked not to.
pub(super) fn wanted(app: &App, asked: Option<bool>) -> bool {
    let by_variable = match app.env.non_empty("COMPOSE_MENU") {
        None => true,
        Some(_) => app.env.flag("COMPOSE_MENU"),
    };
    let screen = app.screen;
    let drawable = screen.out_terminal && screen.err_redraw && io::stdin().is_terminal();
    let simple = app.env.non_empty("TERM").is_none_or(|term| term == "dumb");
    asked.unwrap_or(by_variable) && drawable && !simple && app.mode(false) == Mode::Auto
}

/// Does what a key asks for that concerns the screen alone.
///
/// # Errors
/// When standard output is closed.
pub(super) fn take(asked: Asked, printer: &mut Printer, keys: Option<&Keys>) -> io::Result<()> {
    match asked {
        Asked::Filter(text) => printer.filter(text),
        Asked::Blank => printer.say("")?,
        Asked::Suspend => {
            printer.hide_menu();
            if let Some(keys) = keys {
                keys.suspend();
            }
        }
        Asked::Input(line) => send(&line, printer)?,
        Asked::Unfocus => printer.focus(None),
        Asked::Redraw | Asked::Detach | Asked::Watch | Asked::Restart(_) | Asked::Focus(_) => {}
    }
    printer.draw_menu();
    Ok(())
}

/// Whether it is about more than the screen, and comes in its turn.
fn waits(asked: &Asked) -> bool {
    match asked {
        Asked::Detach | Asked::Watch | Asked::Restart(_) => true,
        Asked::Focus(_) | Asked::Input(_) | Asked::Unfocus => true,
        Asked::Filter(_) | Asked::Blank | Asked::Suspend | Asked::Redraw => false,
    }
}

/// Gives the focused service a line.
fn send(line: &str, printer: &mut Printer) -> io::Result<()> {
    let Some(focus) = printer.focused() else {
        return Ok(());
    };
    let echoes = focus.echoes();
    match focus.send(line) {
        Ok(()) if echoes => Ok(()),
        // What was typed stands where its answer will.
        Ok(()) => printer.say(&format!("> {line}")),
        Err(_) => {
            printer.focus(None);
            printer.say("it takes no input any more: its container has ended")
        }
    }
}

/// Takes a message while something else is under way: what keys ask for waits, but for what concerns the screen alone.
///
/// # Errors
/// When standard output is closed.
pub(super) fn meanwhile(
    message: &Message,
    printer: &mut Printer,
    keys: Option<&Keys>,
) -> io::Result<()> {
    let Message::Keys(bytes) = message else {
        return printer.print(message);
    };
    let asked = printer.menu().map(|menu| menu.typed(bytes));
    for asked in asked.unwrap_or_default() {
        match (asked, printer.menu()) {
            (asked, Some(menu)) if waits(&asked) => menu.keep(asked),
            (asked, _) => take(asked, printer, keys)?,
        }
    }
    Ok(())
}

/// Leaves text where the containers' lines come from.
pub(super) struct Writer {
    lines: SyncSender<Message>,
    /// Whether it is for standard error.
    stderr: bool,
}

impl Writer {
    /// Shows progress, a line an event, among these lines.
    pub(super) fn progress(app: &App, lines: &SyncSender<Message>) -> Progress {
        let writer = Self {
            lines: lines.clone(),
            stderr: !app.screen.status_out,
        };
        Progress::plain_on(app.screen, Box::new(writer))
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Nobody looks any more when the command ends.
        let _ = self.lines.send(Message::Text {
            stderr: self.stderr,
            text: bytes.to_vec(),
        });
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
