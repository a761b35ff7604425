//! The root of a new container while it is being put together, before anybody looks at it as `/`.
//!
//! Every target is looked up by descriptor inside the root and made when missing; links of the image are
//! followed inside it and nowhere else. What was made is remembered, so that it can be taken away again.
//! Imports: `engine`, `sys`. Runs in the child, in its own mount namespace.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, readlink};
use nix::sys::stat::{FileStat, Mode, fstat, mkdirat};
use nix::unistd::symlinkat;

use super::RootfsSpec;
use super::message::step;
use crate::engine::{EngineError, Result};
use crate::sys::fs::{self, Durability, Resolve, Root, is_kind, openat2};
use crate::sys::mount::{self, Change, Fs, Overlay, attr};

/// What a mount target must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Dir,
    File,
}

impl Kind {
    /// The kind of target that a source needs.
    pub(super) fn of(found: &FileStat) -> Self {
        if is_kind(found, libc::S_IFDIR) {
            Self::Dir
        } else {
            Self::File
        }
    }
}

/// A link's chain of links is followed this far. As the kernel: `MAXSYMLINKS` is 40, of which few are
/// ever needed here.
const MAX_LINKS: u32 = 8;

/// An empty file that tells programs they are in a container.
pub const MARK: &str = "/.dockerenv";
/// The old name of the list of mounts, and where it leads.
pub const MOUNTS: (&str, &str) = ("/etc/mtab", "/proc/mounts");

/// A root file system being put together.
#[derive(Debug)]
pub(super) struct Stage {
    root: Root,
    /// Where the root is attached, for telling what was made.
    base: PathBuf,
    made: Vec<PathBuf>,
    /// A directory of the host that mounts can be put on for a moment.
    workbench: OwnedFd,
}

fn open_path(path: &Path) -> std::result::Result<OwnedFd, Errno> {
    nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}

/// Makes a detached mount of a file system type, which is its name in lists of mounts unless `source` says another.
pub(super) fn new_mount(
    kind: &std::ffi::CStr,
    options: &[(&str, String)],
    attrs: u64,
) -> Result<OwnedFd> {
    let name = kind.to_string_lossy().into_owned();
    let make = || {
        let fs = Fs::open(kind)?;
        if !options.iter().any(|(key, _)| *key == "source") {
            fs.set(c"source", kind)?;
        }
        for (key, value) in options {
            let key = std::ffi::CString::new(*key).map_err(|_| Errno::EINVAL)?;
            let value = std::ffi::CString::new(value.as_str()).map_err(|_| Errno::EINVAL)?;
            fs.set(&key, &value)?;
        }
        fs.mount(attrs)
    };
    make().map_err(step(format!("make a {name} file system")))
}

impl Stage {
    /// Mounts the root. Nothing outside this mount namespace sees it.
    pub(super) fn new(spec: &RootfsSpec) -> Result<Self> {
        let at = |path: &Path| open_path(path).map_err(step(format!("open {}", path.display())));
        let (place, workbench) = (at(&spec.upper)?, at(&spec.work)?);
        // An overlay wants a lower directory even where the image has no layer.
        let mut lower = spec.lower.clone();
        let mut empty = None;
        if lower.is_empty() {
            let made = empty.insert(new_mount(
                c"tmpfs",
                &[("mode", "755".to_owned())],
                attr::RDONLY,
            )?);
            lower.push(fs::fd_path(made));
        }
        let layers = Overlay {
            lower: &lower,
            upper: Some((&spec.upper, &spec.work)),
        };
        let mount = match spec.durability {
            Durability::Synced => mount::overlay(&layers),
            Durability::Renamed => mount::overlay_unsynced(&layers),
        };
        let mount =
            mount.map_err(|error| EngineError::failed("mount the root file system", error))?;
        mount::attach(&mount, &place).map_err(step("attach the root file system"))?;
        let private = Change {
            propagation: nix::mount::MsFlags::MS_PRIVATE.bits(),
            ..Change::default()
        };
        mount::set_attr(&mount, private).map_err(step("make the root file system private"))?;
        let root = Root::from_fd(mount);
        let base = readlink(&fs::fd_path(&root)).map_err(step("find the root file system"))?;
        Ok(Self {
            root,
            base: base.into(),
            made: Vec::new(),
            workbench,
        })
    }

    /// What was made below the root, in order.
    pub(super) fn made(&self) -> &[PathBuf] {
        &self.made
    }

    /// The root.
    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// Opens a directory that may not be reached through any link, making it when missing.
    pub(super) fn plain_dir(&mut self, path: &str) -> Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let open = || openat2(&self.root, Path::new(path), flags, 0, Resolve::NoLinks);
        match open() {
            Ok(fd) => Ok(fd),
            Err(Errno::ENOENT) => {
                self.target(Path::new(path), Kind::Dir)?;
                openat2(&self.root, Path::new(path), flags, 0, Resolve::NoLinks)
                    .map_err(step(format!("open {path} of the image")))
            }
            Err(Errno::ELOOP | Errno::ENOTDIR) => {
                let what =
                    format!("the image has something else than a directory at {path}: refused");
                Err(EngineError::Unsupported { what })
            }
            Err(errno) => Err(step(format!("open {path} of the image"))(errno)),
        }
    }

    /// Opens a mount target, making it and the directories above when missing.
    pub(super) fn target(&mut self, path: &Path, kind: Kind) -> Result<OwnedFd> {
        let clean = fs::clean(path);
        self.reach(&clean, kind, MAX_LINKS)
            .map_err(step(format!("make the mount target {}", path.display())))
    }

    fn reach(
        &mut self,
        path: &Path,
        kind: Kind,
        links: u32,
    ) -> std::result::Result<OwnedFd, Errno> {
        match self.root.open_at(path, OFlag::O_PATH, 0) {
            Err(Errno::ENOENT) => {}
            other => return other,
        }
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::ENOENT);
        };
        let above = self.reach(above, Kind::Dir, links)?;
        let made = match kind {
            Kind::Dir => mkdirat(&above, name, Mode::from_bits_truncate(0o755)),
            Kind::File => {
                let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW;
                openat2(&above, Path::new(name), flags, 0o644, Resolve::NoLinks).map(drop)
            }
        };
        match made {
            Ok(()) => {}
            // There is a link to something that is missing: that is what gets made.
            Err(Errno::EEXIST) if links > 0 => {
                let to = nix::fcntl::readlinkat(&above, name)?;
                let here = self.inside(&above)?;
                return self.reach(&fs::clean(&here.join(to)), kind, links - 1);
            }
            Err(errno) => return Err(errno),
        }
        let open = openat2(&above, Path::new(name), OFlag::O_PATH, 0, Resolve::NoLinks)?;
        let path = self.inside(&open)?;
        self.made.push(path);
        Ok(open)
    }

    /// The path of a descriptor as the container will see it.
    fn inside(&self, fd: impl AsFd) -> std::result::Result<PathBuf, Errno> {
        let path = PathBuf::from(readlink(&fs::fd_path(fd))?);
        let inside = path.strip_prefix(&self.base).map_err(|_| Errno::EXDEV)?;
        Ok(Path::new("/").join(inside))
    }

    /// Puts a mount on an open target.
    pub(super) fn attach(&self, mount: impl AsFd, target: impl AsFd, name: &str) -> Result<()> {
        mount::attach(mount, target).map_err(|errno| match errno {
            Errno::ENOTDIR => EngineError::Unsupported {
                what: format!(
                    "cannot mount on {name}: one of source and target is a directory and the other a file"
                ),
            },
            errno => step(format!("mount {name}"))(errno),
        })
    }

    /// Attaches `mount` outside the root while `body` runs: what is only detached can be neither copied in
    /// part nor be a layer on older kernels.
    pub(super) fn on_workbench<T>(
        &self,
        mount: impl AsFd,
        body: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        mount::attach(&mount, &self.workbench).map_err(step("attach a mount"))?;
        let done = body();
        let path = fs::fd_path(&mount);
        let taken = nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH);
        taken.map_err(step("detach a mount"))?;
        done
    }

    /// Makes what programs know a container by, and the old name of the list of mounts, where the image has none.
    /// As Docker: `daemon/initlayer/setup_unix.go`.
    pub(super) fn make_marks(&self) -> Result<()> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW;
        let mark = Path::new(MARK);
        match openat2(&self.root, mark, flags, 0o755, Resolve::NoLinks) {
            Ok(_) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(step(format!("make {MARK}"))(errno)),
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        // An image without such a directory has no program that asks there.
        let Ok(etc) = openat2(&self.root, Path::new("/etc"), flags, 0, Resolve::NoLinks) else {
            return Ok(());
        };
        match symlinkat(MOUNTS.1, &etc, "mtab") {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(step(format!("make {}", MOUNTS.0))(errno)),
        }
    }

    /// Makes the root refuse writes; mounts below are not touched.
    pub(super) fn make_read_only(&self) -> Result<()> {
        let change = Change {
            set: attr::RDONLY,
            ..Change::default()
        };
        mount::set_attr(&self.root, change).map_err(step("make the root file system read-only"))
    }

    /// Makes the working directory, as root, when it is missing.
    pub(super) fn make_working_directory(&mut self, cwd: &str) -> Result<()> {
        if cwd.is_empty() || cwd == "/" {
            return Ok(());
        }
        let found = self.reach(&fs::clean(Path::new(cwd)), Kind::Dir, MAX_LINKS);
        let dir = found.map_err(step(format!("make the working directory {cwd}")))?;
        let found = fstat(&dir).map_err(step(format!("look at {cwd}")))?;
        // What the program is meant to find there stays, unlike a mount's target.
        self.made.retain(|path| !Path::new(cwd).starts_with(path));
        if Kind::of(&found) == Kind::Dir {
            Ok(())
        } else {
            Err(EngineError::failed(
                format!("enter the working directory {cwd}"),
                "not a directory",
            ))
        }
    }
}
