//! Messages to the journal.
//!
//! Imports: `engine`. Source: systemd, "Native Journal Protocol"; moby `daemon/logger/journald/journald.go`: the fields.

use crate::engine::LogRecord;
use crate::engine::spec::ContainerSpec;

/// What every message of a container has, and how far its long lines are.
#[derive(Debug)]
pub(super) struct Form {
    common: Vec<u8>,
    id: String,
    name: String,
    /// Of each stream: the long line whose parts come, and the number of the next part.
    long: [Option<(String, u32)>; 2],
}

impl Form {
    pub(super) fn new(spec: &ContainerSpec, tag: &str) -> Self {
        let mut common = Vec::new();
        let id = spec.id.to_string();
        field(&mut common, "CONTAINER_ID", spec.id.short().as_bytes());
        field(&mut common, "CONTAINER_ID_FULL", id.as_bytes());
        field(&mut common, "CONTAINER_TAG", tag.as_bytes());
        field(&mut common, "IMAGE_NAME", spec.image.name.as_bytes());
        field(&mut common, "SYSLOG_IDENTIFIER", tag.as_bytes());
        for (key, value) in &spec.log.attributes {
            let key = field_name(key);
            if !key.is_empty() {
                field(&mut common, &key, value.as_bytes());
            }
        }
        Self {
            common,
            id,
            name: spec.name.clone(),
            long: [None, None],
        }
    }

    /// The container's name, which may have changed since it was made.
    pub(super) fn set_name(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    /// Appends the message for a line.
    pub(super) fn put(&mut self, out: &mut Vec<u8>, record: &LogRecord) {
        let line = record.line.strip_suffix(b"\n");
        let priority: &[u8] = if record.stderr { b"3" } else { b"6" };
        field(out, "MESSAGE", line.unwrap_or(&record.line));
        field(out, "PRIORITY", priority);
        field(out, "CONTAINER_NAME", self.name.as_bytes());
        out.extend_from_slice(&self.common);
        field(out, "SYSLOG_TIMESTAMP", record.time.rfc3339().as_bytes());
        let long = &mut self.long[usize::from(record.stderr)];
        if line.is_some() && long.is_none() {
            return;
        }
        let stream = u8::from(record.stderr);
        let new = || (format!("{}-{}-{stream}", self.id, record.time.0), 1);
        let (id, part) = long.take().unwrap_or_else(new);
        field(out, "CONTAINER_PARTIAL_ID", id.as_bytes());
        field(
            out,
            "CONTAINER_PARTIAL_ORDINAL",
            part.to_string().as_bytes(),
        );
        field(
            out,
            "CONTAINER_PARTIAL_LAST",
            line.is_some().to_string().as_bytes(),
        );
        if line.is_none() {
            field(out, "CONTAINER_PARTIAL_MESSAGE", b"true");
            *long = Some((id, part + 1));
        }
    }
}

/// Appends a field: text without line ends as `KEY=value`, anything else with its length.
fn field(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    out.extend_from_slice(key.as_bytes());
    if value.iter().all(|byte| *byte >= b' ' || *byte == b'\t') {
        out.push(b'=');
    } else {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A label's or variable's name as a field may be called: capitals, digits, `_`, and no `_` in front.
fn field_name(key: &str) -> String {
    let letter = |c: char| match c {
        'a'..='z' => c.to_ascii_uppercase(),
        'A'..='Z' | '0'..='9' => c,
        _ => '_',
    };
    let name: String = key.chars().map(letter).collect();
    name.trim_start_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_fields_are_what_the_journal_takes() {
        assert_eq!(field_name("com.example/x-1"), "COM_EXAMPLE_X_1");
        assert_eq!(field_name("__a"), "A");
        assert_eq!(field_name("é."), "");
    }

    #[test]
    fn a_value_with_a_line_end_goes_with_its_length() {
        let mut out = Vec::new();
        field(&mut out, "A", b"x\ty");
        field(&mut out, "B", b"x\ny");
        assert_eq!(out, b"A=x\ty\nB\n\x03\0\0\0\0\0\0\0x\ny\n");
    }
}
