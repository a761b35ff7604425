//! Files that appear whole: without a name while they are written, so that whatever ends the writer leaves nothing.
//! Devices and pipes are written as they are: a file must never take the place of `/dev/null`.
//!
//! Imports: `fs`. Source: open(2), `O_TMPFILE`; rename(2).

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;

use super::fs::fd_path;

/// A file that is written and not there yet.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    /// Where it is put; `None` for what is there and no file.
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// Its name beside its place; it has it already where the file system knows no nameless files.
    beside: PathBuf,
    nameless: bool,
}

impl NewFile {
    /// Begins to write what will be at `path`.
    ///
    /// # Errors
    /// The system's.
    pub fn create(path: &Path, mode: u32) -> io::Result<Self> {
        let other = |found: &std::fs::Metadata| !found.is_file() && !found.is_dir();
        if path.metadata().is_ok_and(|found| other(&found)) {
            let file = File::options().write(true).open(path)?;
            return Ok(Self { file, place: None });
        }
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = dir.join(format!(".{name}.{}", std::process::id()));
        let mut options = File::options();
        options.write(true).mode(mode);
        let nameless = options.clone().custom_flags(libc::O_TMPFILE).open(dir);
        let (file, nameless) = match nameless {
            Ok(file) => (file, true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
                (options.create_new(true).open(&beside)?, false)
            }
            Err(error) => return Err(error),
        };
        let place = Place {
            path: path.to_owned(),
            beside,
            nameless,
        };
        Ok(Self {
            file,
            place: Some(place),
        })
    }
    /// What is written to.
    pub fn file(&self) -> &File {
        &self.file
    }
    /// Puts it in its place, in place of what is there.
    ///
    /// # Errors
    /// The system's.
    pub fn finish(mut self) -> io::Result<()> {
        let Some(place) = &mut self.place else {
            return Ok(());
        };
        if place.nameless {
            let own = fd_path(self.file.as_fd());
            let flags = AtFlags::AT_SYMLINK_FOLLOW;
            nix::unistd::linkat(
                nix::fcntl::AT_FDCWD,
                &own,
                nix::fcntl::AT_FDCWD,
                &place.beside,
                flags,
            )?;
            place.nameless = false;
        }
        std::fs::rename(&place.beside, &place.path)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(place) = self.place.as_ref().filter(|place| !place.nameless) {
            // Not there any more once it is finished.
            let _ = std::fs::remove_file(&place.beside);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_is_there_only_when_it_is_finished() {
        let dir = std::env::temp_dir().join(format!("hoist-newfile-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a");
        let names = || std::fs::read_dir(&dir).unwrap().count();
        let write = || {
            let new = NewFile::create(&path, 0o600).unwrap();
            new.file().write_all(b"x").unwrap();
            new
        };
        drop(write());
        assert_eq!(names(), 0);
        write().finish().unwrap();
        write().finish().unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), names()), (b"x".to_vec(), 1));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_is_no_file_is_written_as_it_is() {
        use std::io::Read as _;
        use std::os::unix::fs::FileTypeExt as _;
        let dir = std::env::temp_dir().join(format!("hoist-pipe-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("p");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // Neither end waits for the other.
        let open = File::options().read(true).write(true).open(&path);
        let mut open = open.unwrap();
        let new = NewFile::create(&path, 0o600).unwrap();
        new.file().write_all(b"x").unwrap();
        new.finish().unwrap();
        let mut byte = [0];
        open.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        assert!(path.metadata().unwrap().file_type().is_fifo());
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
