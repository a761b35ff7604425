//! Values of flags: text in, checked values out.
//!
//! Imports: `base`, `compose::model`, `engine::spec`.

use std::net::IpAddr;
use std::time::Duration;

use super::exit::Failure;
use crate::base::clock::Timestamp;
use crate::base::env::Env;
use crate::base::scalar::parse_duration;
use crate::compose::model::{Port, PullPolicy, Recursion, VolumeMount, VolumeSource};
use crate::engine::spec::{HostAddr, Protocol};

/// Seconds of `-t`; a negative number is no limit.
pub fn timeout(seconds: Option<i64>) -> Option<Duration> {
    // A hundred years: long enough for ever, short enough to be added to any time.
    let ever = Duration::from_secs(100 * 365 * 86_400);
    seconds.map(|s| u64::try_from(s).map_or(ever, Duration::from_secs))
}

/// `--pull`.
///
/// # Errors
/// Another word than a pull policy.
pub fn pull_policy(text: &str) -> Result<PullPolicy, Failure> {
    match text {
        "always" => Ok(PullPolicy::Always),
        "missing" | "if_not_present" => Ok(PullPolicy::Missing),
        "never" => Ok(PullPolicy::Never),
        "build" => Ok(PullPolicy::Build),
        other => {
            let text = format!("invalid pull policy `{other}`");
            Err(Failure::new(text).hint("the policies are always, missing, never and build"))
        }
    }
}

/// `--scale web=3`.
///
/// # Errors
/// When there is no name or no number.
pub fn scale(items: &[String]) -> Result<Vec<(String, u32)>, Failure> {
    let one = |item: &String| {
        let (name, number) = item.split_once('=')?;
        Some((name.to_owned(), number.parse().ok()?)).filter(|_| !name.is_empty())
    };
    items
        .iter()
        .map(|item| {
            one(item).ok_or_else(|| {
                Failure::new(format!("invalid --scale `{item}`: write SERVICE=NUMBER"))
            })
        })
        .collect()
}

/// `NAME=value` or `NAME`.
pub fn pair(text: &str) -> (String, Option<String>) {
    match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// `NAME=value` entries for a process; a bare name takes this command's own value, and stays bare where there is none: the
/// process has no such variable then.
pub fn environment(items: &[String], env: &Env) -> Vec<String> {
    let entry = |item: &String| match pair(item) {
        (_, Some(_)) => item.clone(),
        (name, None) => match env.get(&name) {
            Some(value) => format!("{name}={value}"),
            None => name,
        },
    };
    items.iter().map(entry).collect()
}

/// `--since`: RFC 3339 time, a date, seconds since 1970, or how long ago.
///
/// # Errors
/// When it is none of these.
pub fn time(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let seconds = |text: &str| {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits: String = fraction
            .chars()
            .chain("000000000".chars())
            .take(9)
            .collect();
        let nanos: i64 = digits.parse().ok()?;
        whole
            .parse::<i64>()
            .ok()?
            .checked_mul(1_000_000_000)?
            .checked_add(nanos)
            .map(Timestamp)
    };
    let ago = |age: Duration| {
        i64::try_from(age.as_nanos())
            .ok()
            .map(|age| Timestamp(now.0.saturating_sub(age)))
    };
    let utc = |text: &str| Timestamp::parse(&format!("{text}Z"));
    parse_duration(text)
        .and_then(ago)
        .or_else(|| seconds(text))
        .or_else(|| Timestamp::parse(text))
        .or_else(|| utc(text))
        .or_else(|| utc(&format!("{text}T00:00:00")))
        .ok_or_else(|| {
            Failure::new(format!("invalid time `{text}`"))
                .hint("write a time as 2026-01-02T13:23:37Z, or how long ago, as 42m")
        })
}

/// `--tail`: a number, or `all`. As Docker: what is neither is all too, which is worth a warning.
pub fn tail(text: &str, warn: impl FnOnce(&str)) -> Option<usize> {
    let number = text.parse().ok();
    let all = matches!(text, "all" | "") || text.parse::<i64>().is_ok();
    if number.is_none() && !all {
        warn(&format!(
            "--tail `{text}` is no number: all lines are shown"
        ));
    }
    number
}

/// `name:address` of `--add-host`.
///
/// # Errors
/// When there is no name, or the address is none.
pub fn host(text: &str) -> Result<(String, HostAddr), Failure> {
    let (name, address) = text.split_once(['=', ':']).unwrap_or((text, ""));
    let address = match address.trim_start_matches('[').trim_end_matches(']') {
        "host-gateway" => Some(HostAddr::Gateway),
        other => other.parse().ok().map(HostAddr::Ip),
    };
    match address.filter(|_| !name.is_empty()) {
        Some(address) => Ok((name.to_owned(), address)),
        None => Err(Failure::new(format!(
            "invalid host `{text}`: write NAME:ADDRESS"
        ))),
    }
}

/// `-p` of `run`: `[address:][published:]target[/protocol]`.
///
/// # Errors
/// When a part is no port, no address or no protocol.
pub fn port(text: &str) -> Result<Port, Failure> {
    let wrong = || {
        Failure::new(format!(
            "invalid port `{text}`: write [ADDRESS:][PUBLISHED:]TARGET[/PROTOCOL]"
        ))
    };
    let (body, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(wrong()),
    };
    let (front, target) = body.rsplit_once(':').unwrap_or(("", body));
    let target: u16 = target.parse().map_err(|_| wrong())?;
    let (address, published) = match front.rsplit_once(':') {
        Some((address, published)) => (
            address.trim_start_matches('[').trim_end_matches(']'),
            published,
        ),
        None => ("", front),
    };
    let host_ip: Option<IpAddr> = match address {
        "" => None,
        address => Some(address.parse().map_err(|_| wrong())?),
    };
    let published = match published {
        "" => None,
        range => {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let first = first.parse().map_err(|_| wrong())?;
            Some((first, last.parse().map_err(|_| wrong())?))
        }
    };
    if target == 0 || published.is_some_and(|(first, last): (u16, u16)| first > last) {
        return Err(wrong());
    }
    Ok(Port {
        host_ip,
        published,
        target,
        protocol,
        mode: None,
        name: None,
        app_protocol: None,
    })
}

/// `-v` of `run`: `[source:]target[:ro|rw]`; a source with a slash or dot in front is a path.
///
/// # Errors
/// When the target is not absolute or an option is unknown.
pub fn volume(text: &str, env: &Env) -> Result<VolumeMount, Failure> {
    let wrong = |why: &str| Failure::new(format!("invalid volume `{text}`: {why}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(wrong("write [SOURCE:]TARGET[:ro]")),
    };
    if !target.starts_with('/') {
        return Err(wrong("the target must be an absolute path"));
    }
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            other => return Err(wrong(&format!("unknown option `{other}`"))),
        }
    }
    let bind = |path| VolumeSource::Bind {
        path,
        create_host_path: true,
        propagation: None,
        recursive: Recursion::Enabled,
        selinux: None,
        idmap: None,
    };
    let named = |key| VolumeSource::Volume {
        key,
        nocopy: false,
        subpath: None,
        labels: Default::default(),
    };
    let source = match source {
        None => named(None),
        Some(path) if path.starts_with('/') => bind(path.into()),
        Some(path) if path.starts_with('.') => bind(env.cwd.join(path)),
        Some(path) if path.starts_with('~') => {
            let home = env
                .home
                .clone()
                .ok_or_else(|| wrong("the home directory is not known"))?;
            bind(home.join(path.trim_start_matches('~').trim_start_matches('/')))
        }
        Some(name) => named(Some(name.to_owned())),
    };
    Ok(VolumeMount {
        target: target.to_owned(),
        source,
        read_only,
        consistency: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_relative_or_seconds() {
        let now = Timestamp(1_000_000_000_000);
        for (text, want) in [
            ("10s", 990_000_000_000),
            ("900", 900_000_000_000),
            ("900.5", 900_500_000_000),
            ("1970-01-01T00:10:00Z", 600_000_000_000),
            ("1970-01-01T00:10:00", 600_000_000_000),
            ("1970-01-02", 86_400_000_000_000),
        ] {
            assert_eq!(time(text, now).ok(), Some(Timestamp(want)), "{text}");
        }
        assert!(time("yesterday", now).is_err());
    }

    #[test]
    fn a_tail_that_is_no_number_is_all() {
        for (text, want, warned) in [
            ("10", Some(10), false),
            ("+1", Some(1), false),
            ("all", None, false),
            ("", None, false),
            ("-5", None, false),
            ("some", None, true),
            ("1.5", None, true),
        ] {
            let mut told = Vec::new();
            let tail = tail(text, |warning| told.push(warning.to_owned()));
            assert_eq!((tail, !told.is_empty()), (want, warned), "{text}: {told:?}");
        }
    }

    #[test]
    fn ports_of_run_have_address_range_and_protocol() {
        let ports = [
            "80",
            "8080:80",
            "127.0.0.1:8080:80/udp",
            "[::1]:1:2",
            "8000-8010:80",
        ];
        let shown: Vec<String> = ports
            .iter()
            .filter_map(|text| port(text).ok())
            .map(|p| {
                format!(
                    "{:?} {:?} {} {}",
                    p.host_ip,
                    p.published,
                    p.target,
                    p.protocol.as_str()
                )
            })
            .collect();
        let want = [
            "None None 80 tcp",
            "None Some((8080, 8080)) 80 tcp",
            "Some(127.0.0.1) Some((8080, 8080)) 80 udp",
            "Some(::1) Some((1, 1)) 2 tcp",
            "None Some((8000, 8010)) 80 tcp",
        ];
        assert_eq!(shown, want);
        assert!(
            ["x", "80/icmp", "9-8:80", "0", "1.2.3:1:2"]
                .iter()
                .all(|text| port(text).is_err())
        );
    }

    #[test]
    fn volumes_of_run_are_paths_names_or_anonymous() {
        let env = Env {
            cwd: "/w".into(),
            ..Env::default()
        };
        let bind = volume("./a:/b:ro", &env).ok();
        assert!(bind.is_some_and(|v| v.read_only
            && matches!(v.source, VolumeSource::Bind { ref path, .. } if path.ends_with("w/./a"))));
        let named = volume("data:/b", &env).ok().map(|v| v.source);
        assert!(
            matches!(named, Some(VolumeSource::Volume { key: Some(key), .. }) if key == "data")
        );
        assert!(volume("/b", &env).is_ok());
        assert!(
            ["b", "a:b", "a:/b:xx", "~/x:/y", "a:/b:ro:x"]
                .iter()
                .all(|text| volume(text, &env).is_err())
        );
    }

    #[test]
    fn bare_names_take_the_commands_own_value_and_hosts_have_addresses() {
        let env = Env {
            vars: [("A".to_owned(), "1".to_owned())].into(),
            ..Env::default()
        };
        assert_eq!(
            environment(&["A".into(), "B".into(), "C=".into()], &env),
            ["A=1", "B", "C="]
        );
        assert_eq!(host("db:10.0.0.1").ok().map(|h| h.0), Some("db".to_owned()));
        assert!(
            host("db:host-gateway").is_ok() && host("db").is_err() && host(":1.1.1.1").is_err()
        );
        assert_eq!(
            scale(&["web=3".into()]).ok(),
            Some(vec![("web".to_owned(), 3)])
        );
        assert!(scale(&["web".into()]).is_err() && scale(&["=1".into()]).is_err());
    }
}
