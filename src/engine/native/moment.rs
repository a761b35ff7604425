//! Moments on the clock that counts since boot: it goes on while the machine sleeps, and nobody can set it.
//!
//! What must hold over the death of a process (when a container is killed, when it is started again) is kept as
//! such a moment; the wall clock is only for showing.
//! Imports: `sys::boot`. Source: clock_gettime(2), `CLOCK_BOOTTIME`.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};
use serde::{Deserialize, Serialize};

pub(super) use crate::sys::boot::id as boot_id;

/// A moment of one boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moment {
    /// The boot it belongs to.
    boot: String,
    /// Time since that boot began.
    since: Duration,
}

impl Moment {
    /// So long from now; `None` when that is never.
    pub(super) fn after(wait: Duration) -> Option<Self> {
        Some(Self {
            boot: boot_id(),
            since: uptime().checked_add(wait)?,
        })
    }
    /// How long until then, zero when it has passed; `None` when it belongs to another boot.
    pub(super) fn remaining(&self) -> Option<Duration> {
        (self.boot == boot_id()).then(|| self.since.saturating_sub(uptime()))
    }
}

/// Time since boot, sleep included.
fn uptime() -> Duration {
    // The clock is there since Linux 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// How long ago a process began that has this start time in `/proc/PID/stat`. Source: proc_pid_stat(5), field 22.
pub(super) fn age(start_ticks: u64) -> Duration {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    let ticks = ticks.and_then(|ticks| u64::try_from(ticks).ok());
    let ticks = ticks.filter(|ticks| *ticks > 0).unwrap_or(100);
    let millis = start_ticks.saturating_mul(1000) / ticks;
    uptime().saturating_sub(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_comes_nearer_and_is_none_of_another_boot() {
        let minute = Duration::from_secs(60);
        let moment = Moment::after(minute).expect("it comes");
        let left = moment.remaining().expect("this boot");
        assert!(left <= minute && left > Duration::from_secs(50), "{left:?}");
        assert_eq!(Moment::after(Duration::MAX), None);
        let past = Moment {
            since: Duration::ZERO,
            ..moment.clone()
        };
        assert_eq!(past.remaining(), Some(Duration::ZERO));
        let other = Moment {
            boot: "another".into(),
            ..moment
        };
        assert_eq!(other.remaining(), None);
    }

    #[test]
    fn a_process_is_as_old_as_the_clock_says() {
        let start = crate::sys::process::start_time(std::process::id() as i32);
        let old = age(start.expect("we are there"));
        assert!(old < Duration::from_secs(3600), "{old:?}");
        assert!(age(0) > old);
    }
}
