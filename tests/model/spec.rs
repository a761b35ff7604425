//! Each path of a JSON schema of compose files, in each of its syntaxes, is accepted and changes the typed project.
//!
//! The specification's own schema lies beside the repository; without it those cases are ignored. hoist's schema is
//! walked in the same way, so that a clone alone checks the model too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hoist::base::env::Env;
use hoist::compose::{self, LoadRequest};
use serde_json::{Map, Value, json};

use super::samples::{member, plain, samples, scaffold, siblings};
use crate::harness::{Need, Sandbox, specification};

/// Cases that need nothing.
pub mod own {
    use super::*;

    crate::cases!(&[];
        each_path_of_hoists_schema_reaches_the_typed_project,
        each_key_of_hoists_schema_says_what_it_means,
        the_schema_command_prints_the_schema_or_writes_it,
    );

    fn each_path_of_hoists_schema_reaches_the_typed_project() {
        let walk = Walk::new(&compose::json_schema());
        assert!(walk.paths.len() > 500, "only {} paths", walk.paths.len());
        try_all(&walk);
    }

    fn each_key_of_hoists_schema_says_what_it_means() {
        let schema = compose::json_schema();
        let shapes = schema["$defs"].as_object().expect("definitions");
        let all = shapes.values().chain([&schema]);
        let mut keys = 0;
        for (key, about) in all.flat_map(|shape| shape["properties"].as_object().expect("keys")) {
            if about
                .get("$ref")
                .is_some_and(|place| place.to_string().contains("/properties/"))
            {
                continue;
            }
            let text = about["description"].as_str().unwrap_or_default();
            assert!(text.len() > 10 && text.ends_with('.'), "{key}: {text:?}");
            keys += 1;
        }
        assert!(keys > 300, "only {keys} keys");
    }

    fn the_schema_command_prints_the_schema_or_writes_it() {
        let hoist = Sandbox::empty();
        let printed = hoist.global(&["schema"]).ok().out;
        let printed: Value = serde_json::from_str(&printed).expect("JSON");
        assert_eq!(printed, compose::json_schema());
        assert_eq!(
            printed["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
        hoist
            .global(&["schema", "-o", "compose.json"])
            .ok()
            .prints("");
        let file = std::fs::read_to_string(hoist.dir().join("compose.json")).expect("a file");
        assert_eq!(serde_json::from_str::<Value>(&file).expect("JSON"), printed);
    }
}

/// Cases that need the specification.
pub mod whole {
    use super::*;

    crate::cases!(&[Need::Specification];
        each_path_of_the_specification_reaches_the_typed_project,
        hoists_schema_has_each_path_of_the_specification_and_names_what_it_has_beyond,
    );

    fn each_path_of_the_specification_reaches_the_typed_project() {
        let walk = Walk::new(&the_specification());
        assert!(walk.paths.len() > 350, "only {} paths", walk.paths.len());
        try_all(&walk);
    }

    fn hoists_schema_has_each_path_of_the_specification_and_names_what_it_has_beyond() {
        let theirs = Walk::new(&the_specification()).paths;
        let ours = Walk::new(&compose::json_schema()).paths;
        let missing: Vec<_> = theirs.difference(&ours).collect();
        assert!(missing.is_empty(), "paths without a rule: {missing:#?}");
        let explained = |path: &str| BEYOND.iter().any(|(start, _)| path.starts_with(start));
        let more: Vec<_> = ours
            .difference(&theirs)
            .filter(|path| !explained(path))
            .collect();
        assert!(
            more.is_empty(),
            "paths that the specification lacks: {more:#?}"
        );
        for (start, reason) in BEYOND {
            assert!(
                ours.iter().any(|path| path.starts_with(start)),
                "{start}: {reason}"
            );
        }
    }
}

/// Paths of hoist's schema that the specification lacks, and why they are there.
const BEYOND: [(&str, &str); 6] = [
    ("jobs", "a draft of the specification has them"),
    ("services.*.x-hoist", "what hoist has of its own"),
    ("services.*.build.x-hoist", "what hoist has of its own"),
    ("services.*.volumes[].x-hoist", "what hoist has of its own"),
    ("configs.*.x-hoist", "what hoist has of its own"),
    ("secrets.*.x-hoist", "what hoist has of its own"),
];

/// Paths that the typed project does not show, and why.
const SILENT: [(&str, &str); 2] = [
    ("version", "it is obsolete, and a warning says so"),
    (
        "services.*.env_file[].required",
        "it decides whether a missing file is an error; the variables are in `environment`",
    ),
];

fn the_specification() -> Value {
    let text = std::fs::read_to_string(specification()).expect("the specification is readable");
    serde_json::from_str(&text).expect("the specification is JSON")
}

/// One syntax of one path.
#[derive(Debug)]
struct Syntax {
    path: String,
    /// `string`, `a word`, …
    kind: &'static str,
    /// The document without the key, and further ones without its parents, nearest last.
    bases: Vec<Value>,
    /// Documents with the key: all must load, and one must differ from the base.
    documents: Vec<Value>,
    /// What stands at the path in each of the documents.
    values: Vec<Value>,
}

/// What a schema allows at one place.
enum Form<'s> {
    Scalar(&'static str),
    Words(&'s [Value]),
    Mapping {
        keys: Option<&'s Map<String, Value>>,
        values: Option<&'s Value>,
    },
    List(&'s Value),
}

/// The walk over a schema.
struct Walk {
    paths: BTreeSet<String>,
    found: Vec<Syntax>,
}

/// Puts a value at its place in a document.
type Wrap<'w> = &'w dyn Fn(Value) -> Value;

impl Walk {
    fn new(schema: &Value) -> Self {
        let mut walk = Self {
            paths: BTreeSet::new(),
            found: Vec::new(),
        };
        walk.visit(schema, schema, "", &[scaffold()], &|value| {
            let mut document = scaffold();
            lay(&mut document, value);
            document
        });
        walk
    }

    fn visit(&mut self, root: &Value, node: &Value, path: &str, bases: &[Value], wrap: Wrap<'_>) {
        let forms = forms(root, node);
        let kinds: Vec<&str> = forms
            .iter()
            .filter_map(|form| match form {
                Form::Scalar(kind) => Some(*kind),
                _ => None,
            })
            .collect();
        for form in &forms {
            match form {
                Form::Scalar(kind) => {
                    self.add(path, kind, samples(path, kind, &kinds), bases, wrap);
                }
                Form::Words(words) => self.add(path, "a word", words.to_vec(), bases, wrap),
                Form::List(items) => {
                    self.visit(root, items, &format!("{path}[]"), bases, &|value| {
                        wrap(json!([value]))
                    });
                }
                Form::Mapping { keys, values } => {
                    for (key, node) in keys.iter().flat_map(|keys| keys.iter()) {
                        let around = siblings(path, key);
                        let mut bases = bases.to_vec();
                        bases.push(wrap(around.clone()));
                        let below = match path {
                            "" => key.clone(),
                            _ => format!("{path}.{key}"),
                        };
                        self.paths.insert(below.clone());
                        self.visit(root, node, &below, &bases, &|value| {
                            let mut whole = around.clone();
                            whole[key] = value;
                            wrap(whole)
                        });
                    }
                    if let Some(node) = values {
                        let name = member(path);
                        self.visit(root, node, &format!("{path}.*"), bases, &|value| {
                            wrap(json!({ name: value }))
                        });
                    }
                    if keys.is_none() && values.is_none() {
                        self.add(path, "mapping", vec![json!({ "a": "b" })], bases, wrap);
                    }
                }
            }
        }
    }

    fn add(
        &mut self,
        path: &str,
        kind: &'static str,
        values: Vec<Value>,
        bases: &[Value],
        wrap: Wrap<'_>,
    ) {
        if values.is_empty() {
            return;
        }
        self.found.push(Syntax {
            path: path.to_owned(),
            kind,
            bases: bases.to_vec(),
            documents: values.iter().cloned().map(wrap).collect(),
            values,
        });
    }
}

/// Lays a document over another; lists and scalars replace.
fn lay(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                lay(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

/// The alternatives of a schema, references followed.
fn forms<'s>(root: &'s Value, mut node: &'s Value) -> Vec<Form<'s>> {
    while let Some(place) = node.get("$ref").and_then(Value::as_str) {
        node = root
            .pointer(place.trim_start_matches('#'))
            .expect("the reference leads somewhere");
    }
    let words = |node: &'s Value| node.get("enum").and_then(Value::as_array);
    let alternatives = ["oneOf", "anyOf"]
        .iter()
        .find_map(|key| node.get(key)?.as_array());
    let inner = || alternatives.into_iter().flatten().find_map(words);
    if node.get("type").is_some_and(|kind| kind == "string")
        && let Some(words) = words(node).or_else(inner)
    {
        return vec![Form::Words(words)];
    }
    if let Some(alternatives) = alternatives {
        return alternatives
            .iter()
            .flat_map(|node| forms(root, node))
            .collect();
    }
    let kinds: Vec<&str> = match &node["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => vec!["object"],
    };
    kinds.into_iter().map(|kind| form(node, kind)).collect()
}

fn form<'s>(node: &'s Value, kind: &str) -> Form<'s> {
    match kind {
        "object" => {
            let patterns = node.get("patternProperties").and_then(Value::as_object);
            let named = patterns
                .into_iter()
                .flatten()
                .find(|(pattern, _)| *pattern != "^x-");
            let others = node
                .get("additionalProperties")
                .filter(|values| values.is_object());
            Form::Mapping {
                keys: node.get("properties").and_then(Value::as_object),
                values: named.map(|(_, values)| values).or(others),
            }
        }
        "array" => Form::List(&node["items"]),
        "string" => Form::Scalar("string"),
        "integer" => Form::Scalar("integer"),
        "number" => Form::Scalar("number"),
        "boolean" => Form::Scalar("boolean"),
        "null" => Form::Scalar("null"),
        other => panic!("a schema of type {other}"),
    }
}

/// Loads all that was found and compares.
fn try_all(walk: &Walk) {
    let sandbox = Sandbox::empty();
    for (name, text) in [
        ("a.env", "FROM_FILE='quoted'\n"),
        ("v.env", "V=set\n"),
        ("labels.txt", "from.file=1\n"),
        ("f.txt", "text\n"),
        ("base.yaml", "services: {base: {image: base, user: u}}\n"),
        (
            "inc.yaml",
            "services: {inc: {image: 'i:${V:-none}', volumes: ['./d:/d']}}\n",
        ),
    ] {
        sandbox.file(name, text);
    }
    let mut loader = Loader {
        dir: sandbox.dir(),
        known: BTreeMap::new(),
    };
    let mut faults = Vec::new();
    let mut said: BTreeMap<(String, String), String> = BTreeMap::new();
    for syntax in &walk.found {
        if let Err(fault) = try_one(&mut loader, syntax, &mut said) {
            faults.push(format!("{} as {}: {fault}", syntax.path, syntax.kind));
        }
    }
    assert!(
        faults.is_empty(),
        "{} of {}:\n{}",
        faults.len(),
        walk.found.len(),
        faults.join("\n")
    );
}

fn try_one(
    loader: &mut Loader,
    syntax: &Syntax,
    said: &mut BTreeMap<(String, String), String>,
) -> Result<(), String> {
    let base = syntax
        .bases
        .iter()
        .rev()
        .find_map(|base| loader.typed(base).ok());
    let base = base.ok_or("no document without it loads")?;
    let mut differs = false;
    for (document, value) in syntax.documents.iter().zip(&syntax.values) {
        let typed = loader
            .typed(document)
            .map_err(|fault| format!("{value}: {fault}"))?;
        differs |= typed != base;
        // 7 and "7" are two ways to say the same.
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let before = said
            .entry((syntax.path.clone(), text))
            .or_insert_with(|| typed.clone());
        if *before != typed {
            return Err(format!("{value} means something else in another syntax"));
        }
    }
    let silent =
        syntax.kind == "null" || SILENT.iter().any(|(path, _)| *path == plain(&syntax.path));
    match differs || silent {
        true => Ok(()),
        false => Err(format!("{:?} change nothing", syntax.values)),
    }
}

/// Loads documents, each once.
struct Loader {
    dir: PathBuf,
    known: BTreeMap<String, Result<String, String>>,
}

impl Loader {
    /// The typed project of a document as text, without places.
    fn typed(&mut self, document: &Value) -> Result<String, String> {
        let text = document.to_string();
        if let Some(known) = self.known.get(&text) {
            return known.clone();
        }
        let typed = load(&self.dir, &text);
        self.known.insert(text, typed.clone());
        typed
    }
}

fn load(dir: &Path, text: &str) -> Result<String, String> {
    let request = LoadRequest {
        files: vec!["-".into()],
        stdin: Some(text.to_owned()),
        project_dir: Some(dir.to_owned()),
        print_only: true,
        ..LoadRequest::default()
    };
    let env = Env {
        cwd: dir.to_owned(),
        vars: [("HOME".to_owned(), "/root".to_owned())].into(),
        home: None,
        ..Env::default()
    };
    let project = compose::load(&request, &env).map_err(|error| error.to_string())?;
    let typed = format!(
        "{} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        project.name,
        project.services,
        project.networks,
        project.volumes,
        project.configs,
        project.secrets,
        project.models,
        project.jobs
    );
    Ok(without_places(&typed))
}

/// Takes `Span { … }` out.
fn without_places(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("Span {") {
        out.push_str(&rest[..at]);
        rest = rest[at..].split_once('}').map_or("", |(_, rest)| rest);
    }
    out.push_str(rest);
    out
}
