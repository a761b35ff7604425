//! `logging`: what is kept of a container's output, and where else it goes.
//!
//! Every driver is checked as Docker's daemon does it when it makes and starts a container, but before anything is
//! started. Imports: `base`, `compose::model`, `engine::spec`.
//! Source: moby `daemon/logger/{jsonfilelog,local,journald,syslog,loggerutils}`, `daemon/logger/factory.go`.

use std::collections::BTreeMap;

use regex::Regex;

use super::tag::{self, About};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::scalar::parse_size;
use crate::base::span::Span;
use crate::compose::model::{LogOption, Service};
use crate::engine::spec::{Labels, LogConfig, LogTarget, SyslogAddress, SyslogFormat};

/// What hoist has.
const DRIVERS: &str = "json-file, local, journald, syslog and none";

/// What Docker has besides.
const FOREIGN: [&str; 7] = [
    "awslogs",
    "etwlogs",
    "fluentd",
    "gcplogs",
    "gelf",
    "logentries",
    "splunk",
];

/// Options of every driver but `none`.
const COMMON: [&str; 6] = [
    "mode",
    "max-buffer-size",
    "cache-disabled",
    "cache-max-size",
    "cache-max-file",
    "cache-compress",
];

/// Options that choose what stands beside each line.
const ATTRIBUTES: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];

/// The form of a tag where none is given.
const TAG: &str = "{{.ID}}";

/// What `local`, and the cache of what is sent elsewhere, keep: so many bytes in so many files.
const LOCAL: (u64, u32) = (20_000_000, 5);

/// The port of syslog.
const SYSLOG_PORT: u16 = 514;

/// Names of syslog's facilities by their number; 12 to 15 have none.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

/// Reads options; every fault gets its place.
struct Options<'a> {
    driver: &'a str,
    all: &'a BTreeMap<String, LogOption>,
    service: &'a str,
    found: &'a mut Diagnostics,
}

impl Options<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.all.get(key).map(|option| option.value.as_str())
    }

    fn wrong(&mut self, key: &str, why: &str, hint: &str) {
        let option = self.all.get(key);
        let value = option.map_or("", |option| option.value.as_str());
        let text = format!(
            "service `{}`: logging option {key}: `{value}` {why}",
            self.service
        );
        let error = Diagnostic::error(text).at(option.and_then(|option| option.span));
        self.found.push(match hint.is_empty() {
            true => error,
            false => error.hint(hint),
        });
    }

    /// Every option must be one of the driver's.
    fn only(&mut self, own: &[&str]) {
        let own: Vec<&str> = own.iter().chain(&COMMON).copied().collect();
        for (key, option) in self.all {
            if !own.contains(&key.as_str()) {
                let driver = self.driver;
                let text = format!(
                    "service `{}`: unknown log opt `{key}` for the {driver} log driver",
                    self.service
                );
                let hint = format!("its options are {}", own.join(", "));
                self.found
                    .push(Diagnostic::error(text).at(option.key_span).hint(hint));
            }
        }
    }

    /// As Go's `strconv.ParseBool`.
    fn flag(&mut self, key: &str) -> Option<bool> {
        match self.text(key)? {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => {
                self.wrong(key, "is neither true nor false", "");
                None
            }
        }
    }

    /// A size with units of 1000, as the drivers read it.
    fn size(&mut self, key: &str) -> Option<u64> {
        let text = self.text(key)?.trim().to_owned();
        let Ok(size) = parse_size(&text) else {
            self.wrong(key, "is not a size", "write a number and a unit: 10m");
            return None;
        };
        let unit = text
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
            .trim_start();
        let power = "kmgtp".find(unit.chars().next().unwrap_or('b').to_ascii_lowercase());
        let power = power.map_or(0, |at| at as i32 + 1);
        // The number was read with units of 1024.
        Some((size.0 as f64 * (1000f64 / 1024f64).powi(power)).round() as u64)
    }

    fn count(&mut self, key: &str) -> Option<u32> {
        match self.text(key)?.parse::<i64>() {
            Ok(count) if count < 1 => {
                self.wrong(key, "is less than 1", "");
                None
            }
            Ok(count) => u32::try_from(count).ok(),
            Err(_) => {
                self.wrong(key, "is not a number", "");
                None
            }
        }
    }

    fn regex(&mut self, key: &str) -> Option<Regex> {
        match Regex::new(self.text(key)?) {
            Ok(regex) => Some(regex),
            Err(error) => {
                let why = error.to_string();
                let why = why.lines().last().unwrap_or_default().trim();
                self.wrong(
                    key,
                    "is not a regular expression",
                    why.trim_start_matches("error: "),
                );
                None
            }
        }
    }

    fn tag(&mut self, default: &str, about: &About<'_>) -> String {
        let text = self.text("tag").filter(|text| !text.is_empty());
        match tag::expand(text.unwrap_or(default), about) {
            Ok(tag) => tag,
            Err(why) => {
                self.wrong(
                    "tag",
                    &why,
                    &format!(
                        "a tag may hold {}",
                        tag::KNOWN
                            .map(|(name, _)| format!("{{{{.{name}}}}}"))
                            .join(", ")
                    ),
                );
                String::new()
            }
        }
    }

    /// Labels and variables that stand beside each line.
    fn attributes(&mut self, about: &About<'_>) -> Labels {
        let mut all = Labels::new();
        let env: Labels = about
            .env
            .iter()
            .filter_map(|entry| entry.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        for (list, from) in [("labels", about.labels), ("env", &env)] {
            let names = self.text(list).unwrap_or_default();
            let named = names.split(',').filter_map(|name| from.get_key_value(name));
            all.extend(named.map(|(key, value)| (key.clone(), value.clone())));
            if let Some(regex) = self.regex(&format!("{list}-regex")) {
                let fitting = from.iter().filter(|(key, _)| regex.is_match(key));
                all.extend(fitting.map(|(key, value)| (key.clone(), value.clone())));
            }
        }
        all
    }

    /// `mode` and `max-buffer-size`: whether lines are dropped rather than the container made to wait.
    fn impatient(&mut self) -> bool {
        let mode = self.text("mode").unwrap_or("blocking");
        let impatient = match mode {
            "" | "blocking" => false,
            "non-blocking" => true,
            _ => {
                self.wrong(
                    "mode",
                    "is not a mode",
                    "the modes are blocking and non-blocking",
                );
                return false;
            }
        };
        if self.text("max-buffer-size").is_some() && !impatient {
            let hint = "add `mode: non-blocking`, or leave it out";
            self.wrong("max-buffer-size", "is for `mode: non-blocking` only", hint);
        }
        let _ = self.size("max-buffer-size");
        impatient
    }

    fn files(&mut self, log: &mut LogConfig, prefix: &str) {
        let key = |name: &str| format!("{prefix}{name}");
        let size = key("max-size");
        match self.text(&size) {
            // What Docker's documentation names as the default.
            Some("-1") => log.max_size = None,
            Some(_) => {
                let given = self.size(&size);
                if given == Some(0) && self.driver == "json-file" {
                    self.wrong(
                        &size,
                        "is not a positive size",
                        "leave it out for a file without limit",
                    );
                }
                log.max_size = given.filter(|size| *size > 0);
            }
            None => {}
        }
        if let Some(count) = self.count(&key("max-file")) {
            log.max_files = count;
        }
        if let Some(compress) = self.flag(&key("compress")) {
            log.compress = compress;
        }
    }

    fn syslog(&mut self, about: &About<'_>) -> Option<LogTarget> {
        for key in [
            "syslog-tls-ca-cert",
            "syslog-tls-cert",
            "syslog-tls-key",
            "syslog-tls-skip-verify",
        ] {
            if self.text(key).is_some()
                && !self
                    .text("syslog-address")
                    .is_some_and(|a| a.starts_with("tcp+tls:"))
            {
                self.wrong(key, "is for `tcp+tls://` only", "");
            }
        }
        let address = self.address();
        let facility = self.facility();
        let format = match self.text("syslog-format").unwrap_or_default() {
            "" => SyslogFormat::Unix,
            "rfc3164" => SyslogFormat::Rfc3164,
            "rfc5424" => SyslogFormat::Rfc5424,
            "rfc5424micro" => SyslogFormat::Rfc5424Micro,
            _ => {
                let hint = "the formats are rfc3164, rfc5424 and rfc5424micro";
                self.wrong("syslog-format", "is not a syslog format", hint);
                SyslogFormat::Unix
            }
        };
        let tag = self.tag(TAG, about);
        Some(LogTarget::Syslog {
            address: address?,
            facility: facility?,
            format,
            tag,
        })
    }

    fn facility(&mut self) -> Option<u8> {
        let text = self.text("syslog-facility").unwrap_or("daemon");
        let named = FACILITIES
            .iter()
            .position(|name| !name.is_empty() && *name == text);
        let number = named.or_else(|| {
            text.parse()
                .ok()
                .filter(|number| *number < FACILITIES.len())
        });
        if number.is_none() {
            let names: Vec<&str> = FACILITIES
                .into_iter()
                .filter(|name| !name.is_empty())
                .collect();
            let hint = format!("the facilities are {}, or 0 to 23", names.join(", "));
            self.wrong("syslog-facility", "is not a syslog facility", &hint);
        }
        number.and_then(|number| u8::try_from(number).ok())
    }

    fn address(&mut self) -> Option<SyslogAddress> {
        const HINT: &str =
            "write udp://HOST:PORT, tcp://HOST:PORT, unix:///PATH or unixgram:///PATH";
        let Some(text) = self.text("syslog-address").filter(|text| !text.is_empty()) else {
            return Some(SyslogAddress::Local);
        };
        let text = text.to_owned();
        let Some((scheme, rest)) = text.split_once("://") else {
            self.wrong("syslog-address", "has no scheme", HINT);
            return None;
        };
        match scheme {
            "unix" | "unixgram" if !rest.starts_with('/') => {
                self.wrong("syslog-address", "names no absolute path", HINT);
                None
            }
            "unix" => Some(SyslogAddress::Unix(rest.into())),
            "unixgram" => Some(SyslogAddress::Unixgram(rest.into())),
            "udp" | "tcp" => match host_and_port(rest) {
                Some((host, port)) if scheme == "udp" => Some(SyslogAddress::Udp(host, port)),
                Some((host, port)) => Some(SyslogAddress::Tcp(host, port)),
                None => {
                    self.wrong("syslog-address", "names no host and port", HINT);
                    None
                }
            },
            "tcp+tls" => {
                let hint = "send to a forwarder on this host (rsyslog, syslog-ng, vector) with tcp:// or unix://, and let that speak TLS";
                self.wrong(
                    "syslog-address",
                    "asks for TLS, which hoist does not speak to a syslog server",
                    hint,
                );
                None
            }
            _ => {
                self.wrong("syslog-address", "has a scheme that is not supported", HINT);
                None
            }
        }
    }
}

/// `host`, `host:port`, `[::1]:port`; a path behind it counts for nothing.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let text = text.split('/').next()?;
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None => SYSLOG_PORT,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// What becomes of a service's output.
pub(super) fn log(service: &Service, about: &About<'_>, found: &mut Diagnostics) -> LogConfig {
    let mut log = LogConfig::default();
    let Some(logging) = &service.logging else {
        return log;
    };
    let driver = logging
        .driver
        .as_ref()
        .map_or("", |driver| driver.value.as_str());
    let driver = if driver.is_empty() {
        "json-file"
    } else {
        driver
    };
    let span = logging
        .driver
        .as_ref()
        .and_then(|driver| driver.span)
        .or(service.span);
    let mut options = Options {
        driver,
        all: &logging.options,
        service: service.name.as_str(),
        found,
    };
    match driver {
        "json-file" => {
            options.only(&[&["max-size", "max-file", "compress"], ATTRIBUTES.as_slice()].concat());
            options.files(&mut log, "");
            log.attributes = options.attributes(about);
            let tag = options.tag("", about);
            if !tag.is_empty() {
                log.attributes.insert("tag".into(), tag);
            }
            if log.compress && (log.max_size.is_none() || log.max_files < 2) {
                let hint = "add `max-size`, and `max-file` of 2 or more";
                options.wrong("compress", "needs files that are rotated", hint);
            }
        }
        "local" => {
            options.only(&["max-size", "max-file", "compress"]);
            kept(&mut log);
            options.files(&mut log, "");
            if log.compress && log.max_files < 2 {
                let hint = "add `compress: \"false\"`, or keep 2 files or more";
                options.wrong(
                    "max-file",
                    "leaves nothing to compress, which this driver does",
                    hint,
                );
            }
        }
        "journald" => {
            options.only(&ATTRIBUTES);
            cache(&mut options, &mut log);
            log.attributes = options.attributes(about);
            let tag = options.tag(TAG, about);
            log.target = Some(LogTarget::Journal { tag });
        }
        "syslog" => {
            let own = [
                "syslog-address",
                "syslog-facility",
                "syslog-format",
                "syslog-tls-ca-cert",
                "syslog-tls-cert",
                "syslog-tls-key",
                "syslog-tls-skip-verify",
            ];
            options.only(&[own.as_slice(), ATTRIBUTES.as_slice()].concat());
            cache(&mut options, &mut log);
            let _ = options.attributes(about);
            log.target = options.syslog(about);
        }
        "none" => {
            log.keep = false;
            none(&options.all.iter().next(), service, options.found);
            return log;
        }
        other => {
            unknown(other, span, service, options.found);
            return log;
        }
    }
    log.impatient = options.impatient();
    log
}

/// The limits that `local` has of itself.
fn kept(log: &mut LogConfig) {
    (log.max_size, log.max_files, log.compress) = (Some(LOCAL.0), LOCAL.1, true);
}

/// What is sent elsewhere is kept here, too, so that `logs` works.
fn cache(options: &mut Options<'_>, log: &mut LogConfig) {
    kept(log);
    options.files(log, "cache-");
    log.compress &= log.max_files > 1;
    log.keep = !options.flag("cache-disabled").unwrap_or(false);
}

fn none(first: &Option<(&String, &LogOption)>, service: &Service, found: &mut Diagnostics) {
    if let Some((key, option)) = first {
        let text = format!(
            "service `{}`: logging option {key}: driver none has no options",
            service.name
        );
        found.push(Diagnostic::error(text).at(option.key_span));
    }
}

fn unknown(driver: &str, span: Option<Span>, service: &Service, found: &mut Diagnostics) {
    let text = match FOREIGN.contains(&driver) {
        true => format!(
            "service `{}`: logging driver `{driver}` is not part of hoist",
            service.name
        ),
        false => format!(
            "service `{}`: unknown logging driver `{driver}`",
            service.name
        ),
    };
    let error = Diagnostic::error(text)
        .at(span)
        .hint(format!("the drivers are {DRIVERS}"));
    found.push(match FOREIGN.contains(&driver) {
        true => error.hint(
            "collectors for it read the files of `json-file`, or take what `syslog` sends them",
        ),
        false => error,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port_or_the_usual_one() {
        let at = |text| host_and_port(text).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(at("a:1").as_deref(), Some("a 1"));
        assert_eq!(at("a").as_deref(), Some("a 514"));
        assert_eq!(at("a:1/x").as_deref(), Some("a 1"));
        assert_eq!(at("[::1]:7").as_deref(), Some("::1 7"));
        assert_eq!(at("[::1]").as_deref(), Some("::1 514"));
        for wrong in ["", ":1", "a:", "a:x", "a:70000", "[::1", "a:0"] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }
}
