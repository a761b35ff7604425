//! What a project's containers use, looked at again and again.
//!
//! In: an engine, which containers. Out: each with what was measured of it last and before. Where the engine tells what happens,
//! containers are looked for only then. Imports: `engine`, `base`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::base::name::{ContainerId, ProjectName};
use crate::cli::exit::Failure;
use crate::engine::Engine;
use crate::engine::happening::Happenings;
use crate::engine::state::{Load, ObservedContainer};

/// Time after which containers are looked for again though nothing was told of them.
const LOOK: Duration = Duration::from_secs(10);

/// What was measured, by container.
type Loads = BTreeMap<ContainerId, Load>;

/// Measures containers.
pub(super) struct Gauge<'a> {
    engine: &'a dyn Engine,
    project: ProjectName,
    wanted: &'a dyn Fn(&ObservedContainer) -> bool,
    happenings: Option<Box<dyn Happenings>>,
    shown: Vec<ObservedContainer>,
    looked: Instant,
    before: Loads,
    now: Loads,
    memory: u64,
}

/// A container with its last two measurements.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    /// The container.
    pub container: &'a ObservedContainer,
    /// What was measured before; `None` for one that did not run.
    pub before: Option<&'a Load>,
    /// What was measured last; `None` for one that does not run.
    pub now: Option<&'a Load>,
    memory: u64,
}

impl<'a> Gauge<'a> {
    /// Measures the containers that are wanted for the first time.
    ///
    /// # Errors
    /// Engine failures.
    pub(super) fn new(
        engine: &'a dyn Engine,
        project: ProjectName,
        wanted: &'a dyn Fn(&ObservedContainer) -> bool,
    ) -> Result<Self, Failure> {
        // Before the first look: what happens after it is told.
        let happenings = engine.happenings(&project, false).ok();
        let mut gauge = Self {
            engine,
            project,
            wanted,
            happenings,
            shown: Vec::new(),
            looked: Instant::now(),
            before: Loads::new(),
            now: Loads::new(),
            memory: total_memory(),
        };
        gauge.find()?;
        gauge.now = gauge.measured();
        Ok(gauge)
    }

    /// Measures them again; looks for containers if others may be there, or `anyway`.
    ///
    /// # Errors
    /// Engine failures.
    pub(super) fn look(&mut self, anyway: bool) -> Result<(), Failure> {
        let happened = self.has_happened();
        if happened || anyway || self.looked.elapsed() >= LOOK {
            self.find()?;
        }
        self.before = std::mem::take(&mut self.now);
        self.now = self.measured();
        Ok(())
    }

    /// All containers, by name.
    pub(super) fn readings(&self) -> impl Iterator<Item = Reading<'_>> {
        self.shown.iter().map(|container| Reading {
            container,
            before: self.before.get(&container.id),
            now: self.now.get(&container.id),
            memory: self.memory,
        })
    }

    fn find(&mut self) -> Result<(), Failure> {
        self.shown = self.engine.observe(&self.project)?.containers;
        self.shown.retain(self.wanted);
        self.looked = Instant::now();
        Ok(())
    }

    /// Whether other containers may run than before; true where nobody tells.
    fn has_happened(&mut self) -> bool {
        let happened = self
            .happenings
            .as_mut()
            .and_then(|happenings| happenings.read().ok());
        // Health checks come and go all the time.
        happened.is_none_or(|all| all.iter().any(|one| !one.action.starts_with("exec_")))
    }

    /// One that has just ended uses nothing.
    fn measured(&self) -> Loads {
        let up = self.shown.iter().filter(|one| one.state.is_up());
        up.filter_map(|one| Some((one.id.clone(), self.engine.load(&one.id).ok()?)))
            .collect()
    }
}

impl Reading<'_> {
    /// Processor time between both measurements as percents of one processor.
    pub(super) fn processor(&self) -> f64 {
        // One that was started again has used less than before.
        self.between(|load| load.cpu.as_secs_f64()) * 100.0
    }
    /// What a counter grew between both measurements, by the second.
    pub(super) fn rate(&self, counter: fn(&Load) -> u64) -> u64 {
        self.between(|load| counter(load) as f64) as u64
    }
    /// Bytes of memory it may have; 0 while it does not run.
    pub(super) fn memory_limit(&self) -> u64 {
        self.now.map_or(0, |load| {
            let limit = load.memory_limit.unwrap_or(u64::MAX);
            limit.min(self.memory)
        })
    }
    fn between(&self, counter: impl Fn(&Load) -> f64) -> f64 {
        let (Some(before), Some(now)) = (self.before, self.now) else {
            return 0.0;
        };
        let time = now.at.saturating_sub(before.at).as_secs_f64();
        let grown = (counter(now) - counter(before)).max(0.0);
        if time > 0.0 { grown / time } else { 0.0 }
    }
}

/// The machine's memory: `MemTotal` of proc_meminfo(5).
fn total_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::fixture::container;
    use crate::engine::state::State;

    #[test]
    fn what_is_used_is_a_share_of_the_time_between() {
        let at = |at: u64, cpu: u64| Load {
            at: Duration::from_millis(at),
            cpu: Duration::from_millis(cpu),
            received: cpu,
            ..Load::default()
        };
        let container = container("a", &[], State::Created);
        let reading = |before: Option<&Load>, now: &Load| {
            let now = Some(now);
            let container = &container;
            let reading = Reading {
                container,
                before,
                now,
                memory: 0,
            };
            (
                reading.processor().round(),
                reading.rate(|load| load.received),
            )
        };
        assert_eq!(reading(Some(&at(0, 0)), &at(1000, 500)), (50.0, 500));
        assert_eq!(reading(Some(&at(0, 0)), &at(500, 1000)), (200.0, 2000));
        assert_eq!(reading(None, &at(500, 1000)), (0.0, 0));
        assert_eq!(reading(Some(&at(0, 900)), &at(500, 10)), (0.0, 0));
        assert_eq!(reading(Some(&at(5, 0)), &at(5, 10)), (0.0, 0));
    }
}
