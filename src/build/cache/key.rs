//! Keys of steps: what a result is remembered under.
//!
//! | counts | does not |
//! |---|---|
//! | layers below, in order | image names, ids, configs |
//! | the operation: command, environment, directory, user, network, hosts, shared memory | the file's text, comments, place |
//! | declared arguments (they are in the environment) | proxies that are not declared, secrets, the host's CA |
//! | files copied or mounted: path, mode, content, link target; owner when from a stage | times, owners in a context |
//! | mounts: kind, target, ids of caches and secrets | contents of caches and secrets |
//!
//! What an image's config says (environment, user, directory, shell) counts where a step uses it, so an image of the same
//! layers with another config never lends its results (CVE-2024-24557).
//!
//! A key is made of parts, so that two keys can be compared: what differs is why a step was not cached.
//! Imports: `image::digest`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::image::digest::{Digest, Hasher};

/// Changes when results of an older version must not be used.
const VERSION: &str = "hoist step 2";

/// What a part of a key is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The layers below.
    Below,
    /// The instruction, but for what has a part of its own.
    Instruction,
    /// A variable of the environment.
    Variable(String),
    /// Files of a directory: those that are copied, or, with where, those that are mounted.
    Files(String),
    /// What another stage or image has.
    Other,
}

/// One part of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// What it is about.
    pub part: Part,
    /// Differs when it differs.
    pub digest: Digest,
    /// What users may see of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
    /// The files it is made of: a list that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<Digest>,
}

/// Collects what counts.
#[derive(Debug)]
pub struct Key {
    hasher: Hasher,
    part: Part,
    parts: BTreeMap<Part, (Digest, Option<String>)>,
}

impl Key {
    /// Begins a key of a step that stands on these layers.
    pub fn of_step(kind: &str, layers: &[Digest]) -> Self {
        let mut key = Self {
            hasher: Hasher::default(),
            part: Part::Below,
            parts: BTreeMap::new(),
        };
        key.layers(layers);
        key.part(Part::Instruction);
        key.text(VERSION);
        key.text(kind);
        key
    }
    /// What comes next belongs to this part.
    pub fn part(&mut self, part: Part) {
        self.close(None);
        self.part = part;
    }
    /// Ends the part that is being made.
    fn close(&mut self, shown: Option<String>) {
        let mut digest = std::mem::take(&mut self.hasher).finish();
        if let Some((before, _)) = self.parts.get(&self.part) {
            let mut both = Hasher::default();
            both.update(before.hex().as_bytes());
            both.update(digest.hex().as_bytes());
            digest = both.finish();
        }
        self.parts.insert(self.part.clone(), (digest, shown));
    }
    /// Adds variables, each `NAME=value`, as parts of their own.
    pub fn variables<'a>(&mut self, pairs: impl IntoIterator<Item = &'a str>) {
        for pair in pairs {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.part(Part::Variable(name.to_owned()));
            self.text(pair);
            self.close(Some(value.to_owned()));
            self.part = Part::Instruction;
        }
    }
    /// Adds a text; its length counts, so that neighbours can't flow into each other.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }
    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_be_bytes());
        self.hasher.update(bytes);
    }
    /// Adds a list of texts.
    pub fn texts<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) {
        texts.into_iter().for_each(|text| self.text(text));
        self.hasher.update(&[0xff]);
    }
    /// Adds stacked layers.
    pub fn layers(&mut self, layers: &[Digest]) {
        for layer in layers {
            self.text(&layer.hex());
        }
        self.hasher.update(&[0xff]);
    }
    /// The hash itself, for digests of files.
    pub fn hasher(&mut self) -> &mut Hasher {
        &mut self.hasher
    }
    /// The key.
    pub fn finish(self) -> Digest {
        self.inputs().0
    }
    /// The key, and what it is made of.
    pub fn inputs(mut self) -> (Digest, Vec<Input>) {
        self.close(None);
        let mut whole = Hasher::default();
        let mut inputs = Vec::new();
        for (part, (digest, shown)) in self.parts {
            let name = format!("{part:?}");
            whole.update(&(name.len() as u64).to_be_bytes());
            whole.update(name.as_bytes());
            whole.update(digest.hex().as_bytes());
            inputs.push(Input {
                part,
                digest,
                shown,
                list: None,
            });
        }
        (whole.finish(), inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts_and_none_flows_into_another() {
        let of = |pairs: &[&str], files: &str, text: &str| {
            let mut key = Key::of_step("run", &[Digest::of(b"base")]);
            key.text(text);
            key.variables(pairs.iter().copied());
            key.part(Part::Files(files.to_owned()));
            key.text("content");
            key.part(Part::Instruction);
            key.text("after");
            key.finish()
        };
        let keys = [
            of(&["A=1"], "src", "make"),
            of(&["A=2"], "src", "make"),
            of(&["A=1", "B=1"], "src", "make"),
            of(&["A=1"], "lib", "make"),
            of(&["A=1"], "src", "make all"),
            of(&[], "src", "make"),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key), "{at}");
        }
        assert_eq!(of(&["A=1"], "src", "make"), keys[0]);
    }
}
