//! Contents of files that were just written, handed to who hashes them: so they are read once.
//!
//! In: sizes. Out: memory to read files into, which is used again when nobody needs what is in it any more.
//! Imports: nothing of ours.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a buffer that is kept for the next one who needs one.
const KEPT: usize = 1 << 20;

/// Memory that is used again.
#[derive(Debug, Clone, Default)]
pub struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// Memory for at least `size` bytes; what is in it means nothing.
    pub fn take(&self, size: usize) -> Buffer {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = if size <= KEPT { free.pop() } else { None };
        drop(free);
        Buffer {
            bytes: known.unwrap_or_else(|| vec![0; size.max(KEPT)]),
            home: self.clone(),
        }
    }
}

/// A piece of memory of [`Buffers`].
pub struct Buffer {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Buffer {
    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    /// The same, to be written to.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.bytes.len())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.len() == KEPT {
            let mut free = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// A part of a buffer: the content of one file.
#[derive(Debug, Clone)]
pub struct Content {
    /// Where it is.
    pub buffer: Arc<Buffer>,
    /// Where in it the content begins.
    pub from: usize,
    /// Where it ends.
    pub to: usize,
}

impl Content {
    /// The content.
    pub fn bytes(&self) -> &[u8] {
        self.buffer
            .bytes()
            .get(self.from..self.to)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_once_nobody_needs_it() {
        let buffers = Buffers::default();
        let first = buffers.take(10);
        let at = first.bytes().as_ptr();
        let content = Content {
            buffer: Arc::new(first),
            from: 2,
            to: 5,
        };
        assert_eq!(content.bytes().len(), 3);
        let second = buffers.take(KEPT);
        assert_ne!(second.bytes().as_ptr(), at);
        drop(content);
        assert_eq!(buffers.take(1).bytes().as_ptr(), at);
        assert_eq!(buffers.take(KEPT + 1).bytes().len(), KEPT + 1);
    }
}
