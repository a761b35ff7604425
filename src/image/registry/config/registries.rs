//! Files of the format containers-registries.conf(5), version 2.
//!
//! In: texts in TOML. Out: rules, each with the file it comes from. Imports: `base::env`, `reference`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::{ConfigError, Settings, text, user_config};
use crate::base::env::Env;
use crate::image::reference::Reference;

/// What is said of images whose names begin in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// `host[:port][/path]`, or `*.host`.
    pub(super) prefix: String,
    location: String,
    pub(super) insecure: bool,
    pub(super) blocked: bool,
    pub(super) mirrors: Vec<Mirror>,
    path: PathBuf,
    line: usize,
}

/// A place that is asked first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirror {
    prefix: String,
    location: String,
    pub(super) insecure: bool,
    by: By,
}

/// Which names a mirror is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    All,
    Digest,
    Tag,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    credential_helpers: Option<Vec<String>>,
    #[serde(default)]
    registry: Vec<Spanned<Entry>>,
    /// Of version 1.
    registries: Option<Spanned<toml::Value>>,
    // Read so that a malformed one is told; Docker's meaning of short names stays.
    #[serde(default, rename = "unqualified-search-registries")]
    _search: Vec<String>,
    #[serde(default, rename = "aliases")]
    _aliases: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Spanned<MirrorEntry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct MirrorEntry {
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: String,
}

/// Reads the main file and what is dropped in beside it; a later file takes the place of an earlier one's rules.
pub(super) fn read(env: &Env, settings: &mut Settings) -> Result<(), ConfigError> {
    for path in files(env)? {
        let Some(text) = text(&path)? else { continue };
        one(&path, &text, settings)?;
        settings.files.push(path);
    }
    Ok(())
}

/// The files in the order in which they count. Source: containers-registries.conf.d(5).
fn files(env: &Env) -> Result<Vec<PathBuf>, ConfigError> {
    let named = env
        .non_empty("CONTAINERS_REGISTRIES_CONF")
        .or_else(|| env.non_empty("REGISTRIES_CONFIG_PATH"));
    if let Some(named) = named {
        let path = env.cwd.join(named);
        if !path.exists() {
            let what = "the file that CONTAINERS_REGISTRIES_CONF names is not there";
            return Err(ConfigError::at(&path, "", 0, what));
        }
        return Ok(vec![path]);
    }
    let user = user_config(env).map(|dir| dir.join("containers"));
    let system = env.etc.as_ref().map(|etc| etc.join("containers"));
    let of_user = user
        .as_ref()
        .map(|dir| dir.join("registries.conf"))
        .filter(|path| path.exists());
    let mut files = Vec::new();
    match of_user {
        Some(path) => files.push(path),
        None => {
            files.extend(system.as_ref().map(|dir| dir.join("registries.conf")));
            files.extend(system.map(|dir| dropped(&dir)).unwrap_or_default());
        }
    }
    files.extend(user.map(|dir| dropped(&dir)).unwrap_or_default());
    Ok(files)
}

fn dropped(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("registries.conf.d"));
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "conf") && !path.is_dir())
        .collect();
    files.sort();
    files
}

/// Takes one file's settings.
pub(super) fn one(path: &Path, text: &str, settings: &mut Settings) -> Result<(), ConfigError> {
    let fault = |span: Range<usize>, what: String| ConfigError::at(path, text, span.start, what);
    let file: File = toml::from_str(text).map_err(|error| {
        let what = error.message().lines().collect::<Vec<_>>().join(", ");
        fault(error.span().unwrap_or(0..0), what)
    })?;
    if let Some(old) = &file.registries {
        let what = "the format's version 1 is not read any more; write [[registry]] tables";
        return Err(fault(old.span(), what.to_owned()));
    }
    if let Some(helpers) = file.credential_helpers {
        settings.helpers = helpers;
    }
    for entry in file.registry {
        let span = entry.span();
        let line = ConfigError::at(path, text, span.start, "").line;
        let rule = rule(entry.into_inner(), path, line)
            .map_err(|(inner, what)| fault(inner.unwrap_or(span), what))?;
        match settings.rules.iter_mut().find(|r| r.prefix == rule.prefix) {
            Some(old) => *old = rule,
            None => settings.rules.push(rule),
        }
    }
    Ok(())
}

type Fault = (Option<Range<usize>>, String);

fn rule(entry: Entry, path: &Path, line: usize) -> Result<Rule, Fault> {
    let here = |what: String| (None, what);
    let location = location(&entry.location).map_err(here)?;
    let mut prefix = self::location(&entry.prefix).map_err(here)?;
    if prefix.is_empty() {
        prefix = location.clone();
    }
    let wild = prefix.starts_with("*.");
    if prefix.is_empty() {
        return Err(here(
            "a registry needs a `prefix` or a `location`".to_owned(),
        ));
    }
    if location.is_empty() && !wild {
        return Err(here(format!(
            "the registry `{prefix}` needs a `location`; only a prefix as *.example.com has none"
        )));
    }
    if (wild && prefix.contains(['/', ':'])) || prefix.trim_start_matches("*.").contains('*') {
        return Err(here(format!(
            "`{prefix}`: `*` stands only at the beginning of a host name, as in *.example.com"
        )));
    }
    let mut mirrors = Vec::new();
    for mirror in entry.mirror {
        let span = mirror.span();
        let there = |what: String| (Some(span.clone()), what);
        let mirror = mirror.into_inner();
        let place = self::location(&mirror.location).map_err(there)?;
        if place.is_empty() || place.contains('*') {
            return Err(there("a mirror needs a `location` without `*`".to_owned()));
        }
        let by = match (
            mirror.pull_from_mirror.as_str(),
            entry.mirror_by_digest_only,
        ) {
            ("", true) => By::Digest,
            ("" | "all", false) => By::All,
            ("digest-only", false) => By::Digest,
            ("tag-only", false) => By::Tag,
            (_, true) => {
                let what = "`pull-from-mirror` and the registry's `mirror-by-digest-only` exclude each other";
                return Err(there(what.to_owned()));
            }
            (other, false) => {
                return Err(there(format!(
                    "`pull-from-mirror` is all, digest-only or tag-only, not `{other}`"
                )));
            }
        };
        mirrors.push(Mirror {
            prefix: prefix.clone(),
            location: place,
            insecure: mirror.insecure,
            by,
        });
    }
    Ok(Rule {
        prefix,
        location,
        insecure: entry.insecure,
        blocked: entry.blocked,
        mirrors,
        path: path.to_owned(),
        line,
    })
}

/// A place as the files write it.
fn location(text: &str) -> Result<String, String> {
    if text.contains("://") {
        return Err(format!(
            "`{text}`: write HOST[:PORT][/PATH] without a scheme; `insecure = true` allows plain HTTP"
        ));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

impl Rule {
    /// Where it is written.
    pub(super) fn shown(&self) -> String {
        format!("{}:{}", self.path.display(), self.line)
    }
    pub(super) fn matches(&self, image: &Reference) -> bool {
        matched(&self.prefix, image).is_some()
    }
    pub(super) fn matches_host(&self, host: &str) -> bool {
        below(&self.prefix, host)
    }
    /// The image's name in the place where its content is.
    pub(super) fn rewrite(&self, image: &Reference) -> Result<Reference, String> {
        match self.location.as_str() {
            "" => Ok(image.clone()),
            location => rewrite(&self.prefix, location, image),
        }
    }
}

impl Mirror {
    pub(super) fn serves(&self, image: &Reference) -> bool {
        match self.by {
            By::All => true,
            By::Digest => image.digest.is_some(),
            By::Tag => image.digest.is_none(),
        }
    }
    pub(super) fn rewrite(&self, image: &Reference) -> Result<Reference, String> {
        rewrite(&self.prefix, &self.location, image)
    }
}

fn below(prefix: &str, registry: &str) -> bool {
    let Some(domain) = prefix.strip_prefix('*') else {
        return false;
    };
    let host = registry.split_once(':').map_or(registry, |(host, _)| host);
    host.len() > domain.len() && host.ends_with(domain)
}

/// How much of the full name a prefix covers.
fn matched(prefix: &str, image: &Reference) -> Option<usize> {
    if prefix.starts_with("*.") {
        return below(prefix, &image.registry).then_some(image.registry.len());
    }
    let full = image.canonical();
    let rest = full.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with([':', '/', '@'])).then_some(prefix.len())
}

fn rewrite(prefix: &str, location: &str, image: &Reference) -> Result<Reference, String> {
    let full = image.canonical();
    let covered = matched(prefix, image).unwrap_or_default();
    let text = format!("{location}{}", full.get(covered..).unwrap_or_default());
    let parsed = Reference::parse(&text);
    parsed
        .map_err(|error| format!("the location `{location}` of `{prefix}` gives no name: {error}"))
}
