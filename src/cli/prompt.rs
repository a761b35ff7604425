//! Questions on the terminal, with an answer that is seen or not.
//!
//! In: a question. Out: a line, or nothing when the user ends the command; the terminal is as before in any case.
//! Imports: `base::cancel`, `ui`. Source: termios(3).

use std::io;
use std::os::fd::AsFd as _;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::read;

use crate::base::cancel::Cancel;
use crate::image::registry::Secret;
use crate::ui::write_out;

/// Milliseconds between looks at the token.
const LOOK: u16 = 50;
/// Longest line in bytes. Source: Linux, `N_TTY_BUF_SIZE`.
const LONGEST: usize = 4096;

/// Whether what is typed is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Echo {
    Seen,
    Hidden,
}

/// The terminal with what is typed not shown; dropping it brings the old settings back.
struct Blind(Termios);

impl Blind {
    fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut blind = before.clone();
        blind.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&stdin, SetArg::TCSAFLUSH, &blind)?;
        Ok(Self(before))
    }
}

impl Drop for Blind {
    fn drop(&mut self) {
        // The terminal may be gone; then nobody needs the settings.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// Asks for a line; `None` when the token is used or the input ends.
///
/// # Errors
/// The terminal's.
pub(super) fn ask(question: &str, echo: Echo, cancel: &Cancel) -> io::Result<Option<Secret>> {
    // Before the question: who sees it may answer at once, which is neither to be seen nor lost.
    let blind = match echo {
        Echo::Hidden => Some(Blind::enter()?),
        Echo::Seen => None,
    };
    write_out(question)?;
    let line = line(cancel);
    if blind.is_some() {
        // The line end was not shown either.
        write_out("\n")?;
    }
    line
}

fn line(cancel: &Cancel) -> io::Result<Option<Secret>> {
    let stdin = io::stdin();
    let mut typed = zeroize::Zeroizing::new(Vec::new());
    let mut buffer = zeroize::Zeroizing::new([0; LONGEST]);
    loop {
        if cancel.is_cancelled() {
            return Ok(None);
        }
        let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(LOOK)) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let count = match read(&stdin, buffer.as_mut()) {
            Ok(count) => count,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        typed.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let ended = typed.last() == Some(&b'\n');
        if count == 0 && typed.is_empty() {
            return Ok(None);
        }
        if ended || count == 0 || typed.len() > LONGEST {
            let text = String::from_utf8_lossy(&typed);
            return Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']))));
        }
    }
}
