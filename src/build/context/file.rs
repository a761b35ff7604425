//! The Dockerfile and the ignore file of a context: read whole, and from nowhere else than the context.
//!
//! In: the context's directory and a path. Out: the bytes. A path below the context stays below it, whatever links say;
//! one that the caller names elsewhere is read as it is. Nothing but a file is opened for long.
//! Imports: `sys::fs`.

use std::io::Read as _;
use std::path::Path;

use nix::errno::Errno;

use crate::sys::fs::{Root, is_kind};

/// Why a file could not be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Unread {
    /// Nothing is there.
    Missing,
    /// A directory is there.
    Directory,
    /// Anything else.
    Refused(String),
}

impl From<Errno> for Unread {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT | Errno::ENOTDIR => Self::Missing,
            Errno::EISDIR => Self::Directory,
            Errno::EXDEV => Self::Refused("it is a link that leads out of the context".to_owned()),
            Errno::EFBIG => Self::Refused("it is too large".to_owned()),
            Errno::EINVAL => Self::Refused("it is not a regular file".to_owned()),
            errno => Self::Refused(errno.desc().to_owned()),
        }
    }
}

/// Reads a file of at most `limit` bytes that belongs to the context `dir`, or lies elsewhere.
///
/// # Errors
/// [`Unread`].
pub fn read(dir: Option<&Path>, path: &Path, limit: u64) -> Result<Vec<u8>, Unread> {
    let inside = dir.and_then(|dir| Some((dir, path.strip_prefix(dir).ok()?)));
    let Some((dir, inside)) = inside.filter(|(_, inside)| !inside.starts_with("..")) else {
        return outside(path, limit);
    };
    let root = Root::open(dir)?;
    let stat = root.stat_beneath(inside)?;
    if is_kind(&stat, libc::S_IFDIR) {
        return Err(Unread::Directory);
    }
    Ok(root.read_beneath(inside, limit)?)
}

fn outside(path: &Path, limit: u64) -> Result<Vec<u8>, Unread> {
    let told = |error: std::io::Error| match error.raw_os_error() {
        Some(number) => Unread::from(Errno::from_raw(number)),
        None => Unread::Refused(error.to_string()),
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(told)?;
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(told)?;
    match bytes.len() as u64 > limit {
        true => Err(Errno::EFBIG.into()),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_context_is_read_from_nowhere_else() {
        let dir = std::env::temp_dir().join(format!("hoist-context-file-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let context = dir.join("context");
        std::fs::create_dir_all(context.join("sub")).unwrap();
        std::fs::write(dir.join("secret"), "secret").unwrap();
        std::fs::write(context.join("real"), "real").unwrap();
        let link = |to: &str, name: &str| {
            std::os::unix::fs::symlink(to, context.join(name)).unwrap();
        };
        link("real", "inner");
        link("../secret", "up");
        link("/etc/hostname", "abs");
        nix::unistd::mkfifo(&context.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let of = |name: &str| read(Some(&context), &context.join(name), 100);
        assert_eq!(of("inner"), Ok(b"real".to_vec()));
        assert_eq!(of("none"), Err(Unread::Missing));
        assert_eq!(of("sub"), Err(Unread::Directory));
        for name in ["up", "abs", "fifo"] {
            assert!(matches!(of(name), Err(Unread::Refused(_))), "{name}");
        }
        // What the caller names outside is the caller's own.
        assert_eq!(
            read(Some(&context), &dir.join("secret"), 100),
            Ok(b"secret".to_vec())
        );
        assert!(read(Some(&context), &dir.join("secret"), 3).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
