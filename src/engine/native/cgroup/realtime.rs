//! Real-time budgets of version 1: each level may give no more than it has itself.
//!
//! Imports: `engine`. Rules: Linux scheduler/sched-rt-group.rst. A new cgroup has a budget of zero, and so has our
//! directory above it: it is raised to what those in it have together, and no further, since others share the rest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::engine::spec::Resources;
use crate::engine::{EngineError, Result};

const PERIOD: &str = "cpu.rt_period_us";
const RUNTIME: &str = "cpu.rt_runtime_us";

/// Sets the budget of `dir`, below the root `mount` of its hierarchy.
///
/// # Errors
/// [`EngineError::Failed`] with what all levels together may have.
pub(super) fn set(dir: &Path, mount: &Path, resources: &Resources) -> Result<()> {
    let failed = |(path, error): (PathBuf, io::Error)| {
        let step = format!("set cpu_rt_runtime: write {}", path.display());
        let most = read(mount, RUNTIME).unwrap_or_default();
        let cause = format!(
            "{error}: all cgroups together may have {most} µs of a second; see {RUNTIME} of those in {}",
            mount.display()
        );
        EngineError::failed(step, cause)
    };
    if let Some(period) = resources.cpu_rt_period {
        write(dir, PERIOD, period).map_err(failed)?;
    }
    let Some(runtime) = resources.cpu_rt_runtime else {
        return Ok(());
    };
    // Containers that start beside us ask for room too: what they took is counted anew.
    for _ in 0..8 {
        match give(dir, mount, runtime) {
            Err((_, error)) if error.raw_os_error() == Some(libc::EINVAL) => {}
            other => return other.map_err(failed),
        }
    }
    give(dir, mount, runtime).map_err(failed)
}

/// A file that refused, and why.
type Refused = (PathBuf, io::Error);

fn give(dir: &Path, mount: &Path, runtime: u64) -> std::result::Result<(), Refused> {
    let wanted = share(runtime, read(dir, PERIOD)?);
    make_room(dir, mount, wanted)?;
    write(dir, RUNTIME, runtime)
}

/// Makes the level above a directory have enough for it and for those beside it.
fn make_room(dir: &Path, mount: &Path, wanted: f64) -> std::result::Result<(), Refused> {
    let Some(above) = dir.parent().filter(|above| *above != mount) else {
        return Ok(());
    };
    let wanted = given(above, dir) + wanted;
    let period = read(above, PERIOD)?;
    if share(read(above, RUNTIME)?, period) >= wanted {
        return Ok(());
    }
    make_room(above, mount, wanted)?;
    // One more for the fraction: the kernel rounds shares down.
    write(above, RUNTIME, (period as f64 * wanted).ceil() as u64 + 1)
}

/// What the directories in one, but for `without`, have together.
fn given(dir: &Path, without: &Path) -> f64 {
    let below = super::tree::directories(dir).into_iter();
    let shares = below.filter(|below| below != without).map(|below| {
        let (runtime, period) = (read(&below, RUNTIME), read(&below, PERIOD));
        share(runtime.unwrap_or(0), period.unwrap_or(1))
    });
    shares.sum()
}

fn share(runtime: u64, period: u64) -> f64 {
    runtime as f64 / period.max(1) as f64
}

fn read(dir: &Path, file: &str) -> std::result::Result<u64, Refused> {
    let path = dir.join(file);
    let text = fs::read_to_string(&path).map_err(|error| (path, error))?;
    // -1 is no limit.
    Ok(text.trim().parse().unwrap_or(0))
}

fn write(dir: &Path, file: &str, value: u64) -> std::result::Result<(), Refused> {
    let path = dir.join(file);
    fs::write(&path, value.to_string()).map_err(|error| (path, error))
}
