//! When to probe and what a probe's result means. The supervisor runs the probes; nothing here does.
//!
//! Time is the clock that nobody can set ([`Instant`]); what is kept on disk has no time in it that is acted on.
//! Imports: `base`, `engine`. Source: as Docker, moby `daemon/health.go`: the first probe comes one interval after
//! the start, the next one interval after the last one's end; failures of probes that began within the start period
//! do not count; a success ends the start period.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::engine::spec::{ContainerSpec, Timing};
use crate::engine::state::{Health, HealthStatus, Probe};

/// Probes kept for `inspect` and error reports.
const KEPT: usize = 5;

/// The two probes that a container may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `healthcheck`: a command in the container.
    Check,
    /// `x-hoist.ready`: looked from here.
    Ready,
}

/// What one probe has told so far.
#[derive(Debug)]
pub(super) struct Monitor {
    timing: Timing,
    started: Instant,
    /// `None` when there is nothing more to find out.
    next: Option<Instant>,
    health: Health,
}

fn unknown(retries: u32) -> Health {
    Health {
        status: HealthStatus::Starting,
        failing_streak: 0,
        retries,
        log: Vec::new(),
    }
}

impl Monitor {
    /// Begins at the container's start.
    fn new(timing: Timing, started: Instant) -> Self {
        let health = unknown(timing.retries.max(1));
        let mut monitor = Self {
            timing,
            started,
            next: None,
            health,
        };
        monitor.next = started.checked_add(monitor.interval(started));
        monitor
    }
    /// Goes on where another supervisor ended, of a container that began at `started`.
    fn resume(timing: Timing, started: Instant, now: Instant, health: Health) -> Self {
        let mut monitor = Self::new(timing, started);
        let retries = monitor.health.retries;
        monitor.health = Health { retries, ..health };
        // The last probe's time is not known on this clock: one too many is better than one too few.
        monitor.next = monitor.next.map(|first| first.max(now));
        monitor
    }
    fn in_start_period(&self, at: Instant) -> bool {
        self.health.status == HealthStatus::Starting
            && at.saturating_duration_since(self.started) < self.timing.start_period
    }
    fn interval(&self, now: Instant) -> Duration {
        if self.in_start_period(now) {
            self.timing.start_interval
        } else {
            self.timing.interval
        }
    }
    /// Takes the result of a probe that began at `began`.
    fn record(&mut self, probe: Probe, began: Instant, now: Instant) {
        if probe.code == 0 {
            self.health.failing_streak = 0;
            self.health.status = HealthStatus::Healthy;
        } else if !self.in_start_period(began) {
            self.health.failing_streak = self.health.failing_streak.saturating_add(1);
            if self.health.failing_streak >= self.health.retries {
                self.health.status = HealthStatus::Unhealthy;
            }
        }
        self.health.log.push(probe);
        keep_last(&mut self.health.log);
        self.next = now.checked_add(self.interval(now));
    }
}

fn keep_last(log: &mut Vec<Probe>) {
    let surplus = log.len().saturating_sub(KEPT);
    log.drain(..surplus);
}

/// The health of one run of a container, of all its probes together.
#[derive(Debug)]
pub(super) struct Watch {
    check: Option<Monitor>,
    ready: Option<Monitor>,
}

/// A [`Watch`] on disk. Readers of the health alone take it for a [`Health`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    #[serde(flatten)]
    shown: Health,
    /// Each probe's own, where there are two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parts: Option<(Health, Health)>,
    /// Whether the awaited log line was seen.
    #[serde(default)]
    pub(super) seen: bool,
}

impl Watch {
    /// Begins at the container's start; `None` when it has no probe.
    pub(super) fn new(spec: &ContainerSpec, started: Instant) -> Option<Self> {
        let monitor = |timing: Timing| Monitor::new(timing, started);
        let watch = Self {
            check: spec.healthcheck.as_ref().map(|c| monitor(c.timing)),
            ready: spec.ready.as_ref().map(|r| monitor(r.timing)),
        };
        (watch.check.is_some() || watch.ready.is_some()).then_some(watch)
    }
    /// Goes on where another supervisor ended.
    pub(super) fn resume(
        spec: &ContainerSpec,
        started: Instant,
        now: Instant,
        kept: Option<Kept>,
    ) -> Option<Self> {
        let mut watch = Self::new(spec, started)?;
        let Some(kept) = kept else {
            return Some(watch);
        };
        let (check, ready) = kept.parts.unwrap_or((kept.shown.clone(), kept.shown));
        for (monitor, health) in [(&mut watch.check, check), (&mut watch.ready, ready)] {
            if let Some(monitor) = monitor {
                *monitor = Monitor::resume(monitor.timing, started, now, health);
            }
        }
        Some(watch)
    }
    /// What is written to disk.
    pub(super) fn kept(&self, seen: bool) -> Kept {
        let parts = match (&self.check, &self.ready) {
            (Some(check), Some(ready)) => Some((check.health.clone(), ready.health.clone())),
            _ => None,
        };
        Kept {
            shown: self.health(),
            parts,
            seen,
        }
    }
    fn monitors(&self) -> impl Iterator<Item = &Monitor> {
        self.check.iter().chain(&self.ready)
    }
    fn monitor(&mut self, kind: Kind) -> Option<&mut Monitor> {
        match kind {
            Kind::Check => self.check.as_mut(),
            Kind::Ready => self.ready.as_mut(),
        }
    }
    /// The worst of all its probes.
    pub(super) fn status(&self) -> HealthStatus {
        let has = |status| self.monitors().any(|m| m.health.status == status);
        if has(HealthStatus::Unhealthy) {
            HealthStatus::Unhealthy
        } else if has(HealthStatus::Starting) {
            HealthStatus::Starting
        } else {
            HealthStatus::Healthy
        }
    }
    /// As it is shown: the worst of all its probes, and the last results of any.
    fn health(&self) -> Health {
        let all = self.monitors().flat_map(|m| m.health.log.iter().cloned());
        let mut log: Vec<Probe> = all.collect();
        // Stable: each probe's own results stay in their order when the wall clock was set back.
        if self.monitors().count() > 1 {
            log.sort_by_key(|probe| probe.end);
        }
        keep_last(&mut log);
        let streaks = self
            .monitors()
            .map(|m| (m.health.failing_streak, m.health.retries));
        let (failing_streak, retries) = streaks.max().unwrap_or_default();
        Health {
            status: self.status(),
            failing_streak,
            retries,
            log,
        }
    }
    /// When a probe is due.
    pub(super) fn due(&self, kind: Kind) -> Option<Instant> {
        match kind {
            Kind::Check => self.check.as_ref()?.next,
            Kind::Ready => self.ready.as_ref()?.next,
        }
    }
    /// How long a probe may take.
    pub(super) fn timeout(&self, kind: Kind) -> Duration {
        let monitor = match kind {
            Kind::Check => &self.check,
            Kind::Ready => &self.ready,
        };
        monitor
            .as_ref()
            .map_or(Duration::ZERO, |m| m.timing.timeout)
    }
    /// Takes the result of a probe that began at `began`.
    pub(super) fn record(&mut self, kind: Kind, probe: Probe, began: Instant, now: Instant) {
        if let Some(monitor) = self.monitor(kind) {
            monitor.record(probe, began, now);
        }
    }
    /// Makes a probe due at once.
    pub(super) fn hasten(&mut self, kind: Kind, now: Instant) {
        if let Some(monitor) = self.monitor(kind) {
            monitor.next = Some(now);
        }
    }
    /// Puts a probe off that can't be made now.
    pub(super) fn postpone(&mut self, kind: Kind, now: Instant) {
        if let Some(monitor) = self.monitor(kind) {
            monitor.next = now.checked_add(monitor.interval(now));
        }
    }
    /// Ends probing: its answer can't change any more.
    pub(super) fn rest(&mut self, kind: Kind) {
        if let Some(monitor) = self.monitor(kind) {
            monitor.next = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;

    fn probe(code: i32) -> Probe {
        Probe {
            start: Timestamp(0),
            end: Timestamp(0),
            code,
            output: String::new(),
        }
    }

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn timing(start_period: u64) -> Timing {
        Timing {
            interval: seconds(10),
            timeout: seconds(1),
            retries: 2,
            start_period: seconds(start_period),
            start_interval: seconds(1),
        }
    }

    fn monitor(start_period: u64) -> (Monitor, Instant) {
        let now = Instant::now();
        (Monitor::new(timing(start_period), now), now)
    }

    #[test]
    fn so_many_failures_in_a_row_make_it_unhealthy_and_one_success_healthy() {
        let (mut monitor, start) = monitor(0);
        assert_eq!(monitor.next, Some(start + seconds(10)));
        monitor.record(probe(1), start, start);
        assert_eq!(monitor.health.status, HealthStatus::Starting);
        monitor.record(probe(1), start, start);
        assert_eq!(monitor.health.status, HealthStatus::Unhealthy);
        monitor.record(probe(0), start, start);
        assert_eq!(monitor.health.status, HealthStatus::Healthy);
        assert_eq!(monitor.health.failing_streak, 0);
    }

    #[test]
    fn failures_in_the_start_period_are_forgiven_until_it_was_healthy_once() {
        let (mut monitor, start) = monitor(5);
        assert_eq!(monitor.next, Some(start + seconds(1)));
        for _ in 0..9 {
            monitor.record(probe(1), start + seconds(2), start + seconds(2));
        }
        assert_eq!(monitor.health.status, HealthStatus::Starting);
        // It began within the period and ended behind it: forgiven, as Docker does.
        monitor.record(probe(1), start + seconds(4), start + seconds(6));
        assert_eq!(monitor.health.failing_streak, 0);
        assert_eq!(monitor.next, Some(start + seconds(16)));
        monitor.record(probe(0), start + seconds(3), start + seconds(3));
        assert_eq!(monitor.next, Some(start + seconds(13)));
        monitor.record(probe(1), start + seconds(4), start + seconds(4));
        monitor.record(probe(1), start + seconds(4), start + seconds(4));
        assert_eq!(monitor.health.status, HealthStatus::Unhealthy);
        assert_eq!(monitor.health.log.len(), 5);
    }

    #[test]
    fn a_container_is_as_healthy_as_its_worst_probe_and_a_successor_knows_both() {
        let now = Instant::now();
        let watch = |kept: Option<Kept>| {
            let mut watch = Watch {
                check: Some(Monitor::new(timing(0), now)),
                ready: Some(Monitor::new(timing(0), now)),
            };
            if let Some((check, ready)) = kept.and_then(|kept| kept.parts) {
                watch.check = Some(Monitor::resume(timing(0), now, now, check));
                watch.ready = Some(Monitor::resume(timing(0), now, now, ready));
            }
            watch
        };
        let mut first = watch(None);
        first.record(Kind::Check, probe(0), now, now);
        assert_eq!(first.status(), HealthStatus::Starting);
        first.record(Kind::Ready, probe(1), now, now);
        let text = serde_json::to_string(&first.kept(true)).expect("JSON");
        let shown: Health = serde_json::from_str(&text).expect("it reads as a health");
        assert_eq!(shown.failing_streak, 1);
        let kept: Kept = serde_json::from_str(&text).expect("it reads as it was written");
        assert!(kept.seen);
        let mut second = watch(Some(kept));
        second.record(Kind::Ready, probe(1), now, now);
        assert_eq!(second.status(), HealthStatus::Unhealthy);
        second.record(Kind::Ready, probe(0), now, now);
        assert_eq!(second.status(), HealthStatus::Healthy);
    }
}
