//! Device rules: what a container may make, read and write.
//!
//! Imports: `base`, `sys`. Source: cgroup-v1/devices.rst; the default list as Docker (`oci/devices`, `DefaultSpec`).

pub use crate::base::device::{DeviceKind, DeviceRule};
use crate::sys::bpf::Allowed;

impl DeviceRule {
    /// What every container may do: make any node, but use only the harmless ones.
    pub fn defaults() -> Vec<Self> {
        let make = |kind| Self {
            kind,
            major: None,
            minor: None,
            access: "m".into(),
        };
        let node = |major, minor: Option<u32>| Self {
            kind: DeviceKind::Char,
            major: Some(major),
            minor,
            access: "rwm".into(),
        };
        let mut rules = vec![make(DeviceKind::Char), make(DeviceKind::Block)];
        // null, zero, full, random, urandom, tty, console, ptmx, every terminal of a devpts.
        let nodes = [
            (1, 3),
            (1, 5),
            (1, 7),
            (1, 8),
            (1, 9),
            (5, 0),
            (5, 1),
            (5, 2),
        ];
        rules.extend(nodes.map(|(major, minor)| node(major, Some(minor))));
        rules.push(node(136, None));
        rules
    }
    /// The same for the program of version 2.
    pub(super) fn for_bpf(&self) -> Allowed {
        let bits = [('m', 1), ('r', 2), ('w', 4)];
        let held = bits
            .iter()
            .filter(|(letter, _)| self.access.contains(*letter));
        Allowed {
            kind: match self.kind {
                DeviceKind::Any => None,
                DeviceKind::Block => Some(1),
                DeviceKind::Char => Some(2),
            },
            major: self.major,
            minor: self.minor,
            access: held.map(|(_, bit)| bit).sum(),
        }
    }
}
