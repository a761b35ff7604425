//! The stream of events that programs read (`--progress json`): one JSON object a line on standard error.
//!
//! In: events, and the objects that docker compose would print of them ([`json`](super::json)). Out: the same objects with
//! fields of our own, which a reader of docker compose's passes over: `event` says what a line is. The first line has the
//! version, the last one how the command ended. Fields may be added within a version; none changes its meaning.
//! Imports: `base`.

use serde_json::{Value, json};

use crate::base::diag::Diagnostic;
use crate::base::event::{Event, Kind, Status};
use crate::base::span::SourceMap;

/// The version of the stream.
pub const VERSION: u32 = 1;

/// The first line of a command.
pub fn start(command: &str) -> String {
    let line = json!({
        "event": "start", "version": VERSION, "command": command, "hoist": env!("CARGO_PKG_VERSION"),
    });
    format!("{line}\n")
}

/// The last line of a command.
pub fn result(command: &str, code: i32, millis: u128) -> String {
    let millis = u64::try_from(millis).unwrap_or(u64::MAX);
    let line = json!({
        "event": "result", "version": VERSION, "command": command, "ok": code == 0, "code": code, "elapsed_ms": millis,
    });
    format!("{line}\n")
}

/// A line for the user that belongs to nothing else.
pub fn notice(text: &str) -> String {
    format!("{}\n", json!({ "text": text, "event": "notice" }))
}

/// A warning for the user that belongs to nothing else.
pub fn warning(text: &str) -> String {
    let line = json!({ "status": "Warning", "text": text, "event": "warning" });
    format!("{line}\n")
}

/// Why a command failed: the text as people read it, and its findings with their places.
pub fn failure(message: &str, found: &[Diagnostic], sources: &SourceMap) -> String {
    let text = super::json::findings(found, sources);
    let found: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut line = json!({ "event": "error", "error": true, "message": message });
    line["diagnostics"] = found["diagnostics"].clone();
    format!("{line}\n")
}

/// Adds to an object of docker compose what it lacks for programs.
pub fn complete(event: &Event, mut value: Value, dry_run: bool) -> Value {
    if dry_run {
        value["dry-run"] = json!(true);
    }
    match event {
        Event::Resource {
            kind, name, status, ..
        } => {
            value["event"] = json!("resource");
            value["kind"] = json!(kind_word(*kind));
            value["name"] = json!(name);
            value["state"] = json!(match status {
                Status::Working(_) => "working",
                Status::Done(_) => "done",
                Status::Failed(_) => "failed",
                Status::Warning(_) => "warning",
            });
        }
        Event::Pull {
            image, done, total, ..
        } => {
            value["event"] = json!("transfer");
            value["name"] = json!(image);
            value["done"] = json!(done);
            value["bytes"] = json!(total);
        }
        Event::Build { target, .. } => {
            value["event"] = json!("build");
            value["name"] = json!(target);
        }
        Event::Warn(_) => value["event"] = json!("warning"),
        _ => value["event"] = json!("notice"),
    }
    value
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Image => "image",
        Kind::Network => "network",
        Kind::Volume => "volume",
        Kind::Container => "container",
        Kind::Provider => "provider",
        Kind::Model => "model",
        Kind::Artifact => "artifact",
    }
}

/// The JSON schema (draft 2020-12) of one line.
pub fn schema() -> Value {
    let text = |about: &str| json!({ "type": "string", "description": about });
    let line = |name: &str, about: &str, required: &[&str], mut properties: Value| {
        properties["event"] = json!({ "const": name });
        let required: Vec<&str> = std::iter::once("event")
            .chain(required.iter().copied())
            .collect();
        json!({ "description": about, "type": "object", "required": required, "properties": properties })
    };
    let whole = json!({ "type": "integer", "minimum": 0 });
    let dry = json!({ "type": "boolean", "description": "nothing of it was done" });
    let lists = json!({ "type": "array", "items": { "type": "object" } });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of hoist --progress json",
        "description": "Lines are written to standard error while a command works. `id`, `status`, `text`, `parent_id`, `current`, \
                        `total` and `percent` are those of docker compose; lines of builds are those of BuildKit. Readers pass over \
                        fields and events that they do not know.",
        "oneOf": [
            line("start", "The first line.", &["version", "command", "hoist"], json!({
                "version": { "const": VERSION }, "command": text("up"), "hoist": text("the version of hoist"),
            })),
            line("resource", "A container, image, network … comes to a new standing.", &["id", "status", "kind", "name", "state"], json!({
                "id": text("Container demo-web-1"), "status": text("Starting, Started, Error"),
                "text": text("why, or what went wrong"), "name": text("demo-web-1"),
                "kind": { "enum": ["image", "network", "volume", "container", "provider", "model", "artifact"] },
                "state": { "enum": ["working", "done", "failed", "warning"] }, "dry-run": dry.clone(),
            })),
            line("transfer", "Bytes of a layer that is pulled or pushed.", &["id", "parent_id", "text", "name", "done", "bytes"], json!({
                "id": text("the layer"), "parent_id": text("Image NAME"), "text": text("Downloading, Pull complete"),
                "status": text("a bar"), "name": text("the image"), "current": whole.clone(), "total": whole.clone(),
                "percent": whole.clone(), "done": whole.clone(), "bytes": { "type": ["integer", "null"], "minimum": 0 },
                "dry-run": dry.clone(),
            })),
            line("build", "Steps of a build, as BuildKit tells them.", &["name"], json!({
                "name": text("the service or tag that is built"), "vertexes": lists.clone(), "statuses": lists.clone(),
                "logs": lists.clone(), "warnings": lists, "dry-run": dry.clone(),
            })),
            line("notice", "A line for the user.", &["text"], json!({ "text": text("what it says"), "dry-run": dry.clone() })),
            line("warning", "A warning for the user.", &["text", "status"], json!({
                "text": text("what it says"), "status": { "const": "Warning" }, "dry-run": dry,
            })),
            line("error", "Why the command fails.", &["error", "message", "diagnostics"], json!({
                "error": { "const": true }, "message": text("as people read it"),
                "diagnostics": { "type": "array", "items": {
                    "type": "object", "required": ["severity", "message", "file", "line", "column", "hints"],
                    "properties": {
                        "severity": { "enum": ["error", "warning"] }, "message": { "type": "string" },
                        "path": { "type": ["string", "null"] }, "file": { "type": ["string", "null"] },
                        "line": { "type": ["integer", "null"] }, "column": { "type": ["integer", "null"] },
                        "hints": { "type": "array", "items": { "type": "string" } },
                    },
                } },
            })),
            line("result", "The last line.", &["version", "command", "ok", "code", "elapsed_ms"], json!({
                "version": { "const": VERSION }, "command": text("up"), "ok": { "type": "boolean" },
                "code": { "type": "integer" }, "elapsed_ms": whole,
            })),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_the_keys_of_docker_compose_and_gets_our_own_behind_them() {
        let event = Event::Resource {
            kind: Kind::Container,
            name: "demo-a-1".into(),
            status: Status::Done("Started"),
            detail: None,
        };
        let value = json!({ "id": "Container demo-a-1", "status": "Started" });
        assert_eq!(
            complete(&event, value, false).to_string(),
            r#"{"id":"Container demo-a-1","status":"Started","event":"resource","kind":"container","name":"demo-a-1","state":"done"}"#
        );
    }

    #[test]
    fn a_failure_has_its_places() {
        let mut sources = SourceMap::default();
        let id = sources.add("compose.yaml", "a: 1\n");
        let fault = Diagnostic::error("m").at(crate::base::span::Span::new(id, 3, 4));
        let line: Value = serde_json::from_str(&failure("text", &[fault], &sources)).expect("JSON");
        assert_eq!(line["error"], true);
        assert_eq!(line["diagnostics"][0]["file"], "compose.yaml");
        assert_eq!(line["diagnostics"][0]["column"], 4);
    }
}
