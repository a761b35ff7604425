//! What is known of a container that failed, in one file for people and programs.
//!
//! `<data>/projects/<project>/dossiers/<container>-<time>.json`, the newest few. They go with the project's last
//! container. Environment variables are left out, as they have secrets.
//! Imports: `base`, `engine`, `sys`; beside it `cgroup`, `layout`, `records`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cgroup::Cgroup;
use super::layout::Layout;
use super::records::{self, Found, LastRun};
use crate::base::clock::Timestamp;
use crate::base::scalar::{Signal, format_duration};
use crate::engine::Result;
use crate::engine::state::{Dossier, Exit, Health, HealthStatus};
use crate::sys::fs::{Durability, make_dirs};

/// Files that a project keeps.
const KEPT: usize = 20;

/// The file.
#[derive(Debug, Serialize)]
struct Story<'a> {
    failure: &'a str,
    written: String,
    container: &'a str,
    id: &'a str,
    project: &'a str,
    image: &'a str,
    command: &'a [String],
    state: &'a str,
    restarts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<ExitStory>,
    times: Times,
    resources: Used,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<HealthStory>,
    log: &'a [String],
}

#[derive(Debug, Serialize)]
struct ExitStory {
    code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<String>,
    out_of_memory: bool,
}

#[derive(Debug, Serialize)]
struct Times {
    created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ran: Option<String>,
}

/// What it used, and what it might have used. Sizes are bytes.
#[derive(Debug, Serialize)]
struct Used {
    memory_peak: Option<u64>,
    memory_limit: Option<u64>,
    pids_peak: Option<u64>,
    pids_limit: Option<i64>,
    cpu_time: Option<String>,
}

#[derive(Debug, Serialize)]
struct HealthStory {
    status: HealthStatus,
    failing_streak: u32,
    probes: Vec<ProbeStory>,
}

#[derive(Debug, Serialize)]
struct ProbeStory {
    start: String,
    end: String,
    code: i32,
    output: String,
}

/// Writes the file of one container; `failure` is what the command says.
///
/// # Errors
/// [`crate::engine::EngineError::Failed`] when it can't be written.
pub(super) fn write(
    layout: &Layout,
    found: &Found,
    failure: &str,
    log: &[String],
) -> Result<Dossier> {
    let spec = &found.record.spec;
    let now = Timestamp::now();
    let seen = found.observed();
    let last = match &found.standing.last {
        Some(last) => Some(last.clone()),
        None => running(found),
    };
    let exit = seen.state.exit();
    let used = last.as_ref();
    let story = Story {
        failure,
        written: now.rfc3339(),
        container: &seen.name,
        id: spec.id.as_str(),
        project: spec.project.as_str(),
        image: &spec.image.name,
        command: &spec.process.args,
        state: seen.state.as_str(),
        restarts: seen.restarts,
        exit: exit.map(exit_story),
        times: Times {
            created: found.record.created.rfc3339(),
            started: used.map(|last| last.since.rfc3339()),
            ended: exit.map(|exit| exit.at.rfc3339()),
            ran: used.map(|last| format_duration(last.ran)),
        },
        resources: Used {
            memory_peak: used.and_then(|last| last.memory_peak),
            memory_limit: spec.resources.memory,
            pids_peak: used.and_then(|last| last.pids_peak),
            pids_limit: spec.resources.pids,
            cpu_time: used.and_then(|last| last.cpu).map(format_duration),
        },
        health: seen.health.as_ref().map(health_story),
        log,
    };
    let path = keep(&layout.dossiers(&spec.project), &seen.name, now, &story)?;
    Ok(Dossier {
        path,
        ran: used.map(|last| last.ran),
        memory_peak: story.resources.memory_peak,
        memory_limit: spec.resources.memory,
        pids_peak: story.resources.pids_peak,
        pids_limit: spec.resources.pids,
        cpu: used.and_then(|last| last.cpu),
    })
}

/// What a container has used that runs.
fn running(found: &Found) -> Option<LastRun> {
    let spec = &found.record.spec;
    let process = found.standing.process.as_ref()?;
    let crate::engine::state::State::Running { since } = found.standing.state else {
        return None;
    };
    let cgroup = Cgroup::find(spec.id.as_str(), spec.resources.cgroup_parent.as_deref())?;
    let used = cgroup.usage();
    Some(LastRun {
        since,
        ran: process.age(),
        memory_peak: used.memory_peak,
        pids_peak: used.pids_peak,
        cpu: used.cpu,
    })
}

fn exit_story(exit: Exit) -> ExitStory {
    ExitStory {
        code: exit.code,
        signal: exit.signal().as_ref().map(Signal::to_string),
        out_of_memory: exit.oom,
    }
}

fn health_story(health: &Health) -> HealthStory {
    let probes = health.log.iter().map(|probe| ProbeStory {
        start: probe.start.rfc3339(),
        end: probe.end.rfc3339(),
        code: probe.code,
        output: probe.output.clone(),
    });
    HealthStory {
        status: health.status,
        failing_streak: health.failing_streak,
        probes: probes.collect(),
    }
}

/// Writes a file among the newest few.
fn keep(dir: &Path, name: &str, now: Timestamp, story: &Story<'_>) -> Result<PathBuf> {
    let failed = |error: std::io::Error| {
        crate::engine::EngineError::failed("write down what is known of the failure", error)
    };
    make_dirs(dir, 0o700).map_err(failed)?;
    let mut old = records::entries(dir)?;
    // Their names end with the time: the oldest first, whatever the container.
    old.sort_by(|a, b| time_of(a).cmp(time_of(b)).then_with(|| a.cmp(b)));
    for name in old.iter().rev().skip(KEPT - 1) {
        let _ = std::fs::remove_file(dir.join(name));
    }
    let time: String = now
        .rfc3339()
        .chars()
        .filter(|c| c.is_ascii_digit() || *c == 'T')
        .take("20261122T063204123".len())
        .collect();
    let path = dir.join(format!("{name}-{time}.json"));
    let mut text = serde_json::to_vec_pretty(story).map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    crate::sys::fs::write_atomic(&path, &text, 0o600, Durability::Renamed).map_err(failed)?;
    Ok(path)
}

fn time_of(name: &str) -> &str {
    name.rsplit_once('-').map_or(name, |(_, time)| time)
}
