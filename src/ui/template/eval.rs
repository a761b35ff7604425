//! A tree and a value → text.
//!
//! Imports: `template`. Rules: Go's `text/template`, `exec.go`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::functions::{call, printed, truth};
use super::parse::{Node, Operand, Pipeline, What};
use super::{At, Fault, Filling};

/// Longest text a template may make, in bytes.
const LONGEST: usize = 64 << 20;

/// How a list of nodes ended.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Run<'a> {
    root: &'a Value,
    kind: Option<&'a str>,
    labels: Option<&'a Map<String, Value>>,
    filling: Filling,
    variables: Vec<(String, Value)>,
    text: String,
}

pub(super) fn run(
    nodes: &[Node],
    value: &Value,
    kind: Option<&str>,
    labels: Option<&Map<String, Value>>,
    filling: Filling,
) -> Result<String, Fault> {
    let mut run = Run {
        root: value,
        kind,
        labels,
        filling,
        variables: Vec::new(),
        text: String::new(),
    };
    run.list(nodes, value)?;
    Ok(run.text)
}

impl Run<'_> {
    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Fault> {
        let known = self.variables.len();
        let mut flow = Flow::On;
        for node in nodes {
            flow = self.node(node, dot)?;
            if flow != Flow::On {
                break;
            }
        }
        self.variables.truncate(known);
        Ok(flow)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, Fault> {
        match node {
            Node::Text(text) => self.text.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.names.is_empty() {
                    self.text.push_str(&printed(&value));
                }
            }
            Node::If {
                with,
                what,
                then,
                otherwise,
            } => {
                let known = self.variables.len();
                let value = self.pipeline(what, dot)?;
                let flow = match (truth(&value), with) {
                    (true, true) => self.list(then, &value),
                    (true, false) => self.list(then, dot),
                    (false, _) => self.list(otherwise, dot),
                };
                self.variables.truncate(known);
                return flow;
            }
            Node::Range {
                what,
                each,
                otherwise,
            } => return self.range(what, each, otherwise, dot),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        match self.text.len() > LONGEST {
            true => Err(Fault::at(
                At { line: 1, column: 0 },
                "it makes too much text",
            )),
            false => Ok(Flow::On),
        }
    }

    fn range(
        &mut self,
        what: &Pipeline,
        each: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, Fault> {
        let bare = Pipeline {
            names: Vec::new(),
            ..what.clone()
        };
        let value = self.pipeline(&bare, dot)?;
        let items: Vec<(Value, Value)> = match &value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(at, item)| (Value::from(at), item.clone()))
                .collect(),
            Value::Object(map) => sorted(map)
                .map(|(key, item)| (Value::from(key.as_str()), item.clone()))
                .collect(),
            Value::Null => Vec::new(),
            other => {
                let at = place(what);
                return Err(Fault::running(
                    at,
                    &pipeline_text(what),
                    format!("range can't iterate over {}", printed(other)),
                ));
            }
        };
        if items.is_empty() {
            return self.list(otherwise, dot);
        }
        let known = self.variables.len();
        for (key, item) in items {
            match what.names.as_slice() {
                [one] => self.set(one, item.clone(), what.new),
                [index, one] => {
                    self.set(index, key, what.new);
                    self.set(one, item.clone(), what.new);
                }
                _ => {}
            }
            let flow = self.list(each, &item)?;
            self.variables.truncate(known);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn set(&mut self, name: &str, value: Value, new: bool) {
        let known = self
            .variables
            .iter_mut()
            .rev()
            .find(|(known, _)| known == name);
        match known.filter(|_| !new) {
            Some((_, place)) => *place = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Fault> {
        let mut last: Option<Value> = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, dot, last)?);
        }
        let value = last.unwrap_or(Value::Null);
        for name in &pipeline.names {
            self.set(name, value.clone(), pipeline.new);
        }
        Ok(value)
    }

    fn command(
        &mut self,
        command: &[Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, Fault> {
        let Some((first, rest)) = command.split_first() else {
            return Ok(Value::Null);
        };
        let What::Function(name) = &first.what else {
            if let Some(label) = self.label(first, rest, dot, last.as_ref())? {
                return Ok(label);
            }
            if !rest.is_empty() || last.is_some() {
                let text = "can't give argument to non-function";
                return Err(Fault::running(first.at, &operand_text(first), text));
            }
            return self.operand(first, dot).map(Cow::into_owned);
        };
        let mut given = Vec::new();
        for operand in rest {
            given.push(self.operand(operand, dot)?.into_owned());
            // What comes behind does not count any more.
            let decided = given.last().map(truth);
            if (name == "and" && decided == Some(false)) || (name == "or" && decided == Some(true))
            {
                return Ok(given.pop().unwrap_or_default());
            }
        }
        given.extend(last);
        let value = call(name, given, self.filling)
            .map_err(|why| Fault::running(first.at, &command_text(command), why))?;
        self.fields(first, value)
    }

    /// `.Label "name"`, the one field that takes a value: a label of what has any. Above a column it is the label's last word.
    fn label(
        &mut self,
        first: &Operand,
        rest: &[Operand],
        dot: &Value,
        last: Option<&Value>,
    ) -> Result<Option<Value>, Fault> {
        let Some(labels) = self.labels else {
            return Ok(None);
        };
        let is_method = matches!(first.what, What::Dot) && first.fields == ["Label"];
        let given = match (rest, last) {
            ([name], None) => Some(self.operand(name, dot)?.into_owned()),
            ([], Some(name)) => Some(name.clone()),
            _ => None,
        };
        let (true, Some(Value::String(name))) = (is_method, given) else {
            return Ok(None);
        };
        Ok(Some(match self.filling {
            Filling::Value => labels.get(&name).cloned().unwrap_or(Value::from("")),
            Filling::Headings => {
                let word = name.rsplit('.').next().unwrap_or_default();
                Value::from(word.replace(['-', '_'], " "))
            }
        }))
    }

    fn operand<'v>(&mut self, operand: &Operand, dot: &'v Value) -> Result<Cow<'v, Value>, Fault> {
        let base = match &operand.what {
            What::Dot => return self.walk(operand, dot).map(Cow::Borrowed),
            What::Variable(name) if name.is_empty() => {
                let root = self.root;
                return Ok(Cow::Owned(self.walk(operand, root)?.clone()));
            }
            What::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                known.map(|(_, value)| value.clone()).ok_or_else(|| {
                    Fault::at(operand.at, format!("undefined variable \"${name}\""))
                })?
            }
            What::Constant(value) => value.clone(),
            What::Function(name) => call(name, Vec::new(), self.filling)
                .map_err(|why| Fault::running(operand.at, name, why))?,
            What::Group(pipeline) => self.pipeline(pipeline, dot)?,
        };
        self.fields(operand, base).map(Cow::Owned)
    }

    fn fields(&self, operand: &Operand, value: Value) -> Result<Value, Fault> {
        match operand.fields.is_empty() {
            true => Ok(value),
            false => self.walk(operand, &value).cloned(),
        }
    }

    fn walk<'v>(&self, operand: &Operand, mut value: &'v Value) -> Result<&'v Value, Fault> {
        for name in &operand.fields {
            let said = |text: String| Fault::running(operand.at, &operand_text(operand), text);
            value = match (value, self.kind) {
                (Value::Object(map), kind) => match (map.get(name), kind) {
                    (Some(value), _) => value,
                    (None, Some(kind)) if std::ptr::eq(value, self.root) => {
                        return Err(said(format!("can't evaluate field {name} in type {kind}")));
                    }
                    (None, _) => {
                        return Err(said(format!("map has no entry for key {name:?}")));
                    }
                },
                (Value::Null, _) => {
                    return Err(said(format!(
                        "nil pointer evaluating interface {{}}.{name}"
                    )));
                }
                (other, _) => {
                    let kind = match other {
                        Value::String(_) => "string",
                        Value::Bool(_) => "bool",
                        Value::Array(_) => "[]interface {}",
                        _ => "int64",
                    };
                    return Err(said(format!("can't evaluate field {name} in type {kind}")));
                }
            };
        }
        Ok(value)
    }
}

/// Entries of an object in the order of their keys, as Go goes through maps.
pub(super) fn sorted(
    map: &serde_json::Map<String, Value>,
) -> impl Iterator<Item = (&String, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| key.as_str());
    entries.into_iter()
}

fn place(pipeline: &Pipeline) -> At {
    let first = pipeline
        .commands
        .first()
        .and_then(|command| command.first());
    first.map(|operand| operand.at).unwrap_or_default()
}

fn operand_text(operand: &Operand) -> String {
    let mut text = match &operand.what {
        What::Dot if operand.fields.is_empty() => ".".to_owned(),
        What::Dot => String::new(),
        What::Variable(name) => format!("${name}"),
        What::Constant(Value::String(text)) => format!("{text:?}"),
        What::Constant(value) => printed(value),
        What::Function(name) => name.clone(),
        What::Group(pipeline) => format!("({})", pipeline_text(pipeline)),
    };
    for field in &operand.fields {
        text.push('.');
        text.push_str(field);
    }
    text
}

fn command_text(command: &[Operand]) -> String {
    command
        .iter()
        .map(operand_text)
        .collect::<Vec<_>>()
        .join(" ")
}

fn pipeline_text(pipeline: &Pipeline) -> String {
    let commands = pipeline
        .commands
        .iter()
        .map(|command| command_text(command));
    commands.collect::<Vec<_>>().join(" | ")
}
