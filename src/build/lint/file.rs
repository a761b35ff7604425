//! Checks that need nothing but the parsed file.
//!
//! In: a [`Dockerfile`]. Out: findings, those of single instructions in the file's order, then those of the whole file.
//! Imports: the siblings, `build::dockerfile`.

use std::collections::BTreeSet;

use super::{Lints, Rule};
use crate::base::span::Span;
use crate::build::dockerfile::ast::{Dockerfile, Kind, StageDecl};

/// Names of stages that mean something else.
const RESERVED: [&str; 2] = ["context", "scratch"];

/// Checks a whole file.
pub fn check(file: &Dockerfile, lints: &Lints) {
    for gap in &file.gaps {
        lints.add(Rule::NoEmptyContinuation, *gap, "Empty continuation line");
    }
    let first = lints.findings().len();
    for stage in &file.stages {
        from(stage, lints);
        let old = stage
            .body
            .iter()
            .filter(|item| matches!(item.kind, Kind::Maintainer(_)));
        for item in old {
            let what = "Maintainer instruction is deprecated in favor of using label";
            lints.add(Rule::MaintainerDeprecated, item.span, what);
        }
    }
    definitions(file, lints);
    lints.sort_from(first);
    names(file, lints);
    casing(file, lints);
}

/// The letters of `FROM … AS name`.
fn from(stage: &StageDecl, lints: &Lints) {
    let Some((word, name)) = &stage.words.name else {
        return;
    };
    if *name != name.to_lowercase() {
        let what = format!("Stage name '{name}' should be lowercase");
        lints.add(Rule::StageNameCasing, stage.span, what);
    }
    let keyword = &stage.words.from;
    let same = match case(keyword) {
        // What is in no case at all is another check's affair.
        None => true,
        Some(Case::Upper) => *word == word.to_uppercase(),
        Some(Case::Lower) => *word == word.to_lowercase(),
    };
    if !same {
        let what = format!("'{word}' and '{keyword}' keywords' casing do not match");
        lints.add(Rule::FromAsCasing, stage.span, what);
    }
}

/// Comments that look like descriptions.
fn definitions(file: &Dockerfile, lints: &Lints) {
    for definition in &file.definitions {
        let first = definition.comment.split(' ').next().unwrap_or_default();
        if definition.names.iter().any(|name| name == first) {
            continue;
        }
        let name = match &definition.names[..] {
            [name] => name,
            _ => "<arg_key>",
        };
        let keyword = definition.keyword;
        let what =
            format!("Comment for {keyword} should follow the format: `# {name} <description>`");
        lints.add(Rule::InvalidDefinitionDescription, definition.span, what);
    }
}

/// Names of stages that are taken.
fn names(file: &Dockerfile, lints: &Lints) {
    let mut seen = BTreeSet::new();
    for stage in &file.stages {
        let Some(name) = stage.name.as_deref() else {
            continue;
        };
        if RESERVED.contains(&name) {
            let what =
                format!("Stage name should not use the same name as reserved stage {name:?}");
            lints.add(Rule::ReservedStageName, stage.span, what);
        }
        if !seen.insert(name) {
            let what = format!("Duplicate stage name {name:?}, stage names should be unique");
            lints.add(Rule::DuplicateStageName, stage.span, what);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Lower,
    Upper,
}

fn case(word: &str) -> Option<Case> {
    match word {
        word if word == word.to_lowercase() => Some(Case::Lower),
        word if word == word.to_uppercase() => Some(Case::Upper),
        _ => None,
    }
}

/// Instructions in another case than most.
fn casing(file: &Dockerfile, lints: &Lints) {
    let stages = file.stages.iter().flat_map(|stage| {
        let body = stage
            .body
            .iter()
            .map(|item| (item.name.as_str(), item.span));
        std::iter::once((stage.words.from.as_str(), stage.span)).chain(body)
    });
    let words: Vec<(&str, Span)> = stages.collect();
    let count = |wanted| {
        words
            .iter()
            .filter(|(word, _)| case(word) == Some(wanted))
            .count()
    };
    let (wanted, shown) = match count(Case::Lower) > count(Case::Upper) {
        true => (Case::Lower, "lowercase"),
        false => (Case::Upper, "uppercase"),
    };
    for (word, span) in words.iter().filter(|(word, _)| case(word) != Some(wanted)) {
        let what =
            format!("Command '{word}' should match the case of the command majority ({shown})");
        lints.add(Rule::ConsistentInstructionCasing, *span, what);
    }
}
