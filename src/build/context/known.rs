//! What is known of files of a context: digests by identity, in one file of fixed records sorted by identity.
//!
//! In: identities. Out: digests. Looked up in the bytes as they were read: nothing is parsed before it is asked for.
//! A record is 72 bytes, big-endian: inode, device, size, mtime, ctime (nanoseconds), SHA-256.
//! Imports: `sys::fs`, `image::digest`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::image::digest::Digest;
use crate::sys::fs::{Durability, make_dirs, write_atomic};

/// First bytes of the file; another version is another text.
const MAGIC: &[u8; 16] = b"hoist digests 1\n";
const KEY: usize = 40;
const RECORD: usize = KEY + 32;
/// Records kept at most: 36 MB. When there are more, only those of this build are kept.
const MOST: usize = 500_000;

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    pub(super) inode: u64,
    pub(super) device: u64,
    pub(super) size: i64,
    /// Nanoseconds since 1970.
    pub(super) modified: i64,
    pub(super) changed: i64,
}

impl Identity {
    fn bytes(&self) -> [u8; KEY] {
        let mut bytes = [0; KEY];
        let numbers = [
            self.inode.to_be_bytes(),
            self.device.to_be_bytes(),
            self.size.to_be_bytes(),
            self.modified.to_be_bytes(),
            self.changed.to_be_bytes(),
        ];
        for (into, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            into.copy_from_slice(&number);
        }
        bytes
    }
}

/// Remembered digests of one context.
#[derive(Debug)]
pub(super) struct Known {
    file: PathBuf,
    /// Records as they are on disk.
    old: Vec<u8>,
    new: BTreeMap<[u8; KEY], Digest>,
}

impl Known {
    /// Reads what is remembered; a missing or broken file is an empty one.
    pub(super) fn open(file: PathBuf) -> Self {
        let mut old = std::fs::read(&file).unwrap_or_default();
        if old.starts_with(MAGIC) && (old.len() - MAGIC.len()) % RECORD == 0 {
            old.drain(..MAGIC.len());
        } else {
            old.clear();
        }
        Self {
            file,
            old,
            new: BTreeMap::new(),
        }
    }
    fn record(&self, at: usize) -> Option<&[u8]> {
        self.old.get(at * RECORD..(at + 1) * RECORD)
    }
    pub(super) fn get(&self, identity: &Identity) -> Option<Digest> {
        let key = identity.bytes();
        if let Some(digest) = self.new.get(&key) {
            return Some(*digest);
        }
        let (mut low, mut high) = (0, self.old.len() / RECORD);
        while low < high {
            let middle = low + (high - low) / 2;
            let (there, digest) = self.record(middle)?.split_at(KEY);
            match there.cmp(&key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    return <[u8; 32]>::try_from(digest).ok().map(Digest::from_bytes);
                }
            }
        }
        None
    }
    pub(super) fn put(&mut self, identity: Identity, digest: Digest) {
        self.new.insert(identity.bytes(), digest);
    }
    /// Writes what is remembered, if there is something new.
    pub(super) fn save(&mut self) -> std::io::Result<()> {
        if self.new.is_empty() {
            return Ok(());
        }
        if self.old.len() / RECORD + self.new.len() > MOST {
            self.old.clear();
        }
        let mut bytes = Vec::with_capacity(MAGIC.len() + self.old.len() + self.new.len() * RECORD);
        bytes.extend_from_slice(MAGIC);
        let mut new = self.new.iter().peekable();
        let put = |bytes: &mut Vec<u8>, (key, digest): (&[u8; KEY], &Digest)| {
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(digest.bytes());
        };
        for record in self.old.chunks_exact(RECORD) {
            while let Some(record) = new.next_if(|(key, _)| key.as_slice() < &record[..KEY]) {
                put(&mut bytes, record);
            }
            bytes.extend_from_slice(record);
        }
        new.for_each(|record| put(&mut bytes, record));
        if let Some(folder) = self.file.parent() {
            make_dirs(folder, 0o700)?;
        }
        write_atomic(&self.file, &bytes, 0o600, Durability::Renamed)?;
        bytes.drain(..MAGIC.len());
        self.old = bytes;
        self.new.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_there_after_it_was_saved_and_a_broken_file_is_empty() {
        let dir = std::env::temp_dir().join(format!("hoist-known-{}", std::process::id()));
        let file = dir.join("digests");
        let id = |inode: u64| Identity {
            inode,
            device: 1,
            size: -1,
            modified: 7,
            changed: 8,
        };
        for round in 0..3 {
            let mut known = Known::open(file.clone());
            for inode in (round..300).step_by(3) {
                known.put(id(inode), Digest::of(&inode.to_be_bytes()));
            }
            known.save().unwrap();
        }
        let known = Known::open(file.clone());
        for inode in 0..300 {
            assert_eq!(
                known.get(&id(inode)),
                Some(Digest::of(&inode.to_be_bytes()))
            );
        }
        assert_eq!(known.get(&id(300)), None);
        std::fs::write(&file, b"hoist digests 1\nabc").unwrap();
        assert_eq!(Known::open(file).get(&id(1)), None);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
