//! Compose projects in registries: `oci://registry/repository:tag`.
//!
//! In: an artifact of `docker compose publish`. Out: a directory with its files. A layer's remark names its file and is
//! not trusted: a name with a directory in it is refused (CVE-2025-62725).
//! Imports: `compose`, `image`. Rules: Compose (`pkg/remote/oci.go`, `internal/oci/push.go`): media types, remarks,
//! which layers make up which file.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::{Fetcher, fetched};
use crate::compose::remote::{FetchError, Fetched};
use crate::image::reference::Reference;
use crate::image::registry::{self, Artifact, Part, PullError, PullOptions};

/// A project.
const PROJECT: &str = "application/vnd.docker.compose.project";
/// The config of a project that was pushed to a registry without artifact types.
const EMPTY: &str = "application/vnd.docker.compose.config.empty.v1+json";
/// A layer: a compose file.
const FILE: &str = "application/vnd.docker.compose.file+yaml";
/// A layer: an env file.
const ENV: &str = "application/vnd.docker.compose.envfile";
/// The file that is read first.
const MAIN: &str = "compose.yaml";

impl Fetcher {
    /// Brings the project that a name in a registry stands for.
    pub(super) fn artifact(&self, text: &str) -> Result<Fetched, FetchError> {
        self.allowed("COMPOSE_EXPERIMENTAL_OCI_REMOTE", "OCI artifacts")?;
        let mut name = Reference::parse(text).map_err(|error| {
            FetchError::new(error.to_string()).hint(
                "write it as oci://registry/repository:tag or oci://registry/repository@sha256:…",
            )
        })?;
        if name.digest.is_some() {
            // As Compose: what a digest names, a tag can't change.
            name.tag = None;
        }
        let kept = self.kept("artifacts");
        let shown = format!("oci://{name}");
        if let Some(digest) = name.digest
            && let Some(dir) = kept.get(&digest.hex())
        {
            return fetched(&dir, MAIN.to_owned(), digest.to_string(), shown);
        }
        let options = PullOptions {
            insecure: self.insecure.clone(),
            env: self.env.clone(),
            ..PullOptions::default()
        };
        let here = |digest: &crate::image::digest::Digest| kept.get(&digest.hex()).is_some();
        let artifact = registry::artifact(&name, &[PROJECT, EMPTY], &options, here);
        let artifact = artifact.map_err(fault)?;
        if artifact.kind != PROJECT && artifact.kind != EMPTY {
            let text = format!("it is no compose project, but {}", artifact.kind);
            let hint = "`docker compose publish` makes one of a project";
            return Err(FetchError::new(text).hint(hint));
        }
        let Artifact { digest, parts, .. } = artifact;
        let Some(parts) = parts else {
            let dir = kept.get(&digest.hex());
            let dir = dir.ok_or_else(|| FetchError::new("it was removed just now"))?;
            return fetched(&dir, MAIN.to_owned(), digest.to_string(), shown);
        };
        let files = files(parts)?;
        let write = |new: &Path| -> io::Result<()> {
            files
                .iter()
                .try_for_each(|(name, bytes)| std::fs::write(new.join(name), bytes))
        };
        let dir = kept
            .make(&digest.hex(), &options.cancel, write)
            .map_err(|error| FetchError::new(format!("it can't be kept: {error}")))?;
        fetched(&dir, MAIN.to_owned(), digest.to_string(), shown)
    }
}

fn fault(error: PullError) -> FetchError {
    let text = match &error {
        PullError::NotFound(_) => "there is no such artifact in its registry".to_owned(),
        other => other.to_string(),
    };
    match error {
        PullError::Unreachable { .. } => FetchError::new(text)
            .hint("with a digest as reference (`@sha256:…`) a second run needs no network"),
        _ => FetchError::new(text),
    }
}

/// The files that the layers of a project make up, by name.
fn files(parts: Vec<Part>) -> Result<BTreeMap<String, Vec<u8>>, FetchError> {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut env: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for part in parts {
        let remark = |key: &str| part.annotations.get(key).map(String::as_str);
        match part.media_type.as_str() {
            FILE => {
                let name = match remark("com.docker.compose.extends") {
                    Some(_) => plain(remark("com.docker.compose.file"))?,
                    None => MAIN,
                };
                let file = files.entry(name.to_owned()).or_default();
                if !file.is_empty() {
                    file.extend_from_slice(b"\n---\n");
                }
                file.extend_from_slice(&part.bytes);
            }
            ENV => {
                let name = plain(remark("com.docker.compose.envfile"))?;
                env.insert(name.to_owned(), part.bytes);
            }
            _ => {}
        }
    }
    for (name, bytes) in env {
        if files.insert(name.clone(), bytes).is_some() {
            let text = format!("two of its layers are the file `{name}`");
            return Err(FetchError::new(text));
        }
    }
    if !files.contains_key(MAIN) {
        return Err(FetchError::new("it has no compose file"));
    }
    Ok(files)
}

/// A name from a remark, if it names a file in the project's directory and nothing else.
fn plain(name: Option<&str>) -> Result<&str, FetchError> {
    let Some(name) = name else {
        return Err(FetchError::new(
            "one of its layers does not say which file it is",
        ));
    };
    let odd = |c: char| c == '/' || c == '\\' || c.is_control();
    if name.is_empty() || name == "." || name == ".." || name.contains(odd) || name.len() > 255 {
        let shown = name.escape_debug();
        let text = format!("one of its layers wants to be the file `{shown}`, which is refused");
        return Err(FetchError::new(text).hint("do not use this project: it may be an attack"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(media_type: &str, remarks: &[(&str, &str)], text: &str) -> Part {
        Part {
            media_type: media_type.to_owned(),
            annotations: remarks
                .iter()
                .map(|(key, value)| (format!("com.docker.compose.{key}"), (*value).to_owned()))
                .collect(),
            bytes: text.as_bytes().to_vec(),
        }
    }

    #[test]
    fn layers_become_the_files_their_remarks_name() {
        let found = files(vec![
            part(FILE, &[("file", "any.yaml")], "a: 1"),
            part(FILE, &[("file", "other.yaml")], "b: 2"),
            part(FILE, &[("file", "base"), ("extends", "true")], "c: 3"),
            part(ENV, &[("envfile", "x.env")], "E=1"),
            part("application/octet-stream", &[], "?"),
        ]);
        let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
        let found: Vec<(String, String)> = found
            .unwrap()
            .iter()
            .map(|(name, bytes)| (name.clone(), text(bytes)))
            .collect();
        let expected = [
            ("base", "c: 3"),
            ("compose.yaml", "a: 1\n---\nb: 2"),
            ("x.env", "E=1"),
        ];
        let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [
            "../../.ssh/authorized_keys",
            "/etc/passwd",
            "sub/x.env",
            "..",
            ".",
            "",
            "a\\b",
            "a\0",
        ] {
            let env = part(ENV, &[("envfile", name)], "");
            let file = part(FILE, &[("file", name), ("extends", "true")], "");
            for part in [env, file] {
                let error = files(vec![part]).unwrap_err();
                assert!(
                    error.message.contains("which is refused"),
                    "{name}: {error}"
                );
            }
        }
        let unnamed = files(vec![part(ENV, &[], "")]).unwrap_err();
        assert!(unnamed.message.contains("does not say"));
        let over = files(vec![
            part(FILE, &[], "a: 1"),
            part(ENV, &[("envfile", MAIN)], "b: 2"),
        ]);
        assert!(over.unwrap_err().message.contains("two of its layers"));
        assert!(files(Vec::new()).is_err());
    }
}
