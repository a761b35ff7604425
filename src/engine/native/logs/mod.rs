//! A container's log: JSON lines in Docker's `json-file` form, rotated by size, compressed when asked to.
//!
//! The supervisor writes through [`LogWriter`]; any command reads with [`FileLog`], also while it is written. Every
//! driver keeps this log: `local` as `json-file`; `journald` and `syslog` send from it ([`forward`]) and know how far
//! they are, so that what could not be sent is sent later; `none` keeps just enough for who is attached.
//! Imports: `base`, `engine`, `sys`. Source: moby `daemon/logger/{jsonfilelog,local,loggerutils}`.

mod entry;
mod files;
pub(super) mod forward;
mod pack;
mod reader;
mod spool;
mod tail;
mod writer;

pub(super) use reader::FileLog;
pub(super) use writer::LogWriter;

pub use pack::main as pack_main;

/// A longer line is kept in parts of this size, as Docker does.
const LINE_LIMIT: usize = 16 * 1024;

/// Which stream bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output, or the terminal.
    Out = 0,
    /// Standard error.
    Err = 1,
}

#[cfg(test)]
mod tests;
