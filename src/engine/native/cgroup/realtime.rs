//! Real-time budgets of version 1: each level may give no more than it has itself.
//!
//! Imports: `engine`. Rules: Linux scheduler/sched-rt-group.rst. A new cgroup has a budget of zero, and so has our
//! directory above it: it is raised to what those in it have together, and no further, since others share the rest.

use std::fs;
use std::io;
use std::path::Path;

use crate::engine::spec::Resources;
use crate::engine::{EngineError, Result};

const PERIOD: &str = "cpu.rt_period_us";
const RUNTIME: &str = "cpu.rt_runtime_us";

/// Sets the budget of `dir`, below the root `mount` of its hierarchy.
///
/// # Errors
/// [`EngineError::Failed`] with what the levels above have left.
pub(super) fn set(dir: &Path, mount: &Path, resources: &Resources) -> Result<()> {
    if let Some(period) = resources.cpu_rt_period {
        write(dir, PERIOD, period)?;
    }
    let Some(runtime) = resources.cpu_rt_runtime else {
        return Ok(());
    };
    let period = read(dir, PERIOD).map_err(|error| failed(dir, PERIOD, error))?;
    // Containers that start beside us ask for room too: what they took is counted anew.
    for attempt in 0.. {
        if let Some(above) = dir.parent().filter(|above| *above != mount) {
            let wanted = given(above, dir) + share(runtime, period);
            raise(above, mount, wanted)?;
        }
        match fs::write(dir.join(RUNTIME), runtime.to_string()) {
            Ok(()) => break,
            Err(error) if attempt < 8 && error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => {
                let has = read(mount, RUNTIME).unwrap_or_default();
                let step = format!(
                    "set cpu_rt_runtime: write `{runtime}` to {}",
                    dir.join(RUNTIME).display()
                );
                let cause = format!(
                    "{error}: all cgroups together may have {has} µs of a second; see {} of each",
                    mount.join(RUNTIME).display()
                );
                return Err(EngineError::failed(step, cause));
            }
        }
    }
    Ok(())
}

/// Makes a level have at least a share of the CPU.
fn raise(dir: &Path, mount: &Path, wanted: f64) -> Result<()> {
    let period = read(dir, PERIOD).map_err(|error| failed(dir, PERIOD, error))?;
    let runtime = read(dir, RUNTIME).map_err(|error| failed(dir, RUNTIME, error))?;
    if share(runtime, period) >= wanted {
        return Ok(());
    }
    if let Some(above) = dir.parent().filter(|above| *above != mount) {
        raise(above, mount, given(above, dir) + wanted)?;
    }
    // One more for the fraction: the kernel rounds shares down.
    write(dir, RUNTIME, (period as f64 * wanted).ceil() as u64 + 1)
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

fn read(dir: &Path, file: &str) -> io::Result<u64> {
    let text = fs::read_to_string(dir.join(file))?;
    // -1 is no limit.
    Ok(text.trim().parse().unwrap_or(0))
}

fn write(dir: &Path, file: &str, value: u64) -> Result<()> {
    fs::write(dir.join(file), value.to_string()).map_err(|error| failed(dir, file, error))
}

fn failed(dir: &Path, file: &str, error: io::Error) -> EngineError {
    EngineError::failed(
        format!("set the real-time budget: use {}", dir.join(file).display()),
        error,
    )
}
