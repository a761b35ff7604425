//! Contents of configs and secrets that no file of the host has: those of variables, of the compose file, of programs.
//!
//! In: a project. Out: contents, to compare and to have the engine hold in memory. A program is asked once a command,
//! and only by commands that make or start containers; it has the user's terminal, so that it can ask for a passphrase.
//! Never: writes one down, or puts one into a message.
//! Imports: `base`, `compose::model`, `engine`, `plan`, `sys::process`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{ApplyError, Context};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::name::ContainerId;
use crate::base::secret::{Contents, Secret};
use crate::base::span::Spanned;
use crate::compose::model::{FileObject, FileSource, Project, Service};
use crate::engine::spec::LARGEST_FILE;
use crate::plan::desired::files::{given, unset};
use crate::sys::process::unblock;

/// How often is looked whether the user ended the run.
const TICK: Duration = Duration::from_millis(50);

/// What programs have told this command, by the name of the content.
#[derive(Debug, Default)]
pub struct Told(Mutex<BTreeMap<String, Secret>>);

/// What comes of the question for a content.
pub(super) enum Answer {
    /// The content.
    Content(Secret),
    /// It is not to be asked for now.
    Untold,
    /// It has none: an external one, or a variable that is not set; who makes the container says so.
    None,
}

/// The content of a config or secret that is no file; programs are run only if `ask` says so.
///
/// # Errors
/// A program that fails; [`ApplyError::cancelled`].
pub(super) fn content(
    context: &Context,
    project: &Project,
    (name, kind, object): (&str, &str, &FileObject),
    ask: bool,
) -> Result<Answer, ApplyError> {
    let text = |text: &String| Answer::Content(Secret::new(text.as_bytes()));
    match &object.source {
        FileSource::Content(content) => Ok(text(content)),
        FileSource::Environment(_, Some(value)) => Ok(text(value)),
        FileSource::Environment(_, None) | FileSource::External | FileSource::File(_) => {
            Ok(Answer::None)
        }
        FileSource::Command(_) if !ask => Ok(Answer::Untold),
        FileSource::Command(words) => {
            let told = &context.told.0;
            let before = told.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(secret) = before.get(name) {
                return Ok(Answer::Content(secret.clone()));
            }
            drop(before);
            // From here on a crash must not write memory to a disk.
            let _ = nix::sys::prctl::set_dumpable(false);
            let bytes = run(context, project, words).map_err(|why| match why {
                Failed::Cancelled => ApplyError::cancelled(),
                Failed::Because(why) => refused(project, (kind, object), words, &why),
            })?;
            let secret = Secret::new(bytes);
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.insert(name.to_owned(), secret.clone());
            Ok(Answer::Content(secret))
        }
    }
}

/// Has the engine hold what a container of a service needs and what is not held yet. `known` are contents that were
/// read already.
///
/// # Errors
/// As [`content`]; a variable that is not set; the engine's.
pub(super) fn supply(
    context: &Context,
    project: &Project,
    service: &Service,
    known: Option<&Contents>,
    id: &ContainerId,
) -> Result<(), ApplyError> {
    let all: BTreeMap<String, (&str, &FileObject)> = given(project, service)
        .map(|(name, kind, object)| (name, (kind, object)))
        .collect();
    if all.is_empty() {
        return Ok(());
    }
    let mut contents = Contents::new();
    for name in context.engine.lacks(id)? {
        // What the compose file has no more is missed by the start, which says so.
        let Some((kind, object)) = all.get(&name) else {
            continue;
        };
        if let Some(content) = known.and_then(|known| known.get(&name)) {
            contents.insert(name, content.clone());
            continue;
        }
        match (
            content(context, project, (&name, kind, object), true)?,
            &object.source,
        ) {
            (Answer::Content(content), _) => drop(contents.insert(name, content)),
            (_, FileSource::Environment(variable, None)) => {
                let mut faults = Diagnostics::default();
                faults.push(unset(kind, object, variable));
                return Err(ApplyError::faults(faults, &project.sources));
            }
            _ => {}
        }
    }
    match contents.is_empty() {
        true => Ok(()),
        false => Ok(context.engine.hold(id, &contents)?),
    }
}

/// Why a program gave no content.
enum Failed {
    Cancelled,
    Because(String),
}

fn refused(
    project: &Project,
    (kind, object): (&str, &FileObject),
    words: &Spanned<Vec<String>>,
    why: &str,
) -> ApplyError {
    let program = words.value.first().map_or("", String::as_str);
    let text = format!(
        "the content of {kind} `{}` can't be had: `{program}` {why}",
        object.key
    );
    let fault = Diagnostic::error(text)
        .at(words.span.or(object.span))
        .hint("what it said itself stands above; try the command in the project's directory");
    let mut faults = Diagnostics::default();
    faults.push(fault);
    ApplyError::faults(faults, &project.sources)
}

/// Runs a program in the project's directory and takes what it prints, without one line end at the end, as a shell's
/// `$(…)` does. Its input and its errors are the user's.
fn run(
    context: &Context,
    project: &Project,
    words: &Spanned<Vec<String>>,
) -> Result<Vec<u8>, Failed> {
    let because = |why: String| Failed::Because(why);
    let Some((program, arguments)) = words.value.split_first() else {
        return Err(because("is no program".to_owned()));
    };
    let mut command = match program.contains('/') {
        true => Command::new(project.dir.join(program)),
        false => Command::new(program),
    };
    command
        .args(arguments)
        .env_clear()
        .envs(&context.env.vars)
        .current_dir(&project.dir)
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .stdout(Stdio::piped());
    unblock(&mut command);
    let mut child = command
        .spawn()
        .map_err(|error| because(format!("can't be run: {error}")))?;
    let (status, mut bytes) =
        attend(context, &mut child).map_err(|error| because(format!("can't be read: {error}")))?;
    if context.cancel.is_cancelled() {
        return Err(Failed::Cancelled);
    }
    if !status.success() {
        return Err(because(format!("failed ({status})")));
    }
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(because("printed more than 8 MiB".to_owned()));
    }
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    match bytes.is_empty() {
        true => Err(because("printed nothing".to_owned())),
        false => Ok(bytes),
    }
}

/// Reads all that a program prints, and waits for its end; Ctrl-C ends it.
fn attend(context: &Context, child: &mut Child) -> std::io::Result<(ExitStatus, Vec<u8>)> {
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let (over, told) = channel::<()>();
    let mut bytes = Vec::new();
    let read = std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            while told.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                if context.cancel.is_cancelled() {
                    // Nobody waits for it before this thread has ended: the number is still its own.
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
                    return;
                }
            }
        });
        let read = match child.stdout.take() {
            Some(stdout) => stdout.take(LARGEST_FILE + 3).read_to_end(&mut bytes),
            None => Ok(0),
        };
        drop(over);
        let _ = watch.join();
        read
    });
    let status = child.wait()?;
    read.map(|_| (status, bytes))
}
