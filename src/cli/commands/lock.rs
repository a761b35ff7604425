//! `lock`: writes which digests the images of a project have, beside its compose file.
//!
//! What is locked stays as it is until it is renewed; what the project does not name any more goes.
//! Imports: `apply`, `image::registry`, `cli::lockfile`.

use std::collections::BTreeMap;

use crate::apply;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::cli::app::App;
use crate::cli::args::LockArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::lockfile::{LockFile, names};
use crate::compose::model::Project;
use crate::image::digest::Digest;
use crate::image::reference::Reference;
use crate::image::registry::{self, PullOptions};
use crate::plan::pins::{ImageUse, Pin};
use crate::ui::write_out;

/// The exit code of `--check` when the file is not what the project asks for.
const OUT_OF_DATE: i32 = 2;

pub(super) fn run(app: &App, args: &LockArgs) -> Outcome {
    let mut project = app.load()?;
    let renewed = args.update.as_deref();
    app.known(Some(&project), renewed.unwrap_or_default())?;
    let mut lock = LockFile::of(app, &project)?;
    let old = lock.read()?;
    let work = app.work(true)?;
    let uses = apply::images_used(&work.context, &mut project)?;
    for fault in &uses.unknown {
        app.warn(&fault.headline(&project.sources));
    }
    let known = old.as_ref().map(|old| &old.pins.images);
    let mut open: Vec<&ImageUse> = Vec::new();
    let mut digests: BTreeMap<String, Digest> = BTreeMap::new();
    let all = names(&uses.images);
    for (name, (first, _)) in &all {
        let renew = renewed.is_some_and(|services| {
            let named = |used: &ImageUse| services.iter().any(|s| s == used.service.as_str());
            let mut uses = uses.images.iter();
            services.is_empty() || uses.any(|used| used.image == first.image && named(used))
        });
        let kept = known
            .and_then(|known| known.get(name))
            .map(|pin| pin.digest);
        match first.image.digest.or(kept.filter(|_| !renew)) {
            Some(digest) => drop(digests.insert(name.clone(), digest)),
            None => open.push(first),
        }
    }
    if !args.check {
        digests.extend(ask(app, &project, &open)?);
    }
    for (name, (_, keys)) in &all {
        if let Some(digest) = digests.get(name) {
            let pin = Pin {
                digest: *digest,
                used_by: keys.iter().cloned().collect(),
            };
            lock.pins.images.insert(name.clone(), pin);
        }
    }
    if args.check {
        return check(app, &project, old.as_ref(), &lock, &open);
    }
    let changes = changes(old.as_ref(), &lock);
    if old.as_ref().map(LockFile::text) != Some(lock.text()) && !app.globals.dry_run {
        lock.write()?;
    }
    if !args.quiet {
        let (file, count) = (&lock.pins.file, lock.pins.images.len());
        let images = if count == 1 { "image" } else { "images" };
        write_out(format!("{changes}{file}: {count} {images}\n"))?;
    }
    Ok(0)
}

/// Asks registries for the digests that names have now; what fails is told of all.
fn ask(
    app: &App,
    project: &Project,
    open: &[&ImageUse],
) -> Result<BTreeMap<String, Digest>, Failure> {
    let references: Vec<Reference> = open.iter().map(|used| used.image.clone()).collect();
    let options = PullOptions {
        env: app.env.clone(),
        ..PullOptions::default()
    };
    let mut faults = Diagnostics::default();
    let mut digests = BTreeMap::new();
    for (used, answer) in open
        .iter()
        .zip(registry::ask_digests(&references, &options))
    {
        match answer {
            Ok(digest) => drop(digests.insert(used.image.canonical(), digest)),
            Err(error) => {
                let text = format!("cannot lock `{}`: {error}", used.image);
                faults.push(Diagnostic::error(text).at(used.place).path(&used.path()));
            }
        }
    }
    match faults.has_errors() {
        true => Err(Failure::faults(faults.sorted(), project.sources.clone())),
        false => Ok(digests),
    }
}

/// Says what is out of date.
fn check(
    app: &App,
    project: &Project,
    old: Option<&LockFile>,
    new: &LockFile,
    open: &[&ImageUse],
) -> Outcome {
    let Some(old) = old else {
        let text = format!("there is no {}", new.pins.file);
        let failure = Failure::new(text).hint("run `hoist lock`, which writes it");
        return Err(failure.code(OUT_OF_DATE));
    };
    let faults: Vec<Diagnostic> = open
        .iter()
        .filter_map(|used| old.pins.fault(used))
        .collect();
    let stale = changes(Some(old), new);
    if faults.is_empty() && old.text() == new.text() {
        return Ok(0);
    }
    if !faults.is_empty() {
        let all: Diagnostics = faults
            .into_iter()
            .fold(Diagnostics::default(), |mut all, one| {
                all.push(one);
                all
            });
        let failure = Failure::faults(all.sorted(), project.sources.clone());
        failure.report(app.screen, app.json_progress());
    }
    write_out(stale)?;
    let text = format!("{} is out of date", new.pins.file);
    Err(Failure::new(text)
        .hint("run `hoist lock`")
        .code(OUT_OF_DATE))
}

/// What is new, other and gone: a line each.
fn changes(old: Option<&LockFile>, new: &LockFile) -> String {
    let none = BTreeMap::new();
    let before = old.map_or(&none, |old| &old.pins.images);
    let mut text = String::new();
    for (name, pin) in &new.pins.images {
        match before.get(name) {
            Some(known) if known.digest == pin.digest => {}
            Some(known) => {
                text.push_str(&format!("~ {name} {} -> {}\n", known.digest, pin.digest));
            }
            None => text.push_str(&format!("+ {name} {}\n", pin.digest)),
        }
    }
    for (name, pin) in before {
        if !new.pins.images.contains_key(name) {
            text.push_str(&format!("- {name} {}\n", pin.digest));
        }
    }
    text
}
