//! Statements about images, beside their files: `provenance.json` and what else there is.
//!
//! In: images and statements. Out: files in a place of the store, for the archive of the whole. Each says the digest of every
//! file it is about. A file of the image of the same name is not overwritten: that is an error.
//! Imports: `image::{archive, attest, tree}`. Rules: BuildKit, `exporter/local`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::files::{Part, directory_of};
use crate::build::Builder;
use crate::build::error::BuildError;
use crate::image::archive::read::Members;
use crate::image::archive::write::EntryKind;
use crate::image::attest::{Statement, Subject};
use crate::image::digest::Digest;
use crate::image::store::Image;
use crate::image::tree::pack::{self, Holes, Opening, Source};

/// Writes the files into `place`; gives what is to be packed of them.
///
/// # Errors
/// [`BuildError`].
pub(super) fn write(
    place: &Path,
    images: &[Image],
    statements: &[Vec<Statement>],
    split: bool,
    builder: &Builder<'_>,
) -> Result<Vec<Part>, BuildError> {
    let mut parts = Vec::new();
    let failed = |error| BuildError::io("write what is attested", error);
    for (at, (image, all)) in images.iter().zip(statements).enumerate() {
        let all: Vec<&Statement> = all.iter().filter(|one| !one.inline_only).collect();
        if all.is_empty() {
            continue;
        }
        let platform = directory_of(image);
        let subjects = subjects(&Part::open(image, false, builder)?)?;
        let dir = place.join(format!("beside-{at}"));
        std::fs::create_dir(&dir).map_err(failed)?;
        let mut names: Vec<OsString> = Vec::new();
        for one in all {
            let name = match one.file.rsplit_once('.') {
                Some((stem, end)) if images.len() > 1 && !split => {
                    format!("{stem}.{platform}.{end}")
                }
                _ => one.file.clone(),
            };
            if subjects.iter().any(|subject| subject.name == name) {
                let text = format!(
                    "the image has a file /{name} already: leave out the attestation, or name its file"
                );
                return Err(BuildError::Output(text));
            }
            let mut text = serde_json::to_vec_pretty(&one.about(&subjects))
                .map_err(|error| BuildError::Output(error.to_string()))?;
            text.push(b'\n');
            std::fs::write(dir.join(&name), text).map_err(failed)?;
            names.push(name.into());
        }
        let view = OwnedFd::from(File::open(&dir).map_err(failed)?);
        match split {
            true => parts.push(Part {
                view,
                names: vec![".".into()],
                below: Some(platform),
            }),
            false => parts.push(Part {
                view,
                names: names
                    .into_iter()
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect(),
                below: None,
            }),
        }
    }
    Ok(parts)
}

/// All files of an image, with their digests.
fn subjects(part: &Part) -> Result<Vec<Subject>, BuildError> {
    let failed = |error| BuildError::io("read the files of the image", error);
    let sources: Vec<Source<'_>> = part.sources().collect();
    let (reader, writer) = io::pipe().map_err(failed)?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(|| {
            let out = io::BufWriter::with_capacity(1 << 20, writer);
            pack::write_all(&sources, Opening::Twice, Holes::Filled, out)
        });
        let mut members = Members::new(io::BufReader::with_capacity(1 << 20, reader));
        let mut found = Vec::new();
        let read = loop {
            match members.next_member() {
                Ok(Some(member)) if member.kind == EntryKind::File => {
                    let name = String::from_utf8_lossy(&member.path).into_owned();
                    match Digest::of_stream(&mut members.content()) {
                        Ok(digest) => found.push(Subject { name, digest }),
                        Err(error) => break Err(failed(error)),
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => break Ok(found),
                Err(error) => break Err(BuildError::Output(error.to_string())),
            }
        };
        drop(members);
        match packing.join() {
            Ok(Err(error)) => Err(BuildError::Output(format!("cannot export: {error}"))),
            _ => read,
        }
    })
}
