//! `cp`: files and directories between the host and the containers of a service.
//!
//! In: two paths, one of them with a service. Out: files, or an archive on a standard stream.
//! Imports: `apply` (the lock), `engine::files`, `image`. As Compose: `pkg/compose/cp.go`; ends as the reference.

mod local;
mod paths;

use std::io::{self, Read, Write};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::containers::{is_oneoff, label};
use crate::apply;
use crate::base::event::{Event, EventSink as _, Kind, Status};
use crate::base::name::{ContainerId, ProjectName};
use crate::cli::app::{App, Work};
use crate::cli::args::CpArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::engine::Cancel;
use crate::engine::files::{FileInfo, FileKind, Files, FilesError, Ownership, Placing};
use crate::engine::state::ObservedContainer;
use crate::image::archive;
use local::Local;
use paths::{Side, There, Written};

/// What is copied where; the paths as written.
enum Copy {
    In {
        source: Option<PathBuf>,
        destination: PathBuf,
    },
    Out {
        source: PathBuf,
        destination: Option<PathBuf>,
    },
}

/// One copy, into or out of one container.
struct Job<'a> {
    app: &'a App,
    args: &'a CpArgs,
    cancel: Cancel,
    here: PathBuf,
    copy: &'a Copy,
    container: &'a ObservedContainer,
}

pub(super) fn run(app: &App, args: &CpArgs) -> Outcome {
    let (service, copy) = direction(args)?;
    let (project, _) = app.project_or_name()?;
    let work = app.work(false)?;
    let containers = containers(&work, &project, args, &service, &copy)?;
    if matches!(copy, Copy::In { source: None, .. }) && containers.len() > 1 {
        let text = format!(
            "standard input can't be copied to all {} containers of service \"{service}\"",
            containers.len()
        );
        return Err(Failure::new(text).hint("choose one with --index"));
    }
    // A container that has gone is an error like others; so is a reader of standard output.
    let ready = crate::sys::signal::ignore_pipe();
    ready.map_err(|errno| Failure::new(format!("cannot ignore SIGPIPE: {errno}")))?;
    // Modes are those of the files that are copied.
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let stopped = containers.iter().any(|c| !c.state.is_up());
    let _lock = match stopped && !app.globals.dry_run {
        true => Some(apply::lock(&work.context, &project)?),
        false => None,
    };
    let here = app.env.cwd.clone();
    let jobs: Vec<Job<'_>> = containers
        .iter()
        .map(|container| Job {
            app,
            args,
            cancel: work.context.cancel.clone(),
            here: here.clone(),
            copy: &copy,
            container,
        })
        .collect();
    let ended = all(&jobs, &work);
    work.progress.finish();
    ended
}

/// Copies a path of a container, which need not run, to one of the host. The caller has the project's lock.
///
/// # Errors
/// As `cp`.
pub(super) fn out_of(
    app: &App,
    work: &Work,
    id: &ContainerId,
    (source, destination): (&Path, &Path),
) -> Result<(), Failure> {
    let copy = Copy::Out {
        source: source.to_owned(),
        destination: Some(destination.to_owned()),
    };
    let job = Job {
        app,
        args: &CpArgs::default(),
        cancel: work.context.cancel.clone(),
        here: app.env.cwd.clone(),
        copy: &copy,
        container: &work.context.engine.container(id)?,
    };
    job.run(work)
}

/// Runs every job at once; the first failure counts.
fn all(jobs: &[Job<'_>], work: &Work) -> Outcome {
    let results: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = jobs
            .iter()
            .map(|job| scope.spawn(|| job.told(work)))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Outcome>| {
            let panicked = |_| Err(Failure::new("a copy ended by a fault of hoist's own"));
            thread.join().unwrap_or_else(panicked)
        };
        threads.into_iter().map(join).collect()
    });
    if work.context.cancel.is_cancelled() {
        return Err(Failure::said(130));
    }
    results.into_iter().find(Result::is_err).unwrap_or(Ok(0))
}

/// Which way it goes, and with which service.
fn direction(args: &CpArgs) -> Result<(String, Copy), Failure> {
    match (Side::parse(&args.source), Side::parse(&args.destination)) {
        (Side::Service(..), Side::Service(..)) => {
            let text = "copying between services is not supported";
            Err(Failure::new(text)
                .hint("pipe it: `hoist cp SERVICE:PATH - | hoist cp - OTHER:PATH`"))
        }
        (Side::Service(service, source), to) => {
            let destination = match to {
                Side::Host(path) => Some(path),
                _ => None,
            };
            let copy = Copy::Out {
                source,
                destination,
            };
            Ok((service, copy))
        }
        (from, Side::Service(service, destination)) => {
            let source = match from {
                Side::Host(path) => Some(path),
                _ => None,
            };
            let copy = Copy::In {
                source,
                destination,
            };
            Ok((service, copy))
        }
        _ => Err(Failure::new("unknown copy direction").hint(
            "one of the two is SERVICE:PATH; a path of the host with a colon begins with ./",
        )),
    }
}

/// The containers that take part, by number.
fn containers(
    work: &Work,
    project: &ProjectName,
    args: &CpArgs,
    service: &str,
    copy: &Copy,
) -> Result<Vec<ObservedContainer>, Failure> {
    let number = |c: &ObservedContainer| label(c, "container-number").parse::<u32>().unwrap_or(0);
    let mut found: Vec<ObservedContainer> = work
        .context
        .engine
        .observe(project)?
        .containers
        .into_iter()
        .filter(|c| label(c, "service") == service)
        .filter(|c| !is_oneoff(c) || (args.all && args.index == 0))
        .collect();
    found.sort_by_key(|c| (is_oneoff(c), number(c)));
    if args.index > 0 {
        found.retain(|c| number(c) == args.index);
        if found.is_empty() {
            return Err(Failure::new(format!(
                "service \"{service}\" is not running container #{}",
                args.index
            )));
        }
    }
    if found.is_empty() {
        let text = format!("no container found for service \"{service}\"");
        return Err(Failure::new(text).hint(format!("make one with `hoist create {service}`")));
    }
    if matches!(copy, Copy::Out { .. }) {
        found.truncate(1);
    }
    Ok(found)
}

impl Job<'_> {
    /// Runs it, and tells the progress.
    fn told(&self, work: &Work) -> Outcome {
        let name = &self.container.name;
        let dash = Path::new("-");
        let (from, to) = match self.copy {
            Copy::In {
                source,
                destination,
            } => (source.as_deref().unwrap_or(dash), destination.as_path()),
            Copy::Out {
                source,
                destination,
            } => (source.as_path(), destination.as_deref().unwrap_or(dash)),
        };
        let (from, to) = (from.display(), to.display());
        let detail = match self.copy {
            Copy::In { .. } => format!("{from} to {name}:{to}"),
            Copy::Out { .. } => format!("{name}:{from} to {to}"),
        };
        let tell = |status| {
            work.progress.send(Event::Resource {
                kind: Kind::Container,
                name: name.clone(),
                status,
                detail: Some(detail.clone()),
            });
        };
        tell(Status::Working("Copying"));
        self.run(work)?;
        tell(Status::Done("Copied"));
        Ok(0)
    }

    fn run(&self, work: &Work) -> Result<(), Failure> {
        match self.copy {
            Copy::In {
                source,
                destination,
            } => {
                // First what can go wrong here.
                let source = match source {
                    Some(path) => {
                        let written = Written::new(path, &self.here);
                        let local = Local::open(&written, self.args.follow_link)?;
                        Some((written, local))
                    }
                    None => None,
                };
                self.copy_in(self.files(work)?.as_mut(), source, destination)
            }
            Copy::Out {
                source,
                destination,
            } => {
                let destination = match destination {
                    Some(path) => {
                        let written = Written::new(path, &self.here);
                        local::check_output(&written)?;
                        Some(written)
                    }
                    None => None,
                };
                if source.as_os_str().is_empty() {
                    return Err(Failure::new("the path in the container is empty"));
                }
                self.copy_out(self.files(work)?.as_mut(), source, destination)
            }
        }
    }

    fn files(&self, work: &Work) -> Result<Box<dyn Files>, Failure> {
        Ok(work
            .context
            .engine
            .files(&self.container.id, &self.cancel)?)
    }

    fn failed(&self, error: FilesError) -> Failure {
        let name = &self.container.name;
        match error {
            FilesError::NotFound { path } => Failure::new(format!(
                "Could not find the file {path} in container {name}"
            )),
            FilesError::BrokenOff => Failure::new(format!("the copy with {name} was broken off")),
            other => Failure::new(format!("container {name}: {other}")),
        }
    }

    /// What is at a path of the container; `None` when nothing is.
    fn look(&self, files: &mut dyn Files, path: &Path) -> Result<Option<FileInfo>, Failure> {
        match files.info(path) {
            Ok(info) => Ok(Some(info)),
            Err(FilesError::NotFound { .. } | FilesError::NotDirectory { .. }) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn copy_in(
        &self,
        files: &mut dyn Files,
        source: Option<(Written, Local)>,
        destination: &Path,
    ) -> Result<(), Failure> {
        let mut written = Written::new(destination, Path::new("/"));
        let mut info = None;
        if !destination.as_os_str().is_empty() {
            info = self.look(files, &written.whole())?;
            if let Some(target) = info.as_ref().and_then(|info| info.target.clone()) {
                info = self.look(files, &target)?;
                written = written.at(target);
            }
        }
        let shown = format!("{}:{}", self.container.name, destination.display());
        let there = match info.map(|info| info.kind) {
            None => There::Nothing,
            Some(FileKind::Dir) => There::Dir,
            Some(FileKind::Device) => {
                let text = "must be a directory or a regular file: got a device";
                return Err(Failure::new(format!("destination \"{shown}\" {text}")));
            }
            Some(_) => There::File,
        };
        let ownership = match self.args.archive {
            true => Ownership::ContainerUser,
            false => Ownership::Archived,
        };
        let Some((from, local)) = source else {
            if there != There::Dir {
                let text = format!("destination \"{shown}\" must be a directory");
                return Err(Failure::new(text));
            }
            return self.stream_in(files, &written.path, ownership);
        };
        let place = paths::place(from.base(), local.is_dir, &written, there)
            .map_err(|misfit| Failure::new(format!("{misfit}: {shown}")))?;
        if self.app.globals.dry_run {
            return Ok(());
        }
        let mut own = None;
        let done = files.write(&place.directory, (ownership, Placing::Anew), &mut |out| {
            local.pack(&place.name, out).map_err(|error| {
                let text = error.to_string();
                own = Some(error);
                io::Error::other(text)
            })
        });
        self.ended(
            done,
            own.map(|error| Failure::new(format!("cannot read {error}"))),
        )
    }

    /// Copies the archive on standard input.
    fn stream_in(
        &self,
        files: &mut dyn Files,
        directory: &Path,
        ownership: Ownership,
    ) -> Result<(), Failure> {
        if self.app.globals.dry_run {
            return Ok(());
        }
        let mut own = None;
        let done = files.write(directory, (ownership, Placing::Anew), &mut |out| {
            let input = Input {
                stdin: io::stdin(),
                cancel: self.cancel.clone(),
            };
            carry(&mut archive::decoder(input), out).map_err(|fault| match fault {
                Carry::Read(error) => {
                    own = Some(error.to_string());
                    error
                }
                Carry::Write(error) => error,
            })
        });
        let own = own.map(|text| Failure::new(format!("cannot read standard input: {text}")));
        self.ended(done, own)
    }

    fn copy_out(
        &self,
        files: &mut dyn Files,
        source: &Path,
        destination: Option<Written>,
    ) -> Result<(), Failure> {
        let written = Written::new(source, Path::new("/"));
        let name = written.base().to_vec();
        let mut from = written.clone();
        let asked = |error| self.failed(error);
        let mut info = files.info(&from.whole()).map_err(asked)?;
        if self.args.follow_link
            && let Some(target) = info.target
        {
            from = written.at(target);
            info = files.info(&from.whole()).map_err(asked)?;
        }
        let Some(destination) = destination else {
            if self.app.globals.dry_run {
                return Ok(());
            }
            // As the reference, which does not rename what is written to a stream.
            let name = from.base().to_vec();
            return self.stream_out(files, &from.whole(), &name);
        };
        let (destination, there) = local::destination(&destination)?;
        let is_dir = info.kind == FileKind::Dir;
        let place = paths::place(&name, is_dir, &destination, there).map_err(|misfit| {
            Failure::new(format!("{misfit}: {}", destination.whole().display()))
        })?;
        if self.app.globals.dry_run {
            return Ok(());
        }
        let mut own = None;
        let done = files.read(&from.whole(), &place.name, true, &mut |archive| {
            local::unpack(&place, archive).map_err(|failure| {
                own = Some(failure);
                io::Error::other("not written")
            })
        });
        self.ended(done, own)
    }

    /// Copies to standard output.
    fn stream_out(&self, files: &mut dyn Files, path: &Path, name: &[u8]) -> Result<(), Failure> {
        let mut own = None;
        let done = files.read(path, name, false, &mut |archive| {
            let mut out = io::stdout().lock();
            carry(archive, &mut out).map_err(|fault| match fault {
                Carry::Read(error) => error,
                Carry::Write(error) => {
                    own = Some(Failure::from(io::Error::from(error.kind())));
                    error
                }
            })
        });
        self.ended(done, own)
    }

    /// What went wrong on this side says more than that the other was broken off; and what went wrong on the other
    /// more than that this side got nothing to read.
    fn ended(&self, done: Result<(), FilesError>, own: Option<Failure>) -> Result<(), Failure> {
        match (done, own) {
            (Ok(()), None) => Ok(()),
            (Ok(()) | Err(FilesError::BrokenOff), Some(own)) => Err(own),
            (Err(error), _) => Err(self.failed(error)),
        }
    }
}

/// Which side of [`carry`] failed.
enum Carry {
    Read(io::Error),
    Write(io::Error),
}

/// Copies a stream to its end.
fn carry(from: &mut dyn Read, to: &mut dyn Write) -> Result<(), Carry> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return to.flush().map_err(Carry::Write),
            Ok(read) => to.write_all(&buffer[..read]).map_err(Carry::Write)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Carry::Read(error)),
        }
    }
}

/// Standard input that ends with the command's patience.
struct Input {
    stdin: io::Stdin,
    cancel: Cancel,
}

/// How often a wait for input looks whether it was cancelled, in milliseconds.
const GLANCE: u8 = 50;

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("cancelled"));
            }
            let mut fds = [PollFd::new(self.stdin.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(GLANCE)) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return Ok(nix::unistd::read(self.stdin.as_fd(), buffer)?),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
