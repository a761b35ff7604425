//! Phase 3: `extends` and `include` bring other files in.
//!
//! In: [`Expanded`]. Out: [`Joined`]: no `extends`, no `include`. What lies elsewhere `remote` fetches.
//! Relative paths stay as written: each value's source knows its directory (`session::Origin`).
//! Imports: `base`, `check`, `dotenv`, `expand`, `merge`, `read`, `remote`, `session`, `trace`, `tree`.
//! Rules: Compose Specification, "extends", "include"; cycles are shown as the path that closes them.

mod extends;
mod include;

use std::path::PathBuf;

use super::expand::{self, Expanded, Vars};
use super::read;
use super::session::Session;
use super::tree::Node;
use crate::base::diag::Diagnostic;
use crate::base::span::{SourceId, Span};

pub(super) use include::env_file;

/// One file with everything it refers to.
#[derive(Debug)]
pub(super) struct Joined {
    /// Documents in file order.
    pub(super) documents: Vec<Node>,
}

/// What one run has brought in, so that no file is read for each reference to it.
#[derive(Debug, Default)]
pub(super) struct Known {
    extended: extends::Pools,
    included: include::Models,
}

/// A file that is being included.
#[derive(Debug, Clone)]
struct Link {
    path: PathBuf,
    /// The entry of `include` that names it; `None` for a file of the project.
    at: Option<Span>,
}

/// Resolves `extends` and `include` of a file of the project.
pub(super) fn join(
    session: &mut Session<'_>,
    known: &mut Known,
    file: Expanded,
    path: PathBuf,
) -> Joined {
    let chain = [Link { path, at: None }];
    one(session, known, file, &chain)
}

/// Resolves `extends` and `include` of a file. `chain` holds the files being included, outermost first, this one last.
fn one(session: &mut Session<'_>, known: &mut Known, file: Expanded, chain: &[Link]) -> Joined {
    let mut documents = file.documents;
    for document in &mut documents {
        if document.entries().is_none() {
            let fault = format!(
                "the top level must be a mapping, but this is {}",
                document.kind()
            );
            session.diags.push(
                Diagnostic::error(fault)
                    .at(document.span)
                    .label("expected keys such as `services:`")
                    .hint("start the file with `services:`"),
            );
            continue;
        }
        let path = chain.last().map(|link| link.path.clone());
        extends::all(session, known, document, path.unwrap_or_default());
        include::all(session, known, document, chain);
    }
    documents.retain(|document| document.entries().is_some());
    Joined { documents }
}

/// Reads and expands a registered text.
fn load(session: &mut Session<'_>, id: SourceId, vars: &Vars) -> Expanded {
    let text = session.text(id);
    let raw = read::read(id, &text, &mut session.diags);
    session.remotes.note_variables(id, &raw.documents, vars);
    session.partial |= !raw.complete;
    match session.interpolate {
        true => expand::expand(raw, &text, vars, &mut session.warned, &mut session.diags),
        false => expand::keep(raw),
    }
}

#[cfg(test)]
mod tests;
