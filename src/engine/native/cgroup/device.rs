//! Device rules: what a container may make, read and write.
//!
//! Imports: `sys`. Source: cgroup-v1/devices.rst; the default list as Docker (`oci/devices`, `DefaultSpec`).

use std::fmt;

use crate::sys::bpf::Allowed;

/// What kind of device a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Both.
    Any,
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// One line of a device cgroup: what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRule {
    /// Kind.
    pub kind: DeviceKind,
    /// Major number; any when `None`.
    pub major: Option<u32>,
    /// Minor number; any when `None`.
    pub minor: Option<u32>,
    /// Some of `rwm`.
    pub access: String,
}

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
    /// Reads a rule such as `c 1:3 rwm`, `b 8:* r`, `a *:* rwm`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let kind = match words.next()? {
            "a" => DeviceKind::Any,
            "b" => DeviceKind::Block,
            "c" => DeviceKind::Char,
            _ => return None,
        };
        let (major, minor) = words.next()?.split_once(':')?;
        let number = |text: &str| match text {
            "*" => Some(None),
            text => text.parse().ok().map(Some),
        };
        let access = words.next()?;
        let known = !access.is_empty() && access.chars().all(|letter| "rwm".contains(letter));
        (known && words.next().is_none()).then_some(())?;
        Some(Self {
            kind,
            major: number(major)?,
            minor: number(minor)?,
            access: access.into(),
        })
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

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or("*".into(), |number| number.to_string());
        let kind = match self.kind {
            DeviceKind::Any => 'a',
            DeviceKind::Block => 'b',
            DeviceKind::Char => 'c',
        };
        write!(
            f,
            "{kind} {}:{} {}",
            number(self.major),
            number(self.minor),
            self.access
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_written_alike() {
        for text in ["c 1:3 rwm", "b 8:* r", "a *:* rwm"] {
            assert_eq!(DeviceRule::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "c",
            "c 1 r",
            "d 1:1 r",
            "c 1:x r",
            "c 1:1 q",
            "c 1:1 r more",
        ] {
            assert_eq!(DeviceRule::parse(text), None, "{text}");
        }
    }
}
