//! Options about steps of a build → what the builder is asked.
//!
//! Imports: `base`, `build`, `engine::spec`. Rules: `docker build`, dockerd's checks of `--memory` and `--memory-swap`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::scalar::parse_size;
use crate::build::{BuildRequest, Entitlements, SshSource};
use crate::cli::app::App;
use crate::cli::args::StepArgs;
use crate::cli::exit::Failure;
use crate::cli::roots::device_dirs;
use crate::engine::spec::Resources;

/// Least memory of a step in bytes. Source: moby, `linuxMinMemory`.
const LEAST_MEMORY: u64 = 6 << 20;

/// Puts the options into a request.
///
/// # Errors
/// For a value that means nothing.
pub(super) fn put(app: &App, args: &StepArgs, request: &mut BuildRequest) -> Result<(), Failure> {
    request.ssh = ssh(app, &args.ssh)?;
    request.entitlements = entitlements(&args.allow)?;
    request.limits = limits(args)?;
    request.ulimits = ulimits(&args.ulimit)?;
    request.device_dirs = device_dirs(&app.env);
    Ok(())
}

/// `--ssh`; paths are this command's.
pub(super) fn ssh(app: &App, given: &[String]) -> Result<BTreeMap<String, SshSource>, Failure> {
    let mut all = BTreeMap::new();
    for text in given {
        let (id, source) = SshSource::parse(text).map_err(Failure::new)?;
        let paths: Vec<PathBuf> = source
            .paths
            .iter()
            .map(|path| app.env.cwd.join(path))
            .collect();
        let source = SshSource { paths };
        // Who names what is not there is to learn it before anything is built.
        let own = app.env.non_empty("SSH_AUTH_SOCK");
        crate::build::step::agent::Agent::find(&source, own, &app.env.cwd)
            .map_err(|why| Failure::new(format!("invalid --ssh `{text}`: {why}")))?;
        all.insert(id, source);
    }
    Ok(all)
}

fn entitlements(given: &[String]) -> Result<Entitlements, Failure> {
    let mut all = Entitlements::default();
    for word in given {
        all.allow(word)
            .map_err(|why| Failure::new(format!("invalid --allow: {why}")))?;
    }
    Ok(all)
}

/// A size of `-m`.
///
/// # Errors
/// When it is none, or too little for any process.
pub(super) fn memory(text: &str) -> Result<u64, Failure> {
    let size =
        parse_size(text).map_err(|error| Failure::new(format!("invalid --memory: {error}")))?;
    if size.0 < LEAST_MEMORY {
        let text = format!("invalid --memory `{text}`: the least is 6m");
        return Err(Failure::new(text));
    }
    Ok(size.0)
}

fn limits(args: &StepArgs) -> Result<Resources, Failure> {
    let memory = args.memory.as_deref().map(memory).transpose()?;
    Ok(Resources {
        cpu_shares: args.cpu_shares.filter(|shares| *shares != 0),
        cpu_period: args.cpu_period.filter(|period| *period != 0),
        cpu_quota: args.cpu_quota.filter(|quota| *quota != 0),
        cpuset: args.cpuset_cpus.clone(),
        cpuset_mems: args.cpuset_mems.clone(),
        memory,
        memory_swap: swap(args.memory_swap.as_deref(), memory)?,
        pids: args.pids_limit.filter(|most| *most != 0),
        cgroup_parent: args
            .cgroup_parent
            .clone()
            .filter(|parent| !parent.is_empty()),
        ..Resources::default()
    })
}

fn swap(text: Option<&str>, memory: Option<u64>) -> Result<Option<i64>, Failure> {
    let wrong = |why: &str| Failure::new(format!("invalid --memory-swap: {why}"));
    let Some(text) = text else {
        return Ok(None);
    };
    if text.trim() == "-1" {
        return Ok(Some(-1));
    }
    let both = parse_size(text)
        .map_err(|error| wrong(&error.to_string()))?
        .0;
    match memory {
        _ if both == 0 => Ok(None),
        None => Err(wrong("it counts memory, too: give --memory as well")),
        Some(memory) if both < memory => {
            Err(wrong("it counts memory, too, and can't be below --memory"))
        }
        Some(_) => i64::try_from(both)
            .map(Some)
            .map_err(|_| wrong("it is too large")),
    }
}

fn ulimits(given: &[String]) -> Result<BTreeMap<String, (u64, u64)>, Failure> {
    let mut all = BTreeMap::new();
    for text in given {
        let wrong = |why: &str| Failure::new(format!("invalid --ulimit `{text}`: {why}"));
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| wrong("write NAME=SOFT[:HARD]"))?;
        let number = |text: &str| match text.trim() {
            "-1" | "unlimited" => Ok(u64::MAX),
            text => text
                .parse()
                .map_err(|_| wrong("a limit is a number, or -1 for none")),
        };
        let (soft, hard) = value.split_once(':').unwrap_or((value, value));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft > hard {
            return Err(wrong("the soft limit is above the hard one"));
        }
        all.insert(name.to_owned(), (soft, hard));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_docker_reads_them() {
        let args = StepArgs {
            memory: Some("64m".into()),
            memory_swap: Some("128m".into()),
            ..StepArgs::default()
        };
        let made = limits(&args).unwrap();
        assert_eq!(
            (made.memory, made.memory_swap),
            (Some(64 << 20), Some(128 << 20))
        );
        assert_eq!(made.pids, None);
        for (memory, swap) in [
            (Some("1m"), None),
            (None, Some("1g")),
            (Some("64m"), Some("32m")),
        ] {
            let args = StepArgs {
                memory: memory.map(str::to_owned),
                memory_swap: swap.map(str::to_owned),
                ..StepArgs::default()
            };
            assert!(limits(&args).is_err(), "{memory:?} {swap:?}");
        }
        let read = |text: &str| ulimits(&[text.to_owned()]);
        assert_eq!(read("nofile=10:20").unwrap()["nofile"], (10, 20));
        assert_eq!(read("core=-1").unwrap()["core"], (u64::MAX, u64::MAX));
        for text in ["nofile", "nofile=", "nofile=3:2", "nofile=x"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
