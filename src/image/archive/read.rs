//! Tar entries read: ustar, GNU and pax, long names, sparse files.
//!
//! In: a stream. Out: one [`Member`] after the other, and its content through [`Members::content`]. Nothing is
//! trusted: lengths are bounded, numbers checked. Writes nothing. Imports: nothing of ours.
//! Header fields are parsed by the `tar` crate; extended headers are parsed here, by their lengths, since values
//! may contain line feeds. Rules: POSIX.1-2017 `pax`; GNU tar manual, "Basic Tar Format", "Storing Sparse
//! Files"; star(5) for `SCHILY.xattr.`; libarchive for `LIBARCHIVE.xattr.`.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};

use base64::Engine as _;

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::write::EntryKind;

const BLOCK: u64 = 512;
/// Longest extended header and long name in bytes. Source: Go `archive/tar`, `maxSpecialFileSize`.
const LONGEST_EXTENSION: u64 = 1 << 20;
/// Why an entry's content could not be written.
#[derive(Debug)]
pub enum ContentError {
    /// The archive is broken, or can't be read.
    Archive(io::Error),
    /// The file can't be written.
    Machine(io::Error),
}

/// Most pieces of one sparse file.
const MOST_PIECES: usize = 1 << 20;

/// One entry of an archive.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its path as written.
    pub path: Vec<u8>,
    /// Target of a link as written.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length of the file in bytes, holes included.
    pub size: u64,
    /// Seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Major and minor number of a device.
    pub device: (u64, u64),
    /// Extended attributes, sorted.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the content's pieces belong, if the file has holes: offset and length.
    pub pieces: Option<Vec<(u64, u64)>>,
}

/// Reads the entries of an archive.
#[derive(Debug)]
pub struct Members<R> {
    input: R,
    /// Bytes of the current entry's content not yet read.
    left: u64,
    /// Bytes that fill its last block.
    padding: u64,
}

fn bad(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

/// What extended headers have said about the next entry.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Extended {
    fn get(&self, key: &str) -> Option<&[u8]> {
        let found = self.records.iter().rev().find(|(k, _)| k == key.as_bytes());
        found.map(|(_, value)| value.as_slice())
    }
    fn number(&self, key: &str) -> io::Result<Option<u64>> {
        self.get(key).map(number).transpose()
    }
}

fn number(text: &[u8]) -> io::Result<u64> {
    let text = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    text.ok_or_else(|| bad("an extended header has a malformed number"))
}

impl<R: Read + Seek> Members<R> {
    /// Leaves out what is left of the current entry without reading it, and gives the place where it began.
    ///
    /// # Errors
    /// The reader's; `InvalidData` when it lies beyond the end.
    pub fn skip(&mut self) -> io::Result<u64> {
        let begin = self.input.stream_position()?;
        let far = || bad("an entry has an impossible length");
        let end = begin.checked_add(self.left).ok_or_else(far)?;
        let next = end.checked_add(self.padding).ok_or_else(far)?;
        let all = self.input.seek(io::SeekFrom::End(0))?;
        // The last block may lack its padding.
        if end > all {
            return Err(bad("the archive ends within an entry"));
        }
        self.input.seek(io::SeekFrom::Start(next.min(all)))?;
        (self.left, self.padding) = (0, 0);
        Ok(begin)
    }
}

impl<R: Read> Members<R> {
    /// Reads entries from `input`.
    pub fn new(input: R) -> Self {
        Self {
            input,
            left: 0,
            padding: 0,
        }
    }
    /// The rest of the stream, behind what was read so far.
    pub fn into_inner(self) -> R {
        self.input
    }
    /// The current entry's content as stored: without its holes.
    pub fn content(&mut self) -> Content<'_, R> {
        Content { members: self }
    }
    /// Writes the current entry's content into its file, with holes where `member` has them.
    ///
    /// # Errors
    /// [`ContentError`] tells the archive's faults from the machine's.
    pub fn write_content(
        &mut self,
        member: &Member,
        mut file: &std::fs::File,
        buffer: &mut [u8],
    ) -> Result<(), ContentError> {
        use std::io::Write as _;
        use std::os::unix::fs::FileExt as _;
        let mut content = self.content();
        let Some(pieces) = &member.pieces else {
            loop {
                let read = content.read(buffer).map_err(ContentError::Archive)?;
                if read == 0 {
                    return Ok(());
                }
                file.write_all(&buffer[..read])
                    .map_err(ContentError::Machine)?;
            }
        };
        for (offset, length) in pieces {
            let (mut at, end) = (*offset, offset + length);
            while at < end {
                let most = usize::try_from(end - at)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                let read = content
                    .read(&mut buffer[..most])
                    .map_err(ContentError::Archive)?;
                if read == 0 {
                    return Err(ContentError::Archive(bad(
                        "a sparse file's content is too short",
                    )));
                }
                file.write_all_at(&buffer[..read], at)
                    .map_err(ContentError::Machine)?;
                at += read as u64;
            }
        }
        file.set_len(member.size).map_err(ContentError::Machine)
    }
    /// The next entry; what was not read of the current one is skipped. `None` at the end.
    ///
    /// # Errors
    /// The reader's; `InvalidData` when the archive is malformed.
    pub fn next_member(&mut self) -> io::Result<Option<Member>> {
        let mut extended = Extended::default();
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = header.entry_size()?;
            let kind = header.entry_type();
            match kind {
                EntryType::XHeader => extended.records = parse(&self.extension(size)?)?,
                EntryType::XGlobalHeader => drop(self.extension(size)?),
                EntryType::GNULongName => extended.path = Some(text(self.extension(size)?)),
                EntryType::GNULongLink => extended.link = Some(text(self.extension(size)?)),
                // The label of the whole archive. Source: GNU tar manual, `GNUTYPE_VOLHDR`.
                other if other.as_byte() == b'V' => self.begin(size),
                _ => return self.member(&header, size, extended).map(Some),
            }
        }
    }
    /// Reads the next header; `None` at a block of zeros or where the stream ends between entries.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let rest = self.left + self.padding;
        if io::copy(&mut self.input.by_ref().take(rest), &mut io::sink())? != rest {
            return Err(bad("the archive ends within an entry"));
        }
        (self.left, self.padding) = (0, 0);
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        match self.block(block)? {
            0 => return Ok(None),
            got if got < block.len() => return Err(bad("the archive ends within a header")),
            _ => {}
        }
        if block.iter().all(|byte| *byte == 0) {
            // What follows a lone block of zeros is there for some readers and not for others.
            // Source: Go `archive/tar`, `readHeader`.
            let got = self.block(block)?;
            if got == block.len() && block.iter().any(|byte| *byte != 0) {
                return Err(bad("the archive goes on behind a block of zeros"));
            }
            return Ok(None);
        }
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        let stored: u32 = block[148..156].iter().map(|byte| u32::from(*byte)).sum();
        let said = header.cksum().map_err(|_| bad("it is not a tar archive"))?;
        if said != sum - stored + 8 * 32 {
            return Err(bad("the archive has a header with a wrong checksum"));
        }
        Ok(Some(header))
    }
    /// Reads a block; fewer bytes only at the end.
    fn block(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let mut got = 0;
        while got < block.len() {
            match self.input.read(&mut block[got..]) {
                Ok(0) => break,
                Ok(read) => got += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(got)
    }
    fn begin(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
    }
    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > LONGEST_EXTENSION {
            return Err(bad("an extended header is longer than 1 MiB"));
        }
        self.begin(size);
        let mut bytes = Vec::new();
        self.content().read_to_end(&mut bytes)?;
        Ok(bytes)
    }
    fn member(&mut self, header: &Header, size: u64, mut said: Extended) -> io::Result<Member> {
        let stored = said.number("size")?.unwrap_or(size);
        let path = said
            .path
            .take()
            .or_else(|| said.get("path").map(<[u8]>::to_vec));
        let path = said.get("GNU.sparse.name").map(<[u8]>::to_vec).or(path);
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = said
            .link
            .take()
            .or_else(|| said.get("linkpath").map(<[u8]>::to_vec));
        let link = link
            .or_else(|| header.link_name_bytes().map(|l| l.into_owned()))
            .unwrap_or_default();
        let kind = kind(header.entry_type(), &path)?;
        let id = |said: Option<u64>, header: io::Result<u64>| {
            let value = said.map_or(header, Ok)?;
            u32::try_from(value).map_err(|_| bad("an entry has an owner beyond 32 bits"))
        };
        let mut member = Member {
            path,
            link,
            kind,
            mode: header.mode()? & 0o7777,
            uid: id(
                said.number("uid")?,
                or_blank(header, 108..116, header.uid()),
            )?,
            gid: id(
                said.number("gid")?,
                or_blank(header, 116..124, header.gid()),
            )?,
            size: if kind == EntryKind::File { stored } else { 0 },
            mtime: match said.get("mtime") {
                Some(text) => time(text)?,
                None => (seconds(header), 0),
            },
            device: (0, 0),
            xattrs: Vec::new(),
            pieces: None,
        };
        if matches!(kind, EntryKind::Char | EntryKind::Block) {
            let part = |part: io::Result<Option<u32>>| part.map(|n| u64::from(n.unwrap_or(0)));
            member.device = (part(header.device_major())?, part(header.device_minor())?);
        }
        member.xattrs = attributes(&said.records);
        // Some writers give links the size of their target; only files have content.
        // Source: Go `archive/tar`, `isHeaderOnlyType`.
        let stored = if kind == EntryKind::File { stored } else { 0 };
        if header.entry_type() == EntryType::GNUSparse {
            self.old_sparse(header, &mut member)?;
            self.begin(stored);
        } else {
            self.begin(stored);
            self.pax_sparse(&said, &mut member)?;
        }
        check(&member, self.left)?;
        Ok(member)
    }
    /// GNU's own sparse format: pieces in the header and in blocks behind it.
    fn old_sparse(&mut self, header: &Header, member: &mut Member) -> io::Result<()> {
        let gnu = header
            .as_gnu()
            .ok_or_else(|| bad("a sparse entry has no GNU header"))?;
        let mut pieces = Vec::new();
        let mut add = |parts: &[GnuSparseHeader]| -> io::Result<()> {
            for part in parts.iter().filter(|part| !part.is_empty()) {
                pieces.push((part.offset()?, part.length()?));
            }
            if pieces.len() > MOST_PIECES {
                Err(bad("a sparse file has too many pieces"))
            } else {
                Ok(())
            }
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            self.input.read_exact(block.as_mut_bytes())?;
            add(block.sparse())?;
            more = block.is_extended();
        }
        member.size = gnu.real_size()?;
        member.pieces = Some(pieces);
        Ok(())
    }
    /// The sparse formats 0.0, 0.1 and 1.0 of pax headers.
    fn pax_sparse(&mut self, said: &Extended, member: &mut Member) -> io::Result<()> {
        let numbers = if said.get("GNU.sparse.major") == Some(b"1") {
            self.sparse_map()?
        } else if let Some(map) = said.get("GNU.sparse.map") {
            map.split(|byte| *byte == b',')
                .map(number)
                .collect::<io::Result<Vec<u64>>>()?
        } else if said.get("GNU.sparse.numblocks").is_some() {
            let keys = [b"GNU.sparse.offset".as_slice(), b"GNU.sparse.numbytes"];
            let parts = said
                .records
                .iter()
                .filter(|(key, _)| keys.contains(&key.as_slice()));
            parts
                .map(|(_, value)| number(value))
                .collect::<io::Result<Vec<u64>>>()?
        } else {
            return Ok(());
        };
        let real = said
            .number("GNU.sparse.realsize")?
            .or(said.number("GNU.sparse.size")?);
        member.size = real.ok_or_else(|| bad("a sparse file does not say its size"))?;
        let pairs = numbers.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err(bad("a sparse file has a malformed map"));
        }
        member.pieces = Some(pairs.map(|pair| (pair[0], pair[1])).collect());
        Ok(())
    }
    /// Format 1.0: decimal numbers on lines at the beginning of the content, filled up to a block.
    fn sparse_map(&mut self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        let mut count = None;
        let mut line = Vec::new();
        while count != Some(numbers.len()) {
            let mut block = [0; BLOCK as usize];
            self.content().read_exact(&mut block)?;
            for byte in block {
                if count == Some(numbers.len()) {
                    break;
                }
                if byte != b'\n' {
                    line.push(byte);
                    if line.len() > 20 {
                        return Err(bad("a sparse file has a malformed map"));
                    }
                    continue;
                }
                let value = number(&std::mem::take(&mut line))?;
                if count.is_some() {
                    numbers.push(value);
                } else {
                    let pieces = usize::try_from(value).ok().filter(|n| *n <= MOST_PIECES);
                    count =
                        Some(pieces.ok_or_else(|| bad("a sparse file has too many pieces"))? * 2);
                }
            }
        }
        Ok(numbers)
    }
}

/// Extended attributes by name. bsdtar writes each in star's words and in its own; either is enough.
/// Source: libarchive, `archive_write_set_format_pax.c`, `archive_write_pax_header_xattr`.
fn attributes(records: &[(Vec<u8>, Vec<u8>)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let unpadded = base64::engine::general_purpose::STANDARD_NO_PAD;
    let mut found = BTreeMap::new();
    for (key, value) in records {
        if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.")
            && let Ok(value) = unpadded.decode(without_padding(value))
        {
            found.entry(percent_decoded(name)).or_insert(value);
        }
    }
    for (key, value) in records {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            found.insert(name.to_vec(), value.clone());
        }
    }
    found.into_iter().collect()
}

fn without_padding(value: &[u8]) -> &[u8] {
    let end = value.iter().rposition(|byte| !matches!(byte, b'=' | b'\n'));
    value.get(..end.map_or(0, |at| at + 1)).unwrap_or_default()
}

/// `%41` is `A`.
fn percent_decoded(mut text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|n| u8::try_from(n).ok())
    };
    let mut out = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        text = rest;
        match (first, rest) {
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high * 16 + low);
                    text = after;
                }
                _ => out.push(*first),
            },
            _ => out.push(*first),
        }
    }
    out
}

/// The time of a header: octal digits, or a two's complement of 95 bits behind a bit that is set.
/// Source: GNU tar manual, "Basic Tar Format"; what can't be read is 1970.
fn seconds(header: &Header) -> i64 {
    let field = header.as_bytes().get(136..148).unwrap_or_default();
    let Some((first, rest)) = field.split_first().filter(|(first, _)| **first & 0x80 != 0) else {
        let seconds = header.mtime().ok().and_then(|s| i64::try_from(s).ok());
        return seconds.unwrap_or(0);
    };
    let sign: i128 = if first & 0x40 == 0 { 0 } else { -1 };
    let begin = (sign << 6) | i128::from(first & 0x3f);
    let value = rest
        .iter()
        .fold(begin, |value, byte| (value << 8) | i128::from(*byte));
    i64::try_from(value).unwrap_or(0)
}

/// A number of a header, which is 0 where its field is left blank. Source: Go `archive/tar`, `parseOctal`.
fn or_blank(
    header: &Header,
    field: std::ops::Range<usize>,
    value: io::Result<u64>,
) -> io::Result<u64> {
    let bytes = header.as_bytes().get(field).unwrap_or_default();
    match bytes.iter().all(|byte| matches!(byte, 0 | b' ')) {
        true => Ok(0),
        false => value,
    }
}

/// Whether names hold no NUL and pieces lie in order within the file and add up to what is stored.
fn check(member: &Member, stored: u64) -> io::Result<()> {
    if member.path.contains(&0) || member.link.contains(&0) {
        return Err(bad("an entry's name has a NUL in it"));
    }
    let Some(pieces) = &member.pieces else {
        return Ok(());
    };
    let (mut at, mut sum) = (0u64, 0u64);
    for (offset, length) in pieces {
        let end = offset
            .checked_add(*length)
            .filter(|end| *offset >= at && *end <= member.size);
        at = end.ok_or_else(|| bad("a sparse file's pieces overlap or lie beyond its end"))?;
        sum += length;
    }
    if sum == stored {
        Ok(())
    } else {
        Err(bad("a sparse file's pieces don't add up"))
    }
}

fn kind(flag: EntryType, path: &[u8]) -> io::Result<EntryKind> {
    Ok(match flag {
        // The oldest archives mark a directory only by its slash.
        EntryType::Regular if path.ends_with(b"/") => EntryKind::Dir,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => EntryKind::File,
        EntryType::Link => EntryKind::HardLink,
        EntryType::Symlink => EntryKind::Symlink,
        EntryType::Char => EntryKind::Char,
        EntryType::Block => EntryKind::Block,
        EntryType::Directory => EntryKind::Dir,
        EntryType::Fifo => EntryKind::Fifo,
        other => {
            let flag = char::from(other.as_byte());
            return Err(bad(&format!(
                "the archive has an entry of unknown type `{flag}`"
            )));
        }
    })
}

fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

/// Decimal seconds with a fraction, as in `1700000000.5`, `-1.25`.
fn time(text: &[u8]) -> io::Result<(i64, u32)> {
    let wrong = || bad("an extended header has a malformed time");
    let text = std::str::from_utf8(text).map_err(|_| wrong())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| wrong())?;
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanos: u32 = digits.parse().map_err(|_| wrong())?;
    if whole.starts_with('-') && nanos > 0 {
        return Ok((
            seconds.checked_sub(1).ok_or_else(wrong)?,
            1_000_000_000 - nanos,
        ));
    }
    Ok((seconds, nanos))
}

/// The records of a pax header, each led by its own length.
fn parse(mut bytes: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let wrong = || bad("the archive has a malformed extended header");
    let mut records = Vec::new();
    while !bytes.is_empty() && bytes[0] != 0 {
        let space = bytes
            .iter()
            .position(|byte| *byte == b' ')
            .ok_or_else(wrong)?;
        let length = usize::try_from(number(&bytes[..space])?).map_err(|_| wrong())?;
        let record = bytes.get(space + 1..length).ok_or_else(wrong)?;
        let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
        let equals = record
            .iter()
            .position(|byte| *byte == b'=')
            .ok_or_else(wrong)?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = &bytes[length..];
    }
    Ok(records)
}

/// Reads the content of the current entry.
#[derive(Debug)]
pub struct Content<'a, R> {
    members: &'a mut Members<R>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.members.left)
            .unwrap_or(usize::MAX)
            .min(into.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.members.input.read(&mut into[..most])?;
        if read == 0 {
            return Err(bad("the archive ends within an entry"));
        }
        self.members.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_fractions_and_may_lie_before_1970() {
        assert_eq!(time(b"1700000000.5").unwrap(), (1_700_000_000, 500_000_000));
        assert_eq!(time(b"-1.25").unwrap(), (-2, 750_000_000));
        assert_eq!(time(b"7").unwrap(), (7, 0));
        assert!(time(b"x").is_err());
    }

    #[test]
    fn records_are_cut_by_their_lengths() {
        let records = parse(b"17 comment=a\n=b\n\n6 a=b\n");
        assert_eq!(
            records.unwrap(),
            [
                (b"comment".to_vec(), b"a\n=b\n".to_vec()),
                (b"a".to_vec(), b"b".to_vec())
            ]
        );
        for malformed in [b"99 a=b\n".as_slice(), b"3 a=b\n", b"a=b\n", b"6 a=bx"] {
            assert!(parse(malformed).is_err());
        }
    }

    #[test]
    fn an_archive_cut_short_is_an_error_and_not_its_end() {
        let mut bytes = Vec::new();
        let entry = super::super::write::Entry {
            size: 600,
            ..super::super::write::Entry::new(b"a", EntryKind::File, 0o644)
        };
        entry.write(&mut bytes).unwrap();
        bytes.extend([1; 100]);
        let mut members = Members::new(bytes.as_slice());
        members.next_member().unwrap().unwrap();
        assert!(members.next_member().is_err());
        assert!(Members::new(&bytes[..300]).next_member().is_err());
    }
}
