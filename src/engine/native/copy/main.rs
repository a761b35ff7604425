//! The process among a container's files: looks, packs, unpacks, as the command asks.
//!
//! In: questions over a socket. Out: answers; archives over the pipes that come along. Single-threaded. It ends when
//! the command does, and takes away a file that it had to leave half written.
//! Imports: `engine`, `image::tree`, `runtime`, `sys`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{FileStat, fstat};

use super::view;
use super::wire::{self, Reply, Request};
use crate::base::name::{ContainerId, ProjectName};
use crate::engine::files::{FileKind, FilesError, FilesResult, Ownership, Placing};
use crate::engine::native::layout::Layout;
use crate::engine::native::records::Found;
use crate::engine::native::runtime::user::lookup;
use crate::engine::spec::Process;
use crate::engine::{EngineError, Result, Roots};
use crate::image::tree::pack::{self, Holes, Opening, PackError, Source};
use crate::image::tree::swap::Swap;
use crate::image::tree::unpack::{self, Links, Owner, Target, UnpackFault};
use crate::sys::fs::{self, Root, is_kind};
use crate::sys::{process, stream};

/// Number of the descriptor that is the connection to the command.
pub(super) const CONTROL: i32 = 3;
/// Bytes of an archive that are read at a time.
const READ: usize = 128 * 1024;
/// A chain of links is followed this far. As the kernel: `MAXSYMLINKS`.
const MAX_LINKS: u32 = 40;

/// The process, as a command starts it. Gives its exit code.
pub fn main(args: &[OsString]) -> i32 {
    process::set_name(c"hoist-copy");
    let Some(control) = stream::inherited(CONTROL) else {
        return 1;
    };
    let layout = match args {
        [data, run] => Layout::new(Roots {
            data: PathBuf::from(data),
            run: PathBuf::from(run),
        }),
        _ => return 1,
    };
    // It may have been started long before it is known where it has to go; or never has to.
    let (project, id) = match wire::receive(&control) {
        Ok(Some((Request::Enter { project, id }, _))) => (project, id),
        Ok(None) => return 0,
        _ => return 1,
    };
    let served = match begin(&layout, &project, id) {
        Ok(server) => {
            wire::send(&control, &Reply::Ready, &[]).and_then(|()| server.serve(&control))
        }
        Err(error) => wire::send(&control, &Reply::Lost(error.into()), &[]),
    };
    i32::from(served.is_err())
}

/// Goes to the container's files.
fn begin(layout: &Layout, project: &str, id: String) -> Result<Server> {
    let project = ProjectName::new(project)
        .map_err(|_| EngineError::failed("find the container", "its project has no such name"))?;
    let id = ContainerId::new(id);
    let found = Found::read(layout.container(&project, &id))?;
    let found = found.ok_or_else(|| EngineError::NotFound {
        kind: "container",
        name: id.short().to_owned(),
    })?;
    let root = view::enter(layout, &found)?;
    // Every file that is replaced is held until all are; with fewer it only takes longer.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    Ok(Server {
        root,
        swap: Swap::new(found.record.created.0.div_euclid(1_000_000_000)),
        process: found.record.spec.process,
    })
}

/// A path as it was asked for.
struct Asked {
    /// Absolute, with `..` worked out by text. As Docker: `filepath.Join("/", path)`.
    path: PathBuf,
    /// Whether it says that it is a directory, with a slash or `/.` at its end.
    directory: bool,
    /// For errors.
    text: String,
}

impl Asked {
    fn new(raw: &[u8]) -> Self {
        Self {
            path: fs::clean(Path::new(OsStr::from_bytes(raw))),
            directory: raw.ends_with(b"/") || raw.ends_with(b"/.") || raw == b".",
            text: String::from_utf8_lossy(raw).into_owned(),
        }
    }
    fn fault(&self, step: &'static str) -> impl FnOnce(Errno) -> FilesError + '_ {
        move |errno| {
            let path = self.text.clone();
            match errno {
                Errno::ENOENT => FilesError::NotFound { path },
                Errno::ENOTDIR => FilesError::NotDirectory { path },
                errno => FilesError::Failed {
                    step: format!("{step} {path}"),
                    cause: words(errno),
                },
            }
        }
    }
}

fn words(errno: Errno) -> String {
    errno.desc().to_lowercase()
}

/// A system's error in its own words, without a number.
fn cause(error: &io::Error) -> String {
    error
        .raw_os_error()
        .map_or_else(|| error.to_string(), |raw| words(Errno::from_raw(raw)))
}

struct Server {
    root: Root,
    /// Who the container runs as.
    process: Process,
    swap: Swap,
}

impl Server {
    /// Answers until the command goes.
    fn serve(&self, control: &OwnedFd) -> FilesResult<()> {
        while let Some((request, fds)) = wire::receive::<Request>(control)? {
            let reply = self.answer(request, fds.into_iter().next());
            let reply = reply.unwrap_or_else(Reply::Failed);
            wire::send(control, &reply, &[])?;
        }
        Ok(())
    }

    fn answer(&self, request: Request, pipe: Option<OwnedFd>) -> FilesResult<Reply> {
        let pipe = pipe.map(File::from).ok_or(FilesError::BrokenOff);
        match request {
            Request::Enter { .. } => Err(FilesError::BrokenOff),
            Request::Info { path } => self.info(&Asked::new(&path)),
            Request::Read { path, name, holes } => {
                self.read(&Asked::new(&path), &name, holes, pipe?)
            }
            Request::Write {
                directory,
                ownership,
                placing,
            } => self.write(&Asked::new(&directory), (ownership, placing), pipe?),
            Request::Remove { paths } => {
                let removed = paths.iter().map(|path| self.remove(&Asked::new(path)));
                let first = removed.fold(Ok(()), FilesResult::and);
                first.map(|()| Reply::Done)
            }
        }
    }

    fn stat(&self, asked: &Asked) -> FilesResult<FileStat> {
        let found = if asked.directory {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
            self.root.open_at(&asked.path, flags, 0).and_then(fstat)
        } else {
            self.root.lstat(&asked.path)
        };
        found.map_err(asked.fault("look at"))
    }

    fn info(&self, asked: &Asked) -> FilesResult<Reply> {
        let found = self.stat(asked)?;
        let kind = match found.st_mode & libc::S_IFMT {
            libc::S_IFREG => FileKind::File,
            libc::S_IFDIR => FileKind::Dir,
            libc::S_IFLNK => FileKind::Link,
            libc::S_IFCHR | libc::S_IFBLK => FileKind::Device,
            _ => FileKind::Other,
        };
        let target = match kind {
            FileKind::Link => Some(self.resolve(&asked.path).map_err(asked.fault("follow"))?),
            _ => None,
        };
        let target = target.map(|path| path.into_os_string().into_vec());
        Ok(Reply::Info(kind, target))
    }

    /// Where a path leads when all links are followed, as far as there is something.
    /// As Docker: `symlink.FollowSymlinkInScope`.
    fn resolve(&self, path: &Path) -> std::result::Result<PathBuf, Errno> {
        let mut left = MAX_LINKS;
        let mut done = PathBuf::from("/");
        let mut todo: Vec<OsString> = names(path);
        while let Some(name) = todo.pop() {
            if name == ".." {
                done.pop();
                continue;
            }
            let next = done.join(&name);
            match self.root.lstat(&next) {
                Ok(found) if is_kind(&found, libc::S_IFLNK) => {
                    left = left.checked_sub(1).ok_or(Errno::ELOOP)?;
                    let (above, leaf) = self.root.open_parent(&next)?;
                    let link = PathBuf::from(nix::fcntl::readlinkat(&above, leaf.as_os_str())?);
                    if link.is_absolute() {
                        done = PathBuf::from("/");
                    }
                    todo.extend(names(&link));
                }
                _ => done = next,
            }
        }
        Ok(done)
    }

    fn read(&self, asked: &Asked, name: &[u8], holes: bool, pipe: File) -> FilesResult<Reply> {
        let found = self.stat(asked)?;
        let directory = is_kind(&found, libc::S_IFDIR);
        let (dir, leaf) = if directory {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
            let dir = self.root.open_at(&asked.path, flags, 0);
            dir.map(|dir| (dir, OsString::from(".")))
        } else {
            self.root.open_parent(&asked.path)
        }
        .map_err(asked.fault("open"))?;
        let source = Source {
            dir: dir.as_fd(),
            name: &leaf,
            stored_as: name,
        };
        let holes = match holes {
            true => Holes::Kept,
            false => Holes::Filled,
        };
        let out = io::BufWriter::with_capacity(256 * 1024, pipe);
        match pack::write(source, Opening::Direct, holes, out) {
            Ok(()) => Ok(Reply::Done),
            Err(PackError::Out(_)) => Err(FilesError::BrokenOff),
            Err(PackError::Entry { path, source }) => match source.kind() {
                io::ErrorKind::NotFound => Err(FilesError::NotFound { path }),
                _ => Err(FilesError::Failed {
                    step: format!("read {path}"),
                    cause: cause(&source),
                }),
            },
        }
    }

    /// Removes what is at a path; a link itself, not what it leads to.
    fn remove(&self, asked: &Asked) -> FilesResult<()> {
        let missing = |errno: &Errno| matches!(errno, Errno::ENOENT | Errno::ENOTDIR);
        let (above, leaf) = match self.root.open_parent(&asked.path) {
            Err(errno) if missing(&errno) => return Ok(()),
            other => other.map_err(asked.fault("open"))?,
        };
        let found = match fs::lstat_at(&above, &leaf) {
            Err(errno) if missing(&errno) => return Ok(()),
            other => other.map_err(asked.fault("look at"))?,
        };
        let removed = if is_kind(&found, libc::S_IFDIR) {
            // From here on names are looked up by descriptor; this process has only one thread.
            nix::unistd::fchdir(&above).map_err(asked.fault("enter"))?;
            std::fs::remove_dir_all(Path::new(&leaf))
        } else {
            let flag = nix::unistd::UnlinkatFlags::NoRemoveDir;
            nix::unistd::unlinkat(&above, leaf.as_os_str(), flag).map_err(io::Error::from)
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EROFS) => {
                let device = |fd| fstat(fd).map(|found| found.st_dev).ok();
                Err(match device(above.as_fd()) == device(self.root.as_fd()) {
                    true => FilesError::ReadOnlyRoot,
                    false => FilesError::ReadOnlyMount,
                })
            }
            Err(error) => Err(FilesError::Failed {
                step: format!("remove {}", asked.text),
                cause: cause(&error),
            }),
            Ok(()) => Ok(()),
        }
    }

    fn write(
        &self,
        asked: &Asked,
        (ownership, placing): (Ownership, Placing),
        pipe: File,
    ) -> FilesResult<Reply> {
        // An archive of many small files is read in many small pieces.
        let mut pipe = io::BufReader::with_capacity(READ, pipe);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let top = self.root.open_at(&asked.path, flags, 0);
        let top = Root::from_fd(top.map_err(asked.fault("open"))?);
        let target = Target {
            top: &top,
            links: Links::Inside,
            owner: self.owner(ownership)?,
            at_once: (placing == Placing::AtOnce).then_some(&self.swap),
        };
        unpack::read(&mut pipe, target).map_err(|fault| self.worded(fault, asked, &top))?;
        // Whoever writes it wants to get rid of what follows the end of an archive.
        match io::copy(&mut pipe, &mut io::sink()) {
            Ok(_) => Ok(Reply::Done),
            Err(_) => Err(FilesError::BrokenOff),
        }
    }

    fn owner(&self, ownership: Ownership) -> FilesResult<Owner> {
        let user = self.process.user.as_str();
        if ownership == Ownership::Archived || user.is_empty() {
            return Ok(Owner::AsArchived);
        }
        let user = lookup(&self.root, user, &[]).map_err(|error| FilesError::Failed {
            step: format!("find the container's user {user}"),
            cause: error.to_string(),
        })?;
        Ok(Owner::Fixed(user.uid, user.gid))
    }

    fn worded(&self, fault: UnpackFault, asked: &Asked, top: &Root) -> FilesError {
        let (path, source) = match fault.below(&asked.path) {
            UnpackFault::Entry { path, source } => (path, source),
            other => return FilesError::Refused(other.to_string()),
        };
        if source.raw_os_error() == Some(libc::EROFS) {
            let device = |root: &Root| fstat(root.as_fd()).map(|found| found.st_dev).ok();
            return match device(top) == device(&self.root) {
                true => FilesError::ReadOnlyRoot,
                false => FilesError::ReadOnlyMount,
            };
        }
        FilesError::Failed {
            step: format!("write {path}"),
            cause: cause(&source),
        }
    }
}

/// The parts of a path that mean something, last first.
fn names(path: &Path) -> Vec<OsString> {
    let mut parts: Vec<OsString> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect();
    parts.reverse();
    parts
}
