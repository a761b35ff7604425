//! `cache …`: the build cache listed, cleared, carried to another machine.
//!
//! Imports: `build::cache`, `engine` (which layers containers need). As Docker: `docker buildx du`, `docker buildx prune`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::format;
use crate::base::cancel::Cancel;
use crate::base::clock::{Timestamp, human_duration};
use crate::base::scalar::{ByteSize, parse_size};
use crate::build::cache::bundle::{self, Carried, Export};
use crate::build::cache::list::{Entry, Kind, Places};
use crate::build::cache::prune::{self, Prune};
use crate::cli::app::App;
use crate::cli::args::{
    BudgetArgs, CacheCommand, CacheExportArgs, CacheImportArgs, CacheLsArgs, CachePruneArgs,
};
use crate::cli::ask::agreed;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::parse;
use crate::image::digest::Digest;
use crate::image::store::Store;
use crate::sys::newfile::NewFile;
use crate::ui::logs::sanitise;
use crate::ui::table::Table;
use crate::ui::write_out;

/// Longest description in a table.
const LONGEST: usize = 60;
/// How often the cache is tidied by builds.
const TIDY_EVERY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn run(app: &App, command: &CacheCommand) -> Outcome {
    match command {
        CacheCommand::Ls(args) => ls(app, args),
        CacheCommand::Prune(args) => clear(app, args),
        CacheCommand::Export(args) => export(app, args),
        CacheCommand::Import(args) => import(app, args),
    }
}

/// The directories of the cache, for the time of one command.
pub(super) struct Here {
    data: PathBuf,
    cache: PathBuf,
    pub(super) store: std::sync::Arc<Store>,
}

impl Here {
    pub(super) fn of(app: &App) -> Result<Self, Failure> {
        let data = app.roots()?.data;
        Ok(Self {
            cache: data.join("cache"),
            store: app.store()?,
            data,
        })
    }
    pub(super) fn places(&self) -> Places<'_> {
        Places {
            cache: &self.cache,
            data: &self.data,
            store: &self.store,
        }
    }
    /// Bytes of the disk that are free, and all of them.
    pub(super) fn disk(&self) -> (u64, u64) {
        let found = nix::sys::statvfs::statvfs(&self.data).map(|disk| {
            let unit = disk.fragment_size();
            (disk.blocks_available() * unit, disk.blocks() * unit)
        });
        found.unwrap_or((u64::MAX, 0))
    }
}

/// What `--filter` says, as a wish to remove.
fn filters(items: &[String], now: Timestamp) -> Result<Prune, Failure> {
    let mut wish = Prune::default();
    for item in items {
        let wrong = |why: String| Failure::new(format!("invalid filter `{item}`: {why}"));
        let (name, value) = item
            .split_once('=')
            .ok_or_else(|| wrong("write NAME=VALUE".to_owned()))?;
        match name {
            "until" | "unused-for" => {
                wish.unused_for = Some(parse::time(value, now)?.until(now));
            }
            "type" => {
                let known = Kind::ALL.into_iter().find(|kind| kind.name() == value);
                let names = || Kind::ALL.map(Kind::name).join(", ");
                wish.kinds
                    .push(known.ok_or_else(|| wrong(format!("the types are {}", names())))?);
            }
            "id" => wish.ids.push(value.to_owned()),
            "description" => wish
                .descriptions
                .push(value.trim_start_matches('~').to_owned()),
            _ => {
                return Err(wrong(
                    "the names are until, type, id and description".to_owned(),
                ));
            }
        }
    }
    Ok(wish)
}

fn ls(app: &App, args: &CacheLsArgs) -> Outcome {
    let here = Here::of(app)?;
    let wish = filters(&args.filter, Timestamp::now())?;
    let now = SystemTime::now();
    let mut entries = here.places().list()?;
    entries.retain(|entry| wish.selects(entry, now));
    // The newest first, as in other lists.
    entries.reverse();
    let text = match (args.quiet, args.format.as_str()) {
        (true, _) => entries
            .iter()
            .map(|entry| format!("{}\n", entry.id))
            .collect(),
        (_, "json") => entries
            .iter()
            .map(|entry| object(entry).to_string() + "\n")
            .collect(),
        (_, "table") => table(&entries, args.no_trunc, Timestamp::now()) + &totals(&entries),
        (_, other) => {
            return Err(format::unknown(other, &format::ROWS));
        }
    };
    write_out(text)?;
    Ok(0)
}

pub(super) fn reclaimable(entry: &Entry) -> bool {
    !entry.busy && !entry.shared
}

fn stamp(at: Option<SystemTime>) -> Option<Timestamp> {
    at.map(Timestamp::from)
}

/// An entry as `docker buildx du --format json` writes it.
fn object(entry: &Entry) -> serde_json::Value {
    let time = |at| stamp(at).map(Timestamp::rfc3339);
    json!({
        "ID": entry.id, "Type": entry.kind.name(), "Description": entry.description, "Size": entry.size,
        "CreatedAt": time(entry.created), "LastUsedAt": time(entry.used), "InUse": entry.busy,
        "Mutable": entry.kind == Kind::Mount, "Reclaimable": reclaimable(entry), "Shared": entry.shared,
    })
}

fn table(entries: &[Entry], whole: bool, now: Timestamp) -> String {
    let mut table = Table::new(
        0,
        &[
            "ID",
            "TYPE",
            "DESCRIPTION",
            "SIZE",
            "LAST USED",
            "RECLAIMABLE",
        ],
    );
    for entry in entries {
        let cut = |text: &str, most: usize| -> String {
            match whole || text.chars().count() <= most {
                true => text.to_owned(),
                false => text.chars().take(most - 1).chain(['…']).collect(),
            }
        };
        let id = match whole {
            true => entry.id.clone(),
            false => entry.id.chars().take(12).collect(),
        };
        let description =
            String::from_utf8_lossy(&sanitise(entry.description.as_bytes())).into_owned();
        let used = stamp(entry.used).map(|at| format!("{} ago", human_duration(at.until(now))));
        table.row([
            id,
            entry.kind.name().to_owned(),
            cut(&description.replace('\n', " "), LONGEST),
            ByteSize(entry.size).decimal(),
            used.unwrap_or_default(),
            reclaimable(entry).to_string(),
        ]);
    }
    table.text()
}

fn totals(entries: &[Entry]) -> String {
    let sum = |of: &dyn Fn(&&Entry) -> bool| -> ByteSize {
        ByteSize(entries.iter().filter(of).map(|entry| entry.size).sum())
    };
    let mut text = String::new();
    for (label, size) in [
        ("Shared", sum(&|entry| entry.shared)),
        ("Private", sum(&|entry| !entry.shared)),
        ("Reclaimable", sum(&|entry| reclaimable(entry))),
        ("Total", sum(&|_| true)),
    ] {
        text.push_str(&format!(
            "{label}:{:pad$}{}\n",
            "",
            size.decimal(),
            pad = 15 - label.len() - 1
        ));
    }
    text
}

fn size(name: &str, text: Option<&String>) -> Result<u64, Failure> {
    let parsed = text.map(|text| {
        parse_size(text)
            .map(|size| size.0)
            .map_err(|error| Failure::new(format!("invalid --{name}: {error}")))
    });
    parsed.transpose().map(Option::unwrap_or_default)
}

/// How much may stay, and nothing else.
pub(super) fn budget_of(args: &BudgetArgs) -> Result<Prune, Failure> {
    Ok(Prune {
        reserved: size("reserved-space", args.reserved_space.as_ref())?,
        most: size("max-used-space", args.max_used_space.as_ref())?,
        free: size("min-free-space", args.min_free_space.as_ref())?,
        ..Prune::default()
    })
}

fn clear(app: &App, args: &CachePruneArgs) -> Outcome {
    let wish = Prune {
        all: args.all,
        ..filters(&args.filter, Timestamp::now())?
    };
    let budget = budget_of(&args.budget)?;
    let wish = Prune {
        reserved: budget.reserved,
        most: budget.most,
        free: budget.free,
        ..wish
    };
    if !format::ROWS.contains(&args.format.as_str()) {
        return Err(format::unknown(&args.format, &format::ROWS));
    }
    if !args.force && !sure(args.all)? {
        return Err(Failure::new("nothing was removed: the answer was no"));
    }
    let here = Here::of(app)?;
    let done = wish.run(
        &here.places(),
        &needed(app, &here.store)?,
        here.disk().0,
        SystemTime::now(),
    )?;
    if done.held_up {
        app.warn("a build is running: layers are left to the next time");
    }
    let text = match args.format.as_str() {
        "json" => done
            .removed
            .iter()
            .map(|entry| object(entry).to_string() + "\n")
            .collect(),
        _ if done.removed.is_empty() => String::new(),
        _ => table(&done.removed, false, Timestamp::now()),
    };
    let total = match args.format.as_str() {
        "json" => String::new(),
        _ => format!("Total:\t{}\n", ByteSize(done.freed).decimal()),
    };
    write_out(text + &total)?;
    Ok(0)
}

fn sure(all: bool) -> Result<bool, Failure> {
    let what = if all {
        "all build cache"
    } else {
        "all dangling build cache"
    };
    if !io::stdin().is_terminal() {
        let text = format!("this would remove {what}, and there is no terminal to ask on");
        return Err(Failure::new(text).hint("say so with --force"));
    }
    agreed(&format!(
        "WARNING! This will remove {what}. Are you sure you want to continue?"
    ))
}

/// Layers that containers need.
fn needed(app: &App, store: &Store) -> Result<BTreeSet<Digest>, Failure> {
    let mut needs = super::store::asker(app, false)?()?;
    for id in needs.images.keys() {
        if let Ok(image) = store.find(&id.to_string()) {
            needs.layers.extend(image.layers());
        }
    }
    Ok(needs.layers)
}

/// Tidies the cache after a build, once a day: BuildKit's usual policy. What goes wrong here is no fault of the build.
pub(super) fn tidy(app: &App) {
    let _ = try_tidy(app);
}

fn try_tidy(app: &App) -> Result<(), Failure> {
    let here = Here::of(app)?;
    let stamp = here.cache.join("tidied");
    let now = SystemTime::now();
    let last = stamp.metadata().and_then(|meta| meta.modified());
    let due = match &last {
        Ok(at) => now.duration_since(*at).is_ok_and(|ago| ago > TIDY_EVERY),
        Err(_) => false,
    };
    if due || last.is_err() {
        File::create(&stamp).and_then(|file| file.set_modified(now))?;
    }
    if !due {
        return Ok(());
    }
    let keep = needed(app, &here.store)?;
    let (free, whole) = here.disk();
    if whole == 0 {
        // Nobody knows how much is too much.
        return Ok(());
    }
    for rule in prune::policy(whole) {
        rule.run(&here.places(), &keep, free, now)?;
    }
    Ok(())
}

/// The archive at a place: in a directory it has a name of its own.
fn archive(app: &App, path: &Path) -> PathBuf {
    let path = app.env.cwd.join(path);
    match path.is_dir() {
        true => path.join(bundle::FILE),
        false => path,
    }
}

fn export(app: &App, args: &CacheExportArgs) -> Outcome {
    let here = Here::of(app)?;
    let export = Export {
        layers: wanted(app, &here.store, args)?,
        mounts: match args.mounts.as_slice() {
            [one] if one == "all" => None,
            [one] if one == "none" => Some(Vec::new()),
            ids => Some(ids.to_vec()),
        },
        cancel: Cancel::default(),
    };
    if args.to == Path::new("-") {
        if io::stdout().is_terminal() {
            let text = "an archive can't be written to a terminal";
            return Err(Failure::new(text).hint("name a file, or redirect the output"));
        }
        export.write(&here.cache, &here.store, io::stdout().lock())?;
        return Ok(0);
    }
    let path = archive(app, &args.to);
    let written = to_file(&path, |file| export.write(&here.cache, &here.store, file));
    let carried = written?;
    if !args.quiet {
        let text = format!("Exported {} to {}\n", said(&carried), path.display());
        crate::ui::write_err(text);
    }
    Ok(0)
}

/// Writes a file that is there only when it is whole and on disk.
fn to_file<T, E: Into<Failure>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, Failure> {
    let failed =
        |error: io::Error| Failure::new(format!("cannot write {}: {error}", path.display()));
    let new = NewFile::create(path, 0o644).map_err(failed)?;
    let done = write(&mut new.file()).map_err(Into::into)?;
    match new.file().sync_all() {
        // Devices and pipes have nothing to sync.
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => return Err(failed(error)),
        _ => {}
    }
    new.finish().map_err(failed)?;
    Ok(done)
}

/// The layers of images that `--tag` and `--project` name.
fn wanted(
    app: &App,
    store: &Store,
    args: &CacheExportArgs,
) -> Result<Option<BTreeSet<Digest>>, Failure> {
    let mut names = args.tag.clone();
    if args.project {
        let project = app.load()?;
        let services = project.services.values();
        let built = services.filter(|service| service.build.is_some());
        names.extend(built.map(|service| project.image_of(service)));
    }
    if names.is_empty() && !args.project {
        return Ok(None);
    }
    let mut layers = BTreeSet::new();
    for name in &names {
        layers.extend(store.find(name)?.layers().iter().copied());
    }
    Ok(Some(layers))
}

fn import(app: &App, args: &CacheImportArgs) -> Outcome {
    let here = Here::of(app)?;
    let input: Box<dyn Read> = match args.from.as_path() {
        path if path == Path::new("-") => Box::new(io::stdin()),
        path => {
            let path = archive(app, path);
            let file = File::open(&path);
            Box::new(file.map_err(|error| {
                Failure::new(format!("cannot open {}: {error}", path.display()))
            })?)
        }
    };
    let carried = bundle::import(&here.cache, &here.store, input, &Cancel::default())?;
    if !args.quiet {
        let kept = match carried.kept {
            0 => String::new(),
            count => format!("; {count} cache mounts were here already and stay as they are"),
        };
        crate::ui::write_err(format!("Imported {}{kept}\n", said(&carried)));
    }
    Ok(0)
}

fn said(carried: &Carried) -> String {
    format!(
        "{} steps, {} layers, {} cache mounts",
        carried.steps, carried.layers, carried.mounts
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_those_of_buildx() {
        let now = Timestamp(100_000_000_000_000);
        let of = |text: &str| filters(&[text.to_owned()], now);
        assert_eq!(
            of("until=24h").ok().and_then(|wish| wish.unused_for),
            Some(Duration::from_secs(24 * 3600))
        );
        let kinds = of("type=exec.cachemount").ok().map(|wish| wish.kinds);
        assert_eq!(kinds, Some(vec![Kind::Mount]));
        for bad in ["until", "until=x", "type=x", "name=x"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
