//! Checks of what `FROM` names: arguments, platforms, images.
//!
//! In: the stages and the arguments that stand before them. Out: findings. Imports: the siblings, `build::dockerfile`, `image`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::{Lints, Rule, nearest};
use crate::base::span::Span;
use crate::build::dockerfile::ast::{Dockerfile, StageDecl};
use crate::build::dockerfile::vars::Expander;
use crate::image::manifest::Platform;
use crate::image::reference::Reference;

/// What `FROM` may name.
#[derive(Debug, Clone, Copy)]
pub struct Globals<'a> {
    /// Arguments with their values.
    pub values: &'a BTreeMap<String, String>,
    /// The values they would have if the caller gave none.
    pub defaults: &'a BTreeMap<String, String>,
}

/// A text with its variables worked out, and which of them are set.
struct Filled {
    text: String,
    set: BTreeSet<String>,
    unset: Vec<String>,
}

fn fill(text: &str, escape: char, values: &BTreeMap<String, String>) -> Option<Filled> {
    let (set, unset) = (RefCell::new(BTreeSet::new()), RefCell::new(Vec::new()));
    let lookup = |name: &str| {
        let value = values.get(name).cloned();
        match value {
            Some(_) => drop(set.borrow_mut().insert(name.to_owned())),
            None if !unset.borrow().iter().any(|known| known == name) => {
                unset.borrow_mut().push(name.to_owned());
            }
            None => {}
        }
        value
    };
    let text = Expander::new(escape, &lookup).word(text).ok()?;
    Some(Filled {
        text,
        set: set.into_inner(),
        unset: unset.into_inner(),
    })
}

/// Checks the `FROM` of every stage.
pub fn check(file: &Dockerfile, globals: Globals<'_>, lints: &Lints) {
    for stage in &file.stages {
        let Some(base) = fill(&stage.base, file.escape, globals.defaults) else {
            break;
        };
        if Reference::parse(&base.text).is_err() {
            let what = format!(
                "Default value for ARG {} results in empty or invalid base image name",
                stage.base
            );
            lints.add(Rule::InvalidDefaultArgInFrom, stage.span, what);
        }
    }
    let declared = file
        .globals
        .iter()
        .flat_map(|(decls, _)| decls)
        .map(|decl| decl.name.as_str());
    let own: Vec<&str> = declared.collect();
    let known: Vec<&str> = own
        .iter()
        .copied()
        .chain(
            globals
                .values
                .keys()
                .map(String::as_str)
                .filter(|name| !own.contains(name)),
        )
        .collect();
    for stage in &file.stages {
        if let Some(base) = fill(&stage.base, file.escape, globals.values) {
            undefined(&base, &known, stage.span, lints);
        }
        let Some(written) = &stage.platform else {
            continue;
        };
        if let Some(platform) = fill(written, file.escape, globals.values) {
            undefined(&platform, &known, stage.span, lints);
            redundant(written, &platform, globals.values, stage.span, lints);
            constant(&platform, stage, lints);
        }
    }
}

fn undefined(filled: &Filled, known: &[&str], span: Span, lints: &Lints) {
    for name in filled
        .unset
        .iter()
        .filter(|name| !known.contains(&name.as_str()))
    {
        let near = nearest(name, known.iter().copied());
        let near = near
            .map(|near| format!(" (did you mean {near}?)"))
            .unwrap_or_default();
        let what = format!("FROM argument '{name}' is not declared{near}");
        lints.add(Rule::UndefinedArgInFrom, span, what);
    }
}

/// `--platform=$TARGETPLATFORM` is what happens anyway.
fn redundant(
    written: &str,
    filled: &Filled,
    values: &BTreeMap<String, String>,
    span: Span,
    lints: &Lints,
) {
    let target = "TARGETPLATFORM";
    let only = filled.unset.is_empty() && filled.set.len() == 1 && filled.set.contains(target);
    if only && values.get(target) == Some(&filled.text) {
        let what = format!(
            "Setting platform to predefined {written} in FROM is redundant as this is the default behavior"
        );
        lints.add(Rule::RedundantTargetPlatform, span, what);
    }
}

/// A stage for one platform should be called by it.
fn constant(filled: &Filled, stage: &StageDecl, lints: &Lints) {
    if !filled.unset.is_empty() || !filled.set.is_empty() {
        return;
    }
    let Ok(platform) = Platform::parse(&filled.text) else {
        return;
    };
    let name = stage.name.as_deref().unwrap_or_default();
    if !name.contains(&platform.os) && !name.contains(&platform.architecture) {
        let what = format!(
            "FROM --platform flag should not use constant value {:?}",
            filled.text
        );
        lints.add(Rule::FromPlatformFlagConstDisallowed, stage.span, what);
    }
}

/// The image that was found for a stage is for the platform that was asked for.
pub fn base_image(name: &str, expected: &Platform, found: (&str, &str), span: Span, lints: &Lints) {
    let (os, architecture) = found;
    let same = expected.os == os && expected.architecture == architecture;
    // An image that does not say what it is for is for all.
    if !same && !os.is_empty() && !architecture.is_empty() {
        let what = format!(
            "Base image {name} was pulled with platform \"{os}/{architecture}\", expected \"{expected}\" for current build"
        );
        lints.add(Rule::InvalidBaseImagePlatform, span, what);
    }
}
