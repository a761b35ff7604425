//! `COPY` and `ADD`: flags, sources, destination.
//!
//! Imports: the siblings. Rules: Dockerfile reference, "COPY", "ADD".

use super::ast::{Transfer, TransferSource};
use super::lex::Heredoc;
use super::words::{Fault, Parsed, Takes, json_list, plain_words, read_flags};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// `ADD`
    Add,
    /// `COPY`
    Copy,
}

const COPY: [(&str, Takes); 6] = [
    ("from", Takes::Value),
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Switch),
    ("parents", Takes::Switch),
    ("exclude", Takes::Values),
];
const ADD: [(&str, Takes); 7] = [
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Switch),
    ("exclude", Takes::Values),
    ("unpack", Takes::Switch),
    ("checksum", Takes::Value),
    ("keep-git-dir", Takes::Switch),
];

/// Parses what follows the name.
pub(super) fn parse(
    verb: Verb,
    flags: &[String],
    args: &str,
    heredocs: &[Heredoc],
) -> Parsed<Transfer> {
    let (name, known) = match verb {
        Verb::Add => ("ADD", ADD.as_slice()),
        Verb::Copy => ("COPY", COPY.as_slice()),
    };
    let mut flags = read_flags(flags, known)?;
    let mut value = |name: &str| flags.remove(name).and_then(|mut values| values.pop());
    let from = value("from").filter(|from| !from.is_empty());
    let (chown, chmod) = (value("chown"), value("chmod"));
    let mut switch = |name: &str| value(name).map(|value| value.eq_ignore_ascii_case("true"));
    let (unpack, keep_git_dir) = (switch("unpack"), switch("keep-git-dir"));
    let (link, parents) = (
        switch("link") == Some(true),
        switch("parents") == Some(true),
    );
    let checksum = value("checksum");
    let exclude = flags.remove("exclude").unwrap_or_default();
    let mut words = json_list(args)?.unwrap_or_else(|| plain_words(args));
    let dest = match words.len() {
        0 | 1 => {
            let given = if words.is_empty() { "none" } else { "only one" };
            return Err(Fault::new(format!(
                "{name} requires at least two arguments, but {given} was provided; destination could not be determined"
            )));
        }
        _ => words.pop().unwrap_or_default(),
    };
    if Heredoc::parse(&dest).is_some() {
        return Err(
            Fault::new(format!("{name} cannot accept a heredoc as a destination")).at(dest),
        );
    }
    let mut sources = Vec::new();
    for word in words {
        match Heredoc::parse(&word)
            .and_then(|want| heredocs.iter().find(|doc| doc.name == want.name))
        {
            Some(_) if from.is_some() => {
                return Err(Fault::new("COPY --from cannot have heredocs as sources").at(word));
            }
            Some(heredoc) => sources.push(TransferSource::Inline(heredoc.clone())),
            None => sources.push(TransferSource::Path(word)),
        }
    }
    Ok(Transfer {
        from,
        sources,
        dest,
        chown,
        chmod,
        exclude,
        unpack,
        link,
        parents,
        checksum,
        keep_git_dir,
    })
}
