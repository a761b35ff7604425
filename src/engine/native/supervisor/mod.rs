//! One small, single-threaded process a container, as long as that should run.
//!
//! It owns: the container's init as its child, its streams, log, exit status, restart policy, probes, stop
//! escalation, control socket, and the container's own DNS answerer. If it is killed the container goes on:
//! its streams are FIFOs that nobody's death breaks, its network namespace is pinned, its rules are in the
//! kernel; the next command starts a supervisor that adopts it.
//!
//! Imports: `base`, `engine`, `image`, `sys`. It never plans and never reads a compose file.

mod birth;
mod client;
mod clients;
mod files;
mod health;
mod life;
mod main;
mod ready;
mod restart;
mod streams;
mod wire;

pub(super) use birth::{described, own_mount};
pub(super) use client::{Connection, exec_in};
pub(super) use files::{Missing, injected};
pub use main::main;

use super::cgroup::Cgroup;
use super::layout::Layout;
use crate::engine::Result;
use crate::engine::spec::ContainerSpec;

/// Takes away what a killed supervisor has left in the kernel for a container that does not run; goes on after a failure.
///
/// # Errors
/// The first failure.
pub(super) fn clean_up(layout: &Layout, spec: &ContainerSpec) -> Result<()> {
    let (withdrawn, network) = birth::disconnect(layout, spec);
    drop(withdrawn);
    // A namespace goes some time after its last user; a successor has the same addresses.
    let cables = super::net::disconnect(&spec.id);
    let cgroup = Cgroup::find(spec.id.as_str(), spec.resources.cgroup_parent.as_deref());
    let cgroup = cgroup.map_or(Ok(()), |cgroup| {
        cgroup.kill().and_then(|()| cgroup.remove())
    });
    let volumes = super::volumes::release(layout, &spec.id);
    network.and(cables).and(cgroup).and(volumes)
}
