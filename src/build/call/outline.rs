//! `--call outline`: arguments, secrets and ssh agents that a build of the target takes.
//!
//! Imports: the siblings, `dockerfile`, `lower`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Answer, Definition, table};
use crate::base::span::{SourceMap, Span};
use crate::build::BuildRequest;
use crate::build::dockerfile::ast::{ArgDecl, Dockerfile, Kind};
use crate::build::dockerfile::mounts::{self, MountKind};
use crate::build::dockerfile::vars::Expander;
use crate::build::lint::report;
use crate::build::lower::Graph;

/// What a build takes, each by name.
#[derive(Default)]
struct Takes {
    args: BTreeMap<String, Arg>,
    secrets: BTreeMap<String, Needed>,
    agents: BTreeMap<String, Needed>,
}

struct Arg {
    value: String,
    description: Option<String>,
    span: Span,
}

struct Needed {
    required: bool,
    span: Span,
}

pub(super) fn answer(
    definition: &Definition,
    graph: &Graph,
    request: &BuildRequest,
    sources: &SourceMap,
) -> Answer {
    let file = &definition.file;
    let mut takes = Takes::default();
    let globals = globals(file, graph);
    for (index, stage) in &graph.stages {
        let Some(decl) = file.stages.get(*index) else {
            continue;
        };
        for text in [Some(&decl.base), decl.platform.as_ref()]
            .into_iter()
            .flatten()
        {
            for name in variables(text, file.escape) {
                takes.global(&name, &globals);
            }
        }
        for instruction in &decl.body {
            match &instruction.kind {
                Kind::Arg(decls) => {
                    for arg in decls {
                        let given = request.args.iter().any(|(name, _)| *name == arg.name);
                        if arg.default.is_none() && !given && graph.globals.contains_key(&arg.name)
                        {
                            takes.global(&arg.name, &globals);
                        } else {
                            let value = stage.args.get(&arg.name).cloned().unwrap_or_default();
                            takes.arg(arg, value, instruction.span);
                        }
                    }
                }
                Kind::Run(run) => {
                    for mount in &run.mounts {
                        takes.mount(mount, instruction.span);
                    }
                }
                _ => {}
            }
        }
    }
    let target = file.stages.get(graph.target);
    let name = target
        .and_then(|stage| stage.name.clone())
        .unwrap_or_default();
    let description = target
        .and_then(|stage| stage.description.clone())
        .unwrap_or_default();
    takes.answer(&name, &description, definition, sources)
}

/// Arguments before the first stage, with their values and the arguments that these are made of.
type Globals<'a> = BTreeMap<&'a str, (&'a ArgDecl, String, Span, BTreeSet<String>)>;

fn globals<'a>(file: &'a Dockerfile, graph: &Graph) -> Globals<'a> {
    let decls = file
        .globals
        .iter()
        .flat_map(|(decls, span)| decls.iter().map(|decl| (decl, *span)));
    decls
        .map(|(decl, span)| {
            let value = graph.globals.get(&decl.name).cloned().unwrap_or_default();
            let default = decl.default.as_deref().unwrap_or_default();
            let needs = variables(default, file.escape);
            (decl.name.as_str(), (decl, value, span, needs))
        })
        .collect()
}

/// The variables that a text names.
fn variables(text: &str, escape: char) -> BTreeSet<String> {
    let names = std::cell::RefCell::new(BTreeSet::new());
    let lookup = |name: &str| {
        names.borrow_mut().insert(name.to_owned());
        Some(String::new())
    };
    // A fault would have been told by now.
    let _ = Expander::new(escape, &lookup).word(text);
    names.into_inner()
}

impl Takes {
    fn arg(&mut self, decl: &ArgDecl, value: String, span: Span) {
        let arg = Arg {
            value,
            description: decl.description.clone(),
            span,
        };
        self.args.insert(decl.name.clone(), arg);
    }
    /// An argument from before the first stage, and those that its value is made of.
    fn global(&mut self, name: &str, globals: &Globals<'_>) {
        let mut todo = vec![name.to_owned()];
        let mut seen = BTreeSet::new();
        while let Some(name) = todo.pop() {
            let Some((decl, value, span, needs)) = globals.get(name.as_str()) else {
                continue;
            };
            if seen.insert(name) {
                self.arg(decl, value.clone(), *span);
                todo.extend(needs.iter().cloned());
            }
        }
    }
    fn mount(&mut self, text: &str, span: Span) {
        // Variables in names stay as they are: what they hold is known only to the step.
        let Ok(mount) = mounts::parse(text, &|text| Ok(text.to_owned())) else {
            return;
        };
        let (list, name, required) = match mount.kind {
            MountKind::Secret { id, required, .. } => (&mut self.secrets, id, required),
            MountKind::Ssh { required, .. } => {
                let id = ssh_id(text);
                (&mut self.agents, id, required)
            }
            _ => return,
        };
        let needed = list.entry(name).or_insert(Needed { required, span });
        needed.required |= required;
    }
    fn answer(
        &self,
        name: &str,
        description: &str,
        definition: &Definition,
        sources: &SourceMap,
    ) -> Answer {
        let mut text = String::new();
        let mut json = json!({});
        let row = |cells: &[&str]| {
            cells
                .iter()
                .map(|cell| (*cell).to_owned())
                .collect::<Vec<_>>()
        };
        if !name.is_empty() || !description.is_empty() {
            json["name"] = name.into();
            let mut rows = vec![row(&["TARGET:", name])];
            if !description.is_empty() {
                json["description"] = description.into();
                rows.push(row(&["DESCRIPTION:", description]));
            }
            text.push_str(&table(&rows, 1));
            text.push('\n');
        }
        let place = |span: Span| json!({ "ranges": report::ranges(span, sources) });
        if !self.args.is_empty() {
            let mut args: Vec<(&String, &Arg)> = self.args.iter().collect();
            args.sort_by_key(|(_, arg)| arg.span.start);
            let mut rows = vec![row(&["BUILD ARG", "VALUE", "DESCRIPTION"])];
            let mut list = Vec::new();
            for (name, arg) in args {
                let about = arg.description.as_deref().unwrap_or_default();
                rows.push(row(&[name, &arg.value, about]));
                let mut entry = json!({ "name": name });
                if !about.is_empty() {
                    entry["description"] = about.into();
                }
                if !arg.value.is_empty() {
                    entry["value"] = arg.value.as_str().into();
                }
                entry["location"] = place(arg.span);
                list.push(entry);
            }
            json["args"] = Value::Array(list);
            text.push_str(&table(&rows, 3));
            text.push('\n');
        }
        for (list, title, key) in [
            (&self.secrets, "SECRET", "secrets"),
            (&self.agents, "SSH", "ssh"),
        ] {
            if list.is_empty() {
                continue;
            }
            let mut needed: Vec<(&String, &Needed)> = list.iter().collect();
            needed.sort_by_key(|(_, needed)| needed.span.start);
            let mut rows = vec![row(&[title, "REQUIRED"])];
            let mut entries = Vec::new();
            for (name, needed) in needed {
                rows.push(row(&[name, if needed.required { "true" } else { "" }]));
                let mut entry = json!({ "name": name });
                if needed.required {
                    entry["required"] = true.into();
                }
                entry["location"] = place(needed.span);
                entries.push(entry);
            }
            json[key] = Value::Array(entries);
            text.push_str(&table(&rows, 3));
            text.push('\n');
        }
        let source = sources.get(definition.source);
        let source = source.map(|source| report::base64(source.text.as_bytes()));
        json["sources"] = json!([source.unwrap_or_default()]);
        Answer::plain(text, json)
    }
}

/// The agent that an ssh mount asks for.
fn ssh_id(mount: &str) -> String {
    let id = mount.split(',').find_map(|field| field.strip_prefix("id="));
    id.filter(|id| !id.is_empty())
        .unwrap_or("default")
        .to_owned()
}
