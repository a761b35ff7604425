//! Words about devices: their full names, and what may be done with them.
//!
//! In: text. Out: checked names and rules. Imports: nothing.
//! Rules: Container Device Interface, `SPEC.md`, "Kind" and "CDI Devices", and its parser for the grammar;
//! cgroup-v1/devices.rst for the rules.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A device by its full name: `vendor.com/class=name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceName {
    kind: String,
    name: String,
}

/// Longest vendor and longest class in bytes.
const LONGEST: (usize, usize) = (253, 63);

impl DeviceName {
    /// Puts a kind (`vendor.com/class`) and a device's own name together.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn new(kind: &str, name: &str) -> Result<Self, String> {
        check_kind(kind)?;
        check_name(name)?;
        Ok(Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
        })
    }
    /// Reads `vendor.com/class=name`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=');
        let (kind, name) = parts.ok_or("a device's full name is like `vendor.com/class=name`")?;
        Self::new(kind, name)
    }
    /// Whether a text is meant as a full name, right or wrong: it is no path and has the signs of one.
    pub fn is_meant(text: &str) -> bool {
        !text.starts_with(['/', '.', '~'])
            && text
                .split_once('=')
                .is_some_and(|(kind, _)| kind.contains('/'))
    }
    /// `vendor.com/class`.
    pub fn kind(&self) -> &str {
        &self.kind
    }
    /// The name among those of its kind.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.name)
    }
}

impl TryFrom<String> for DeviceName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.to_string()
    }
}

/// Checks `vendor.com/class`.
///
/// # Errors
/// What is wrong with it.
pub fn check_kind(kind: &str) -> Result<(), String> {
    let parts = kind
        .split_once('/')
        .filter(|(v, c)| !v.is_empty() && !c.is_empty());
    let (vendor, class) =
        parts.ok_or_else(|| format!("`{kind}` is not like `vendor.com/class`"))?;
    for (what, part, longest) in [("vendor", vendor, LONGEST.0), ("class", class, LONGEST.1)] {
        let letters = part
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        let ends = part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric());
        if !letters || !ends || part.len() > longest {
            return Err(format!(
                "the {what} `{part}` must start with a letter, end with a letter or digit, have only letters, \
                 digits, `_`, `-` and `.`, and at most {longest} of them"
            ));
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    let letters = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b));
    let ends = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    if letters && ends {
        return Ok(());
    }
    Err(format!(
        "the name `{name}` must start and end with a letter or digit and have only letters, digits, `_`, `-`, `.` and `:`"
    ))
}

/// Whether these are kinds of access: some of `r`, `w`, `m`.
pub fn is_access(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| "rwm".contains(letter))
}

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
    /// Reads a rule such as `c 1:3 rwm`, `b 8:* r`, `a *:* rwm`. As Docker: one space between the parts.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let kind = match words.next()? {
            "a" => DeviceKind::Any,
            "b" => DeviceKind::Block,
            "c" => DeviceKind::Char,
            _ => return None,
        };
        let (major, minor) = words.next()?.split_once(':')?;
        let number = |text: &str| match text {
            "*" => Some(None),
            text if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok().map(Some),
            _ => None,
        };
        let access = words.next()?;
        (is_access(access) && access.len() <= 3 && words.next().is_none()).then_some(())?;
        Some(Self {
            kind,
            major: number(major)?,
            minor: number(minor)?,
            access: access.into(),
        })
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
        let (major, minor) = (number(self.major), number(self.minor));
        write!(f, "{kind} {major}:{minor} {}", self.access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_names_follow_the_grammar() {
        for good in [
            "vendor.com/class=name",
            "nvidia.com/gpu=0",
            "nvidia.com/gpu=GPU-8c3c1d2e",
            "nvidia.com/gpu=0:1",
            "v/c=n",
            "foo.bar.baz/foo-bar123.B_az=all",
        ] {
            assert_eq!(DeviceName::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "", "name", "a/b", "=x", "a=b", "/c=x", "v/=x", "v/c=", "1v/c=x", "v./c=x", "v/c/d=x",
            "v/c=x y", "v/c=-x", "v/c=x=y", "v /c=x", "v/c=ä", "../c=x", "v/c=../x", "v/-c=x",
        ] {
            assert!(DeviceName::parse(bad).is_err(), "{bad}");
        }
        let long = "v".repeat(254);
        assert!(DeviceName::parse(&format!("{long}/c=x")).is_err());
        assert!(DeviceName::is_meant("v/c=") && !DeviceName::is_meant("/dev/a=b"));
    }

    #[test]
    fn rules_are_read_and_written_alike() {
        for text in ["c 1:3 rwm", "b 8:* r", "a *:* rwm", "c 1:3 mr", "c *:3 w"] {
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
            "c  1:1 r",
            " c 1:1 r",
            "c 1:1 ",
            "c +1:1 r",
            "c -1:1 r",
            "c 4294967296:1 r",
            "c 1:1 rrrr",
            "c 1:1 r ",
        ] {
            assert_eq!(DeviceRule::parse(text), None, "{text}");
        }
    }
}
