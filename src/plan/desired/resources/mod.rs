//! What a container may use: cgroup limits and shared memory.
//!
//! In: a service, and what the host offers. Out: numbers that the kernel takes. What is out of range is an error
//! with its place, before anything is started; what this host's kernel does not have is a warning where Docker only
//! warns, and an error where Docker refuses too. Imports: `base`, `compose::model`, `engine::host`, `engine::spec`.
//! Rules: moby `daemon/daemon_unix.go` (`verifyPlatformContainerResources`) and `runconfig` (`validateResources`),
//! whose words the warnings are; the kernel's ranges: admin-guide/cgroup-v1, cgroup-v2.rst.

mod blkio;
#[cfg(test)]
mod tests;

use std::path::{Component, Path};

use super::Facts;
use crate::base::cpus::Cpus;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::scalar::ByteSize;
use crate::base::span::{Span, Spanned};
use crate::compose::model::Service;
use crate::engine::host::{Limit, Offers};
use crate::engine::spec::Resources;
pub(crate) use blkio::block_devices;

/// Least memory of a container. Source: moby, `linuxMinMemory`.
const LEAST_MEMORY: i64 = 6 << 20;
/// Microseconds of a CPU period when `cpus` is said, and of the kernel's own. Source: moby, `getCPUResources`.
const PERIOD: i64 = 100_000;
/// Microseconds of the kernel's own real-time period. Source: sched-rt-group.rst.
const REAL_TIME_PERIOD: i64 = 1_000_000;
/// Shortest and longest CPU period in microseconds. Source: sched-bwc.rst.
const PERIODS: std::ops::RangeInclusive<i64> = 1000..=1_000_000;
/// Least quota in microseconds. Source: sched-bwc.rst.
const LEAST_QUOTA: i64 = 1000;
/// CPU shares. Source: Linux, `MIN_SHARES` and `MAX_SHARES`.
const SHARES: std::ops::RangeInclusive<i64> = 2..=262_144;
/// Most tasks that a limit may name. Source: Linux, `PID_MAX_LIMIT`.
const MOST_TASKS: i64 = 4 << 20;
/// What is decided from, and where faults go.
struct Check<'a> {
    service: &'a Service,
    offers: &'a Offers,
    found: &'a mut Diagnostics,
}

/// Whether a service has a limit that the host must be asked about.
pub(crate) fn asks_the_host(service: &Service) -> bool {
    let mut known = crate::compose::model::ResourceLimits::default();
    let limits = &service.resources;
    // Those that no cgroup is asked for.
    known.cpu_count = limits.cpu_count;
    known.cpu_percent = limits.cpu_percent;
    known.storage.clone_from(&limits.storage);
    *limits != known
}

/// The cgroup limits of a service's containers.
pub(super) fn resources(service: &Service, facts: &Facts, found: &mut Diagnostics) -> Resources {
    let mut check = Check {
        service,
        offers: &facts.offers,
        found,
    };
    let mut made = Resources::default();
    check.cpu(&mut made);
    check.real_time(&mut made);
    check.memory(&mut made);
    check.swap(&mut made);
    check.memory_behaviour(&mut made);
    made.pids = check.pids();
    made.blkio_weight = check.weight();
    made.devices = check.devices();
    made.cgroup_parent = check.parent();
    made
}

impl Check<'_> {
    /// An error at a place of the service.
    fn wrong(&mut self, at: Option<Span>, what: &str, expected: impl Into<String>) {
        let fault = Diagnostic::error(format!("service `{}`: {what}", self.service.name));
        let fault = fault.at(at.or(self.service.span)).label(expected);
        self.found.push(fault);
    }

    /// A warning at a place of the service.
    fn warn(&mut self, at: Option<Span>, what: &str) {
        let text = format!("service `{}`: {what}", self.service.name);
        let warning = Diagnostic::warning(text).at(at.or(self.service.span));
        self.found.push(warning);
    }

    /// Whether the host has a limit; says so in Docker's words if it has not, and what mends it.
    fn has(&mut self, limit: Limit, at: Option<Span>, words: &str) -> bool {
        let Some(lack) = self.offers.lack(limit) else {
            return true;
        };
        let text = format!("{words} ({}; {})", lack.what, lack.mend);
        self.warn(at, &text);
        false
    }

    /// As [`Check::has`], for a limit without which Docker starts nothing.
    fn needs(&mut self, limit: Limit, at: Option<Span>, key: &str) -> bool {
        let Some(lack) = self.offers.lack(limit).cloned() else {
            return true;
        };
        let text = format!(
            "service `{}`: this host can't give `{key}`: {}",
            self.service.name, lack.what
        );
        let fault = Diagnostic::error(text)
            .at(at.or(self.service.span))
            .hint(lack.mend);
        self.found.push(fault.hint(format!("or remove `{key}`")));
        false
    }

    /// A number in a range, or an error.
    fn within(
        &mut self,
        key: &str,
        number: &Spanned<i64>,
        range: &std::ops::RangeInclusive<i64>,
    ) -> Option<u64> {
        if range.contains(&number.value) {
            return u64::try_from(number.value).ok();
        }
        let what = format!("{key} {} is out of range", number.value);
        let expected = match *range.end() {
            i64::MAX => format!("expected at least {}", range.start()),
            most => format!("expected {} to {most}", range.start()),
        };
        self.wrong(number.span, &what, expected);
        None
    }

    fn cpu(&mut self, made: &mut Resources) {
        let limits = &self.service.resources;
        if let Some(cpus) = &limits.cpus {
            for (key, other) in [
                ("cpu_period", &limits.cpu_period),
                ("cpu_quota", &limits.cpu_quota),
            ] {
                // As Docker: no limit besides is none.
                if let Some(other) = other.as_ref().filter(|other| other.value > 0) {
                    let what = format!("`cpus` and `{key}` say the same twice");
                    self.wrong(other.span, &what, "remove one of them");
                }
            }
            if let Some(quota) = self.cpus(cpus)
                && self.needs(Limit::Cpu, cpus.span, "cpus")
            {
                (made.cpu_quota, made.cpu_period) = (Some(quota), Some(PERIOD.unsigned_abs()));
            }
        } else {
            self.quota(made);
        }
        if let Some(shares) = &limits.cpu_shares {
            let words = "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.";
            let value = self.within("cpu_shares", shares, &SHARES);
            made.cpu_shares = value.filter(|_| self.has(Limit::CpuShares, shares.span, words));
        }
        if let Some(set) = &limits.cpuset
            && self.cpuset(set)
        {
            let words = "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.";
            made.cpuset = self
                .has(Limit::CpuSet, set.span, words)
                .then(|| set.value.clone());
        }
    }

    /// Microseconds of a period for a number of CPUs.
    fn cpus(&mut self, cpus: &Spanned<f64>) -> Option<i64> {
        let quota = (cpus.value * PERIOD as f64).round();
        let most = self.offers.cpus.count();
        let few = quota < LEAST_QUOTA as f64;
        // A host that could not be asked has as many as are wanted.
        if few || quota.is_nan() || (most > 0 && cpus.value > most as f64) {
            let only = match most {
                0 | 1 => "there is only 1 CPU".to_owned(),
                most => format!("there are only {most} CPUs"),
            };
            let what = match few {
                true => format!("cpus {} is too little", cpus.value),
                false => format!("cpus {} is too much: {only}", cpus.value),
            };
            let most = most.max(1);
            self.wrong(cpus.span, &what, format!("expected 0.01 to {most}"));
            return None;
        }
        Some(quota as i64)
    }

    fn quota(&mut self, made: &mut Resources) {
        let limits = &self.service.resources;
        if let Some(period) = &limits.cpu_period {
            let value = self.within("cpu_period", period, &PERIODS);
            made.cpu_period = value.filter(|_| self.needs(Limit::Cpu, period.span, "cpu_period"));
        }
        let Some(quota) = &limits.cpu_quota else {
            return;
        };
        if quota.value < 0 {
            made.cpu_quota = Some(-1);
        } else if self
            .within("cpu_quota", quota, &(LEAST_QUOTA..=i64::MAX))
            .is_some()
            && self.needs(Limit::Cpu, quota.span, "cpu_quota")
        {
            made.cpu_quota = Some(quota.value);
        }
    }

    fn cpuset(&mut self, set: &Spanned<String>) -> bool {
        let Some(wanted) = Cpus::parse(&set.value) else {
            let what = format!("cpuset `{}` is no list of CPUs", set.value);
            self.wrong(
                set.span,
                &what,
                "expected numbers and ranges, such as 0-2,4",
            );
            return false;
        };
        let gone = wanted.without(&self.offers.cpus);
        if !self.offers.cpus.is_empty() && !gone.is_empty() {
            let what = format!(
                "cpuset `{}` names CPUs that are not there: {gone}",
                set.value
            );
            self.wrong(
                set.span,
                &what,
                format!("available are {}", self.offers.cpus),
            );
            return false;
        }
        true
    }

    fn real_time(&mut self, made: &mut Resources) {
        let limits = &self.service.resources;
        let mut value = |key: &str, number: &Option<Spanned<i64>>| {
            let number = number.as_ref()?;
            let value = self.within(key, number, &(1..=i64::MAX))?;
            self.needs(Limit::CpuRealtime, number.span, key)
                .then_some(value)
        };
        made.cpu_rt_period = value("cpu_rt_period", &limits.cpu_rt_period);
        made.cpu_rt_runtime = value("cpu_rt_runtime", &limits.cpu_rt_runtime);
        let period = made
            .cpu_rt_period
            .unwrap_or(REAL_TIME_PERIOD.unsigned_abs());
        if let (Some(runtime), Some(written)) = (made.cpu_rt_runtime, &limits.cpu_rt_runtime)
            && runtime > period
        {
            let what = format!("cpu_rt_runtime {runtime} is more than its period");
            self.wrong(written.span, &what, format!("expected at most {period}"));
        }
    }

    /// A number of bytes that is at least what a container needs.
    fn enough(&mut self, key: &str, size: &Spanned<i64>) -> Option<u64> {
        if size.value >= LEAST_MEMORY {
            return u64::try_from(size.value).ok();
        }
        let size_text = match u64::try_from(size.value) {
            Ok(size) => ByteSize(size).to_string(),
            Err(_) => size.value.to_string(),
        };
        let what = format!("{key} {size_text} is too little");
        self.wrong(size.span, &what, "expected at least 6m");
        None
    }

    fn memory(&mut self, made: &mut Resources) {
        let limits = &self.service.resources;
        if let Some(limit) = &limits.memory {
            let words = "Your kernel does not support memory limit capabilities or the cgroup is not mounted. \
                         Limitation discarded.";
            let value = self.enough("mem_limit", limit);
            made.memory = value.filter(|_| self.has(Limit::Memory, limit.span, words));
        }
        let Some(kept) = &limits.memory_reservation else {
            return;
        };
        let Some(value) = self.enough("mem_reservation", kept) else {
            return;
        };
        if made.memory.is_some_and(|memory| memory < value) {
            let what = "mem_reservation is more than the memory limit";
            self.wrong(kept.span, what, "expected at most `mem_limit`");
        }
        let words = "Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. \
                     Limitation discarded.";
        if self.has(Limit::MemoryReservation, kept.span, words) {
            made.memory_reservation = Some(value);
        }
    }

    /// Memory and swap together: twice the memory unless something else is said, as Docker.
    fn swap(&mut self, made: &mut Resources) {
        let limits = &self.service.resources;
        let (both, memory) = (&limits.memory_swap, &limits.memory);
        let at = both
            .as_ref()
            .or(memory.as_ref())
            .and_then(|limit| limit.span);
        match (both.as_ref().map(|both| both.value), memory) {
            (None, _) | (Some(-1), None) => {}
            (Some(value), _) if value < -1 => {
                let what = format!("memswap_limit {value} is out of range");
                self.wrong(at, &what, "expected -1 for no limit, or a size");
                return;
            }
            (Some(-1), _) => {}
            (Some(_), None) => {
                let what =
                    "memswap_limit is memory and swap together, and says nothing without mem_limit";
                self.wrong(at, what, "expected `mem_limit` besides, or -1 for no limit");
                return;
            }
            (Some(value), Some(memory)) if value < memory.value => {
                let what = "memswap_limit is less than mem_limit, which is a part of it";
                self.wrong(at, what, "expected at least `mem_limit`");
                return;
            }
            (Some(_), Some(_)) => {}
        }
        let double = made
            .memory
            .and_then(|memory| i64::try_from(memory.saturating_mul(2)).ok());
        let wanted = both.as_ref().map(|both| both.value).or(double);
        let words = "Your kernel does not support swap limit capabilities or the cgroup is not mounted. \
                     Memory limited without swap.";
        made.memory_swap = match (wanted, self.offers.lack(Limit::Swap).is_some()) {
            (Some(-1), true) | (None, _) => None,
            // Memory itself was discarded.
            (Some(_), _) if made.memory.is_none() && memory.is_some() => None,
            (Some(both), _) => self.has(Limit::Swap, at, words).then_some(both),
        };
    }

    fn memory_behaviour(&mut self, made: &mut Resources) {
        let limits = &self.service.resources;
        // -1 is the kernel's own, as Docker reads it.
        if let Some(swappiness) = limits.swappiness.as_ref().filter(|s| s.value != -1) {
            let words = "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. \
                         Memory swappiness discarded.";
            let value = self.within("mem_swappiness", swappiness, &(0..=100));
            made.swappiness = value.filter(|_| self.has(Limit::Swappiness, swappiness.span, words));
        }
        let disable = &limits.oom_kill_disable;
        if !disable.value {
            return;
        }
        let words = "Your kernel does not support OomKillDisable. OomKillDisable discarded.";
        made.oom_kill_disable = self.has(Limit::OomKillDisable, disable.span, words);
        if made.oom_kill_disable && made.memory.is_none() {
            let text = "OOM killer is disabled for the container, but no memory limit is set, this can result in the \
                        system running out of resources.";
            self.warn(disable.span, text);
        }
    }

    fn pids(&mut self) -> Option<i64> {
        let limit = self.service.resources.pids.as_ref()?;
        let words = "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. \
                     PIDs limit discarded.";
        if limit.value < 0 {
            return self.offers.lack(Limit::Pids).is_none().then_some(-1);
        }
        self.within("pids_limit", limit, &(1..=MOST_TASKS))?;
        self.has(Limit::Pids, limit.span, words)
            .then_some(limit.value)
    }

    /// The cgroup to live under: a path that stays below the root of the hierarchy.
    fn parent(&mut self) -> Option<String> {
        let parent = self.service.cgroup_parent.as_ref()?;
        let path = Path::new(parent.value.trim_start_matches('/'));
        let plain = path
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !plain || parent.value.contains(['\0', '\n']) {
            let what = format!("cgroup_parent `{}` leads out of the cgroups", parent.value);
            self.wrong(
                parent.span,
                &what,
                "expected names with `/` between, without `.` and `..`",
            );
        }
        Some(parent.value.clone())
    }
}

/// The size of `/dev/shm`.
pub(super) fn shared_memory(service: &Service, found: &mut Diagnostics) -> Option<u64> {
    let size = service.shm_size.as_ref()?;
    let made = u64::try_from(size.value).ok();
    if made.is_none() {
        let text = format!(
            "service `{}`: shm_size {} is below zero",
            service.name, size.value
        );
        let fault = Diagnostic::error(text).at(size.span.or(service.span));
        found.push(fault.label("expected a size such as 64m"));
    }
    made
}
