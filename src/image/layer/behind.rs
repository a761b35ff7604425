//! A hash of what is written, worked out by a thread while the next bytes are read.
//!
//! In: bytes. Out: their digest. Little is hashed where it is written; a thread begins with the first whole block. One
//! who writes faster than it is hashed waits, so that memory stays bounded.
//! Imports: `digest`.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use crate::image::digest::{Digest, Hasher};

/// Bytes that are passed on together.
pub(super) const BLOCK: usize = 256 << 10;
/// Blocks that wait at most.
const QUEUE: usize = 4;

/// Hashes what is written.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// What is not passed on yet.
    block: Vec<u8>,
    thread: Option<Hashing>,
}

#[derive(Debug)]
struct Hashing {
    full: SyncSender<Vec<u8>>,
    /// Blocks that were hashed, to be used again.
    empty: Receiver<Vec<u8>>,
    digest: JoinHandle<Digest>,
}

impl Hashing {
    fn begin() -> io::Result<Self> {
        let (full, blocks) = sync_channel::<Vec<u8>>(QUEUE);
        let (done, empty) = channel();
        let digest = std::thread::Builder::new().spawn(move || hash(&blocks, &done))?;
        Ok(Self {
            full,
            empty,
            digest,
        })
    }
}

fn hash(blocks: &Receiver<Vec<u8>>, done: &Sender<Vec<u8>>) -> Digest {
    let mut hasher = Hasher::default();
    for mut block in blocks {
        hasher.update(&block);
        block.clear();
        // The last ones are not wanted any more.
        let _ = done.send(block);
    }
    hasher.finish()
}

fn lost<T>(_: T) -> io::Error {
    io::Error::other("the thread that hashes has ended")
}

impl Behind {
    /// The digest of all that was written.
    pub(super) fn finish(mut self) -> io::Result<Digest> {
        let Some(thread) = self.thread.take() else {
            return Ok(Digest::of(&self.block));
        };
        let Hashing { full, digest, .. } = thread;
        full.send(self.block).map_err(lost)?;
        drop(full);
        digest.join().map_err(lost)
    }
    /// Takes a whole block as it is, behind what was written, and gives an empty one for it.
    pub(super) fn exchange(&mut self, full: Vec<u8>) -> io::Result<Vec<u8>> {
        if full.is_empty() {
            return Ok(full);
        }
        if !self.block.is_empty() {
            self.pass_on()?;
        }
        // The last one stays here, so that little is hashed without a thread.
        Ok(std::mem::replace(&mut self.block, full)).map(|mut spare| {
            spare.clear();
            spare
        })
    }
    fn pass_on(&mut self) -> io::Result<()> {
        let thread = match &mut self.thread {
            Some(thread) => thread,
            none => none.insert(Hashing::begin()?),
        };
        let next = thread.empty.try_recv().unwrap_or_default();
        let block = std::mem::replace(&mut self.block, next);
        thread.full.send(block).map_err(lost)
    }
}

impl Write for Behind {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() >= BLOCK {
            self.pass_on()?;
        }
        let room = BLOCK - self.block.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.block.extend_from_slice(taken);
        Ok(taken.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_all_bytes_however_they_were_written() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 20 * BLOCK + 7] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            for pieces in [1000, BLOCK + 3] {
                let mut behind = Behind::default();
                for piece in bytes.chunks(pieces) {
                    behind.write_all(piece).unwrap();
                }
                assert_eq!(behind.finish().unwrap(), Digest::of(&bytes), "{length}");
            }
        }
    }
}
