//! An archive decompressed by a thread, ahead of who reads it.
//!
//! In: a stream, compressed or not. Out: its bytes with compression undone. Whoever is slower is waited for, so that
//! memory stays bounded; a reader that ends early ends the thread with its next block.
//! Imports: `behind`, `archive`.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::behind::BLOCK;
use crate::image::archive;

/// Blocks that wait at most.
const QUEUE: usize = 4;

/// What was decompressed.
pub(super) struct Ahead {
    blocks: Receiver<io::Result<Vec<u8>>>,
    /// Blocks that were read, to be used again.
    empty: Sender<Vec<u8>>,
    block: Vec<u8>,
    /// How much of the block was read.
    at: usize,
    ended: bool,
}

/// Does work with what is decompressed meanwhile.
pub(super) fn ahead<T>(input: impl Read + Send, work: impl FnOnce(Ahead) -> T) -> T {
    let (full, blocks) = sync_channel(QUEUE);
    let (empty, again) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || decode(input, &full, &again));
        work(Ahead {
            blocks,
            empty,
            block: Vec::new(),
            at: 0,
            ended: false,
        })
    })
}

fn decode(input: impl Read, full: &SyncSender<io::Result<Vec<u8>>>, again: &Receiver<Vec<u8>>) {
    let mut decoded = archive::decoder(input);
    loop {
        let mut block = again.try_recv().unwrap_or_default();
        let end = match fill(&mut decoded, &mut block) {
            Ok(()) => block.is_empty(),
            Err(error) => {
                // What came before the fault may be whole. Nobody may want either any more.
                if !block.is_empty() {
                    let _ = full.send(Ok(block));
                }
                let _ = full.send(Err(error));
                return;
            }
        };
        // An empty one says that the end was reached and not only that the thread has ended.
        if full.send(Ok(block)).is_err() || end {
            return;
        }
    }
}

/// Fills a block as far as the stream goes; what came before a fault is in it too.
pub(super) fn fill(input: &mut impl Read, block: &mut Vec<u8>) -> io::Result<()> {
    block.resize(BLOCK, 0);
    let mut filled = 0;
    let done = loop {
        let rest = block.get_mut(filled..).unwrap_or_default();
        if rest.is_empty() {
            break Ok(());
        }
        match input.read(rest) {
            Ok(0) => break Ok(()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    block.truncate(filled);
    done
}

impl Read for Ahead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            if self.ended || into.is_empty() {
                return Ok(0);
            }
            let ended = |_| io::Error::other("the thread that decompresses has ended");
            let next = self.blocks.recv().map_err(ended)??;
            let was = std::mem::replace(&mut self.block, next);
            self.at = 0;
            // It may have ended by itself.
            let _ = self.empty.send(was);
            self.ended = self.block.is_empty();
        }
        let rest = self.block.get(self.at..).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn what_is_decompressed_is_read_as_it_was() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 9 * BLOCK + 7] {
            let all = bytes(length);
            let mut found = Vec::new();
            let read = ahead(all.as_slice(), |mut decoded| {
                decoded.read_to_end(&mut found)?;
                decoded.read(&mut [0])
            });
            assert_eq!((read.unwrap(), found == all), (0, true), "{length}");
        }
    }

    #[test]
    fn a_fault_comes_behind_what_came_before_it_and_who_ends_early_ends_the_thread() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let before = bytes(BLOCK + 5);
        let (found, error) = ahead(before.as_slice().chain(Broken), |mut decoded| {
            let mut found = Vec::new();
            let error = decoded.read_to_end(&mut found).unwrap_err();
            (found, error)
        });
        assert!(found == bytes(BLOCK + 5));
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        // It would wait for ever for someone who reads.
        let first = ahead(io::repeat(7), |mut decoded| {
            let mut byte = [0];
            decoded.read(&mut byte).map(|_| byte)
        });
        assert_eq!(first.unwrap(), [7]);
    }
}
