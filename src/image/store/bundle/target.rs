//! Where images are written to: an archive as a stream, or a directory.
//!
//! In: names and contents, whose lengths are known before. Out: the same bytes for the same images: no times, no owners. A
//! directory appears as a whole or not at all. Imports: `archive::write`, `sys::fs`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{StoreError, corrupt};
use crate::image::archive::write::{Entry, EntryKind, end, pad};
use crate::sys::fs;

/// What is written.
pub struct Target<'a>(Kind<'a>);

enum Kind<'a> {
    Tar(BufWriter<Box<dyn Write + 'a>>, BTreeSet<String>),
    Dir { new: PathBuf, place: PathBuf },
}

impl std::fmt::Debug for Target<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Kind::Tar(..) => "Archive",
            Kind::Dir { .. } => "Directory",
        })
    }
}

fn failed() -> impl FnOnce(io::Error) -> StoreError {
    StoreError::io("write the archive")
}

impl<'a> Target<'a> {
    /// An archive.
    pub fn archive(out: impl Write + 'a) -> Self {
        let out: Box<dyn Write + 'a> = Box::new(out);
        Self(Kind::Tar(
            BufWriter::with_capacity(1 << 20, out),
            BTreeSet::new(),
        ))
    }
    /// A directory that is not there yet, or is empty.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`] when there is something else.
    pub fn directory(place: &Path) -> Result<Self, StoreError> {
        let told = || StoreError::io(format!("write {}", place.display()));
        match std::fs::read_dir(place).map(|mut all| all.next().is_none()) {
            Ok(true) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() != io::ErrorKind::NotADirectory => {
                return Err(told()(error));
            }
            _ => {
                let text = format!("{} is there already and not empty", place.display());
                return Err(corrupt(text));
            }
        }
        let name = place.file_name().ok_or_else(|| {
            corrupt(format!(
                "{} is no name for a new directory",
                place.display()
            ))
        })?;
        let new = format!(".{}.{}", name.to_string_lossy(), std::process::id());
        let new = place.with_file_name(new);
        std::fs::create_dir(&new).map_err(told())?;
        let place = place.to_owned();
        Ok(Self(Kind::Dir { new, place }))
    }
    /// Writes a file of `size` bytes, which `fill` must give.
    pub(super) fn file(
        &mut self,
        name: &str,
        size: u64,
        fill: &mut dyn FnMut(&mut dyn Write) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut exact;
        match &mut self.0 {
            Kind::Tar(out, dirs) => {
                parents(out, dirs, name).map_err(failed())?;
                let entry = Entry::new(name.as_bytes(), EntryKind::File, 0o644);
                Entry { size, ..entry }.write(out).map_err(failed())?;
                exact = Exact {
                    out: &mut *out,
                    left: size,
                };
                fill(&mut exact)?;
                short(name, exact.left)?;
                pad(out, size).map_err(failed())
            }
            Kind::Dir { new, .. } => {
                let path = new.join(name);
                if let Some(above) = path.parent() {
                    fs::make_dirs(above, 0o755).map_err(failed())?;
                }
                let mut file = File::create_new(&path).map_err(failed())?;
                let mut exact = Exact {
                    out: &mut file,
                    left: size,
                };
                fill(&mut exact)?;
                short(name, exact.left)
            }
        }
    }
    /// Writes a document.
    pub(super) fn document(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.file(name, bytes.len() as u64, &mut |out| {
            out.write_all(bytes).map_err(failed())
        })
    }
    /// Ends it; only now is it whole.
    pub(super) fn finish(mut self) -> Result<(), StoreError> {
        match &mut self.0 {
            Kind::Tar(out, _) => end(out).and_then(|()| out.flush()).map_err(failed()),
            Kind::Dir { new, place } => std::fs::rename(new, &*place).map_err(StoreError::io(
                format!("put {} in its place", place.display()),
            )),
        }
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        if let Kind::Dir { new, .. } = &self.0 {
            // Not there any more once it is finished.
            drop(fs::remove_tree(new));
        }
    }
}

/// The directories above a file, each once: as Docker writes them.
fn parents(out: &mut impl Write, dirs: &mut BTreeSet<String>, name: &str) -> io::Result<()> {
    for (at, _) in name.match_indices('/') {
        let dir = name.get(..=at).unwrap_or_default();
        if dirs.insert(dir.to_owned()) {
            Entry::new(dir.as_bytes(), EntryKind::Dir, 0o755).write(out)?;
        }
    }
    Ok(())
}

fn short(name: &str, left: u64) -> Result<(), StoreError> {
    match left {
        0 => Ok(()),
        _ => Err(corrupt(format!(
            "{name} was changed on disk: it is shorter"
        ))),
    }
}

/// Refuses more bytes than were announced.
struct Exact<W> {
    out: W,
    left: u64,
}

impl<W: Write> Write for Exact<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::other(
                "a layer was changed on disk: it is longer than recorded",
            ));
        }
        let written = self.out.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
