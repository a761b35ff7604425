//! Lines for a syslog server.
//!
//! Imports: `base`, `engine`. Source: RFC 3164; RFC 5424; srslog `formatter.go` and moby
//! `daemon/logger/syslog/syslog.go`, whose forms these are to the byte, but for the time: it is the line's own.

use jiff::tz::TimeZone;

use crate::base::clock::Timestamp;
use crate::engine::LogRecord;
use crate::engine::spec::SyslogFormat;

/// What every line of a container has.
#[derive(Debug)]
pub(super) struct Form {
    facility: u8,
    format: SyslogFormat,
    tag: String,
    host: String,
    zone: TimeZone,
}

impl Form {
    pub(super) fn new(facility: u8, format: SyslogFormat, tag: &str) -> Self {
        let host = nix::unistd::gethostname().unwrap_or_default();
        Self {
            facility,
            format,
            tag: tag.to_owned(),
            host: host.to_string_lossy().into_owned(),
            zone: TimeZone::system(),
        }
    }

    /// Appends a line; an empty one is left out, as in Docker.
    pub(super) fn put(&self, out: &mut Vec<u8>, record: &LogRecord) {
        let line = record.line.strip_suffix(b"\n").unwrap_or(&record.line);
        if line.is_empty() {
            return;
        }
        let priority = self.facility << 3 | if record.stderr { 3 } else { 6 };
        let (tag, host, pid) = (&self.tag, &self.host, std::process::id());
        let head = match self.format {
            SyslogFormat::Unix => {
                format!(
                    "<{priority}>{} {tag}[{pid}]: ",
                    self.stamp(record.time, "%b %e %H:%M:%S")
                )
            }
            SyslogFormat::Rfc3164 => {
                let time = self.stamp(record.time, "%b %e %H:%M:%S");
                format!("<{priority}>{time} {host} {tag}[{pid}]: ")
            }
            SyslogFormat::Rfc5424 => {
                let time = self.offset(record.time, "%Y-%m-%dT%H:%M:%S");
                format!("<{priority}>1 {time} {host} {tag} {pid} {tag} - ")
            }
            SyslogFormat::Rfc5424Micro => {
                let time = self.offset(record.time, "%Y-%m-%dT%H:%M:%S.%6f");
                format!("<{priority}>1 {time} {host} {tag} {pid} {tag} - ")
            }
        };
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(line);
        out.push(b'\n');
    }

    fn stamp(&self, time: Timestamp, form: &str) -> String {
        let time = jiff::Timestamp::from_nanosecond(i128::from(time.0)).unwrap_or_default();
        time.to_zoned(self.zone.clone()).strftime(form).to_string()
    }

    /// With the offset from UTC behind it, `Z` where there is none.
    fn offset(&self, time: Timestamp, form: &str) -> String {
        let mut text = self.stamp(time, &format!("{form}%:z"));
        if let Some(local) = text.strip_suffix("+00:00") {
            text = format!("{local}Z");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_dockers_but_for_host_and_process() {
        let form = |format, facility| Form {
            facility,
            format,
            tag: "tag".into(),
            host: "vm".into(),
            zone: TimeZone::UTC,
        };
        let put = |format, facility, stderr| {
            let record = LogRecord {
                time: Timestamp(1_795_329_549_352_303_999),
                stderr,
                line: b"text\n".to_vec(),
            };
            let mut out = Vec::new();
            form(format, facility).put(&mut out, &record);
            let pid = std::process::id().to_string();
            String::from_utf8(out).unwrap().replace(&pid, "PID")
        };
        assert_eq!(
            put(SyslogFormat::Unix, 3, true),
            "<27>Nov 22 06:39:09 tag[PID]: text\n"
        );
        assert_eq!(
            put(SyslogFormat::Rfc3164, 3, false),
            "<30>Nov 22 06:39:09 vm tag[PID]: text\n"
        );
        assert_eq!(
            put(SyslogFormat::Rfc5424, 19, false),
            "<158>1 2026-11-22T06:39:09Z vm tag PID tag - text\n"
        );
        assert_eq!(
            put(SyslogFormat::Rfc5424Micro, 4, false),
            "<38>1 2026-11-22T06:39:09.352303Z vm tag PID tag - text\n"
        );
    }
}
