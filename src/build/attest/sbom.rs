//! What is in an image: a generator's program looks at its files and says so.
//!
//! In: the image, and what else of the build shall be looked at. Out: its statements. The generator runs as the step of a build
//! of its own, with the files as read-only mounts, so that it is bounded, shown and remembered as any step is; what it writes
//! is nobody's friend and read as such. Imports: `base`, `image`, `sys::fs`, `build`.
//! Rules: BuildKit, `docs/attestations/sbom-protocol.md`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use serde_json::Value;

use super::super::images::Images;
use super::super::output::Output;
use super::super::told::Teller;
use super::super::{BuildRequest, Builder, ContextSource, DockerfileSource, NamedContext};
use super::{Facts, Sbom};
use crate::build::error::BuildError;
use crate::image::attest::Statement;
use crate::image::manifest::Platform;
use crate::image::store::Image;
use crate::sys::fs::Root;

/// Where the generator finds the image's files, those of stages, and where it writes.
const CORE: &str = "/run/src/core/sbom";
const EXTRAS: &str = "/run/src/extras";
const OUT: &str = "/run/out";
/// What a statement's file ends with.
const ENDING: &str = ".spdx.json";
/// What a statement must be.
const SPDX: &str = "https://spdx.dev/Document";
/// Longest statement that is taken, in bytes.
const LARGEST: u64 = 256 << 20;

/// Makes the statements.
///
/// # Errors
/// [`BuildError`].
pub(super) fn scan(
    how: &Sbom,
    facts: &Facts<'_>,
    image: &Image,
    builder: &Builder<'_>,
) -> Result<Vec<Statement>, BuildError> {
    let request = facts.request;
    let target_name = format!("{} bill of materials", request.target_name);
    let label = request.label.iter().map(String::as_str).chain(["sbom"]);
    let base = BuildRequest {
        label: Some(label.collect::<Vec<_>>().join(" ")),
        target_name,
        env: request.env.clone(),
        limits: request.limits.clone(),
        pins: request.pins.clone(),
        outputs: vec![Output::Nothing],
        ..BuildRequest::default()
    };
    let wanted = (how.scanner.to_string(), Platform::host());
    let told = (builder, Teller::new(&base, builder));
    let scanner = Images::new(request.pins.clone()).get(wanted, told, false);
    let failed = |why: &dyn std::fmt::Display| {
        BuildError::Output(format!(
            "no bill of materials can be made: {why}; name another generator with sbom=generator=IMAGE, or leave it out"
        ))
    };
    let scanner = scanner.map_err(|why| failed(&why))?;
    let text = dockerfile(how, &scanner, facts)
        .ok_or_else(|| failed(&format!("the generator {} has no program", how.scanner)))?;
    let mut named = BTreeMap::new();
    named.insert("scanner".to_owned(), NamedContext::Built(scanner));
    named.insert("core".to_owned(), NamedContext::Built(image.clone()));
    for (number, (_, layers)) in facts.extras.iter().enumerate() {
        let mut extra = image.clone();
        extra.config.rootfs.diff_ids.clone_from(layers);
        named.insert(format!("extra{number}"), NamedContext::Built(extra));
    }
    if let (true, ContextSource::Dir(dir) | ContextSource::Fetched(dir)) =
        (facts.scan_context, &request.context)
    {
        named.insert("files".to_owned(), NamedContext::Dir(dir.clone()));
    }
    let request = BuildRequest {
        dockerfile: DockerfileSource::Inline(text),
        named_contexts: named,
        ..base
    };
    let made = super::super::build_one(&request, false, builder)?.image;
    let found = read(&made, builder)?;
    if found.is_empty() {
        let text = format!(
            "the generator {} has written no *{ENDING} to {OUT}",
            how.scanner
        );
        return Err(failed(&text));
    }
    Ok(found)
}

/// The build that runs the generator; `None` if its image names no program.
fn dockerfile(how: &Sbom, scanner: &Image, facts: &Facts<'_>) -> Option<String> {
    let settings = &scanner.config.config;
    let program = settings.entrypoint.iter().chain(&settings.cmd).flatten();
    let program: Vec<&String> = program.collect();
    if program.is_empty() {
        return None;
    }
    let mut text = format!("FROM scanner AS scan\nWORKDIR {OUT}\n");
    let cwd = match settings.working_dir.as_str() {
        "" => "/",
        cwd => cwd,
    };
    text += &format!("WORKDIR {}\n", quoted(cwd));
    let mut variables = vec![
        ("BUILDKIT_SCAN_DESTINATION".to_owned(), OUT.to_owned()),
        ("BUILDKIT_SCAN_SOURCE".to_owned(), CORE.to_owned()),
    ];
    let more = !facts.extras.is_empty() || facts.scan_context;
    if more {
        let name = "BUILDKIT_SCAN_SOURCE_EXTRAS";
        variables.push((name.to_owned(), format!("{EXTRAS}/")));
    }
    variables.extend(how.settings.iter().cloned());
    for (name, value) in &variables {
        text += &format!("ENV {name}={}\n", quoted(value));
    }
    text += &format!("RUN --mount=type=bind,from=core,target={CORE}");
    for (number, (name, _)) in facts.extras.iter().enumerate() {
        text += &format!(" --mount=type=bind,from=extra{number},target={EXTRAS}/{name}");
    }
    if facts.scan_context {
        text += &format!(" --mount=type=bind,from=files,target={EXTRAS}/sbom-context");
    }
    let program = serde_json::to_string(&program).ok()?;
    text += &format!(" {program}\nFROM scratch\nCOPY --from=scan {OUT} /\n");
    Some(text)
}

/// A word in which nothing means anything.
fn quoted(text: &str) -> String {
    let mut word = String::from("\"");
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '$') {
            word.push('\\');
        }
        word.push(c);
    }
    word + "\""
}

/// Reads what the generator has written.
fn read(made: &Image, builder: &Builder<'_>) -> Result<Vec<Statement>, BuildError> {
    let view = builder.store.layers().view(made.layers())?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let listed = |error: nix::errno::Errno| {
        BuildError::io("list a bill of materials", std::io::Error::from(error))
    };
    let mut dir = nix::dir::Dir::openat(&view, ".", flags, Mode::empty()).map_err(listed)?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let entry = entry.map_err(listed)?;
        if let Ok(name) = entry.file_name().to_str()
            && name.ends_with(ENDING)
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    let root = Root::from_fd(view);
    let one = |name: String| {
        let path = Path::new(OsStr::from_bytes(name.as_bytes()));
        let wrong = |why: &dyn std::fmt::Display| {
            BuildError::Output(format!("the bill of materials {name} can't be used: {why}"))
        };
        let bytes = root.read(path, LARGEST);
        let bytes = bytes.map_err(|errno| wrong(&errno.desc()))?;
        let mut said: Value = serde_json::from_slice(&bytes).map_err(|error| wrong(&error))?;
        if said["predicateType"] != SPDX {
            return Err(wrong(&format!("it is no statement of the type {SPDX}")));
        }
        Ok(Statement {
            predicate: said["predicate"].take(),
            kind: SPDX.to_owned(),
            inline_only: false,
            file: name,
        })
    };
    names.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_dockerfile_mean_nothing_else() {
        assert_eq!(quoted(r#"a "b" $c \d"#), r#""a \"b\" \$c \\d""#);
    }
}
