//! Archives of Docker before 1.10: a directory a layer, with its description and its parent's id, and a file with names.
//!
//! In: [`Files`] with `repositories`. Out: images with a config of today. Such an archive has no digest of anything; what it holds gets
//! the digests it has. Imports: `archive`. Rules: moby `image/spec/v1.md`, `image/v1/imagev1.go` (`MakeConfigFromV1Config`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};

use serde_json::{Map, Value, json};

use super::files::Files;
use super::find::{Found, Group};
use super::{StoreError, corrupt};
use crate::image::archive::{Hashing, bounded};
use crate::image::config::History;
use crate::image::digest::Digest;
use crate::image::reference::Reference;
use crate::image::store::parse_config;

/// Most layers of one image.
const DEEPEST: usize = 1_000;
/// What a description has besides what a config has.
const DROPPED: &[&str] = &["id", "parent", "Size", "parent_id", "layer_id", "throwaway"];

/// Names by repository and tag.
type Repositories = BTreeMap<String, BTreeMap<String, String>>;

pub(super) fn groups(files: &Files) -> Result<Vec<Group>, StoreError> {
    let repositories: Repositories = serde_json::from_slice(&files.document("repositories")?)
        .map_err(|error| corrupt(format!("the archive's repositories: {error}")))?;
    let mut named: BTreeMap<String, Vec<Reference>> = BTreeMap::new();
    for (repository, tags) in &repositories {
        for (tag, id) in tags {
            let name = Reference::parse(&format!("{repository}:{tag}"));
            let name = name.map_err(|error| corrupt(format!("a name in the archive: {error}")))?;
            named.entry(id.clone()).or_default().push(name);
        }
    }
    let mut digests = BTreeMap::new();
    let group = |(id, names): (String, Vec<Reference>)| {
        let images = vec![image(files, &id, &mut digests)?];
        Ok(Group { names, images })
    };
    named.into_iter().map(group).collect()
}

/// Whether an id may be part of a path.
fn is_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn image(
    files: &Files,
    top: &str,
    digests: &mut BTreeMap<String, Digest>,
) -> Result<Found, StoreError> {
    let mut chain = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = Some(top.to_owned());
    while let Some(id) = next {
        if !is_id(&id) || !seen.insert(id.clone()) || chain.len() >= DEEPEST {
            return Err(corrupt("the archive's layers have no sound order"));
        }
        let json = files.document(&format!("{id}/json"))?;
        let said: Map<String, Value> = serde_json::from_slice(&json)
            .map_err(|error| corrupt(format!("`{id}/json` of the archive: {error}")))?;
        let parent = said.get("parent").and_then(Value::as_str);
        next = parent.filter(|id| !id.is_empty()).map(str::to_owned);
        chain.push((id, said));
    }
    chain.reverse();
    let mut layers = Vec::new();
    let mut ids = Vec::new();
    for (id, _) in &chain {
        let name = format!("{id}/layer.tar");
        let digest = match digests.get(id) {
            Some(known) => *known,
            None => digest(files, &name)?,
        };
        digests.insert(id.clone(), digest);
        ids.push(digest.to_string());
        layers.push((name, None));
    }
    let history: Vec<History> = chain.iter().map(|(_, said)| history(said)).collect();
    let said = chain.pop().map(|(_, said)| said).unwrap_or_default();
    let mut config: BTreeMap<String, Value> = said.into_iter().collect();
    config.retain(|key, _| !DROPPED.contains(&key.as_str()));
    config.insert("rootfs".into(), json!({"type": "layers", "diff_ids": ids}));
    config.insert("history".into(), json!(history));
    let config = serde_json::to_string(&config).map_err(|error| corrupt(error.to_string()))?;
    let config = escaped(&config).into_bytes();
    let image = parse_config(&config)?;
    Ok(Found {
        config,
        image,
        layers,
        manifest: None,
    })
}

/// The same JSON as Go writes it, so that the id is the one that Docker gives the image.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

fn digest(files: &Files, name: &str) -> Result<Digest, StoreError> {
    let failed = |error: io::Error| corrupt(format!("`{name}` of the archive: {error}"));
    let mut plain = Hashing::new(bounded(files.part(name)?), u64::MAX);
    io::copy(&mut plain.by_ref(), &mut io::sink()).map_err(failed)?;
    plain.finish().map(|(digest, _)| digest).map_err(failed)
}

fn history(said: &Map<String, Value>) -> History {
    let text = |key: &str| {
        let text = said.get(key).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let command = said.get("container_config").and_then(|all| all.get("Cmd"));
    let words = command.and_then(Value::as_array).into_iter().flatten();
    let words: Vec<&str> = words.filter_map(Value::as_str).collect();
    History {
        created: text("created"),
        created_by: Some(words.join(" ")).filter(|text| !text.is_empty()),
        author: text("author"),
        comment: text("comment"),
        empty_layer: said.get("throwaway").and_then(Value::as_bool) == Some(true),
    }
}
