//! `init`: looks at a directory and writes a compose file, Dockerfiles and `.dockerignore`s that bring it up.
//!
//! Imports: `cli::bootstrap`, `sys::fs`. What is there already is never replaced without `--force`.

use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::cli::app::App;
use crate::cli::args::InitArgs;
use crate::cli::ask;
use crate::cli::bootstrap::{self, COMPOSE_NAMES, Draft, Listing};
use crate::cli::exit::{Failure, Outcome};
use crate::sys::fs::{Durability, write_atomic};
use crate::ui::{render, write_out};

pub(super) fn run(app: &App, args: &InitArgs) -> Outcome {
    let given = args.dir.as_deref().unwrap_or(Path::new("."));
    let dir = app.env.cwd.join(given);
    let cannot = |error: std::io::Error| {
        Failure::new(format!("cannot look at {}: {error}", given.display()))
    };
    let dir = dir.canonicalize().map_err(cannot)?;
    let about = dir.metadata().map_err(cannot)?;
    if !about.is_dir() {
        return Err(Failure::new(format!("{} is no directory", given.display())));
    }
    let force = args.force;
    if let (Some(name), false) = (present(&dir), force || app.globals.dry_run) {
        return Err(
            Failure::new(format!("{name} is there already")).hint(format!(
                "`hoist up` brings it up; --force replaces {name}, --dry-run shows with what"
            )),
        );
    }
    let listing = Listing::read(&dir).map_err(cannot)?;
    let project = dir
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let Some(draft) = bootstrap::draft(&listing, &project, (about.uid(), about.gid())) else {
        return Err(nothing());
    };
    let taken: Vec<&str> = draft
        .files
        .iter()
        .map(|(path, _)| path.as_str())
        .filter(|path| !COMPOSE_NAMES.contains(path) && dir.join(path).symlink_metadata().is_ok())
        .collect();
    if let (Some(path), false) = (taken.first(), force || app.globals.dry_run) {
        return Err(Failure::new(format!("{path} is there already")).hint("--force replaces it"));
    }
    tell(&draft)?;
    if app.globals.dry_run {
        show(&draft)?;
        return Ok(0);
    }
    let names: Vec<&str> = draft.files.iter().map(|(path, _)| path.as_str()).collect();
    let names = names.join(", ");
    if !args.yes && std::io::stdin().is_terminal() && !ask::agreed(&format!("Write {names}?"))? {
        return Err(Failure::new("nothing was written"));
    }
    for (path, text) in &draft.files {
        write(&dir.join(path), text, (about.uid(), about.gid()))
            .map_err(|error| Failure::new(format!("cannot write {path}: {error}")))?;
    }
    let here = match args.dir {
        None => String::new(),
        Some(_) => format!(
            " --project-directory {}",
            shell_words::quote(&given.to_string_lossy())
        ),
    };
    write_out(format!("wrote {names}\nnext: hoist{here} up --watch\n"))?;
    Ok(0)
}

/// The compose file that is there.
fn present(dir: &Path) -> Option<&'static str> {
    let there = |name: &&str| dir.join(name).symlink_metadata().is_ok();
    COMPOSE_NAMES.into_iter().find(there)
}

fn nothing() -> Failure {
    Failure::new("nothing here that init knows").hint(
        "it looks for a Dockerfile, requirements.txt, pyproject.toml, setup.py, manage.py, package.json, Cargo.toml, go.mod, \
         notebooks (*.ipynb) and Python files, here and in the directories below",
    )
}

/// Names of files are others' words: they are shown without control sequences.
fn tell(draft: &Draft) -> Result<(), Failure> {
    let lines = draft.story.iter().cloned();
    let notes = draft.notes.iter().map(|note| format!("note: {note}"));
    let text: String = lines
        .chain(notes)
        .map(|line| format!("{}\n", render::clean(&line)))
        .collect();
    Ok(write_out(text)?)
}

fn show(draft: &Draft) -> Result<(), Failure> {
    for (path, text) in &draft.files {
        write_out(format!(
            "\n--- {path}\n{}\n",
            render::clean(text.trim_end())
        ))?;
    }
    Ok(())
}

/// Writes one file as the directory's owner would have it, also when that is somebody else than who runs this.
fn write(path: &PathBuf, text: &str, (uid, gid): (u32, u32)) -> std::io::Result<()> {
    write_atomic(path, text.as_bytes(), 0o644, Durability::Synced)?;
    if nix::unistd::geteuid().is_root() && uid != 0 {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    }
    Ok(())
}
