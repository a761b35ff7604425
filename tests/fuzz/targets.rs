//! What must hold for every input, reader by reader.
//!
//! In: a text. Out: nothing, or a panic that says which rule is broken.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hoist::base::diag::Diagnostics;
use hoist::base::env::Env;
use hoist::base::span::{SourceMap, Span};
use hoist::compose::{self, LoadRequest, dotenv, print, template};

/// Variables: set, empty, with dollars, with line breaks; the others are not set.
pub(super) fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "FOO" | "HOST" | "TAG" => "foo",
        "EMPTY" => "",
        "DOLLAR" => "$FOO ${FOO} $$",
        "LINES" => "a\nb",
        "PORT" => "8080",
        _ => return None,
    };
    Some(value.to_owned())
}

/// Interpolation.
pub(super) fn template(text: &str) {
    let fill = |text: &str| {
        let mut unset = Vec::new();
        let filled = template::substitute(text, &lookup, &mut unset);
        (filled, unset)
    };
    let (filled, unset) = fill(text);
    assert_eq!(fill(text), (filled.clone(), unset.clone()), "two answers");
    match &filled {
        Ok(filled) if !text.contains('$') => assert_eq!(filled, text, "a plain text changed"),
        Ok(_) => {}
        Err(error) => assert!(!error.to_string().is_empty(), "a fault without words"),
    }
    assert!(
        unset
            .iter()
            .all(|name| lookup(name).is_none() && !name.is_empty()),
        "{unset:?}"
    );
    assert_eq!(template::variables(text), template::variables(text));
    let (kept, _) = fill(&text.replace('$', "$$"));
    assert_eq!(kept.as_deref(), Ok(text), "doubled dollars are no dollars");
}

/// Env files of both formats.
pub(super) fn dotenv(text: &str) {
    let read = |raw: bool| match raw {
        true => dotenv::parse_raw(text, &lookup),
        false => dotenv::parse(text, &lookup, &mut Vec::new()),
    };
    for raw in [false, true] {
        let found = read(raw);
        assert_eq!(read(raw), found, "two answers");
        match found {
            Ok(found) => found.values().for_each(|value| quoted(value)),
            Err(error) => {
                assert!(
                    text.is_char_boundary(error.at),
                    "a place inside of a character"
                );
                assert!(!error.fault.to_string().is_empty(), "a fault without words");
            }
        }
    }
}

/// A value written in double quotes is read as it was.
fn quoted(value: &str) {
    let text = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('$', "\\$");
    let found = dotenv::parse(&format!("A=\"{text}\""), &lookup, &mut Vec::new());
    let found = found.expect("a quoted value");
    assert_eq!(
        found.get("A").map(String::as_str),
        Some(value),
        "quotes change a value"
    );
}

/// The whole way from a text on standard input to the document and back.
pub(super) fn load(text: &str) {
    let first = loaded(text);
    assert_eq!(loaded(text), first, "two answers");
    let Ok((yaml, json)) = first else { return };
    // What `config` prints is the same project, but for keys with a dollar and for empty ones, which no text gives.
    if !odd_key(&serde_json::from_str(&json).expect("JSON")) {
        match loaded(&yaml) {
            Ok((_, again)) => assert_eq!(again, json, "printed and read again:\n{yaml}"),
            Err(faults) => panic!("what is printed is refused:\n{faults}\n{yaml}"),
        }
    }
}

fn odd_key(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Object(entries) => entries
            .iter()
            .any(|(key, value)| key.contains('$') || key.is_empty() || odd_key(value)),
        serde_json::Value::Array(items) => items.iter().any(odd_key),
        _ => false,
    }
}

/// The project as YAML and JSON, or all findings as they are shown.
fn loaded(text: &str) -> Result<(String, String), String> {
    let vars = ["FOO", "HOST", "TAG", "EMPTY", "DOLLAR", "LINES", "PORT"];
    let vars: BTreeMap<String, String> = vars
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), lookup(name)?)))
        .collect();
    let env = Env {
        vars,
        cwd: PathBuf::from("/nonexistent/fuzz"),
        home: None,
        ..Env::default()
    };
    let request = LoadRequest {
        files: vec![PathBuf::from("-")],
        stdin: Some(text.to_owned()),
        project_name: Some("fuzz".to_owned()),
        profiles: vec!["*".to_owned()],
        ..LoadRequest::default()
    };
    match compose::load(&request, &env) {
        Ok(project) => {
            shown(&project.warnings, &project.sources);
            Ok((print::yaml(&project), print::json(&project)))
        }
        Err(error) => {
            assert!(error.diagnostics.has_errors(), "refused without an error");
            Err(shown(&error.diagnostics, &error.sources))
        }
    }
}

/// The findings as the user sees them; each must have words and stand inside of its text.
fn shown(findings: &Diagnostics, sources: &SourceMap) -> String {
    let findings = findings.clone().sorted();
    let good = |span: &Span| {
        let source = sources.get(span.source).expect("a finding's text");
        let (start, end) = (span.start as usize, span.end as usize);
        start <= end && source.text.get(start..end).is_some()
    };
    for finding in &findings {
        assert!(
            !finding.message.trim().is_empty(),
            "a finding without words"
        );
        let places = finding
            .span
            .iter()
            .chain(finding.related.iter().map(|(span, _)| span));
        for span in places {
            assert!(good(span), "a place outside of its text: {finding:?}");
        }
    }
    hoist::ui::render::diagnostics(&findings, sources, false)
}
