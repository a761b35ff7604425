//! The main context, where it is not a directory of the host: fetched or unpacked before anything else is known.
//!
//! In: the request. Out: a request whose context is a directory, its Dockerfile found in it. Imports: `sources`, `base`.
//! Rules: BuildKit, `dockerui`: what is no archive is the Dockerfile itself.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::time::Instant;

use super::{Fetched, Remote, Repository, SINGLE, SourceError, Sources};
use crate::base::diag::Diagnostic;
use crate::base::event::{BuildStep, Event};
use crate::build::error::BuildError;
use crate::build::{BuildRequest, Builder, ContextSource, DockerfileSource, LARGEST};
use crate::sys::fs::{make_dirs, unnamed};

/// Its place among the steps: before the first.
const STEP: u32 = 0;
/// Longest wait for input between looks at the token, in milliseconds.
const GLANCE: u16 = 100;

/// Brings the context here, if it is elsewhere.
pub(in crate::build) fn prepare<'a>(
    request: &'a BuildRequest,
    builder: &Builder<'_>,
) -> Result<Cow<'a, BuildRequest>, BuildError> {
    let title = match &request.context {
        ContextSource::Dir(_) | ContextSource::Fetched(_) | ContextSource::Empty => {
            return Ok(Cow::Borrowed(request));
        }
        ContextSource::Remote(Remote::Git(repository)) => {
            format!("[internal] load git source {}", repository.reference)
        }
        ContextSource::Remote(_) | ContextSource::Input(_) => {
            "[internal] load remote build context".to_owned()
        }
    };
    let tell = |what: BuildStep| {
        let target = request.target_name.clone();
        builder.events.send(Event::Build {
            target,
            step: STEP,
            what,
        });
    };
    tell(BuildStep::Started(title));
    let begun = Instant::now();
    match brought(request, builder, &|line| {
        tell(BuildStep::Output(line.to_owned()));
    }) {
        Ok(request) => {
            tell(BuildStep::Done(begun.elapsed().as_secs_f64()));
            Ok(Cow::Owned(request))
        }
        Err(SourceError::Cancelled) => {
            tell(BuildStep::Failed("it was cancelled".to_owned()));
            Err(BuildError::Cancelled)
        }
        Err(SourceError::Failed { message, hint }) => {
            tell(BuildStep::Failed(message.clone()));
            let mut item = Diagnostic::error(format!("failed to read the context: {message}"));
            if let Some(hint) = hint {
                item = item.hint(hint);
            }
            if let Some((span, _)) = &request.context_place {
                item = item.at(*span);
            }
            let sources = request
                .context_place
                .as_ref()
                .map(|(_, sources)| sources.clone());
            Err(BuildError::Invalid {
                diagnostics: vec![item],
                sources: sources.unwrap_or_default(),
            })
        }
    }
}

fn brought(
    request: &BuildRequest,
    builder: &Builder<'_>,
    tell: super::Tell<'_>,
) -> Result<BuildRequest, SourceError> {
    let sources = Sources::new(request, &builder.cache_dir);
    let mut request = request.clone();
    match request.context.clone() {
        ContextSource::Remote(remote) => {
            let remote = with_git_dir(remote, &request);
            let fetched = sources.fetch(&remote, builder.cancel, tell)?;
            let single = matches!(remote, Remote::Archive(_)) && is_single(&fetched);
            // What the user has named lies in an archive; here there is none.
            if single && matches!(request.dockerfile, DockerfileSource::InContext(_)) {
                request.dockerfile = DockerfileSource::InContext(SINGLE.to_owned());
            }
            request.materials = sources.materials();
            request.context = ContextSource::Fetched(fetched.dir);
        }
        ContextSource::Input(input) => {
            let file = spooled(&input, &sources, builder)?;
            match sources.unpack(&file, builder.cancel)? {
                Some(fetched) => request.context = ContextSource::Fetched(fetched.dir),
                None if matches!(&request.dockerfile, DockerfileSource::InContext(name) if name != "Dockerfile") =>
                {
                    return Err(SourceError::Failed {
                        message: "standard input is a Dockerfile, and another one is named"
                            .to_owned(),
                        hint: Some(
                            "leave out -f, or give an archive that holds that file".to_owned(),
                        ),
                    });
                }
                None => {
                    request.dockerfile = DockerfileSource::Inline(text(&file)?);
                    request.context = ContextSource::Empty;
                }
            }
        }
        _ => {}
    }
    Ok(request)
}

/// A repository's `.git` is kept where the build argument of BuildKit says so.
fn with_git_dir(remote: Remote, request: &BuildRequest) -> Remote {
    let given = |(name, value): &(String, Option<String>)| {
        (name == "BUILDKIT_CONTEXT_KEEP_GIT_DIR").then(|| {
            let own = value.clone();
            own.or_else(|| request.env.get(name).map(str::to_owned))
        })?
    };
    let said = request.args.iter().rev().find_map(given);
    match remote {
        Remote::Git(Repository {
            reference,
            keep_git_dir,
        }) => {
            let on = said.is_some_and(|value| {
                matches!(value.as_str(), "1" | "true" | "True" | "TRUE" | "t" | "T")
            });
            Remote::Git(Repository {
                keep_git_dir: keep_git_dir || (on && reference.keep_git_dir.is_none()),
                reference,
            })
        }
        other => other,
    }
}

/// Whether what came was no archive.
fn is_single(fetched: &Fetched) -> bool {
    fetched.id.starts_with("url ")
}

/// Reads the whole input into a file without a name.
fn spooled(
    input: &File,
    sources: &Sources<'_>,
    builder: &Builder<'_>,
) -> Result<File, SourceError> {
    make_dirs(&sources.dir, 0o700)?;
    let mut file = unnamed(&sources.dir)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut input = input;
    loop {
        if builder.cancel.is_cancelled() {
            return Err(SourceError::Cancelled);
        }
        if !readable(input)? {
            continue;
        }
        match input.read(&mut buffer) {
            Ok(0) => return Ok(file),
            Ok(read) => file.write_all(buffer.get(..read).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SourceError::new(format!("standard input: {error}"))),
        }
    }
}

/// Waits a moment for more input, so that Ctrl-C ends the wait.
fn readable(input: &File) -> Result<bool, SourceError> {
    use nix::poll::{PollFd, PollFlags, poll};
    use std::os::fd::AsFd as _;
    let mut wanted = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    match poll(&mut wanted, GLANCE) {
        Ok(ready) => Ok(ready > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(errno) => Err(SourceError::new(format!(
            "standard input: {}",
            errno.desc()
        ))),
    }
}

fn text(file: &File) -> Result<String, SourceError> {
    use std::io::Seek as _;
    let mut file = file;
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Err(SourceError::Failed {
            message: "standard input is empty".to_owned(),
            hint: Some("give it an archive of the context, or a Dockerfile".to_owned()),
        });
    }
    if bytes.len() as u64 > LARGEST {
        return Err(SourceError::new(
            "standard input is no archive, and too large for a Dockerfile",
        ));
    }
    String::from_utf8(bytes)
        .map_err(|_| SourceError::new("standard input is neither an archive nor a Dockerfile"))
}
