//! Mounts made without paths: contexts, detached mounts, attributes.
//!
//! Imports: nothing of ours. Source: fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2),
//! mount_setattr(2), Documentation/filesystems/overlayfs.rst.
#![expect(unsafe_code, reason = "the mount API has no safe binding")]

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::fs::Durability;

const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;

/// Attributes of a mount. Source: mount_setattr(2), `MOUNT_ATTR_*`.
pub mod attr {
    /// Writes are refused.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-id bits do nothing.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes do nothing.
    pub const NODEV: u64 = 0x4;
    /// Programs can't be executed.
    pub const NOEXEC: u64 = 0x8;
    /// Access times are never updated.
    pub const NOATIME: u64 = 0x10;
    /// All that is about access times: to be cleared where one of them is set.
    pub const ATIME: u64 = 0x70;
    /// Access times are always updated.
    pub const STRICTATIME: u64 = 0x20;
}

fn fd(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let raw = Errno::result(result)?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw as RawFd) })
}

fn c(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}

/// A file system that is being configured.
#[derive(Debug)]
pub struct Fs {
    context: OwnedFd,
}

impl Fs {
    /// Begins a file system of a type such as `overlay`, `proc`, `tmpfs`.
    ///
    /// # Errors
    /// The kernel's; `ENOSYS` before Linux 5.2, `ENODEV` for an unknown type.
    pub fn open(kind: &CStr) -> Result<Self, Errno> {
        // SAFETY: `kind` is NUL-terminated; the kernel only reads it. 1 is FSOPEN_CLOEXEC.
        let context = fd(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), 1u32) })?;
        Ok(Self { context })
    }
    /// Sets a parameter; values are limited to 255 bytes by the kernel.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set(&self, key: &CStr, value: &CStr) -> Result<(), Errno> {
        // SAFETY: both strings are NUL-terminated and only read during the call.
        let done = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.context.as_raw_fd(),
                FSCONFIG_SET_STRING,
                key.as_ptr(),
                value.as_ptr(),
                0,
            )
        };
        Errno::result(done).map(drop)
    }
    /// Sets a flag such as `ro`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn flag(&self, key: &CStr) -> Result<(), Errno> {
        self.command(FSCONFIG_SET_FLAG, key.as_ptr())
    }
    fn command(&self, command: u32, key: *const libc::c_char) -> Result<(), Errno> {
        let none = std::ptr::null::<libc::c_char>();
        // SAFETY: `key` is null or comes from a live CStr; the kernel only reads it during the call.
        let done = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.context.as_raw_fd(),
                command,
                key,
                none,
                0,
            )
        };
        Errno::result(done).map(drop)
    }
    /// Makes the file system and a detached mount of it with [`attr`] bits.
    ///
    /// # Errors
    /// The kernel's.
    pub fn mount(self, attrs: u64) -> Result<OwnedFd, Errno> {
        self.create()?;
        self.detached(attrs)
    }
    /// Makes the file system from its parameters.
    ///
    /// # Errors
    /// The kernel's; [`Fs::complaint`] may say more.
    pub fn create(&self) -> Result<(), Errno> {
        self.command(FSCONFIG_CMD_CREATE, std::ptr::null())
    }
    /// A detached mount of the file system that was made, with [`attr`] bits.
    ///
    /// # Errors
    /// The kernel's.
    pub fn detached(&self, attrs: u64) -> Result<OwnedFd, Errno> {
        // SAFETY: plain numbers; 1 is FSMOUNT_CLOEXEC.
        fd(unsafe {
            libc::syscall(
                libc::SYS_fsmount,
                self.context.as_raw_fd(),
                1u32,
                attrs as u32,
            )
        })
    }
    /// What the kernel has said about the last failure, if anything.
    pub fn complaint(&self) -> Option<String> {
        let mut buffer = [0u8; 512];
        let length = nix::unistd::read(&self.context, &mut buffer).ok()?;
        let text = String::from_utf8_lossy(buffer.get(..length)?);
        Some(
            text.trim_start_matches(['e', 'w', 'i', ' '])
                .trim()
                .to_owned(),
        )
    }
}

/// A detached copy of the mount at `path`, with the mounts below it if `recursive`.
///
/// # Errors
/// The kernel's.
pub fn clone_tree(dir: impl AsFd, path: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as u32;
    if recursive {
        flags |= libc::AT_RECURSIVE as u32;
    }
    let path = c(path)?;
    // SAFETY: `path` is NUL-terminated and only read during the call.
    fd(unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            dir.as_fd().as_raw_fd(),
            path.as_ptr(),
            flags,
        )
    })
}

/// The null device as a container may have it: the host's own, of which nobody can change mode or owner through this
/// mount.
///
/// # Errors
/// `ENODEV` when `/dev/null` is something else; the kernel's.
pub fn null_tree() -> Result<OwnedFd, Errno> {
    let tree = clone_tree(nix::fcntl::AT_FDCWD, Path::new("/dev/null"), false)?;
    let found = nix::sys::stat::fstat(&tree)?;
    let device = super::fs::is_kind(&found, libc::S_IFCHR);
    if !device || found.st_rdev != nix::sys::stat::makedev(1, 3) {
        return Err(Errno::ENODEV);
    }
    set_attr(
        &tree,
        Change {
            set: attr::RDONLY | attr::NOSUID | attr::NOEXEC,
            ..Change::default()
        },
    )?;
    Ok(tree)
}

/// Opens the null device for a container's stream: see [`null_tree`].
///
/// # Errors
/// As [`null_tree`].
pub fn open_null() -> Result<OwnedFd, Errno> {
    let flags = nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_CLOEXEC;
    nix::fcntl::open(
        &super::fs::fd_path(&null_tree()?),
        flags,
        nix::sys::stat::Mode::empty(),
    )
}

/// Puts a detached mount on an open target.
///
/// # Errors
/// The kernel's.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    const F_EMPTY_PATH: u32 = 0x4;
    const T_EMPTY_PATH: u32 = 0x40;
    // SAFETY: the two empty strings are NUL-terminated; the descriptors are open during the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            target.as_fd().as_raw_fd(),
            c"".as_ptr(),
            F_EMPTY_PATH | T_EMPTY_PATH,
        )
    };
    Errno::result(done).map(drop)
}

/// Changes to the attributes of a mount.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change {
    /// [`attr`] bits to set.
    pub set: u64,
    /// [`attr`] bits to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SHARED`, `MS_SLAVE`; 0 leaves it.
    pub propagation: u64,
    /// Whether mounts below change too.
    pub recursive: bool,
}

/// Changes the attributes of an open mount.
///
/// # Errors
/// The kernel's; `ENOSYS` before Linux 5.12.
pub fn set_attr(mount: impl AsFd, change: Change) -> Result<(), Errno> {
    let value = MountAttr {
        set: change.set,
        clear: change.clear,
        propagation: change.propagation,
        userns_fd: 0,
    };
    change_attr(mount, &value, change.recursive)
}

/// Maps users and groups of a detached mount as a user namespace does, and of the mounts below if `recursive`.
///
/// # Errors
/// The kernel's; `EINVAL` for a file system that can't, or a mount that is mapped already.
pub fn map_users(mount: impl AsFd, users: BorrowedFd<'_>, recursive: bool) -> Result<(), Errno> {
    const IDMAP: u64 = 0x10_0000;
    let value = MountAttr {
        set: IDMAP,
        clear: 0,
        propagation: 0,
        userns_fd: u64::try_from(users.as_raw_fd()).map_err(|_| Errno::EBADF)?,
    };
    change_attr(mount, &value, recursive)
}

/// `struct mount_attr`
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

fn change_attr(mount: impl AsFd, value: &MountAttr, recursive: bool) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `value` has the layout of struct mount_attr and lives during the call, which only reads it.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(value),
            size_of::<MountAttr>(),
        )
    };
    Errno::result(done).map(drop)
}

/// The directories of an overlay.
#[derive(Debug, Clone)]
pub struct Overlay<'a> {
    /// Lower directories, base first.
    pub lower: &'a [PathBuf],
    /// Upper and work directory; `None` makes it read-only.
    pub upper: Option<(&'a Path, &'a Path)>,
}

/// Makes a detached overlay mount. With a single lower directory and no upper one it is a read-only
/// clone of that directory, since overlay itself wants two.
///
/// Renames of directories never leave redirects behind and file data is always copied up whole, so that
/// an upper directory is a complete layer by itself.
///
/// # Errors
/// The kernel's words, with what was being mounted.
pub fn overlay(layers: &Overlay<'_>) -> Result<OwnedFd, std::io::Error> {
    make_overlay(layers, Durability::Synced)
}

/// As [`overlay`], for an upper directory that nobody looks at after a power cut: `fsync` in it does nothing, and its
/// end does not wait until the whole file system below is written to the disk, as that of another overlay does.
///
/// # Errors
/// As [`overlay`].
///
/// Source: Documentation/filesystems/overlayfs.rst, "Volatile mount".
pub fn overlay_unsynced(layers: &Overlay<'_>) -> Result<OwnedFd, std::io::Error> {
    if let Some((_, work)) = layers.upper {
        // An earlier such mount has left its mark, so that nobody takes for whole what a crash may have spoilt. We
        // are the same process's work, after no crash.
        super::fs::remove_tree(&work.join("work/incompat/volatile"))?;
    }
    make_overlay(layers, Durability::Renamed)
}

fn make_overlay(layers: &Overlay<'_>, durability: Durability) -> Result<OwnedFd, std::io::Error> {
    if let (None, [only]) = (layers.upper, layers.lower) {
        let mount = clone_tree(nix::fcntl::AT_FDCWD, only, false)?;
        set_attr(
            &mount,
            Change {
                set: attr::RDONLY,
                ..Change::default()
            },
        )?;
        return Ok(mount);
    }
    let fs = Fs::open(c"overlay")?;
    fs.set(c"source", c"overlay")?;
    let told = |errno: Errno| {
        let why = fs
            .complaint()
            .map_or_else(|| errno.to_string(), |text| format!("{text} ({errno})"));
        std::io::Error::other(format!("overlay: {why}"))
    };
    // lowerdir+ (Linux 6.8) takes one directory a call; older kernels want one string of at most
    // 255 bytes, so directories are named by short descriptor paths there.
    let mut held = Vec::new();
    let appended = layers
        .lower
        .iter()
        .rev()
        .try_for_each(|dir| fs.set(c"lowerdir+", &c(dir)?));
    match appended {
        Ok(()) => {}
        Err(Errno::EINVAL) if !layers.lower.is_empty() => {
            let mut joined = Vec::new();
            for dir in layers.lower.iter().rev() {
                let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC;
                let open = nix::fcntl::open(dir, flags, nix::sys::stat::Mode::empty())?;
                joined.push(format!("/proc/self/fd/{}", open.as_raw_fd()));
                held.push(open);
            }
            let text = CString::new(joined.join(":")).map_err(|_| Errno::EINVAL)?;
            fs.set(c"lowerdir", &text).map_err(told)?;
        }
        Err(errno) => return Err(told(errno)),
    }
    if let Some((upper, work)) = layers.upper {
        fs.set(c"upperdir", &c(upper)?).map_err(told)?;
        fs.set(c"workdir", &c(work)?).map_err(told)?;
        for (key, value) in [
            (c"redirect_dir", c"off"),
            (c"metacopy", c"off"),
            (c"index", c"off"),
        ] {
            fs.set(key, value).map_err(told)?;
        }
        if durability == Durability::Renamed {
            // Linux before 5.10 does not know it, and waits.
            let _ = fs.flag(c"volatile");
        }
    }
    fs.create().map_err(told)?;
    Ok(fs.detached(0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::Root;

    #[test]
    fn a_detached_overlay_shows_upper_over_lower_and_vanishes() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: mounting needs root");
            return;
        }
        let dir = std::env::temp_dir().join(format!("hoist-overlay-{}", std::process::id()));
        for part in ["a", "b", "up", "work"] {
            std::fs::create_dir_all(dir.join(part)).unwrap();
        }
        std::fs::write(dir.join("a/x"), "low").unwrap();
        std::fs::write(dir.join("b/x"), "high").unwrap();
        std::fs::write(dir.join("b/y"), "kept").unwrap();
        let (up, work) = (dir.join("up"), dir.join("work"));
        let lower = [dir.join("a"), dir.join("b")];
        let mount = overlay(&Overlay {
            lower: &lower,
            upper: Some((&up, &work)),
        })
        .unwrap();
        let root = Root::from_fd(mount);
        assert_eq!(root.read(Path::new("/x"), 9), Ok(b"high".to_vec()));
        let view = Root::from_fd(
            overlay(&Overlay {
                lower: &lower[..1],
                upper: None,
            })
            .unwrap(),
        );
        assert_eq!(view.read(Path::new("/x"), 9), Ok(b"low".to_vec()));
        drop((root, view));
        for _ in 0..2 {
            let unsynced = overlay_unsynced(&Overlay {
                lower: &lower,
                upper: Some((&up, &work)),
            });
            drop(unsynced.expect("also where one was before"));
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
