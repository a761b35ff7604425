//! `COPY` and `ADD` → a step.
//!
//! Imports: `dockerfile`, `step`.

use super::instruction::{Words, refuse};
use super::state::State;
use super::{Lowering, Refused};
use crate::base::diag::Diagnostic;
use crate::base::span::Span;
use crate::build::dockerfile::ast::{Transfer, TransferSource};
use crate::build::sources::{AddFlags, added};
use crate::build::step::copy::{CopySource, CopyStep};
use crate::build::step::mode::Chmod;
use crate::build::step::{Operation, Origin};

impl Lowering<'_> {
    pub(super) fn transfer(
        &mut self,
        (transfer, name): (&Transfer, &str),
        index: usize,
        state: &State,
        span: Span,
    ) -> Result<(Operation, String), Refused> {
        let words = Words {
            state,
            escape: self.file.escape,
            span,
        };
        let checksum = transfer.checksum.as_deref();
        let checksum = checksum.map(|text| words.one(text)).transpose()?;
        if checksum.is_some() && transfer.sources.len() > 1 {
            let item =
                Diagnostic::error("checksum can't be specified for multiple sources").at(span);
            return Err(item.hint("write an ADD for each of them").into());
        }
        let mut sources = Vec::new();
        let mut said = vec![name.to_owned()];
        let flag = |said: &mut Vec<String>, name: &str, value: &Option<String>| {
            said.extend(value.as_ref().map(|value| format!("--{name}={value}")));
        };
        let chown = transfer
            .chown
            .as_deref()
            .map(|text| words.one(text))
            .transpose()?
            .filter(|text| !text.is_empty());
        let chmod_text = transfer
            .chmod
            .as_deref()
            .map(|text| words.one(text))
            .transpose()?
            .filter(|text| !text.is_empty());
        flag(&mut said, "chown", &chown);
        flag(&mut said, "chmod", &chmod_text);
        // Files of the Dockerfile's own come last, and so win, whatever their order.
        let inline = |source: &&TransferSource| matches!(source, TransferSource::Inline(_));
        let of_tree = transfer.sources.iter().filter(|source| !inline(source));
        for source in of_tree.chain(transfer.sources.iter().filter(inline)) {
            match source {
                TransferSource::Inline(doc) => {
                    said.push(format!("<<{}", doc.name));
                    sources.push(CopySource::Inline {
                        name: doc.name.clone(),
                        content: words.heredoc(doc)?,
                    });
                }
                TransferSource::Path(path) => {
                    let path = words.one(path)?;
                    let flags = AddFlags {
                        checksum: checksum.as_deref(),
                        keep_git_dir: transfer.keep_git_dir,
                    };
                    let remote = added(&path, &flags).map_err(|why| refuse(why, span))?;
                    match remote {
                        Some(_) if name == "COPY" => {
                            let item = Diagnostic::error("source can't be a URL for COPY").at(span);
                            return Err(item.hint("use ADD").into());
                        }
                        Some(remote) => {
                            // What lets one in is not for everybody who has the image.
                            said.push(if path.contains('@') {
                                remote.to_string()
                            } else {
                                path
                            });
                            sources.push(CopySource::Remote {
                                remote: Box::new(remote),
                                unpack: transfer.unpack == Some(true),
                            });
                        }
                        None if checksum.is_some() => {
                            let text = "checksum requires HTTP(S) or Git sources";
                            return Err(refuse(text, span));
                        }
                        None => {
                            said.push(path.clone());
                            sources.push(CopySource::Path(path));
                        }
                    }
                }
            }
        }
        let written = words.one(&transfer.dest)?;
        let mut dest = state.absolute(&written);
        if (written.is_empty()
            || written == "."
            || written.ends_with('/')
            || written.ends_with("/."))
            && !dest.ends_with('/')
        {
            dest.push('/');
        }
        said.push(written);
        let origin = match &transfer.from {
            Some(from) => self.origin(from, index, span)?,
            None => Origin::Context,
        };
        let chmod = chmod_text
            .as_deref()
            .map(Chmod::parse)
            .transpose()
            .map_err(|why| refuse(why, span))?;
        let unpack = name == "ADD" && transfer.unpack != Some(false);
        let step = CopyStep {
            origin,
            sources,
            dest,
            chown,
            chmod,
            chmod_text,
            // Taken as written, as BuildKit does.
            exclude: transfer.exclude.clone(),
            unpack,
            parents: transfer.parents,
            link: transfer.link,
        };
        Ok((
            Operation::Copy(Box::new(step)),
            format!("{} # buildkit", said.join(" ")),
        ))
    }
}
