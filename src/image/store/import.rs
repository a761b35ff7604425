//! Makes an image of a root file system's archive.
//!
//! Imports: `layer`, `config`, `manifest`. Rules: as `docker import` (moby `daemon/images/image_import.go`,
//! `builder/dockerfile/dispatchers.go` for `--change`).

use std::io::Read;

use super::{Image, Store, StoreError};
use crate::base::clock::Timestamp;
use crate::image::config::{HealthConfig, History, ImageConfig, RootFs, RunConfig};
use crate::image::manifest::Platform;
use crate::image::reference::Reference;

/// What an imported image is given beside its files.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// Its names.
    pub names: Vec<Reference>,
    /// Dockerfile instructions applied to its config: `CMD ["sh"]`, `ENV A=b`.
    pub changes: Vec<String>,
    /// Comment of its history.
    pub message: String,
    /// Its platform; the host's when `None`.
    pub platform: Option<Platform>,
}

impl Store {
    /// Makes an image of one layer from an archive of a root file system, which may be compressed by gzip,
    /// bzip2 or zstd. Also gives remarks on what could not be unpacked here.
    ///
    /// # Errors
    /// [`StoreError::Change`], [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn import_rootfs(
        &self,
        input: impl Read,
        how: &Import,
    ) -> Result<(Image, Vec<String>), StoreError> {
        let mut run = RunConfig::default();
        for change in &how.changes {
            apply(&mut run, change).ok_or_else(|| StoreError::Change(change.clone()))?;
        }
        let (layer, unpacked) = self.layers().import_any(input)?;
        let created = Some(Timestamp::now().rfc3339());
        let platform = how.platform.clone().unwrap_or_else(Platform::host);
        let comment = Some(how.message.clone()).filter(|text| !text.is_empty());
        let config = ImageConfig {
            created: created.clone(),
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            config: run,
            rootfs: RootFs {
                diff_ids: vec![layer],
                ..RootFs::default()
            },
            history: vec![History {
                created,
                comment,
                ..History::default()
            }],
            ..ImageConfig::default()
        };
        Ok((self.put(&config, &how.names)?, unpacked.notes))
    }
}

/// Applies one instruction; `None` when it is unknown or malformed.
fn apply(run: &mut RunConfig, change: &str) -> Option<()> {
    let (word, rest) = change.trim().split_once(char::is_whitespace)?;
    let rest = rest.trim();
    match word.to_ascii_uppercase().as_str() {
        "CMD" => run.cmd = Some(command(rest)),
        "ENTRYPOINT" => run.entrypoint = Some(command(rest)),
        "ENV" => {
            for (key, value) in pairs(rest)? {
                let prefix = format!("{key}=");
                run.env.retain(|entry| !entry.starts_with(&prefix));
                run.env.push(prefix + &value);
            }
        }
        "LABEL" => run.labels.extend(pairs(rest)?),
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                run.exposed_ports.extend(exposed(port)?);
            }
        }
        "USER" => run.user = rest.to_owned(),
        "WORKDIR" if rest.starts_with('/') => run.working_dir = rest.to_owned(),
        "WORKDIR" => {
            run.working_dir = format!("{}/{rest}", run.working_dir.trim_end_matches('/'));
        }
        "VOLUME" => match json(rest) {
            Some(paths) => run.volumes.extend(paths),
            None => run
                .volumes
                .extend(rest.split_whitespace().map(str::to_owned)),
        },
        "STOPSIGNAL" => run.stop_signal = Some(rest.to_owned()),
        "ONBUILD" => run.on_build.push(rest.to_owned()),
        "SHELL" => run.shell = Some(json(rest)?),
        "HEALTHCHECK" => run.healthcheck = Some(probe(rest)?),
        _ => return None,
    }
    Some(())
}

fn json(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

fn command(text: &str) -> Vec<String> {
    json(text).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

/// `A=b C="d e"`, or `A b` with everything after the first space as its value.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let first = text.split_whitespace().next()?;
    if !first.contains('=') {
        let (key, value) = text.split_once(char::is_whitespace)?;
        return Some(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    let words = shell_words::split(text).ok()?;
    let pair = |word: String| {
        word.split_once('=')
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
    };
    words
        .into_iter()
        .map(pair)
        .map(|pair| pair.filter(|(key, _)| !key.is_empty()))
        .collect()
}

/// `80`, `53/udp`, `8000-8010`.
fn exposed(text: &str) -> Option<Vec<String>> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") || first > last {
        return None;
    }
    Some(
        (first..=last)
            .map(|port| format!("{port}/{protocol}"))
            .collect(),
    )
}

/// `NONE`, or `CMD …`; its options belong to Dockerfiles.
fn probe(text: &str) -> Option<HealthConfig> {
    let test = match text.split_once(char::is_whitespace) {
        None if text.eq_ignore_ascii_case("none") => vec!["NONE".to_owned()],
        Some((word, rest)) if word.eq_ignore_ascii_case("cmd") => match json(rest.trim()) {
            Some(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
            None => vec!["CMD-SHELL".to_owned(), rest.trim().to_owned()],
        },
        _ => return None,
    };
    Some(HealthConfig {
        test,
        ..HealthConfig::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_applied_as_dockerfile_instructions() {
        let mut run = RunConfig::default();
        for change in [
            r#"CMD ["a", "b"]"#,
            "entrypoint echo hi",
            "ENV A=1 B=\"two words\"",
            "ENV A 2 3",
            "EXPOSE 80 53/udp 8000-8001",
            "WORKDIR /srv",
            "WORKDIR app",
            "VOLUME /data",
            "LABEL x.y=z",
            "HEALTHCHECK CMD true",
        ] {
            assert_eq!(apply(&mut run, change), Some(()), "{change}");
        }
        assert_eq!(run.cmd, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(
            run.entrypoint.as_deref().map(|e| e.join(" ")),
            Some("/bin/sh -c echo hi".to_owned())
        );
        assert_eq!(run.env, ["B=two words", "A=2 3"]);
        let ports: Vec<_> = run.exposed_ports.iter().map(String::as_str).collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "8000/tcp", "8001/tcp"]);
        assert_eq!(run.working_dir, "/srv/app");
        for wrong in ["RUN x", "CMD", "EXPOSE x", "ENV A", "SHELL sh"] {
            assert_eq!(apply(&mut run, wrong), None, "{wrong}");
        }
    }
}
