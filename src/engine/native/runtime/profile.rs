//! A filter in Docker's JSON format, as `security_opt: seccomp=FILE` names one.
//!
//! In: its text and the capabilities. Out: a [`Policy`]. Imports: `sys::{caps, seccomp}`, `engine`.
//! Source: OCI runtime spec, `config-linux.md`, "Seccomp"; `includes`, `excludes` and `archMap` as Docker.

use serde::Deserialize;

use crate::engine::{EngineError, Result};
use crate::sys::caps::Caps;
use crate::sys::seccomp::{Action, Arch, Compare, Condition, Policy, Rule, Width};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    syscalls: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

fn refused(why: impl std::fmt::Display) -> EngineError {
    EngineError::Unsupported {
        what: format!("seccomp profile: {why}"),
    }
}

fn action(name: &str, errno: Option<u16>) -> Result<Action> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(libc::EPERM as u16)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_TRACE" => Action::Trace(errno.unwrap_or(libc::EPERM as u16)),
        "SCMP_ACT_LOG" => Action::Log,
        other => return Err(refused(format!("action `{other}` is not supported"))),
    })
}

fn arch(name: &str) -> Option<Arch> {
    Some(match name {
        "SCMP_ARCH_X86_64" => Arch::X86_64,
        "SCMP_ARCH_X86" => Arch::X86,
        "SCMP_ARCH_AARCH64" => Arch::Aarch64,
        "SCMP_ARCH_ARM" => Arch::Arm,
        _ => return None,
    })
}

/// This machine as `includes.arches` names it.
const MACHINE: &[&str] = if cfg!(target_arch = "x86_64") {
    &["amd64", "x32", "x86"]
} else {
    &["arm64", "arm"]
};

impl Filter {
    fn caps(&self) -> impl Iterator<Item = &str> {
        let names = self.caps.iter().flatten();
        names.map(|name| name.strip_prefix("CAP_").unwrap_or(name))
    }
    fn arches(&self) -> impl Iterator<Item = &str> {
        self.arches.iter().flatten().map(String::as_str)
    }
    /// Whether an entry with these `includes` counts.
    fn includes(&self, caps: Caps, kernel: (u32, u32)) -> bool {
        let arch = self.arches.as_ref().is_none_or(Vec::is_empty)
            || self.arches().any(|name| MACHINE.contains(&name));
        let new = self
            .min_kernel
            .as_deref()
            .is_none_or(|least| version(least) <= kernel);
        arch && new && self.caps().all(|name| caps.has(name))
    }
    /// Whether an entry with these `excludes` does not count.
    fn excludes(&self, caps: Caps, kernel: (u32, u32)) -> bool {
        self.arches().any(|name| MACHINE.contains(&name))
            || self.caps().any(|name| caps.has(name))
            || self
                .min_kernel
                .as_deref()
                .is_some_and(|least| version(least) <= kernel)
    }
}

fn version(text: &str) -> (u32, u32) {
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn condition(argument: &Argument) -> Result<Condition> {
    let (compare, value) = match argument.op.as_str() {
        "SCMP_CMP_NE" => (Compare::Ne, argument.value),
        "SCMP_CMP_LT" => (Compare::Lt, argument.value),
        "SCMP_CMP_LE" => (Compare::Le, argument.value),
        "SCMP_CMP_EQ" => (Compare::Eq, argument.value),
        "SCMP_CMP_GE" => (Compare::Ge, argument.value),
        "SCMP_CMP_GT" => (Compare::Gt, argument.value),
        "SCMP_CMP_MASKED_EQ" => (Compare::MaskedEq(argument.value), argument.value_two),
        other => return Err(refused(format!("comparison `{other}` is not known"))),
    };
    if argument.index > 5 {
        return Err(refused(format!(
            "argument {} does not exist",
            argument.index
        )));
    }
    Ok(Condition {
        argument: argument.index,
        compare,
        value,
        width: Width::Full,
    })
}

fn arches(profile: &Profile) -> Result<Vec<Arch>> {
    let native = Arch::NATIVE.first().copied();
    let maps = profile.arch_map.iter().flatten();
    let mapped = maps
        .filter(|map| arch(&map.architecture) == native)
        .flat_map(|map| {
            let below = map.sub_architectures.iter().flatten();
            std::iter::once(&map.architecture).chain(below)
        });
    let named = profile.architectures.iter().flatten().chain(mapped);
    let mut found: Vec<Arch> = native.into_iter().collect();
    for one in named.filter_map(|name| arch(name)) {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    Ok(found)
}

/// Reads a profile for a process with these capabilities.
///
/// # Errors
/// [`EngineError::Unsupported`] for a text that is no profile, or uses what we can't do.
pub(super) fn read(text: &str, caps: Caps) -> Result<Policy> {
    let profile: Profile = serde_json::from_str(text).map_err(refused)?;
    let release = nix::sys::utsname::uname().map_err(refused)?;
    let kernel = version(&release.release().to_string_lossy());
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let mut rules = Vec::new();
    for entry in profile.syscalls.iter().flatten() {
        let included = entry
            .includes
            .as_ref()
            .is_none_or(|only| only.includes(caps, kernel));
        let excluded = entry
            .excludes
            .as_ref()
            .is_some_and(|not| not.excludes(caps, kernel));
        if !included || excluded {
            continue;
        }
        let action = action(&entry.action, entry.errno_ret)?;
        let conditions: Vec<Condition> = entry
            .args
            .iter()
            .flatten()
            .map(condition)
            .collect::<Result<_>>()?;
        for call in entry.name.iter().chain(entry.names.iter().flatten()) {
            rules.push(Rule {
                call: call.clone(),
                action,
                conditions: conditions.clone(),
            });
        }
    }
    // A rule without conditions would hide those behind it.
    rules.sort_by_key(|rule: &Rule| rule.conditions.is_empty());
    Ok(Policy {
        default,
        rules,
        arches: arches(&profile)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_count_by_capability_and_machine() {
        let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"syscalls":[
            {"names":["read"],"action":"SCMP_ACT_ALLOW"},
            {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":1,"excludes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["s390_x"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["s390x"]}},
            {"names":["future"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"99.1"}},
            {"name":"read","action":"SCMP_ACT_LOG","args":[{"index":0,"value":1,"op":"SCMP_CMP_GT"}]}]}"#;
        let names = |caps| {
            let policy = read(text, caps).unwrap();
            assert_eq!(policy.default, Action::Errno(38));
            policy
                .rules
                .into_iter()
                .map(|rule| rule.call)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(Caps::EMPTY), ["read", "read", "clone3"]);
        assert_eq!(names(Caps::from_bits(u64::MAX)), ["read", "read", "mount"]);
        let told = read("{}", Caps::EMPTY).unwrap_err().to_string();
        assert!(
            told.starts_with("seccomp profile: missing field `defaultAction`"),
            "{told}"
        );
    }
}
