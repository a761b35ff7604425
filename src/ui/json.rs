//! What programs read: progress as one JSON object a line, findings as one object.
//!
//! In: events, findings. Out: lines of JSON. Imports: `base`.
//! As Compose (`pkg/progress/json.go`) for the keys of progress; those of findings are our own, as is their version.

use serde_json::{Value, json};

use crate::base::diag::{Diagnostic, Severity};
use crate::base::event::{Event, Status, StopReport, is_last_phase};
use crate::base::scalar::ByteSize;
use crate::base::span::{SourceMap, Span};

/// One event as an object; `None` when it has nothing to tell a program.
pub fn object(event: &Event, dry_run: bool) -> Option<Value> {
    let mut value = match event {
        Event::Resource {
            kind,
            name,
            status,
            detail,
        } => resource(*kind, name, status, detail.as_deref()),
        Event::Pull {
            image,
            layer,
            done,
            total,
            phase,
        } => {
            let parent = super::progress::resource_id(crate::base::event::Kind::Image, image);
            transfer(layer, &parent, phase, *done, *total)
        }
        // Steps have a form of their own.
        Event::Build { .. } | Event::Output { .. } => return None,
        Event::SlowStop(report) => slow_stop(report),
        Event::Notice(text) => json!({ "text": text }),
        Event::Warn(text) => json!({ "status": "Warning", "text": text }),
    };
    if dry_run {
        value["dry-run"] = json!(true);
    }
    Some(value)
}

/// A stop that cost time: a warning as others are, with its parts beside.
fn slow_stop(report: &StopReport) -> Value {
    json!({
        "id": super::progress::resource_id(crate::base::event::Kind::Container, &report.container),
        "status": "Warning",
        "text": report.text,
        "stop": {
            "service": report.service,
            "signal": report.signal,
            "seconds": (report.seconds * 1000.0).round() / 1000.0,
            "killed": report.killed,
            "reason": report.reason,
            "hints": report.hints,
        },
    })
}

/// A layer on its way, with the keys of Compose: a bar as Docker draws it while bytes move, and what counts as done.
fn transfer(layer: &str, parent: &str, phase: &str, done: u64, total: Option<u64>) -> Value {
    let mut value = json!({ "id": layer, "parent_id": parent, "text": phase });
    let moves = matches!(phase, "Downloading" | "Extracting" | "Pushing");
    let total = total.filter(|total| *total > 0);
    if let (true, Some(total)) = (moves, total) {
        value["status"] = json!(bar(done, total));
        value["current"] = json!(done);
        value["total"] = json!(total);
        value["percent"] = json!(percent(done, total));
    } else if phase == "Download complete" || is_last_phase(phase) {
        value["percent"] = json!(100);
    }
    value
}

fn percent(done: u64, total: u64) -> u64 {
    let part = u128::from(done.min(total)) * 100 / u128::from(total.max(1));
    part.try_into().unwrap_or(100)
}

/// `[====>     ]  1.2MB/3.4MB`. As Docker: `pkg/jsonmessage`, `JSONProgress.String` on a terminal of 110 columns or more.
fn bar(done: u64, total: u64) -> String {
    let marks = usize::try_from(percent(done, total) / 2).unwrap_or(50);
    let (done, total) = (ByteSize(done).decimal(), ByteSize(total).decimal());
    format!(
        "[{}>{}] {done:>8}/{total}",
        "=".repeat(marks),
        " ".repeat(50 - marks)
    )
}

fn resource(
    kind: crate::base::event::Kind,
    name: &str,
    status: &Status,
    detail: Option<&str>,
) -> Value {
    let id = super::progress::resource_id(kind, name);
    let mut value = match status {
        Status::Working(verb) | Status::Done(verb) => json!({ "id": id, "status": verb }),
        Status::Failed(why) => json!({ "id": id, "status": "Error", "text": why }),
        Status::Warning(why) => json!({ "id": id, "status": "Warning", "text": why }),
    };
    if let Some(detail) = detail.filter(|_| value.get("text").is_none()) {
        value["text"] = json!(detail);
    }
    value
}

/// Findings for an editor: one line of JSON. Lines and columns count from 1, columns in characters; the end is the first
/// place behind. What a finding does not have is `null`.
pub fn findings(items: &[Diagnostic], sources: &SourceMap) -> String {
    let diagnostics: Vec<Value> = items.iter().map(|item| finding(item, sources)).collect();
    format!("{}\n", json!({ "version": 1, "diagnostics": diagnostics }))
}

fn finding(item: &Diagnostic, sources: &SourceMap) -> Value {
    let severity = match item.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let path = item.path.as_ref().filter(|path| !path.0.is_empty());
    let (start, end) = (item.span, item.span.map(behind));
    let place = |span: Option<Span>| span.map(|span| sources.line_col(span)).unzip();
    let ((line, column), (end_line, end_column)) = (place(start), place(end));
    let related = |(span, message): &(Span, String)| {
        let (line, column) = sources.line_col(*span);
        json!({ "file": file(*span, sources), "line": line, "column": column, "message": message })
    };
    json!({
        "severity": severity,
        "message": item.message,
        "path": path.map(ToString::to_string),
        "file": start.map(|span| file(span, sources)),
        "line": line,
        "column": column,
        "endLine": end_line,
        "endColumn": end_column,
        "label": item.label,
        "hints": item.hints,
        "related": item.related.iter().map(related).collect::<Vec<_>>(),
    })
}

fn file(span: Span, sources: &SourceMap) -> &str {
    sources.get(span.source).map_or("", |source| &source.name)
}

/// The place behind a span.
fn behind(span: Span) -> Span {
    Span {
        start: span.end,
        ..span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_have_their_place_and_null_for_what_they_lack() {
        let mut sources = SourceMap::default();
        let id = sources.add("compose.yaml", "a: 1\né: x\n");
        let placed = Diagnostic::error("m")
            .at(Span::new(id, 9, 10))
            .label("l")
            .hint("h")
            .related(Span::new(id, 0, 1), "here");
        let bare = Diagnostic::warning("w");
        let text = findings(&[placed, bare], &sources);
        let read: Value = serde_json::from_str(&text).expect("JSON");
        let want = json!({"version": 1, "diagnostics": [
            {"severity": "error", "message": "m", "path": null, "file": "compose.yaml", "line": 2, "column": 4,
             "endLine": 2, "endColumn": 5, "label": "l", "hints": ["h"],
             "related": [{"file": "compose.yaml", "line": 1, "column": 1, "message": "here"}]},
            {"severity": "warning", "message": "w", "path": null, "file": null, "line": null, "column": null,
             "endLine": null, "endColumn": null, "label": null, "hints": [], "related": []},
        ]});
        assert_eq!(read, want);
        assert!(text.ends_with("}\n") && text.lines().count() == 1);
    }
    use crate::base::event::Kind;

    #[test]
    fn a_layer_on_its_way_has_the_keys_of_docker_compose() {
        let text = |phase, done| {
            let event = Event::Pull {
                image: "x".into(),
                layer: "abc".into(),
                done,
                total: Some(4000),
                phase,
            };
            object(&event, false).map_or_else(String::new, |value| value.to_string())
        };
        assert_eq!(
            text("Pulling fs layer", 0),
            r#"{"id":"abc","parent_id":"Image x","text":"Pulling fs layer"}"#
        );
        let bar = format!("[{}>{}]      1kB/4kB", "=".repeat(12), " ".repeat(38));
        assert_eq!(
            text("Downloading", 1000),
            format!(
                r#"{{"id":"abc","parent_id":"Image x","text":"Downloading","status":"{bar}","current":1000,"total":4000,"percent":25}}"#
            )
        );
        assert_eq!(
            text("Pull complete", 4000),
            r#"{"id":"abc","parent_id":"Image x","text":"Pull complete","percent":100}"#
        );
    }

    #[test]
    fn a_resource_has_the_keys_of_docker_compose() {
        let event = Event::Resource {
            kind: Kind::Container,
            name: "demo-a-1".into(),
            status: Status::Done("Started"),
            detail: None,
        };
        let text = object(&event, false).map(|v| v.to_string());
        assert_eq!(
            text.as_deref(),
            Some(r#"{"id":"Container demo-a-1","status":"Started"}"#)
        );
    }
}
