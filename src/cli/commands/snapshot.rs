//! `snapshot`: copies of a project's volumes, consistent since nothing writes meanwhile, and back.
//!
//! Imports: `cli::snapshots`, `engine`, `apply` (the project's lock).

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::json;

use super::format;
use crate::apply;
use crate::base::clock::{Timestamp, human_duration};
use crate::base::event::{Event, EventSink as _, Kind, Status};
use crate::base::name::{ContainerId, ProjectName};
use crate::base::scalar::ByteSize;
use crate::cli::app::{App, Work};
use crate::cli::args::{
    SnapshotArgs, SnapshotCommand, SnapshotLsArgs, SnapshotRestoreArgs, SnapshotRmArgs,
    SnapshotSaveArgs,
};
use crate::cli::ask;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::snapshots::{Change, Copied, Held, Snapshot, Store, bring_back};
use crate::compose::model::Project;
use crate::engine::Engine;
use crate::engine::spec::VolumeSpec;
use crate::engine::state::{Observed, ObservedContainer, ObservedVolume, State};
use crate::ui::table::Table;
use crate::ui::{render, write_out};

/// The label with a volume's key in the compose file.
const KEY: &str = "com.docker.compose.volume";
/// The label with its project.
const PROJECT: &str = "com.docker.compose.project";

pub(super) fn run(app: &App, args: &SnapshotArgs) -> Outcome {
    match &args.command {
        SnapshotCommand::Save(args) => save(app, args),
        SnapshotCommand::Ls(args) => ls(app, args),
        SnapshotCommand::Restore(args) => restore(app, args),
        SnapshotCommand::Rm(args) => rm(app, args),
    }
}

fn store(app: &App) -> Result<Store, Failure> {
    Ok(Store::new(&app.roots()?.data))
}

/// The key of a volume in the compose file; its name where it has none.
fn key(volume: &ObservedVolume) -> &str {
    let key = volume.labels.get(KEY).filter(|key| !key.is_empty());
    key.map_or(&volume.name, String::as_str)
}

/// The volumes that are meant: all that the compose file names, or the named ones.
fn chosen<'w>(world: &'w Observed, named: &[String]) -> Result<Vec<&'w ObservedVolume>, Failure> {
    if named.is_empty() {
        let all = world
            .volumes
            .iter()
            .filter(|volume| volume.labels.contains_key(KEY));
        return Ok(all.collect());
    }
    let find = |name: &String| {
        let meant = |volume: &&ObservedVolume| key(volume) == name || volume.name == *name;
        world.volumes.iter().find(meant).ok_or_else(|| {
            let known: Vec<&str> = world.volumes.iter().map(key).collect();
            Failure::new(format!("no such volume: {name}"))
                .hint(format!("the project has {}", known.join(", ")))
        })
    };
    named.iter().map(find).collect()
}

/// Containers that run and use one of the volumes, those that were started last first; others' are told apart.
fn users(
    work: &Work,
    name: &ProjectName,
    volumes: &BTreeSet<&str>,
) -> Result<(Vec<ObservedContainer>, Vec<ObservedContainer>), Failure> {
    let engine = &work.context.engine;
    let mut all = Vec::new();
    for project in engine.projects()? {
        let uses = |c: &ObservedContainer| {
            c.state.is_up()
                && c.volumes
                    .iter()
                    .any(|(used, _)| volumes.contains(used.as_str()))
        };
        all.extend(
            engine
                .observe(&project)?
                .containers
                .into_iter()
                .filter(uses),
        );
    }
    let since = |c: &ObservedContainer| match c.state {
        State::Running { since } | State::Paused { since } => since,
        _ => c.created,
    };
    all.sort_by_key(|c| std::cmp::Reverse(since(c)));
    Ok(all.into_iter().partition(|c| c.project == *name))
}

/// Tells progress of one container or volume.
fn tell(work: &Work, kind: Kind, name: &str, status: Status, detail: Option<String>) {
    work.progress.send(Event::Resource {
        kind,
        name: name.to_owned(),
        status,
        detail,
    });
}

/// How containers are held while something is done with their volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holding {
    /// They are stopped, and started again.
    Stop,
    /// They are frozen, and go on.
    Pause,
}

/// What is said before and after an act.
type Words = (&'static str, &'static str);

impl Holding {
    /// What a snapshot's record says of them.
    fn name(self) -> &'static str {
        match self {
            Self::Stop => "stopped",
            Self::Pause => "paused",
        }
    }
    /// What `--dry-run` says of them.
    fn rehearsed(self) -> &'static str {
        match self {
            Self::Stop => "stop and start",
            Self::Pause => "pause and unpause",
        }
    }
    /// Words of holding, and of letting go.
    fn words(self) -> (Words, Words) {
        match self {
            Self::Stop => (("Stopping", "Stopped"), ("Starting", "Started")),
            Self::Pause => (("Pausing", "Paused"), ("Unpausing", "Unpaused")),
        }
    }
    fn hold(self, engine: &dyn Engine, id: &ContainerId) -> Result<(), Failure> {
        match self {
            Self::Stop => engine.stop(id, None)?,
            Self::Pause => engine.pause(id, true)?,
        }
        Ok(())
    }
}

/// Holds containers while `act` runs; afterwards they are as they were, however it ended.
fn while_held<T>(
    work: &Work,
    change: &Change<'_>,
    (containers, holding): (&[ObservedContainer], Holding),
    act: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let engine = work.context.engine.as_ref();
    // One that is frozen already writes nothing, and stays so.
    let frozen = |c: &ObservedContainer| {
        holding == Holding::Pause && matches!(c.state, State::Paused { .. })
    };
    let containers: Vec<&ObservedContainer> = containers.iter().filter(|c| !frozen(c)).collect();
    let mut order: Vec<ContainerId> = containers.iter().map(|c| c.id.clone()).collect();
    // Those that were started first are so again.
    order.reverse();
    let held = match holding {
        Holding::Stop => Held {
            stopped: order,
            ..Held::default()
        },
        Holding::Pause => Held {
            paused: order,
            ..Held::default()
        },
    };
    if !containers.is_empty() {
        change.hold(&held)?;
    }
    let say = |container: &ObservedContainer, status| {
        tell(work, Kind::Container, &container.name, status, None);
    };
    let (before, after) = holding.words();
    let hold = || {
        for container in &containers {
            say(container, Status::Working(before.0));
            holding.hold(engine, &container.id)?;
            say(container, Status::Done(before.1));
        }
        Ok(())
    };
    let result = hold().and_then(|()| act());
    for container in containers.iter().rev() {
        say(container, Status::Working(after.0));
    }
    let failures = bring_back(engine, &held);
    for container in containers.iter().rev() {
        say(container, Status::Done(after.1));
    }
    change.release();
    match (result, failures.into_iter().next()) {
        (Ok(_), Some(failure)) => Err(failure),
        (result, _) => result,
    }
}

/// Brings back what a command held that was killed.
fn recover(app: &App, work: &Work, change: &Change<'_>) {
    let Some(held) = change.left_held() else {
        return;
    };
    app.warn("another `snapshot` was ended while it held containers: they are brought back");
    for failure in bring_back(work.context.engine.as_ref(), &held) {
        failure.report(app.screen, app.json_progress());
    }
    change.release();
}

/// `20261122-201500`: the time as a name.
fn name_of(now: Timestamp) -> String {
    let text = now.rfc3339();
    let digits = |part: &str| {
        part.chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
    };
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{}-{:.6}", digits(date), digits(time))
}

fn save(app: &App, args: &SnapshotSaveArgs) -> Outcome {
    let (project, _) = app.project_or_name()?;
    let work = app.work(false)?;
    let result = save_with(app, args, &project, &work);
    work.progress.finish();
    let snapshot = result?;
    if let Some(snapshot) = snapshot {
        write_out(format!("{}\n", snapshot.name))?;
    }
    Ok(0)
}

fn save_with(
    app: &App,
    args: &SnapshotSaveArgs,
    project: &ProjectName,
    work: &Work,
) -> Result<Option<Snapshot>, Failure> {
    let name = args
        .name
        .clone()
        .unwrap_or_else(|| name_of(Timestamp::now()));
    let engine = work.context.engine.as_ref();
    let holding = if args.pause {
        Holding::Pause
    } else {
        Holding::Stop
    };
    if app.globals.dry_run {
        let world = engine.observe(project)?;
        let volumes = copied_volumes(project, &world, &args.volume)?;
        for container in &held_by(app, work, project, &volumes)? {
            let (held, name) = (holding.rehearsed(), &container.name);
            write_out(format!("{held} container {name}\n"))?;
        }
        for volume in &volumes {
            write_out(format!(
                "copy volume {} into snapshot {name}\n",
                volume.name
            ))?;
        }
        return Ok(None);
    }
    let store = store(app)?;
    let _lock = apply::lock(&work.context, project)?;
    let change = store.change()?;
    recover(app, work, &change);
    // Looked at only now: what was brought back uses volumes as well.
    let world = engine.observe(project)?;
    let volumes = copied_volumes(project, &world, &args.volume)?;
    let own = held_by(app, work, project, &volumes)?;
    let mut draft = change.begin(project, &name, &args.comment)?;
    let containers = if own.is_empty() {
        "idle"
    } else {
        holding.name()
    };
    let mut left_out = Vec::new();
    while_held(work, &change, (&own, holding), || {
        for volume in &volumes {
            let told = |status| tell(work, Kind::Volume, &volume.name, status, None);
            told(Status::Working("Copying"));
            let place = draft.place()?;
            let sockets = engine.save_volume(&volume.name, &place, &work.context.cancel)?;
            left_out.push((&volume.name, sockets));
            draft.add(key(volume).to_owned(), spec_of(volume));
            told(Status::Done("Copied"));
        }
        Ok(())
    })?;
    for (volume, sockets) in left_out {
        tell_sockets(app, volume, &sockets);
    }
    Ok(Some(draft.finish(containers)?))
}

/// Says which sockets of a volume are not in its copy.
fn tell_sockets(app: &App, volume: &str, sockets: &[PathBuf]) {
    const SHOWN: usize = 3;
    if sockets.is_empty() {
        return;
    }
    let mut shown: Vec<String> = sockets
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    shown.sort_unstable();
    let more = shown.len().saturating_sub(SHOWN);
    shown.truncate(SHOWN);
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    app.warn(&format!(
        "volume {volume}: sockets belong to the program that made them and are left out: {}",
        shown.join(", ")
    ));
}

/// The volumes that are meant; there must be one.
fn copied_volumes<'w>(
    project: &ProjectName,
    world: &'w Observed,
    named: &[String],
) -> Result<Vec<&'w ObservedVolume>, Failure> {
    let volumes = chosen(world, named)?;
    match volumes.is_empty() {
        false => Ok(volumes),
        true => Err(
            Failure::new(format!("project {project} has no volumes to copy"))
                .hint("they are made by `hoist up`; files of bind mounts are yours already"),
        ),
    }
}

/// Containers of the project that are held for a copy; those of others are told of.
fn held_by(
    app: &App,
    work: &Work,
    project: &ProjectName,
    volumes: &[&ObservedVolume],
) -> Result<Vec<ObservedContainer>, Failure> {
    let names = volumes.iter().map(|volume| volume.name.as_str()).collect();
    let (own, others) = users(work, project, &names)?;
    for other in &others {
        app.warn(&format!(
            "container {} of project {} uses a volume of this project and goes on while it is copied",
            other.name, other.project
        ));
    }
    Ok(own)
}

/// What a volume is made by; one whose files are its own has no options.
fn spec_of(volume: &ObservedVolume) -> VolumeSpec {
    VolumeSpec {
        name: volume.name.clone(),
        project: volume.project.clone(),
        driver: volume.driver.clone(),
        options: Default::default(),
        labels: volume.labels.clone(),
    }
}

/// The full name that a volume of a snapshot has in this project.
fn full_name(
    project: &ProjectName,
    loaded: Option<&Project>,
    key: &str,
    copied: &Copied,
) -> String {
    let declared = loaded.and_then(|loaded| loaded.volumes.get(key));
    match declared {
        Some(volume) => volume.name.clone(),
        None if copied.spec.project.as_ref() == Some(project) => copied.spec.name.clone(),
        None => format!("{project}_{key}"),
    }
}

/// A copy and the volume that it is put into.
struct Target<'s> {
    copied: &'s Copied,
    spec: VolumeSpec,
}

fn targets<'s>(
    snapshot: &'s Snapshot,
    (project, loaded): (&ProjectName, Option<&Project>),
    named: &[String],
) -> Result<Vec<Target<'s>>, Failure> {
    let mut found = Vec::new();
    for (key, copied) in &snapshot.volumes {
        let name = full_name(project, loaded, key, copied);
        if named.is_empty() || named.iter().any(|wanted| wanted == key || *wanted == name) {
            let mut spec = VolumeSpec {
                name,
                project: Some(project.clone()),
                ..copied.spec.clone()
            };
            spec.labels.insert(PROJECT.to_owned(), project.to_string());
            found.push(Target { copied, spec });
        }
    }
    let known = |wanted: &&String| {
        let has = |target: &Target<'_>| target.spec.name == **wanted;
        !snapshot.volumes.contains_key(*wanted) && !found.iter().any(has)
    };
    if let Some(unknown) = named.iter().find(known) {
        let keys: Vec<&str> = snapshot.volumes.keys().map(String::as_str).collect();
        let text = format!("snapshot `{}` has no volume {unknown}", snapshot.name);
        return Err(Failure::new(text).hint(format!("it has {}", keys.join(", "))));
    }
    Ok(found)
}

fn restore(app: &App, args: &SnapshotRestoreArgs) -> Outcome {
    let (project, loaded) = app.project_or_name()?;
    let work = app.work(false)?;
    let result = restore_with(app, args, (&project, loaded.as_ref()), &work);
    work.progress.finish();
    result?;
    Ok(0)
}

fn restore_with(
    app: &App,
    args: &SnapshotRestoreArgs,
    (project, loaded): (&ProjectName, Option<&Project>),
    work: &Work,
) -> Result<(), Failure> {
    let engine = work.context.engine.as_ref();
    let store = store(app)?;
    let from = match &args.from {
        None => project.clone(),
        Some(other) => ProjectName::new(other).map_err(|error| Failure::new(error.to_string()))?,
    };
    let snapshot = store.get(&from, &args.name)?;
    let targets = targets(&snapshot, (project, loaded), &args.volume)?;
    let list: Vec<&str> = targets.iter().map(|t| t.spec.name.as_str()).collect();
    let list = list.join(", ");
    if app.globals.dry_run {
        for container in &free_of_others(work, project, &targets)? {
            write_out(format!("stop and start container {}\n", container.name))?;
        }
        write_out(format!(
            "replace what is in {list} by snapshot {}\n",
            snapshot.name
        ))?;
        return Ok(());
    }
    let question = format!(
        "Replace what is in {list} by the snapshot {}?",
        snapshot.name
    );
    if !args.yes && !ask::agreed(&question)? {
        return Err(Failure::new("nothing was restored").hint("--yes answers the question"));
    }
    let _lock = apply::lock(&work.context, project)?;
    let change = store.change()?;
    recover(app, work, &change);
    // Looked at again under the lock: another command may have removed it, and what was brought back uses volumes too.
    let snapshot = store.get(&from, &snapshot.name)?;
    let own = free_of_others(work, project, &targets)?;
    while_held(work, &change, (&own, Holding::Stop), || {
        let mut copies = Vec::new();
        for target in &targets {
            engine.create_volume(&target.spec)?;
            copies.push((
                target.spec.name.clone(),
                store.files(&snapshot, target.copied),
            ));
            tell(
                work,
                Kind::Volume,
                &target.spec.name,
                Status::Working("Restoring"),
                None,
            );
        }
        engine.restore_volumes(&copies, &work.context.cancel)?;
        for target in &targets {
            tell(
                work,
                Kind::Volume,
                &target.spec.name,
                Status::Done("Restored"),
                None,
            );
        }
        Ok(())
    })
}

/// Containers of the project that run and use the volumes; nobody else may.
fn free_of_others(
    work: &Work,
    project: &ProjectName,
    targets: &[Target<'_>],
) -> Result<Vec<ObservedContainer>, Failure> {
    let names = targets.iter().map(|t| t.spec.name.as_str()).collect();
    let (own, others) = users(work, project, &names)?;
    match others.first() {
        None => Ok(own),
        Some(other) => Err(Failure::new(format!(
            "container {} of project {} uses a volume of this project",
            other.name, other.project
        ))
        .hint(format!("stop it first: hoist -p {} stop", other.project))),
    }
}

fn rm(app: &App, args: &SnapshotRmArgs) -> Outcome {
    let (project, _) = app.project_or_name()?;
    let store = store(app)?;
    for name in &args.names {
        store.get(&project, name)?;
    }
    if app.globals.dry_run {
        for name in &args.names {
            write_out(format!("remove snapshot {name}\n"))?;
        }
        return Ok(0);
    }
    let change = store.change()?;
    for name in &args.names {
        change.remove(&project, name)?;
        write_out(format!("{name}\n"))?;
    }
    Ok(0)
}

fn ls(app: &App, args: &SnapshotLsArgs) -> Outcome {
    let (project, _) = app.project_or_name()?;
    let all = store(app)?.list(&project)?;
    if args.quiet {
        let names: String = all
            .iter()
            .map(|snapshot| format!("{}\n", snapshot.name))
            .collect();
        write_out(names)?;
        return Ok(0);
    }
    let text = match args.format.as_str() {
        "table" => table(&all, Timestamp::now()),
        "json" => {
            let all: Vec<_> = all.iter().map(object).collect();
            format!("{}\n", serde_json::Value::Array(all))
        }
        other => {
            return Err(format::unknown(other, &format::ROWS));
        }
    };
    write_out(text)?;
    Ok(0)
}

fn bytes(snapshot: &Snapshot) -> u64 {
    snapshot.volumes.values().map(|copied| copied.bytes).sum()
}

fn table(all: &[Snapshot], now: Timestamp) -> String {
    let mut table = Table::new(10, &["NAME", "CREATED", "VOLUMES", "SIZE", "COMMENT"]);
    for snapshot in all {
        let keys: Vec<&str> = snapshot.volumes.keys().map(String::as_str).collect();
        table.row([
            snapshot.name.clone(),
            format!("{} ago", human_duration(snapshot.created.until(now))),
            keys.join(","),
            ByteSize(bytes(snapshot)).decimal(),
            render::clean(&snapshot.comment).replace('\n', " "),
        ]);
    }
    table.text()
}

fn object(snapshot: &Snapshot) -> serde_json::Value {
    let volumes = snapshot.volumes.iter().map(|(key, copied)| {
        json!({ "Key": key, "Name": copied.spec.name, "Size": copied.bytes, "Files": copied.files })
    });
    json!({
        "Name": snapshot.name,
        "Project": snapshot.project.as_str(),
        "CreatedAt": snapshot.created.rfc3339(),
        "Containers": snapshot.containers,
        "Comment": snapshot.comment,
        "Size": bytes(snapshot),
        "Volumes": volumes.collect::<Vec<_>>(),
    })
}

/// Says after `down -v` which copies are left.
pub(super) fn tell_kept(app: &App, project: &ProjectName) {
    let Ok(store) = store(app) else { return };
    // What can't be read is told by who asks for it.
    let kept = store.list(project).unwrap_or_default();
    if kept.is_empty() || app.json_progress() {
        return;
    }
    let names: Vec<&str> = kept.iter().map(|snapshot| snapshot.name.as_str()).collect();
    crate::ui::write_err(format!(
        "snapshots are kept: {} (`hoist snapshot rm` removes them)\n",
        names.join(", ")
    ));
}
