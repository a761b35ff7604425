//! The host's side of a copy: what a source path leads to, and where a destination is.
//!
//! Imports: `image::tree`, `sys::fs`. Links are followed as the reference follows them, once; below, the tree is
//! walked by descriptor, since a container may share it and change it meanwhile.

use std::fs::{File, FileType};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::paths::{Place, There, Written};
use crate::cli::exit::Failure;
use crate::image::tree::pack::{self, Holes, Opening, PackError, Source};
use crate::image::tree::unpack::{self, Links, Owner, Target, UnpackFault};
use crate::sys::fs::Root;

/// How often a destination that is a link is followed. As moby: `CopyInfoDestinationPath`.
const MAX_LINKS: u32 = 10;

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    let words = error
        .raw_os_error()
        .map(|raw| nix::errno::Errno::from_raw(raw).desc().to_lowercase());
    let words = words.unwrap_or_else(|| error.to_string());
    Failure::new(format!("{what} {}: {words}", path.display()))
}

fn lstat(path: &Path) -> impl Fn(io::Error) -> Failure + '_ {
    move |error| failed("lstat", path, &error)
}

/// A file or directory of the host that is copied.
#[derive(Debug)]
pub(super) struct Local {
    dir: OwnedFd,
    name: std::ffi::OsString,
    /// Whether it is a directory.
    pub(super) is_dir: bool,
}

impl Local {
    /// Finds it. As moby: `CopyInfoSourcePath`.
    ///
    /// # Errors
    /// When there is nothing, or no directory where one must be.
    pub(super) fn open(source: &Written, follow: bool) -> Result<Self, Failure> {
        let path = &source.path;
        let whole = source.whole();
        if source.asserts_directory() {
            let dir = directory(&whole).map_err(lstat(path))?;
            return Ok(Self::whole(dir));
        }
        let real = match (follow, path.parent(), path.file_name()) {
            (false, Some(above), Some(name)) => above.canonicalize().map(|above| above.join(name)),
            _ => path.canonicalize(),
        };
        let real = real.map_err(lstat(path))?;
        let found = real.symlink_metadata().map_err(lstat(&real))?;
        if found.is_dir() {
            let dir = directory(&real).map_err(lstat(&real))?;
            return Ok(Self::whole(dir));
        }
        let above = real.parent().unwrap_or(Path::new("/"));
        Ok(Self {
            dir: directory(above).map_err(lstat(above))?,
            name: real.file_name().unwrap_or_default().to_owned(),
            is_dir: false,
        })
    }
    fn whole(dir: OwnedFd) -> Self {
        Self {
            dir,
            name: ".".into(),
            is_dir: true,
        }
    }
    /// Writes its archive, with `name` as its own.
    ///
    /// # Errors
    /// [`PackError`].
    pub(super) fn pack(&self, name: &[u8], out: impl io::Write) -> Result<(), PackError> {
        let source = Source {
            dir: self.dir.as_fd(),
            name: &self.name,
            stored_as: name,
        };
        pack::write(source, Opening::Twice, Holes::Kept, out)
    }
}

fn directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = libc::O_DIRECTORY;
    Ok(File::options()
        .read(true)
        .custom_flags(flags)
        .open(path)?
        .into())
}

/// Looks whether a path can be written to at all. As docker's command line: `ValidateOutputPath`.
///
/// # Errors
/// What is in the way.
pub(super) fn check_output(destination: &Written) -> Result<(), Failure> {
    let above = destination.path.parent().unwrap_or(Path::new("/"));
    if !above.exists() {
        let text = format!(
            "invalid output path: directory \"{}\" does not exist",
            above.display()
        );
        return Err(Failure::new(text));
    }
    let path = destination.whole();
    match std::fs::metadata(&path) {
        Ok(found) if is_device(found.file_type()) => Err(Failure::new(format!(
            "invalid output path: \"{}\" must be a directory or a regular file: got a device",
            path.display()
        ))),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("stat", &path, &error)),
    }
}

fn is_device(kind: FileType) -> bool {
    kind.is_block_device() || kind.is_char_device()
}

/// The destination behind its links, and what is there. As moby: `CopyInfoDestinationPath`.
///
/// # Errors
/// When there are too many links, or nothing that it could lie in.
pub(super) fn destination(written: &Written) -> Result<(Written, There), Failure> {
    let mut path = written.path.clone();
    for _ in 0..=MAX_LINKS {
        let found = match path.symlink_metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let above = path.parent().unwrap_or(Path::new("/"));
                let parent = std::fs::metadata(above).map_err(|e| failed("stat", above, &e))?;
                if !parent.is_dir() {
                    return Err(Failure::new(format!(
                        "{}: not a directory",
                        above.display()
                    )));
                }
                return Ok((written.at(path), There::Nothing));
            }
            Err(error) => return Err(lstat(&path)(error)),
        };
        if !found.is_symlink() {
            let there = match found.is_dir() {
                true => There::Dir,
                false => There::File,
            };
            return Ok((written.at(path), there));
        }
        let link = std::fs::read_link(&path).map_err(|e| failed("readlink", &path, &e))?;
        let above: PathBuf = path.parent().unwrap_or(Path::new("/")).to_owned();
        path = crate::sys::fs::clean(&above.join(link));
    }
    let text = format!("too many symlinks in {}", written.path.display());
    Err(Failure::new(text))
}

/// Makes the files of an archive of a container's. Nothing that lies below the directory already is followed.
///
/// # Errors
/// What is in the way.
pub(super) fn unpack(place: &Place, archive: &mut dyn io::Read) -> Result<(), Failure> {
    let top = Root::open(&place.directory)
        .map_err(|errno| failed("open", &place.directory, &errno.into()))?;
    let target = Target {
        top: &top,
        links: Links::Refused,
        owner: Owner::Caller,
        at_once: None,
    };
    let told = |fault: UnpackFault| match fault.below(&place.directory) {
        UnpackFault::Entry { path, source } => failed("cannot write", Path::new(&path), &source),
        other => Failure::new(other.to_string()),
    };
    unpack::read(archive, target).map_err(told)
}
