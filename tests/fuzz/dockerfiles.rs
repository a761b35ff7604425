//! What must hold for every Dockerfile and every word of one.
//!
//! In: a text. Out: nothing, or a panic that says which rule is broken. Nothing is built and nothing runs: the parser, the
//! checks, the questions of `--call`, and the working out of all stages are asked.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::OnceLock;

use hoist::base::cancel::Cancel;
use hoist::base::diag::Diagnostic;
use hoist::base::event::Silent;
use hoist::base::span::{SourceMap, Span};
use hoist::build::call::{Call, call};
use hoist::build::dockerfile::parse;
use hoist::build::dockerfile::vars::Expander;
use hoist::build::slots::Slots;
use hoist::build::{BuildError, BuildRequest, Builder, DockerfileSource};
use hoist::engine::sandbox::{Ended, Sandbox, SandboxSpec};
use hoist::image::manifest::Platform;
use hoist::image::reference::Reference;
use hoist::image::registry::PullError;
use hoist::image::store::Store;

/// Runs nothing.
struct Nobody;

impl Sandbox for Nobody {
    fn run(&self, _: &SandboxSpec, _: BorrowedFd<'_>, _: &Cancel) -> hoist::engine::Result<Ended> {
        panic!("a question runs a step");
    }
}

/// A store without images, one for all inputs.
fn store() -> &'static (PathBuf, Store) {
    static STORE: OnceLock<(PathBuf, Store)> = OnceLock::new();
    STORE.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("hoist-fuzz-store-{}", std::process::id()));
        let store = Store::open(&dir).expect("a store");
        (dir, store)
    })
}

/// Removes the store.
pub(super) fn clean_up() {
    if let Some((dir, _)) = Some(store()) {
        let _ = std::fs::remove_dir_all(dir);
    }
}

/// The whole front end.
pub(super) fn file(text: &str) {
    let mut sources = SourceMap::default();
    let source = sources.add("Dockerfile", text);
    let read = || {
        let (file, found) = parse::read(text, source, None);
        for stage in &file.stages {
            inside(stage.span, &sources);
            stage
                .body
                .iter()
                .for_each(|item| inside(item.span, &sources));
        }
        let found = found.sorted();
        found.iter().for_each(|item| good(item, &sources));
        (format!("{file:?}"), found)
    };
    let first = read();
    assert_eq!(read(), first, "two answers");
    let answer = |question: Call| {
        let pull = |name: &Reference, _: &Platform| Err(PullError::NotFound(name.to_string()));
        let (dir, store) = store();
        let request = BuildRequest {
            dockerfile: DockerfileSource::Inline(text.to_owned()),
            args: vec![
                ("FOO".into(), Some("foo".into())),
                ("SET".into(), Some(String::new())),
            ],
            ..BuildRequest::default()
        };
        let builder = Builder {
            store,
            sandbox: &Nobody,
            events: &Silent,
            cancel: &Cancel::default(),
            pull: &pull,
            cache_dir: dir.join("cache"),
            slots: &Slots::new(1),
            debugger: None,
        };
        match call(question, &request, &builder) {
            Err(error) => fault(&error),
            Ok(answer) => {
                let fault = answer.fault.as_ref().map(fault);
                format!("{}{}{fault:?}", answer.text, answer.json)
            }
        }
    };
    for question in [Call::Check, Call::Outline, Call::Targets] {
        let first = answer(question);
        assert_eq!(answer(question), first, "two answers to {question:?}");
    }
}

/// An error as it is shown.
fn fault(error: &BuildError) -> String {
    if let BuildError::Invalid {
        diagnostics,
        sources,
    } = error
    {
        assert!(!diagnostics.is_empty(), "refused without an error");
        diagnostics.iter().for_each(|item| good(item, sources));
        hoist::ui::render::diagnostics(diagnostics, sources, false);
    }
    let text = error.to_string();
    assert!(!text.trim().is_empty(), "an error without words");
    text
}

fn good(item: &Diagnostic, sources: &SourceMap) {
    assert!(!item.message.trim().is_empty(), "a finding without words");
    item.span.into_iter().for_each(|span| inside(span, sources));
}

fn inside(span: Span, sources: &SourceMap) {
    let source = sources.get(span.source).expect("a text");
    let (start, end) = (span.start as usize, span.end as usize);
    assert!(
        start <= end && source.text.get(start..end).is_some(),
        "a place outside of its text: {span:?}"
    );
}

/// Variables and quotes in words and in heredocs.
pub(super) fn words(text: &str) {
    let lookup = super::targets::lookup;
    for escape in ['\\', '`'] {
        let expander = Expander::new(escape, &lookup);
        let answers = || (expander.word(text), expander.words(text));
        let first = answers();
        assert_eq!(answers(), first, "two answers");
        for fault in [first.0.as_ref().err(), first.1.as_ref().err()]
            .into_iter()
            .flatten()
        {
            assert!(!fault.is_empty(), "a fault without words");
        }
        assert_eq!(first.0.is_ok(), first.1.is_ok(), "a word and words differ");
        if !text.contains(['$', '\'', '"', escape]) {
            assert_eq!(first.0.as_deref(), Ok(text), "a plain text changed");
        }
        let escaped: String = text.chars().flat_map(|ch| [escape, ch]).collect();
        assert_eq!(
            expander.word(&escaped).as_deref(),
            Ok(text),
            "an escaped text changed"
        );
    }
    let quoted = format!("'{}'", text.replace('\'', ""));
    let plain = text.replace('\'', "");
    assert_eq!(
        Expander::new('\\', &lookup).word(&quoted).as_deref(),
        Ok(plain.as_str()),
        "a quoted text changed"
    );
    let _ = Expander::for_heredoc(&lookup).word(text);
    let raw = Expander::raw(&|_: &str| None).word(text);
    if !text.contains("${") {
        assert_eq!(
            raw.as_deref().ok().map(str::len),
            raw.as_ref().ok().map(|_| text.len()),
            "a raw text changed"
        );
    }
}
