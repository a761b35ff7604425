//! Steps as BuildKit's raw progress: one JSON object a line.
//!
//! In: what happened to steps, and the time of day. Out: objects with `vertexes`, `statuses`, `logs` or `warnings`, as
//! `docker build --progress=rawjson` prints them; `because` and `key` of a vertex are our own. A step's digest names
//! it within the command; it says nothing of what the step made.
//! Imports: `base`. As BuildKit: `client.SolveStatus` in `client/graph.go`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::headline;
use crate::base::clock::Timestamp;
use crate::base::event::{BuildStep, BuildWarning, Part};

/// What later objects repeat of earlier ones.
#[derive(Debug, Default)]
pub struct Raw {
    vertexes: BTreeMap<(String, u32), Vertex>,
}

#[derive(Debug, Default, Clone)]
struct Vertex {
    digest: String,
    name: String,
    inputs: Vec<String>,
    started: Option<String>,
    /// What it waits for, and since when.
    waiting: Option<(String, String)>,
    parts: BTreeMap<String, String>,
    because: Vec<String>,
    key: Option<String>,
}

impl Raw {
    /// The object of an event; most tell one, some none.
    pub fn take(
        &mut self,
        target: &str,
        step: u32,
        what: &BuildStep,
        now: Timestamp,
    ) -> Option<Value> {
        let known = self.vertexes.entry((target.to_owned(), step));
        let vertex = known.or_insert_with(|| Vertex {
            digest: digest(target, step),
            ..Vertex::default()
        });
        let time = now.rfc3339();
        match what {
            BuildStep::Planned { title, inputs, .. } => {
                vertex.name.clone_from(title);
                let inputs = inputs.iter().map(|input| digest(target, *input));
                vertex.inputs = inputs.collect();
                Some(vertex.told(json!({})))
            }
            BuildStep::Started(title) => {
                vertex.name.clone_from(title);
                vertex.started = Some(time);
                Some(vertex.told(json!({})))
            }
            BuildStep::Because(why) => {
                vertex.because.clone_from(why);
                Some(vertex.told(json!({})))
            }
            BuildStep::Key(key) => {
                vertex.key = Some(key.clone());
                None
            }
            BuildStep::Waiting(what) => vertex.waits(what.as_deref(), time),
            BuildStep::Part(part) => Some(vertex.part(part, time)),
            BuildStep::Output(line) => {
                let data = STANDARD.encode(format!("{line}\n"));
                let log = json!({
                    "vertex": vertex.digest, "stream": 1, "data": data, "timestamp": time,
                });
                Some(json!({ "logs": [log] }))
            }
            BuildStep::Warned(warning) => Some(vertex.warned(warning)),
            BuildStep::Cached => {
                vertex.started = Some(time.clone());
                Some(vertex.told(json!({ "completed": time, "cached": true })))
            }
            BuildStep::Done(_) => Some(vertex.told(json!({ "completed": time }))),
            BuildStep::Failed(why) => Some(vertex.told(json!({ "completed": time, "error": why }))),
            BuildStep::Cancelled => {
                let why = "context canceled";
                Some(vertex.told(json!({ "completed": time, "error": why })))
            }
            BuildStep::Partial(_) => None,
        }
    }
}

impl Vertex {
    /// The vertex as it is now, with what is new.
    fn told(&self, new: Value) -> Value {
        let mut value = json!({ "digest": self.digest });
        if !self.inputs.is_empty() {
            value["inputs"] = json!(self.inputs);
        }
        value["name"] = json!(self.name);
        if let Some(started) = &self.started {
            value["started"] = json!(started);
        }
        for (name, new) in new.as_object().into_iter().flatten() {
            value[name] = new.clone();
        }
        if !self.because.is_empty() {
            value["because"] = json!(self.because);
        }
        if let Some(key) = &self.key {
            value["key"] = json!(key);
        }
        json!({ "vertexes": [value] })
    }

    fn status(&self, id: &str, (begun, now): (&str, &str), done: bool) -> Value {
        let mut value = json!({ "id": id, "vertex": self.digest });
        value["current"] = json!(0);
        value["timestamp"] = json!(now);
        value["started"] = json!(begun);
        if done {
            value["completed"] = json!(now);
        }
        value
    }

    fn part(&mut self, part: &Part, now: String) -> Value {
        let known = self.parts.entry(part.id.clone());
        let begun = known.or_insert_with(|| now.clone()).clone();
        let mut value = self.status(&part.id, (&begun, &now), part.done);
        value["current"] = json!(part.current);
        if let Some(total) = part.total {
            value["total"] = json!(total);
        }
        json!({ "statuses": [value] })
    }

    fn waits(&mut self, what: Option<&str>, now: String) -> Option<Value> {
        let done = what.is_none();
        let (id, begun) = match what {
            Some(what) => (format!("waiting for {what}"), now.clone()),
            None => self.waiting.take()?,
        };
        let value = self.status(&id, (&begun, &now), done);
        if !done {
            self.waiting = Some((id, begun));
        }
        Some(json!({ "statuses": [value] }))
    }

    fn warned(&self, warning: &BuildWarning) -> Value {
        // As there, the file's name stands in a field of its own.
        let bare = BuildWarning {
            file: String::new(),
            ..warning.clone()
        };
        let mut value = json!({
            "vertex": self.digest, "level": 1, "short": STANDARD.encode(headline(&bare)),
        });
        if !warning.detail.is_empty() {
            value["detail"] = json!([STANDARD.encode(&warning.detail)]);
        }
        if !warning.url.is_empty() {
            value["url"] = json!(warning.url);
        }
        value["sourceInfo"] = json!({
            "filename": warning.file, "data": STANDARD.encode(&warning.text), "language": "Dockerfile",
        });
        let (first, last) = warning.lines;
        if first > 0 {
            value["range"] = json!([{ "start": { "line": first }, "end": { "line": last } }]);
        }
        json!({ "warnings": [value] })
    }
}

/// A name for a step: as long as those of BuildKit, the same each time the same thing is built.
fn digest(target: &str, step: u32) -> String {
    let hash = Sha256::digest(format!("{target}\0{step}"));
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(raw: &mut Raw, what: BuildStep) -> Value {
        let value = raw.take("web", 2, &what, Timestamp(1_000_000_000));
        value.expect("it tells something")
    }
    const TIME: &str = "1970-01-01T00:00:01.000000000Z";

    #[test]
    fn a_vertex_has_the_fields_of_buildkit() {
        let mut raw = Raw::default();
        let planned = BuildStep::Planned {
            title: "[2/2] RUN make".into(),
            stage: String::new(),
            inputs: vec![1],
        };
        let (own, below) = (digest("web", 2), digest("web", 1));
        let want =
            json!({"vertexes": [{"digest": own, "inputs": [below], "name": "[2/2] RUN make"}]});
        assert_eq!(told(&mut raw, planned), want);
        let value = told(&mut raw, BuildStep::Started("[2/2] RUN make".into()));
        assert_eq!(value["vertexes"][0]["started"], TIME);
        let value = told(&mut raw, BuildStep::Because(vec!["a changed".into()]));
        assert_eq!(value["vertexes"][0]["because"], json!(["a changed"]));
        let value = told(&mut raw, BuildStep::Failed("exit code: 1".into()));
        let vertex = &value["vertexes"][0];
        assert_eq!(
            (&vertex["completed"], &vertex["error"]),
            (&json!(TIME), &json!("exit code: 1"))
        );
        let value = told(&mut Raw::default(), BuildStep::Cached);
        assert_eq!(value["vertexes"][0]["cached"], true);
    }

    #[test]
    fn output_parts_and_waits_name_their_vertex() {
        let mut raw = Raw::default();
        let own = digest("web", 2);
        let want =
            json!({"logs": [{"vertex": own, "stream": 1, "data": "b25lMQo=", "timestamp": TIME}]});
        assert_eq!(told(&mut raw, BuildStep::Output("one1".into())), want);
        let part = Part {
            id: "transferring context:".into(),
            current: 22,
            total: Some(30),
            ..Part::default()
        };
        let want = json!({"statuses": [{"id": "transferring context:", "vertex": own, "current": 22,
            "timestamp": TIME, "started": TIME, "total": 30}]});
        assert_eq!(told(&mut raw, BuildStep::Part(part)), want);
        told(&mut raw, BuildStep::Waiting(Some("a slot".into())));
        let value = told(&mut raw, BuildStep::Waiting(None));
        let status = &value["statuses"][0];
        assert_eq!(
            (&status["id"], &status["completed"]),
            (&json!("waiting for a slot"), &json!(TIME))
        );
        assert!(
            raw.take("web", 2, &BuildStep::Waiting(None), Timestamp(0))
                .is_none()
        );
    }

    #[test]
    fn a_warning_carries_its_file_and_line() {
        let warning = BuildWarning {
            rule: "UndefinedVar".into(),
            message: "Usage of undefined variable '$b'".into(),
            detail: "Variables should be defined before their use".into(),
            url: "https://docs.docker.com/go/dockerfile/rule/undefined-var/".into(),
            file: "w.Dockerfile".into(),
            text: "from busybox as x\nRUN exit 0\nARG A=$b\nCMD echo\n".into(),
            lines: (3, 3),
        };
        let value = told(&mut Raw::default(), BuildStep::Warned(warning));
        let warning = &value["warnings"][0];
        // As the reference prints it.
        let short = "VW5kZWZpbmVkVmFyOiBVc2FnZSBvZiB1bmRlZmluZWQgdmFyaWFibGUgJyRiJyAobGluZSAzKQ==";
        assert_eq!(warning["short"], short);
        let detail = "VmFyaWFibGVzIHNob3VsZCBiZSBkZWZpbmVkIGJlZm9yZSB0aGVpciB1c2U=";
        assert_eq!(warning["detail"], json!([detail]));
        assert_eq!(warning["sourceInfo"]["filename"], "w.Dockerfile");
        let data = "ZnJvbSBidXN5Ym94IGFzIHgKUlVOIGV4aXQgMApBUkcgQT0kYgpDTUQgZWNobwo=";
        assert_eq!(warning["sourceInfo"]["data"], data);
        assert_eq!(
            warning["range"],
            json!([{"start": {"line": 3}, "end": {"line": 3}}])
        );
    }
}
