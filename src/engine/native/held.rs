//! Contents of configs and secrets that no disk may see, held for a container until it is removed.
//!
//! Each container that has some gets a file system in memory at `<run>/held/<id>`, one file a content. It is filled
//! before it is attached, and read-only from then on; who starts the container, be it a command or its supervisor, now
//! or after a crash of either, finds it there. It is gone with the machine's memory: the next command gives it again.
//! Never: writes below `<run>` where that is not such a file system.
//! Imports: `base`, `engine`, `image::digest`, `sys`; beside it `layout`. Source: tmpfs(5).

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;

use super::layout::Layout;
use crate::base::name::ContainerId;
use crate::base::secret::{Contents, Secret};
use crate::engine::spec::{ContainerSpec, FileContent};
use crate::engine::{EngineError, Result};
use crate::image::digest::Digest;
use crate::sys::fs::{self, Resolve, openat2};
use crate::sys::mount::{self, Change, Fs, attr};

/// Memory is counted in such pieces, which no machine's pages exceed.
const PIECE: u64 = 64 << 10;

/// The key's length in bytes.
const KEY: usize = 32;

/// Names of what a container needs and what is not held for it.
pub(super) fn lacking(layout: &Layout, spec: &ContainerSpec) -> Vec<String> {
    let given = spec.files.iter().filter_map(|file| match &file.content {
        FileContent::Given(name) => Some(name),
        FileContent::Host(_) | FileContent::Inline(_) => None,
    });
    let dir = layout.held(&spec.id);
    let mut names: Vec<String> = given
        .filter(|name| !dir.join(file_name(name)).exists())
        .cloned()
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Holds contents, beside those that are held already.
///
/// # Errors
/// [`EngineError::Failed`]; what was held before is held still.
pub(super) fn hold(layout: &Layout, spec: &ContainerSpec, contents: &Contents) -> Result<()> {
    let dir = layout.held(&spec.id);
    let mut all = contents.clone();
    for file in &spec.files {
        if let FileContent::Given(name) = &file.content
            && let Some(bytes) = read(layout, &spec.id, name)?
        {
            all.entry(name.clone())
                .or_insert_with(|| Secret::new(bytes));
        }
    }
    let failed =
        |error: io::Error| EngineError::failed("hold configs and secrets in memory", error);
    let made = filled(&all).map_err(failed)?;
    fs::make_dirs(&dir, 0o700).map_err(failed)?;
    let attach = || -> std::result::Result<(), Errno> {
        detach(&dir)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        mount::attach(&made, nix::fcntl::open(&dir, flags, Mode::empty())?)
    };
    attach().map_err(|errno| failed(errno.into()))
}

/// What is held under a name; `None` when nothing is.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn read(layout: &Layout, id: &ContainerId, name: &str) -> Result<Option<Vec<u8>>> {
    match std::fs::read(layout.held(id).join(file_name(name))) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(EngineError::failed(
            format!("read {name} from memory"),
            error,
        )),
    }
}

/// Lets go of everything that is held for a container; nothing is fine.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn release(layout: &Layout, id: &ContainerId) -> Result<()> {
    let dir = layout.held(id);
    let gone = detach(&dir).map_err(io::Error::from);
    let gone = gone.and_then(|()| match std::fs::remove_dir(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    });
    gone.map_err(|error| EngineError::failed("let go of configs and secrets", error))
}

/// Takes every mount off a directory; one that is none, or not there, is fine.
fn detach(dir: &Path) -> std::result::Result<(), Errno> {
    loop {
        match umount2(dir, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}

/// A detached file system with these contents, as large as they need and closed to writes.
fn filled(contents: &Contents) -> io::Result<std::os::fd::OwnedFd> {
    let made = memory(
        contents.values().map(|content| content.bytes().len()),
        0o700,
    )?;
    for (name, content) in contents {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY;
        let file = openat2(
            &made,
            Path::new(&file_name(name)),
            flags,
            0o400,
            Resolve::NoLinks,
        )?;
        File::from(file).write_all(content.bytes())?;
    }
    let change = Change {
        set: attr::RDONLY,
        ..Change::default()
    };
    mount::set_attr(&made, change)?;
    Ok(made)
}

/// Memory for files of these lengths that holds nothing else; never written to swap where the kernel can promise it
/// (Linux 6.4).
///
/// # Errors
/// The kernel's.
pub(super) fn memory(
    lengths: impl Iterator<Item = usize>,
    mode: u32,
) -> std::result::Result<std::os::fd::OwnedFd, Errno> {
    let text = |text: String| std::ffi::CString::new(text).map_err(|_| Errno::EINVAL);
    let (mut size, mut files) = (PIECE, 0_u64);
    for length in lengths {
        let pieces = u64::try_from(length).unwrap_or(u64::MAX).div_ceil(PIECE);
        size = size.saturating_add(pieces.saturating_mul(PIECE));
        files += 1;
    }
    let fs = Fs::open(c"tmpfs")?;
    fs.set(c"source", c"tmpfs")?;
    fs.set(c"mode", &text(format!("{mode:o}"))?)?;
    fs.set(c"size", &text(size.to_string())?)?;
    fs.set(c"nr_inodes", &text((files + 2).to_string())?)?;
    // An older kernel refuses the word and goes on without.
    let _ = fs.flag(c"noswap");
    fs.mount(attr::NOSUID | attr::NODEV | attr::NOEXEC)
}

/// A name that fits any file system, whatever the compose file calls it.
fn file_name(name: &str) -> String {
    Digest::of(name.as_bytes()).hex()
}

/// What tells whether a content is the same as before, and nothing else to who has not the key. Both parts have one
/// length, so that nothing can be added to them.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn fingerprint(layout: &Layout, content: Digest) -> Result<Digest> {
    let key = key(&layout.key()).map_err(|error| EngineError::failed("make a key", error))?;
    Ok(Digest::of(
        &[key.as_slice(), content.hex().as_bytes()].concat(),
    ))
}

/// The key below the data root, made when it is missing. Of two that make one the first counts.
fn key(path: &Path) -> io::Result<[u8; KEY]> {
    let read = || -> io::Result<Option<[u8; KEY]>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(bytes.try_into().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    };
    if let Some(key) = read()? {
        return Ok(key);
    }
    let mut bytes = [0; KEY];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let draft = path.with_extension(std::process::id().to_string());
    fs::write_atomic(&draft, &bytes, 0o600, fs::Durability::Synced)?;
    if path.exists() {
        // It is there and no key: cut short by a crash of the machine.
        std::fs::rename(&draft, path)?;
    } else {
        let linked = std::fs::hard_link(&draft, path);
        std::fs::remove_file(&draft)?;
        linked.or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        })?;
    }
    read()?.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_stays_the_same_and_needs_the_key() {
        let dir = std::env::temp_dir().join(format!("hoist-key-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("the directory is writable");
        let layout = Layout::new(crate::engine::Roots {
            data: dir.clone(),
            run: dir.clone(),
        });
        let of = |text: &str| fingerprint(&layout, Digest::of(text.as_bytes())).expect("a key");
        let first = of("1234");
        assert_eq!(first, of("1234"));
        assert_ne!(first, of("1235"));
        assert_ne!(first, Digest::of(b"1234"));
        // A key that a crash has cut short is made anew.
        std::fs::write(layout.key(), b"short").expect("writable");
        assert_ne!(first, of("1234"));
        assert_eq!(of("1234"), of("1234"));
        std::fs::remove_dir_all(&dir).expect("ours");
    }
}
