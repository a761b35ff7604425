//! An archive read in large blocks, each hashed by a thread while the next is unpacked.
//!
//! In: a stream, of any length. Out: its bytes, and in the end their digest and number. Who reads few bytes at a time
//! makes no system call for them, and nothing is copied for the hash: a block whose bytes were all read is handed over
//! as it is, and comes back to be filled again.
//! Imports: `ahead`, `behind`, `archive`.

use std::io::{self, Read};

use super::ahead::fill;
use super::behind::Behind;
use crate::image::archive;
use crate::image::digest::Digest;

/// Reads a stream and hashes it.
pub(super) struct Blocks<R> {
    input: R,
    block: Vec<u8>,
    /// How much of the block was read.
    at: usize,
    /// Why nothing comes behind the block.
    failed: Option<io::Error>,
    hash: Behind,
    count: u64,
    limit: u64,
}

impl<R: Read> Blocks<R> {
    /// Reads `input`, at most `limit` bytes of it; more is an error.
    pub(super) fn new(input: R, limit: u64) -> Self {
        Self {
            input,
            block: Vec::new(),
            at: 0,
            failed: None,
            hash: Behind::default(),
            count: 0,
            limit,
        }
    }
    /// Reads what is left, then gives the digest and the number of all bytes.
    pub(super) fn finish(mut self) -> io::Result<(Digest, u64)> {
        while self.fill()? {}
        Ok((self.hash.finish()?, self.count))
    }
    /// Hands the block over and fills another; `false` at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let full = std::mem::take(&mut self.block);
        self.block = self.hash.exchange(full)?;
        self.at = 0;
        let read = fill(&mut self.input, &mut self.block);
        self.count += self.block.len() as u64;
        if self.count > self.limit {
            self.block.clear();
            return Err(archive::too_much(self.limit));
        }
        match read {
            // What came before the fault may be whole, and is what the caller sees first.
            Err(error) if !self.block.is_empty() => self.failed = Some(error),
            other => other?,
        }
        Ok(!self.block.is_empty())
    }
}

impl<R: Read> Read for Blocks<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() || (self.at == self.block.len() && !self.fill()?) {
            return Ok(0);
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
    use super::super::behind::BLOCK;
    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn what_is_read_and_what_is_hashed_are_the_bytes_however_they_come() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 9 * BLOCK + 7] {
            let all = bytes(length);
            for read in [0, 1000, length] {
                let mut blocks = Blocks::new(all.as_slice(), length as u64);
                let mut some = vec![0; read.min(length)];
                blocks.read_exact(&mut some).unwrap();
                assert_eq!(some, all[..some.len()]);
                let found = blocks.finish().unwrap();
                assert_eq!(found, (Digest::of(&all), length as u64), "{read}");
            }
        }
    }

    #[test]
    fn more_than_the_limit_is_an_error_and_so_is_a_fault_behind_what_came() {
        let all = bytes(3 * BLOCK);
        let error = Blocks::new(all.as_slice(), 2 * BLOCK as u64 + 1).finish();
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidData);

        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let mut blocks = Blocks::new(b"whole".chain(Broken), u64::MAX);
        let mut some = [0; 5];
        blocks.read_exact(&mut some).unwrap();
        assert_eq!(&some, b"whole");
        let error = blocks.finish().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
