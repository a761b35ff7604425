//! The files of an archive or a directory, by the names they have there, which mean nothing to this machine.
//!
//! In: a stream, a file or a directory. Out: parts that can be read from any place, many at once. An archive that is a file and
//! not compressed is read where it lies; any other is written to a nameless file first, since what an archive is
//! about comes last in it. Imports: `archive`, `sys::fs`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::{StoreError, corrupt};
use crate::image::archive::read::{ContentError, Member, Members};
use crate::image::archive::write::EntryKind;
use crate::image::archive::{self, Compression, SNIFF, sniff};
use crate::sys::fs::{self, Resolve, Root, openat2};

/// Longest JSON document in bytes. Source: distribution, `maxManifestBodySize`.
pub(super) const LONGEST_DOCUMENT: u64 = 4 << 20;
/// Bytes of all documents that are read of one archive: there may be many names for one.
const MOST_DOCUMENTS: u64 = 16 << 20;
/// Most members of an archive of images.
const MOST_MEMBERS: usize = 50_000;
/// Longest name of such a member in bytes.
const LONGEST_NAME: usize = 512;
/// Links that are followed to one file.
const MOST_LINKS: usize = 8;

/// Where images are read from.
pub enum Input {
    /// An archive that comes only once, compressed or not.
    Stream(Box<dyn Read>),
    /// An archive, compressed or not.
    File(File),
    /// A directory.
    Dir(PathBuf),
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stream(_) => "Stream",
            Self::File(_) => "File",
            Self::Dir(_) => "Dir",
        })
    }
}

/// A part of a file.
#[derive(Debug, Clone)]
pub(super) struct Part {
    file: Arc<File>,
    at: u64,
    /// Bytes from there.
    pub(super) length: u64,
}

impl Part {
    /// The first bytes.
    pub(super) fn head(&self) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        self.clone().take(SNIFF as u64).read_to_end(&mut head)?;
        Ok(head)
    }
}

impl Read for Part {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.length)
            .unwrap_or(usize::MAX)
            .min(into.len());
        let read = self
            .file
            .read_at(into.get_mut(..most).unwrap_or_default(), self.at)?;
        if read == 0 && most > 0 {
            return Err(io::Error::other("it is shorter than it was"));
        }
        self.at += read as u64;
        self.length -= read as u64;
        Ok(read)
    }
}

/// All files.
#[derive(Debug, Default)]
pub(super) struct Files {
    parts: BTreeMap<String, Part>,
    /// Older archives keep a layer that occurs twice as a link.
    links: BTreeMap<String, String>,
    dir: Option<Root>,
    /// Bytes of documents read so far.
    read: Cell<u64>,
}

impl Files {
    /// Finds out what there is; `scratch` is a directory for what has to be written down.
    pub(super) fn open(input: Input, scratch: &Path) -> Result<Self, StoreError> {
        let failed = || StoreError::io("read the archive");
        match input {
            Input::Dir(path) => Ok(Self {
                dir: Some(
                    Root::open(&path)
                        .map_err(StoreError::io(format!("open {}", path.display())))?,
                ),
                ..Self::default()
            }),
            Input::Stream(stream) => Self::of_archive(spooled(stream, scratch)?, scratch),
            Input::File(mut file) => {
                let mut head = Vec::new();
                // A pipe has a name too.
                if !file.metadata().map_err(failed())?.is_file() {
                    return Self::of_archive(spooled(file, scratch)?, scratch);
                }
                (&file)
                    .take(SNIFF as u64)
                    .read_to_end(&mut head)
                    .map_err(failed())?;
                file.rewind().map_err(failed())?;
                match sniff(&head) {
                    Compression::Tar | Compression::Unknown => Self::of_archive(file, scratch),
                    _ => Self::of_archive(spooled(file, scratch)?, scratch),
                }
            }
        }
    }
    fn of_archive(file: File, scratch: &Path) -> Result<Self, StoreError> {
        let mut found = Self::default();
        let file = Arc::new(file);
        let mut members = Members::new(io::BufReader::new(&*file));
        let broken = |error: io::Error| corrupt(format!("the archive: {error}"));
        while let Some(member) = members.next_member().map_err(broken)? {
            if member.path.len() > LONGEST_NAME || member.link.len() > LONGEST_NAME {
                return Err(corrupt("the archive has a name too long for one of images"));
            }
            if found.parts.len() + found.links.len() > MOST_MEMBERS {
                return Err(corrupt(
                    "the archive has too many members for one of images",
                ));
            }
            let name = tidy(&String::from_utf8_lossy(&member.path));
            match member.kind {
                EntryKind::File if member.pieces.is_some() => {
                    let part = Self::whole(&mut members, &member, scratch)?;
                    found.parts.insert(name, part);
                }
                EntryKind::File => {
                    let at = members.skip().map_err(broken)?;
                    let (file, length) = (Arc::clone(&file), member.size);
                    found.parts.insert(name, Part { file, at, length });
                }
                EntryKind::Symlink | EntryKind::HardLink => {
                    let target = target(&name, &member);
                    found.links.insert(name, target);
                }
                _ => {}
            }
        }
        Ok(found)
    }
    /// A file with holes.
    fn whole<R: Read>(
        members: &mut Members<R>,
        member: &Member,
        scratch: &Path,
    ) -> Result<Part, StoreError> {
        let failed = || StoreError::io("write down a part of the archive");
        let file = fs::unnamed(scratch).map_err(failed())?;
        let mut buffer = vec![0; 64 << 10];
        match members.write_content(member, &file, &mut buffer) {
            Ok(()) => Ok(Part {
                file: Arc::new(file),
                at: 0,
                length: member.size,
            }),
            Err(ContentError::Archive(error)) => Err(corrupt(format!("the archive: {error}"))),
            Err(ContentError::Machine(error)) => Err(failed()(error)),
        }
    }
    /// Whether there is such a file.
    pub(super) fn has(&self, name: &str) -> bool {
        self.part(name).is_ok()
    }
    /// The file with a name.
    pub(super) fn part(&self, name: &str) -> Result<Part, StoreError> {
        let missing = || corrupt(format!("the archive has no `{}`", shown(name)));
        if let Some(root) = &self.dir {
            return from_dir(root, name);
        }
        let mut name = tidy(name);
        for _ in 0..MOST_LINKS {
            if let Some(part) = self.parts.get(&name) {
                return Ok(part.clone());
            }
            name = self.links.get(&name).cloned().ok_or_else(missing)?;
        }
        Err(missing())
    }
    /// A document.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let part = self.part(name)?;
        if part.length > LONGEST_DOCUMENT {
            let text = format!("`{}` of the archive is too long", shown(name));
            return Err(corrupt(text));
        }
        self.read.set(self.read.get() + part.length);
        if self.read.get() > MOST_DOCUMENTS {
            return Err(corrupt("the archive's documents are too long"));
        }
        let mut bytes = Vec::new();
        part.take(LONGEST_DOCUMENT)
            .read_to_end(&mut bytes)
            .map_err(StoreError::io("read a document of the archive"))?;
        Ok(bytes)
    }
}

fn from_dir(root: &Root, name: &str) -> Result<Part, StoreError> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let open = openat2(root, Path::new(name), flags, 0, Resolve::Beneath);
    let name = shown(name);
    let file = open.map(File::from).map_err(|errno| match errno {
        Errno::ENOENT | Errno::ENOTDIR => corrupt(format!("the directory has no `{name}`")),
        Errno::EXDEV | Errno::ELOOP => corrupt(format!("`{name}` leads out of the directory")),
        errno => StoreError::io(format!("read `{name}` of the directory"))(errno),
    })?;
    match file.metadata() {
        Ok(meta) if meta.is_file() => Ok(Part {
            file: Arc::new(file),
            at: 0,
            length: meta.len(),
        }),
        Ok(_) => Err(corrupt(format!("`{name}` of the directory is no file"))),
        Err(error) => Err(StoreError::io(format!("read `{name}` of the directory"))(
            error,
        )),
    }
}

/// A name of the archive as messages show it.
fn shown(name: &str) -> String {
    let clean = name.chars().filter(|c| !c.is_control());
    clean.take(200).collect()
}

/// The same name for `./a`, `/a` and `a`.
fn tidy(name: &str) -> String {
    let path = fs::clean(&Path::new("/").join(name));
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

/// What a link names. A symbolic one begins where it lies.
fn target(name: &str, member: &Member) -> String {
    let link = String::from_utf8_lossy(&member.link);
    match member.kind {
        EntryKind::Symlink => {
            let base = Path::new(name).parent().unwrap_or(Path::new(""));
            tidy(&base.join(link.as_ref()).to_string_lossy())
        }
        _ => tidy(&link),
    }
}

/// The archive, not compressed, in a file without a name.
fn spooled(input: impl Read, scratch: &Path) -> Result<File, StoreError> {
    let failed = || StoreError::io("write down the archive");
    let mut file = fs::unnamed(scratch).map_err(failed())?;
    let mut decoded = archive::bounded(input);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = match decoded.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(corrupt(format!("the archive: {error}"))),
            Ok(read) => read,
        };
        if read == 0 {
            break;
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        io::Write::write_all(&mut file, bytes).map_err(failed())?;
    }
    file.rewind().map_err(failed())?;
    Ok(file)
}
