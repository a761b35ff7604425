//! A file that is read while it is still being written: a blob is unpacked as it arrives.
//!
//! The writer says how far the file is; the reader waits for more. What lies between them is the file itself, so that a
//! slow reader costs no memory and a connection that breaks and goes on is nothing the reader sees. The end is told only
//! after the whole has its digest: a reader that has come to the end has read verified bytes.
//! Imports: nothing of ours.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The writer's side. Dropped before [`Growing::finish`], it makes the reader fail.
#[derive(Debug)]
pub(super) struct Growing(Arc<Shared>);

/// The reader's side.
#[derive(Debug)]
pub(super) struct Follower {
    file: File,
    at: u64,
    shared: Arc<Shared>,
}

/// Tells how far the reader is, and takes it that nobody reads any more.
#[derive(Debug, Clone)]
pub(super) struct Watch(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    length: u64,
    read: u64,
    end: Option<End>,
    /// The reader needs no more.
    enough: bool,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Whole,
    Broken,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn end(&self, end: End) {
        self.state().end.get_or_insert(end);
        self.changed.notify_all();
    }
}

impl Growing {
    /// Both sides of a file, of which nothing may be read yet.
    pub(super) fn new(file: File) -> (Self, Follower) {
        let shared = Arc::new(Shared::default());
        let follower = Follower {
            file,
            at: 0,
            shared: Arc::clone(&shared),
        };
        (Self(shared), follower)
    }
    /// The first `length` bytes are in the file now.
    pub(super) fn reached(&self, length: u64) {
        self.0.state().length = length;
        self.0.changed.notify_all();
    }
    /// The file is whole.
    pub(super) fn finish(&self) {
        self.0.end(End::Whole);
    }
    pub(super) fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.0))
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        self.0.end(End::Broken);
    }
}

impl Watch {
    /// Bytes that were read.
    pub(super) fn read(&self) -> u64 {
        self.0.state().read
    }
    /// Says that nothing more is going to be read, whatever comes.
    pub(super) fn enough(&self) {
        self.0.state().enough = true;
    }
    pub(super) fn has_enough(&self) -> bool {
        self.0.state().enough
    }
}

impl Read for Follower {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let mut state = self.shared.state();
        let there = loop {
            match state.length.saturating_sub(self.at) {
                0 => match state.end {
                    Some(End::Whole) => return Ok(0),
                    Some(End::Broken) => {
                        return Err(io::Error::other("the download has ended before its end"));
                    }
                    None => {
                        let waited = self.shared.changed.wait(state);
                        state = waited.unwrap_or_else(PoisonError::into_inner);
                    }
                },
                there => break there,
            }
        };
        drop(state);
        let most = usize::try_from(there).unwrap_or(usize::MAX).min(into.len());
        let read = match into.get_mut(..most) {
            Some(part) => self.file.read_at(part, self.at)?,
            None => 0,
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        self.shared.state().read = self.at;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> File {
        let path = std::env::temp_dir().join(format!("hoist-grow-{name}-{}", std::process::id()));
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true);
        let file = file.open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file
    }

    #[test]
    fn a_reader_sees_what_was_announced_and_the_end_only_when_it_is_told() {
        let file = file("end");
        let (growing, mut follower) = Growing::new(file.try_clone().unwrap());
        let watch = growing.watch();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            follower.read_to_end(&mut all).map(|_| all)
        });
        file.write_all_at(b"hello world", 0).unwrap();
        growing.reached(5);
        while watch.read() < 5 {
            std::thread::yield_now();
        }
        assert!(!reader.is_finished());
        growing.reached(11);
        growing.finish();
        drop(growing);
        assert_eq!(reader.join().unwrap().unwrap(), b"hello world");
    }

    #[test]
    fn a_writer_that_goes_away_makes_the_reader_fail() {
        let file = file("broken");
        let (growing, mut follower) = Growing::new(file.try_clone().unwrap());
        file.write_all_at(b"half", 0).unwrap();
        growing.reached(4);
        drop(growing);
        let mut all = Vec::new();
        assert!(follower.read_to_end(&mut all).is_err());
        assert_eq!(all, b"half");
    }
}
