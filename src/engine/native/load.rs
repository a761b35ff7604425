//! What a running container uses now: its cgroup's counters and its links'.
//!
//! Imports: `cgroup`, `records`. As Docker: moby `daemon/stats`, docker/cli `command/container/stats_helpers.go` for what
//! counts as memory. Source: proc_pid_net(5).

use std::time::Duration;

use super::cgroup::Cgroup;
use super::records::Found;
use crate::engine::state::Load;
use crate::engine::{EngineError, Result};

/// Measures a container.
///
/// # Errors
/// [`EngineError::NotRunning`].
pub(super) fn measure(found: &Found) -> Result<Load> {
    let spec = &found.record.spec;
    let missing = || EngineError::NotRunning {
        name: found.standing.name.clone(),
    };
    let init = found.standing.process.as_ref();
    let init = init.filter(|init| init.is_alive()).ok_or_else(missing)?;
    let parent = spec.resources.cgroup_parent.as_deref();
    let cgroup = Cgroup::find(spec.id.as_str(), parent).ok_or_else(missing)?;
    let mut load = cgroup.load();
    load.at = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map_or(Duration::ZERO, Duration::from);
    // The host's links are nobody's own.
    if !matches!(spec.network, crate::engine::spec::NetworkMode::Host) {
        let text = std::fs::read_to_string(format!("/proc/{}/net/dev", init.pid));
        (load.received, load.sent) = traffic(&text.unwrap_or_default());
    }
    Ok(load)
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
