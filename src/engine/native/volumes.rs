//! Volumes: directories that outlive containers.
//!
//! `<data>/volumes/<name>/volume.json` says what it is, `_data` holds its files. A volume with
//! `type: none, o: bind` lies where `device` says. What is half made or half removed has a hidden name; who makes or
//! removes holds `<data>/volumes/.lock` with others. `filling` in a volume's directory says that the image's files are
//! not all in it yet. Imports: `base`, `engine`, `image`, `sys`.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag};
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::records;
use crate::base::clock::Timestamp;
use crate::engine::spec::VolumeSpec;
use crate::engine::{EngineError, Result};
use crate::sys::fs::{self, Durability, Resolve, Root, openat2};
use crate::sys::lock::{Hold, Lock};

/// A file that no volume can be called.
const LOCK: &str = ".lock";

/// What is kept of a volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct VolumeRecord {
    /// When it was made.
    pub(super) created: Timestamp,
    /// What was asked for.
    pub(super) spec: VolumeSpec,
}

/// Makes a volume; one that is there is left as it is.
///
/// # Errors
/// [`EngineError::Unsupported`] for another driver or other options, [`EngineError::Failed`].
pub(super) fn create(layout: &Layout, spec: &VolumeSpec) -> Result<()> {
    let dir = layout.volumes().join(&spec.name);
    let record = dir.join("volume.json");
    if record.exists() {
        return Ok(());
    }
    device(spec)?;
    let failed =
        |error: io::Error| EngineError::failed(format!("make volume {}", spec.name), error);
    let _held = lock(layout, Hold::Shared).map_err(failed)?;
    let content = VolumeRecord {
        created: Timestamp::now(),
        spec: spec.clone(),
    };
    if dir.exists() {
        // Its record was lost; the files are somebody's.
        make_data(&dir).map_err(failed)?;
        return records::write(&record, &content, Durability::Synced);
    }
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
    let draft = format!(".{}.{}.{serial}", spec.name, std::process::id());
    let draft = layout.volumes().join(draft);
    let made = make_data(&draft).map_err(failed).and_then(|()| {
        records::write(&draft.join("volume.json"), &content, Durability::Synced)?;
        match std::fs::rename(&draft, &dir) {
            // Another command was faster.
            Err(_) if record.exists() => fs::remove_tree(&draft).map_err(failed),
            other => other.map_err(failed),
        }
    });
    made.inspect_err(|_| {
        let _ = fs::remove_tree(&draft);
    })
}

/// 0711 lets processes of other users reach their files through a bind mount, but not list volumes.
fn make_data(dir: &Path) -> io::Result<()> {
    fs::make_dirs(&dir.join("_data"), 0o711)?;
    set_mode(&dir.join("_data"), 0o755)
}

/// The lock of all volumes: shared while one is made or removed, alone to take away what was left of that.
fn lock(layout: &Layout, hold: Hold) -> io::Result<Lock> {
    fs::make_dirs(&layout.volumes(), 0o711)?;
    Lock::acquire(&layout.volumes().join(LOCK), hold)
}

/// Takes away volumes that are half made or half removed, unless somebody is just making or removing one.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn sweep(layout: &Layout) -> Result<()> {
    let names = records::entries(&layout.volumes())?;
    let mut hidden = names
        .iter()
        .filter(|name| name.starts_with('.') && *name != LOCK)
        .peekable();
    if hidden.peek().is_none() {
        return Ok(());
    }
    let failed = |error: io::Error| EngineError::failed("remove what is left of a volume", error);
    let lock = layout.volumes().join(LOCK);
    let Some(_held) = Lock::try_acquire(&lock, Hold::Exclusive).map_err(failed)? else {
        return Ok(());
    };
    for name in hidden {
        fs::remove_tree(&layout.volumes().join(name)).map_err(failed)?;
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// The host directory a volume with driver options lies in; `None` for a plain one.
fn device(spec: &VolumeSpec) -> Result<Option<PathBuf>> {
    if !matches!(spec.driver.as_str(), "" | "local") {
        let what = format!(
            "volume `{}` asks for driver `{}`; hoist has only `local`",
            spec.name, spec.driver
        );
        return Err(EngineError::Unsupported { what });
    }
    let option = |key: &str| {
        spec.options
            .get(key)
            .map(String::as_str)
            .unwrap_or_default()
    };
    if spec.options.is_empty() {
        return Ok(None);
    }
    let bind = option("o")
        .split(',')
        .any(|o| matches!(o, "bind" | "rbind"));
    if bind && matches!(option("type"), "" | "none") && option("device").starts_with('/') {
        return Ok(Some(PathBuf::from(option("device"))));
    }
    let what = format!(
        "volume `{}` has driver options that hoist does not mount yet; it knows \
         `type: none, o: bind, device: /absolute/path`",
        spec.name
    );
    Err(EngineError::Unsupported { what })
}

/// A volume by name.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn get(layout: &Layout, name: &str) -> Result<Option<VolumeRecord>> {
    records::read(&layout.volumes().join(name).join("volume.json"))
}

/// All volumes, by name.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn list(layout: &Layout) -> Result<Vec<VolumeRecord>> {
    let names = records::entries(&layout.volumes())?;
    names
        .iter()
        .filter(|name| !name.starts_with('.'))
        // Whose a broken record is nobody knows; who asks for it by name is told.
        .filter_map(|name| get(layout, name).transpose())
        .filter(Result::is_ok)
        .collect()
}

/// Removes a volume's files and record; a missing one is fine. Users are the caller's concern.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn remove(layout: &Layout, name: &str) -> Result<()> {
    let failed = |error: io::Error| EngineError::failed(format!("remove volume {name}"), error);
    let dir = layout.volumes().join(name);
    if !dir.exists() {
        return Ok(());
    }
    // A full disk takes no new file for the lock; a sweep is all that it would keep out.
    let _held = lock(layout, Hold::Shared);
    // Renamed first: a crash half way leaves no volume that looks whole.
    let doomed = layout.volumes().join(format!(".{name}"));
    match std::fs::rename(&dir, &doomed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.raw_os_error() == Some(libc::ENOTEMPTY) => {
            fs::remove_tree(&doomed).map_err(failed)?;
            std::fs::rename(&dir, &doomed).map_err(failed)?;
        }
        other => other.map_err(failed)?,
    }
    fs::remove_tree(&doomed).map_err(failed)
}

/// Where a volume's files (or a directory inside it) lie on the host.
///
/// # Errors
/// [`EngineError::NotFound`]; [`EngineError::Failed`] when `subpath` is missing or leaves the volume.
pub(super) fn path(layout: &Layout, name: &str, subpath: Option<&str>) -> Result<PathBuf> {
    let record = get(layout, name)?.ok_or_else(|| EngineError::NotFound {
        kind: "volume",
        name: name.to_owned(),
    })?;
    let data = match device(&record.spec)? {
        Some(device) => device,
        None => layout.volumes().join(name).join("_data"),
    };
    let Some(subpath) = subpath else {
        return Ok(data);
    };
    let step = format!("find `{subpath}` in volume {name}");
    let root = Root::open(&data).map_err(|error| EngineError::failed(&step, error))?;
    let inside = openat2(
        &root,
        Path::new(subpath),
        OFlag::O_PATH,
        0,
        Resolve::Beneath,
    )
    .map_err(|error| EngineError::failed(&step, error))?;
    std::fs::read_link(fs::fd_path(inside.as_fd())).map_err(|e| EngineError::failed(&step, e))
}

/// Whether a volume is to be filled from an image: it is empty, or a command was killed while it filled it.
pub(super) fn needs_content(layout: &Layout, name: &str, volume: &Path) -> bool {
    is_empty(volume) || filling(layout, name).exists()
}

fn filling(layout: &Layout, name: &str) -> PathBuf {
    layout.volumes().join(name).join("filling")
}

/// Fills a volume from what an image has at `target`: content, owners, modes. A volume that got files since
/// [`needs_content`] is left alone, as is one whose target is missing in the image or no directory.
///
/// # Errors
/// [`EngineError::Failed`].
pub(super) fn fill(
    layout: &Layout,
    name: &str,
    volume: &Path,
    image: &Root,
    target: &str,
) -> Result<()> {
    let step = format!("copy the image's {target} into volume {name}");
    let failed = |error: Errno| EngineError::failed(&step, error);
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
    let from = match image.open_at(Path::new(target), flags, 0) {
        Ok(from) => from,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    };
    let marker = filling(layout, name);
    let system = |error: io::Error| EngineError::failed(&step, error);
    // One at a time; who waited for another looks again.
    let _held = loop {
        let held = Lock::acquire(&marker, Hold::Exclusive).map_err(system)?;
        if held.is_at(&marker) {
            break held;
        }
    };
    // The lock makes the file; only who copies writes into it, so that it says whether that came to its end.
    let cut_short = std::fs::metadata(&marker).is_ok_and(|meta| meta.len() > 0);
    if cut_short || is_empty(volume) {
        std::fs::write(&marker, target).map_err(system)?;
        let to = Root::open(volume).map_err(failed)?;
        copy_dir(from.as_fd(), to.as_fd()).map_err(failed)?;
    }
    std::fs::remove_file(&marker).map_err(system)
}

/// Whether a directory has no entries.
fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

fn copy_dir(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
    let mut listing = nix::dir::Dir::openat(
        from,
        ".",
        OFlag::O_DIRECTORY | OFlag::O_RDONLY,
        Mode::empty(),
    )?;
    for entry in listing.iter() {
        let entry = entry?;
        let name = os_name(entry.file_name());
        if name != "." && name != ".." {
            copy_entry(from, to, &name)?;
        }
    }
    copy_metadata(&fs::fd_path(from), to, &nix::sys::stat::fstat(from)?)
}

fn os_name(name: &std::ffi::CStr) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStrExt as _;
    OsStr::from_bytes(name.to_bytes()).to_owned()
}

fn copy_entry(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &OsStr,
) -> std::result::Result<(), Errno> {
    let stat = fs::lstat_at(from, name)?;
    if !fs::is_kind(&stat, libc::S_IFDIR) {
        // What a copy that was cut short has made of it.
        match nix::unistd::unlinkat(to, name, nix::unistd::UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    let source = fs::entry_path(from, name);
    let mode = Mode::from_bits_truncate(stat.st_mode);
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => {
            match nix::sys::stat::mkdirat(to, name, Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
            let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
            let from = openat2(from, Path::new(name), flags, 0, Resolve::NoLinks)?;
            let to = openat2(to, Path::new(name), flags, 0, Resolve::NoLinks)?;
            copy_dir(from.as_fd(), to.as_fd())
        }
        SFlag::S_IFREG => {
            let from = openat2(from, Path::new(name), OFlag::O_RDONLY, 0, Resolve::NoLinks)?;
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
            let made = openat2(to, Path::new(name), flags, 0o600, Resolve::NoLinks)?;
            let (from, made) = (File::from(from), File::from(made));
            fs::copy_content(&from, &made).map_err(|e| errno_of(&e))?;
            copy_metadata(&source, made.as_fd(), &stat)
        }
        SFlag::S_IFLNK => {
            let target = nix::fcntl::readlinkat(from, name)?;
            nix::unistd::symlinkat(target.as_os_str(), to, name)?;
            let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
            nix::unistd::fchownat(
                to,
                name,
                Some(stat.st_uid.into()),
                Some(stat.st_gid.into()),
                flags,
            )
        }
        kind @ (SFlag::S_IFCHR | SFlag::S_IFBLK | SFlag::S_IFIFO) => {
            nix::sys::stat::mknodat(to, name, kind, mode, stat.st_rdev)?;
            let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
            nix::unistd::fchownat(
                to,
                name,
                Some(stat.st_uid.into()),
                Some(stat.st_gid.into()),
                flags,
            )
        }
        // Sockets belong to a process that no longer runs.
        _ => Ok(()),
    }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Owner first: changing it clears set-user-id bits and capabilities.
fn copy_metadata(
    source: &Path,
    to: BorrowedFd<'_>,
    stat: &FileStat,
) -> std::result::Result<(), Errno> {
    nix::unistd::fchown(to, Some(stat.st_uid.into()), Some(stat.st_gid.into()))?;
    nix::sys::stat::fchmod(to, Mode::from_bits_truncate(stat.st_mode & 0o7777))?;
    for (name, value) in xattrs_of(source)? {
        fs::set_fd_xattr(to, &name, &value)?;
    }
    let time = |seconds, nanos| nix::sys::time::TimeSpec::new(seconds, nanos);
    nix::sys::stat::futimens(
        to,
        &time(stat.st_atime, stat.st_atime_nsec),
        &time(stat.st_mtime, stat.st_mtime_nsec),
    )
}

/// Attributes worth keeping: overlay's own marks stay behind.
fn xattrs_of(source: &Path) -> std::result::Result<Vec<(std::ffi::OsString, Vec<u8>)>, Errno> {
    // `/proc/self/fd/N` is itself a link; `/.` leads to the directory behind it.
    let through = if source.parent() == Some(Path::new("/proc/self/fd")) {
        source.join(".")
    } else {
        source.to_owned()
    };
    let mut found = fs::xattrs(&through)?;
    found.retain(|(name, _)| {
        let name = name.to_string_lossy();
        !name.starts_with("trusted.overlay.") && !name.starts_with("security.selinux")
    });
    Ok(found)
}
