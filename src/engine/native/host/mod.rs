//! What this machine offers, for `hoist doctor`: rows of what was looked for, in the order a reader wants them.
//!
//! In: hoist's directories. Out: [`Row`]s. It changes nothing that stays: what can only be tried is tried in a namespace
//! of its own, or on a descriptor. Never: decides whether a command goes on, prints.
//! Imports: `engine`, `cgroup`, `runtime`, `sys`. Sources: proc(5), sysfs; others are named at each row.

mod firewalls;
mod groups;
mod kernel;
mod network;
mod places;
mod walls;

use std::path::{Path, PathBuf};

use crate::engine::Roots;
use crate::engine::host::Row;

/// Looks at everything.
pub fn examine(roots: &Roots, device_dirs: &[PathBuf]) -> Vec<Row> {
    let parts = [
        kernel::rows(),
        groups::rows(),
        walls::rows(),
        network::rows(),
        firewalls::rows(),
        places::rows(roots, device_dirs),
    ];
    parts.into_iter().flatten().collect()
}

/// The text of a small file of the kernel's, without white space at the ends; `None` when it can't be read.
fn text(path: impl AsRef<Path>) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

/// The number in a file of the kernel's.
fn number(path: impl AsRef<Path>) -> Option<u64> {
    text(path)?.parse().ok()
}

/// Whether the caller is root: much can't be tried by others.
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
