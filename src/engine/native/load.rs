//! What a running container uses now: its cgroup's counters and its links'.
//!
//! Imports: `cgroup`, `records`, `base`, `engine`. As Docker: moby `daemon/stats`, docker/cli `command/container/stats_helpers.go` for what
//! counts as memory. Source: proc_pid_net(5).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::cgroup::Cgroup;
use super::records::{Found, InitProcess};
use crate::base::name::ContainerId;
use crate::engine::spec::NetworkMode;
use crate::engine::state::Load;
use crate::engine::{EngineError, Result};

/// Where one container is measured while it runs.
#[derive(Debug)]
struct Gauge {
    init: InitProcess,
    cgroup: Cgroup,
    /// Whether it has links of its own.
    links: bool,
}

impl Gauge {
    fn find(found: &Found) -> Result<Self> {
        let spec = &found.record.spec;
        let missing = || EngineError::NotRunning {
            name: found.standing.name.clone(),
        };
        let init = found.standing.process.as_ref();
        let init = init.filter(|init| init.is_alive()).ok_or_else(missing)?;
        let parent = spec.resources.cgroup_parent.as_deref();
        Ok(Self {
            init: init.clone(),
            cgroup: Cgroup::find(spec.id.as_str(), parent).ok_or_else(missing)?,
            // The host's links are nobody's own.
            links: !matches!(spec.network, NetworkMode::Host),
        })
    }

    fn read(&self) -> Load {
        let mut load = self.cgroup.load();
        load.at = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
            .map_or(Duration::ZERO, Duration::from);
        if self.links {
            let text = std::fs::read_to_string(format!("/proc/{}/net/dev", self.init.pid));
            (load.received, load.sent) = traffic(&text.unwrap_or_default());
        }
        load
    }
}

/// Where containers that run were measured before: who does it every second need not read their records each time.
#[derive(Debug, Default)]
pub(super) struct Gauges(Mutex<BTreeMap<ContainerId, Gauge>>);

impl Gauges {
    /// Measures a container; `find` finds one that was not measured since its start.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`], and those of `find`.
    pub(super) fn measure(
        &self,
        id: &ContainerId,
        find: impl FnOnce() -> Result<Found>,
    ) -> Result<Load> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gauge = match known.remove(id).filter(|gauge| gauge.init.is_alive()) {
            Some(gauge) => gauge,
            None => Gauge::find(&find()?)?,
        };
        let load = gauge.read();
        known.insert(id.clone(), gauge);
        Ok(load)
    }
}

/// Bytes received and sent over all links but the loopback, of `/proc/PID/net/dev`.
fn traffic(text: &str) -> (u64, u64) {
    let mut sum = (0u64, 0u64);
    for line in text.lines() {
        let Some((name, counts)) = line.split_once(':') else {
            continue;
        };
        if name.trim() == "lo" {
            continue;
        }
        let counts: Vec<u64> = counts
            .split_ascii_whitespace()
            .filter_map(|count| count.parse().ok())
            .collect();
        let count = |at: usize| counts.get(at).copied().unwrap_or(0);
        sum = (
            sum.0.saturating_add(count(0)),
            sum.1.saturating_add(count(8)),
        );
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_that_of_all_links_but_the_loopback() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
            lo:     100       1    0    0    0     0          0         0      200       1    0    0    0     0       0          0\n  \
            eth0: 2130      21    0    0    0     0          0         0      126       3    0    0    0     0       0          0\n  \
            eth1:   10      21    0    0    0     0          0         0        1       3    0    0    0     0       0          0\n";
        assert_eq!(traffic(text), (2140, 127));
        assert_eq!(traffic(""), (0, 0));
    }
}
