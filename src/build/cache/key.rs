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
//! Imports: `image::digest`.

use crate::image::digest::{Digest, Hasher};

/// Changes when results of an older version must not be used.
const VERSION: &str = "hoist step 1";

/// Collects what counts.
#[derive(Debug)]
pub struct Key {
    hasher: Hasher,
}

impl Key {
    /// Begins a key of a step that stands on these layers.
    pub fn of_step(kind: &str, layers: &[Digest]) -> Self {
        let mut key = Self {
            hasher: Hasher::default(),
        };
        key.text(VERSION);
        key.text(kind);
        key.layers(layers);
        key
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
        self.hasher.finish()
    }
}
