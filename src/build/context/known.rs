//! What is known of files of a context: digests by identity, in one file of fixed records sorted by identity.
//!
//! In: identities. Out: digests. Nothing is parsed before it is asked for: a small file is looked up in its bytes as they
//! were read, a large one where it lies. What is new is kept in memory up to a limit, and then put aside in sorted runs,
//! which are joined when it is saved: memory does not depend on how many files there are.
//! A record is 72 bytes, big-endian: inode, device, size, mtime, ctime (nanoseconds), SHA-256.
//! Imports: `sys::fs`, `image::digest`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::image::digest::Digest;
use crate::sys::fs::{make_dirs, temporary_beside, unnamed};

/// First bytes of the file; another version is another text.
const MAGIC: &[u8; 16] = b"hoist digests 1\n";
const KEY: usize = 40;
const RECORD: usize = KEY + 32;
/// Records kept at most: 108 MB on disk. When there are more, only those of this build are kept.
const MOST: usize = 1_500_000;
/// Records that are kept in memory: 4 MB.
const IN_MEMORY: usize = 60_000;
/// Records of a large file that are read together.
const BLOCK: usize = 64;

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

/// Records as they are on disk, sorted.
#[derive(Debug, Default)]
struct Old {
    count: usize,
    /// All of a small file, else the block that was read last.
    bytes: Vec<u8>,
    /// A large file, and the first key of each block.
    large: Option<(File, Vec<[u8; KEY]>)>,
    /// The block that `bytes` are of.
    block: Option<usize>,
}

impl Old {
    /// Reads what is remembered; a missing or broken file is an empty one.
    fn open(path: &Path, in_memory: usize) -> Self {
        Self::read(path, in_memory).unwrap_or_default()
    }
    fn read(path: &Path, in_memory: usize) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let mut magic = [0; MAGIC.len()];
        file.read_exact(&mut magic)?;
        let length = length.saturating_sub(MAGIC.len());
        if magic != *MAGIC || !length.is_multiple_of(RECORD) {
            return Ok(Self::default());
        }
        let mut old = Self {
            count: length / RECORD,
            ..Self::default()
        };
        if old.count <= in_memory {
            file.read_to_end(&mut old.bytes)?;
            old.count = old.bytes.len() / RECORD;
            return Ok(old);
        }
        let mut firsts = Vec::with_capacity(old.count.div_ceil(BLOCK));
        for at in (0..old.count).step_by(BLOCK) {
            let mut key = [0; KEY];
            file.read_exact_at(&mut key, place(at))?;
            firsts.push(key);
        }
        old.large = Some((file, firsts));
        Ok(old)
    }
    fn get(&mut self, key: &[u8; KEY]) -> Option<Digest> {
        if let Some((file, firsts)) = &self.large {
            let block = firsts
                .partition_point(|first| first <= key)
                .checked_sub(1)?;
            if self.block != Some(block) {
                let from = block * BLOCK;
                let count = BLOCK.min(self.count.saturating_sub(from));
                self.block = None;
                self.bytes.resize(count * RECORD, 0);
                file.read_exact_at(&mut self.bytes, place(from)).ok()?;
                self.block = Some(block);
            }
        }
        find(&self.bytes, key)
    }
}

/// Where a record begins in its file.
fn place(at: usize) -> u64 {
    (MAGIC.len() + at * RECORD) as u64
}

/// Looks for a key among sorted records.
fn find(records: &[u8], key: &[u8; KEY]) -> Option<Digest> {
    let (mut low, mut high) = (0, records.len() / RECORD);
    while low < high {
        let middle = low + (high - low) / 2;
        let record = records.get(middle * RECORD..(middle + 1) * RECORD)?;
        let (there, digest) = record.split_at(KEY);
        match there.cmp(key) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => {
                return <[u8; 32]>::try_from(digest).ok().map(Digest::from_bytes);
            }
        }
    }
    None
}

/// Sorted records, one after the other.
struct Run {
    input: BufReader<File>,
    left: usize,
    /// The next one.
    record: [u8; RECORD],
}

impl Run {
    /// The records of a file behind so many bytes; `None` if there are none.
    fn begin(mut file: File, behind: u64, count: usize) -> io::Result<Option<Self>> {
        file.seek(io::SeekFrom::Start(behind))?;
        let mut run = Self {
            input: BufReader::with_capacity(64 << 10, file),
            left: count,
            record: [0; RECORD],
        };
        Ok(run.next()?.then_some(run))
    }
    /// Goes on to the next record, if there is one.
    fn next(&mut self) -> io::Result<bool> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(false);
        };
        self.left = left;
        self.input.read_exact(&mut self.record)?;
        Ok(true)
    }
}

/// Remembered digests of one context.
#[derive(Debug)]
pub(super) struct Known {
    file: PathBuf,
    old: Old,
    new: BTreeMap<[u8; KEY], Digest>,
    /// Files of sorted records that were put aside, and how many each has. They are not looked at before they are saved:
    /// one who misses such a digest works it out again.
    aside: Vec<(File, usize)>,
    in_memory: usize,
}

impl Known {
    /// Reads what is remembered; a missing or broken file is an empty one.
    pub(super) fn open(file: PathBuf) -> Self {
        Self::open_within(file, IN_MEMORY)
    }
    fn open_within(file: PathBuf, in_memory: usize) -> Self {
        Self {
            old: Old::open(&file, in_memory),
            file,
            new: BTreeMap::new(),
            aside: Vec::new(),
            in_memory,
        }
    }
    pub(super) fn get(&mut self, identity: &Identity) -> Option<Digest> {
        let key = identity.bytes();
        self.new.get(&key).copied().or_else(|| self.old.get(&key))
    }
    pub(super) fn put(&mut self, identity: Identity, digest: Digest) {
        self.new.insert(identity.bytes(), digest);
        // Where nothing can be put aside, it is forgotten: it is only worked out again.
        if self.new.len() >= self.in_memory && self.put_aside().is_err() {
            self.new.clear();
        }
    }
    fn put_aside(&mut self) -> io::Result<()> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        make_dirs(folder, 0o700)?;
        let mut out = BufWriter::new(unnamed(folder)?);
        for (key, digest) in &self.new {
            out.write_all(key)?;
            out.write_all(digest.bytes())?;
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        self.aside.push((file, self.new.len()));
        self.new.clear();
        Ok(())
    }
    /// Writes what is remembered, if there is something new.
    pub(super) fn save(&mut self) -> io::Result<()> {
        if self.new.is_empty() && self.aside.is_empty() {
            return Ok(());
        }
        if !self.new.is_empty() {
            self.put_aside()?;
        }
        let temporary = temporary_beside(&self.file);
        let done = self
            .join(&temporary)
            .and_then(|()| std::fs::rename(&temporary, &self.file));
        if let Err(error) = done {
            let _ = std::fs::remove_file(&temporary);
            let text = format!("{}: {error}", self.file.display());
            return Err(io::Error::new(error.kind(), text));
        }
        self.old = Old::open(&self.file, self.in_memory);
        Ok(())
    }
    /// Writes all records to a new file, each once.
    fn join(&mut self, to: &Path) -> io::Result<()> {
        let mut runs = Vec::new();
        let mut total = 0;
        for (file, count) in self.aside.drain(..) {
            total += count;
            runs.extend(Run::begin(file, 0, count)?);
        }
        if self.old.count > 0 && self.old.count + total <= MOST {
            let old = File::open(&self.file)?;
            // It may have been replaced by another build since: that one's records are as good.
            let bytes = usize::try_from(old.metadata()?.len()).unwrap_or(0);
            let count = bytes.saturating_sub(MAGIC.len()) / RECORD;
            runs.extend(Run::begin(old, MAGIC.len() as u64, count)?);
        }
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o600);
        let mut out = BufWriter::with_capacity(64 << 10, options.open(to)?);
        out.write_all(MAGIC)?;
        let mut last = [0; KEY];
        while let Some(least) = (0..runs.len()).min_by(|a, b| {
            let key = |at: usize| runs.get(at).map(|run: &Run| run.record);
            key(*a).cmp(&key(*b))
        }) {
            let Some(run) = runs.get_mut(least) else {
                break;
            };
            if run.record[..KEY] != last {
                out.write_all(&run.record)?;
                last.copy_from_slice(&run.record[..KEY]);
            }
            if !run.next()? {
                runs.swap_remove(least);
            }
        }
        out.flush()
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
        // Whether all of it is in memory, or what was put aside was joined.
        for limit in [IN_MEMORY, 299, 7] {
            let mut known = Known::open_within(file.clone(), limit);
            for inode in (0..300_u64).rev() {
                let digest = Digest::of(&inode.to_be_bytes());
                assert_eq!(known.get(&id(inode)), Some(digest), "{limit}");
            }
            assert_eq!(known.get(&id(300)), None);
            std::fs::remove_file(&file).unwrap();
            let mut known = Known::open_within(file.clone(), limit);
            for inode in (0..300_u64).rev() {
                known.put(id(inode), Digest::of(&inode.to_be_bytes()));
            }
            known.save().unwrap();
            let size = std::fs::metadata(&file).unwrap().len();
            assert_eq!(size as usize, MAGIC.len() + 300 * RECORD);
        }
        std::fs::write(&file, b"hoist digests 1\nabc").unwrap();
        assert_eq!(Known::open(file).get(&id(1)), None);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
