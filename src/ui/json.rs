//! Progress as one JSON object a line, keys as docker compose's `--progress json`.
//!
//! Imports: `base`. As Compose: `pkg/progress/json.go`.

use serde_json::{Value, json};

use crate::base::event::{BuildStep, Event, Status};

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
            let mut value = json!({
                "id": layer, "parent_id": format!("Image {image}"), "status": phase, "current": done,
            });
            if let Some(total) = total {
                value["total"] = json!(total);
            }
            value
        }
        Event::Build { target, step, what } => {
            let id = format!("#{step}");
            let (status, text) = match what {
                BuildStep::Started(name) => ("Building", name.clone()),
                BuildStep::Output(line) => ("Output", line.clone()),
                BuildStep::Cached => ("Cached", String::new()),
                BuildStep::Done(seconds) => ("Done", format!("{seconds:.1}s")),
                BuildStep::Failed(why) => ("Error", why.clone()),
            };
            let mut value =
                json!({ "id": id, "parent_id": format!("Image {target}"), "status": status });
            if !text.is_empty() {
                value["text"] = json!(text);
            }
            value
        }
        Event::Notice(text) => json!({ "text": text }),
        Event::Warn(text) => json!({ "status": "Warning", "text": text }),
    };
    if dry_run {
        value["dry-run"] = json!(true);
    }
    Some(value)
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

/// The last line of a command that failed.
pub fn failure(message: &str) -> String {
    format!("{}\n", json!({ "error": true, "message": message }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::Kind;

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
