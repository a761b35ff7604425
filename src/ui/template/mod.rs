//! Templates in Go's language, as `--format` of docker's commands takes them: `{{.ID}}: {{join .Names ", "}}`.
//!
//! In: a text, once parsed; a JSON value it is filled with. Out: text. Names of fields are keys of objects. It is run on
//! what users write, so nothing in it may run for ever: there are no calls and no unbounded loops.
//! Imports: nothing of ours. Rules: Go's `text/template`; docker's `cli/templates` (`json`, `split`, `join`, `title`, `lower`,
//! `upper`, `pad`, `truncate`).

mod eval;
mod functions;
mod lex;
mod parse;

use serde_json::{Map, Value};

pub use functions::{go_json, printed};

/// Where in a template something stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct At {
    /// From 1.
    line: usize,
    /// Bytes before it in its line.
    column: usize,
}

impl At {
    fn of(source: &str, byte: usize) -> Self {
        let before = source.get(..byte).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, str::len);
        Self { line, column }
    }
}

/// Why a template can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template: :{text}")]
pub struct Fault {
    text: String,
}

impl Fault {
    fn at(at: At, text: impl std::fmt::Display) -> Self {
        Self {
            text: format!("{}: {text}", at.line),
        }
    }
    fn running(at: At, what: &str, text: impl std::fmt::Display) -> Self {
        Self {
            text: format!(
                "{}:{}: executing \"\" at <{what}>: {text}",
                at.line, at.column
            ),
        }
    }
}

/// What is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filling {
    /// A value.
    Value,
    /// Headings of a table: functions that change a value leave them as they are.
    Headings,
}

/// A template that was read.
#[derive(Debug, Clone)]
pub struct Template {
    nodes: Vec<parse::Node>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`Fault`] with where it stands.
    pub fn parse(source: &str) -> Result<Self, Fault> {
        let nodes = parse::parse(lex::pieces(source)?, &functions::is_known)?;
        Ok(Self { nodes })
    }
    /// Fills it with a value. `kind` names the value where it has no such field: `*formatter.imageContext`; without one it is
    /// said as of a map.
    ///
    /// # Errors
    /// [`Fault`]: a field that is not there, a function that can't do with its values.
    pub fn fill(
        &self,
        value: &Value,
        kind: Option<&str>,
        filling: Filling,
    ) -> Result<String, Fault> {
        eval::run(&self.nodes, value, kind, None, filling)
    }
    /// As [`Template::fill`], of what has labels: `.Label "name"` is the value of one, or nothing.
    ///
    /// # Errors
    /// As [`Template::fill`].
    pub fn fill_labelled(
        &self,
        value: &Value,
        labels: &Map<String, Value>,
        kind: &str,
        filling: Filling,
    ) -> Result<String, Fault> {
        eval::run(&self.nodes, value, Some(kind), Some(labels), filling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fill(source: &str, value: &Value) -> String {
        match Template::parse(source).and_then(|t| t.fill(value, None, Filling::Value)) {
            Ok(text) => text,
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn templates_print_what_go_prints() {
        let value = json!({
            "Id": "sha256:abc", "Size": 1984135, "Tags": ["a:1", "b:2"], "Empty": [], "None": null, "On": true,
            "Config": {"Env": ["A=1"], "Labels": {"z": "26", "a": "<1>"}}, "Ratio": 0.5,
        });
        for (source, want) in [
            (
                "{{.Id}} {{.Size}} {{.On}} {{.Ratio}}",
                "sha256:abc 1984135 true 0.5",
            ),
            ("{{.Tags}} {{.Config.Labels}}", "[a:1 b:2] map[a:<1> z:26]"),
            (
                "{{json .Config.Labels}}",
                r#"{"a":"\u003c1\u003e","z":"26"}"#,
            ),
            (
                "{{len .Tags}} {{index .Tags 1}} {{index .Config.Labels \"z\"}}",
                "2 b:2 26",
            ),
            (
                "{{join .Tags \"+\"}} {{upper .Id}} {{title \"ab cd\"}}",
                "a:1+b:2 SHA256:ABC Ab Cd",
            ),
            (
                "{{range $i, $e := .Tags}}{{$i}}={{$e}},{{end}}",
                "0=a:1,1=b:2,",
            ),
            ("{{range .Empty}}x{{else}}none{{end}}", "none"),
            (
                "{{range $k, $v := .Config.Labels}}{{$k}}:{{$v}};{{end}}",
                "a:<1>;z:26;",
            ),
            (
                "{{with .Config}}{{.Env}}{{end}}{{with .None}}x{{else}}y{{end}}",
                "[A=1]y",
            ),
            ("{{if eq .Id \"x\"}}a{{else if .On}}b{{else}}c{{end}}", "b"),
            ("{{if and .On (gt .Size 5) (not .None)}}yes{{end}}", "yes"),
            (
                "{{(index (split .Id \":\") 1) | printf \"%s!\" | println}}",
                "abc!\n",
            ),
            (
                "{{printf \"%-6s|%3d|%q|%v%%\" .Id 7 \"x\" .Tags}}",
                "sha256:abc|  7|\"x\"|[a:1 b:2]%",
            ),
            ("{{println .Id}}{{print 1 2 \"x\"}}", "sha256:abc\n1 2x"),
            ("a {{- /* no */ -}} b{{- .Id -}} c", "absha256:abcc"),
            ("{{$x := .Id}}{{$x}} {{$.Size}}", "sha256:abc 1984135"),
            (
                "{{truncate .Id 3}}|{{pad .Id 1 2}}|{{slice .Id 0 3}}",
                "sha| sha256:abc  |sha",
            ),
            (
                "{{range .Tags}}{{if eq . \"b:2\"}}{{break}}{{end}}{{.}}{{end}}",
                "a:1",
            ),
            (
                "{{or .None .Id}} {{ne 1 2}} {{le 1 1}} {{lt \"a\" \"b\"}}",
                "sha256:abc true true true",
            ),
        ] {
            assert_eq!(fill(source, &value), want, "{source}");
        }
    }

    #[test]
    fn faults_are_told_as_docker_tells_them() {
        let value = json!({"Id": "x"});
        for (source, want) in [
            ("{{.Id", "template: :1: unclosed action"),
            (
                "{{.Nope}}",
                "template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\"",
            ),
            (
                "{{nope .Id}}",
                "template: :1: function \"nope\" not defined",
            ),
            ("{{if .Id}}", "template: :1: unexpected EOF"),
            ("{{end}}", "template: :1: unexpected {{end}}"),
            ("{{}}", "template: :1: missing value for command"),
            (
                "\n{{.Id.x}}",
                "template: :2:2: executing \"\" at <.Id.x>: can't evaluate field x in type string",
            ),
            (
                "{{index .Id 9}}",
                "template: :1:2: executing \"\" at <index .Id 9>: error calling index: index out of range: 9",
            ),
        ] {
            assert_eq!(fill(source, &value), want, "{source}");
        }
        let deep = "{{if .Id}}".repeat(200);
        assert!(fill(&deep, &value).contains("nested too deep"));
        let deep = format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000));
        assert!(fill(&deep, &value).contains("nested too deep"));
    }
}
