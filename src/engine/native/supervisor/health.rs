//! When to probe and what a probe's result means. The supervisor runs the probes; nothing here does.
//!
//! Imports: `base`, `engine`. Source: as Docker, moby `daemon/health.go`: the first probe comes one interval after
//! the start; failures within the start period do not count; a success ends the start period.

use std::time::{Duration, Instant};

use crate::engine::spec::Healthcheck;
use crate::engine::state::{Health, HealthStatus, Probe};

/// Probes kept for `inspect` and error reports.
const KEPT: usize = 5;

/// The health of one run of a container.
#[derive(Debug)]
pub(super) struct Monitor {
    check: Healthcheck,
    started: Instant,
    next: Instant,
    health: Health,
}

impl Monitor {
    /// Begins at the container's start.
    pub(super) fn new(check: Healthcheck, now: Instant) -> Self {
        let health = Health {
            status: HealthStatus::Starting,
            failing_streak: 0,
            log: Vec::new(),
        };
        let mut monitor = Self {
            check,
            started: now,
            next: now,
            health,
        };
        monitor.next = now + monitor.interval(now);
        monitor
    }
    /// Goes on where another supervisor ended: within `age` of the start, with this health.
    pub(super) fn resume(check: Healthcheck, now: Instant, age: Duration, health: Health) -> Self {
        let started = now.checked_sub(age).unwrap_or(now);
        Self {
            check,
            started,
            next: now,
            health,
        }
    }
    /// What is probed.
    pub(super) fn check(&self) -> &Healthcheck {
        &self.check
    }
    /// Where it stands.
    pub(super) fn health(&self) -> &Health {
        &self.health
    }
    /// When the next probe is due.
    pub(super) fn due(&self) -> Instant {
        self.next
    }
    fn in_start_period(&self, now: Instant) -> bool {
        self.health.status == HealthStatus::Starting
            && now.duration_since(self.started) < self.check.start_period
    }
    fn interval(&self, now: Instant) -> Duration {
        if self.in_start_period(now) {
            self.check.start_interval
        } else {
            self.check.interval
        }
    }
    /// Takes a probe's result.
    pub(super) fn record(&mut self, probe: Probe, now: Instant) {
        let forgiven = self.in_start_period(now);
        if probe.code == 0 {
            self.health.failing_streak = 0;
            self.health.status = HealthStatus::Healthy;
        } else if !forgiven {
            self.health.failing_streak += 1;
            if self.health.failing_streak >= self.check.retries.max(1) {
                self.health.status = HealthStatus::Unhealthy;
            }
        }
        self.health.log.push(probe);
        let surplus = self.health.log.len().saturating_sub(KEPT);
        self.health.log.drain(..surplus);
        self.next = now + self.interval(now);
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

    fn monitor(start_period: u64) -> (Monitor, Instant) {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        let check = Healthcheck {
            command: vec!["true".into()],
            interval: seconds(10),
            timeout: seconds(1),
            retries: 2,
            start_period: seconds(start_period),
            start_interval: seconds(1),
        };
        (Monitor::new(check, now), now)
    }

    #[test]
    fn so_many_failures_in_a_row_make_it_unhealthy_and_one_success_healthy() {
        let (mut monitor, start) = monitor(0);
        assert_eq!(monitor.due(), start + Duration::from_secs(10));
        monitor.record(probe(1), start);
        assert_eq!(monitor.health().status, HealthStatus::Starting);
        monitor.record(probe(1), start);
        assert_eq!(monitor.health().status, HealthStatus::Unhealthy);
        monitor.record(probe(0), start);
        assert_eq!(monitor.health().status, HealthStatus::Healthy);
        assert_eq!(monitor.health().failing_streak, 0);
    }

    #[test]
    fn failures_in_the_start_period_are_forgiven_until_it_was_healthy_once() {
        let (mut monitor, start) = monitor(5);
        assert_eq!(monitor.due(), start + Duration::from_secs(1));
        for _ in 0..9 {
            monitor.record(probe(1), start + Duration::from_secs(2));
        }
        assert_eq!(monitor.health().status, HealthStatus::Starting);
        monitor.record(probe(0), start + Duration::from_secs(3));
        assert_eq!(monitor.due(), start + Duration::from_secs(13));
        monitor.record(probe(1), start + Duration::from_secs(4));
        monitor.record(probe(1), start + Duration::from_secs(4));
        assert_eq!(monitor.health().status, HealthStatus::Unhealthy);
        assert_eq!(monitor.health().log.len(), 5);
    }
}
