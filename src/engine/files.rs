//! A container's files seen from outside: what `cp` asks of the engine.
//!
//! In: paths as processes of the container know them, archives. Out: what lies there, archives. Links of the
//! container are followed inside it and nowhere else; nothing of it is ever run or loaded.
//! Imports: `base`. Rules: docker's reference of `docker cp`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What kind of file a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// A device.
    Device,
    /// A FIFO or socket.
    Other,
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// What it is; a last link is not followed, unless a slash or `/.` follows it.
    pub kind: FileKind,
    /// Where a link leads in the end, as far as that exists, from the container's root.
    pub target: Option<PathBuf>,
}

/// Who owns files that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// Whom the archive names.
    Archived,
    /// The container's own user, if it has one; else as [`Ownership::Archived`].
    ContainerUser,
}

/// How files take the place of what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placing {
    /// What is there is removed, then the file is made. As `docker cp`.
    Anew,
    /// The file is made beside it and moved into its place when it is whole, so that nobody in the container sees half
    /// of it. Directories that are missing on the way are owned as the files are.
    AtOnce,
}

/// Why a container's files could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilesError {
    /// There is nothing at that path.
    #[error("could not find the file {path}")]
    NotFound {
        /// As it was asked for.
        path: String,
    },
    /// Something else than a directory is on the way, or where one must be.
    #[error("{path}: not a directory")]
    NotDirectory {
        /// As it was asked for.
        path: String,
    },
    /// The container's root file system refuses writes.
    #[error("container rootfs is marked read-only")]
    ReadOnlyRoot,
    /// The mount refuses writes.
    #[error("mounted volume is marked read-only")]
    ReadOnlyMount,
    /// What is there must not be replaced by what comes, or the archive is none.
    #[error("{0}")]
    Refused(String),
    /// The system refused.
    #[error("cannot {step}: {cause}")]
    Failed {
        /// `write /etc/hosts`.
        step: String,
        /// The kernel's words.
        cause: String,
    },
    /// Whoever was to take or give the archive did not; its own error says why.
    #[error("the copy was broken off")]
    BrokenOff,
}

/// Result of every call about files.
pub type FilesResult<T> = std::result::Result<T, FilesError>;

/// Gives an archive to a writer.
pub type Feed<'a> = dyn FnMut(&mut dyn Write) -> std::io::Result<()> + 'a;
/// Takes an archive from a reader.
pub type Drain<'a> = dyn FnMut(&mut dyn Read) -> std::io::Result<()> + 'a;

/// The files of one container, as its processes see them; of one that does not run as they would after its start,
/// but for what only lives in memory.
pub trait Files: Send {
    /// What is at a path.
    ///
    /// # Errors
    /// [`FilesError::NotFound`], [`FilesError::NotDirectory`], [`FilesError::Failed`].
    fn info(&mut self, path: &Path) -> FilesResult<FileInfo>;
    /// Gives the tar archive of a file or directory to `drain`, with `name` in place of the path's last component.
    /// With `holes` they are told as GNU tar does, else they are zeros.
    ///
    /// # Errors
    /// [`FilesError`]; [`FilesError::BrokenOff`] when `drain` itself failed.
    fn read(
        &mut self,
        path: &Path,
        name: &[u8],
        holes: bool,
        drain: &mut Drain<'_>,
    ) -> FilesResult<()>;
    /// Unpacks the tar archive of `feed` into a directory that exists.
    ///
    /// # Errors
    /// [`FilesError`]; [`FilesError::BrokenOff`] when `feed` itself failed.
    fn write(
        &mut self,
        directory: &Path,
        how: (Ownership, Placing),
        feed: &mut Feed<'_>,
    ) -> FilesResult<()>;
    /// Removes what is at these paths, with all that lies below; what is not there is fine. After a failure it goes on
    /// with the others.
    ///
    /// # Errors
    /// The first failure.
    fn remove(&mut self, paths: &[PathBuf]) -> FilesResult<()>;
}
