//! The index of the store: which names and ids there are. A value; read and written whole.
//!
//! Imports: `manifest`, `reference`, `sys::fs`. Rules: OCI image spec, `image-layout.md`, "index.json file";
//! containerd's `io.containerd.image.name` holds the full name, as other tools write it.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::{Image, StoreError};
use crate::base::clock::Timestamp;
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Index};
use crate::image::reference::Reference;
use crate::sys::fs::{self, Durability};

const TAG: &str = "org.opencontainers.image.ref.name";
const NAME: &str = "io.containerd.image.name";
/// Digest of the config document: what `hoist images` shows as the id.
const ID: &str = "hoist.image.id";
/// Digest that the registry gave for the name.
const KNOWN_AS: &str = "hoist.image.digest";
/// When the name was given.
const TAGGED: &str = "hoist.image.tagged";

/// Names and ids of the store.
#[derive(Debug, Clone, Default)]
pub(super) struct Refs(Index);

fn id_of(entry: &Descriptor) -> Option<Digest> {
    Digest::parse(entry.annotations.get(ID)?).ok()
}

fn name_of(entry: &Descriptor) -> Option<Reference> {
    Reference::parse(entry.annotations.get(NAME)?).ok()
}

fn known_as(entry: &Descriptor) -> Option<Digest> {
    Digest::parse(entry.annotations.get(KNOWN_AS)?).ok()
}

/// The name under which a reference is entered: its digest, else its tag. As Docker: pulling
/// `a:1@sha256:…` gives nothing the tag `a:1`.
fn entered(reference: &Reference) -> Reference {
    reference
        .digest
        .map_or_else(|| reference.clone(), |digest| reference.by_digest(digest))
}

impl Refs {
    pub(super) fn read(path: &Path) -> Result<Self, StoreError> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Self)
                .map_err(|error| StoreError::Corrupt(format!("{}: {error}", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(StoreError::io(format!("read {}", path.display()))(error)),
        }
    }
    pub(super) fn write(&self, path: &Path) -> Result<(), StoreError> {
        let text =
            serde_json::to_vec_pretty(&self.0).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        fs::write_atomic(path, &text, 0o600, Durability::Synced)
            .map_err(StoreError::io("write the image index"))
    }
    /// Ids of all images, sorted.
    pub(super) fn ids(&self) -> BTreeSet<Digest> {
        self.0.manifests.iter().filter_map(id_of).collect()
    }
    /// Digests of all manifests.
    pub(super) fn manifests(&self) -> impl Iterator<Item = Digest> {
        self.0.manifests.iter().map(|entry| entry.digest)
    }
    /// Digests that registries gave for names: of manifests, or of indexes that they were found in.
    pub(super) fn known(&self) -> impl Iterator<Item = Digest> {
        self.0.manifests.iter().filter_map(known_as)
    }
    /// The image with a name. A digest says more than a tag, so it alone counts when there is one.
    pub(super) fn by_name(&self, reference: &Reference) -> Option<Digest> {
        let same_place = |name: &Reference| {
            (&name.registry, &name.repository) == (&reference.registry, &reference.repository)
        };
        let found = self.0.manifests.iter().find(|entry| {
            let Some(name) = name_of(entry).filter(same_place) else {
                return false;
            };
            match reference.digest {
                Some(digest) => {
                    entry.digest == digest
                        || known_as(entry) == Some(digest)
                        || name.digest == Some(digest)
                }
                None => name.tag == reference.tag,
            }
        });
        found.and_then(id_of)
    }
    /// The image that a name, an id or the beginning of an id names.
    pub(super) fn find(&self, text: &str) -> Result<Digest, StoreError> {
        let named = Reference::parse(text)
            .ok()
            .and_then(|reference| self.by_name(&reference));
        if let Some(id) = named {
            return Ok(id);
        }
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let none = || StoreError::NotFound(text.to_owned());
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(none());
        }
        let digits = digits.to_ascii_lowercase();
        let ids = self.ids();
        let mut found = ids.iter().filter(|id| id.hex().starts_with(&digits));
        match (found.next(), found.next()) {
            (None, _) => Err(none()),
            (Some(id), None) => Ok(*id),
            _ => Err(StoreError::Ambiguous(text.to_owned())),
        }
    }
    /// Names of an image, sorted.
    pub(super) fn names_of(&self, id: &Digest) -> Vec<Reference> {
        let own = self
            .0
            .manifests
            .iter()
            .filter(|entry| id_of(entry) == Some(*id));
        let names: BTreeSet<Reference> = own.filter_map(name_of).collect();
        names.into_iter().collect()
    }
    /// Names with a tag in the repository of a reference, sorted.
    pub(super) fn tags(&self, of: &Reference) -> Vec<Reference> {
        let same = |name: &Reference| {
            name.tag.is_some()
                && (&name.registry, &name.repository) == (&of.registry, &of.repository)
        };
        let names = self.0.manifests.iter().filter_map(name_of);
        let names: BTreeSet<Reference> = names.filter(same).collect();
        names.into_iter().collect()
    }
    /// `repository@digest` of an image, sorted.
    pub(super) fn repo_digests(&self, id: &Digest) -> Vec<String> {
        let own = self
            .0
            .manifests
            .iter()
            .filter(|entry| id_of(entry) == Some(*id));
        let of = |entry: &Descriptor| Some(name_of(entry)?.by_digest(known_as(entry)?).to_string());
        let found: BTreeSet<String> = own.filter_map(of).collect();
        found.into_iter().collect()
    }
    /// When an image was given a name last.
    pub(super) fn tagged(&self, id: &Digest) -> Option<Timestamp> {
        let own = self
            .0
            .manifests
            .iter()
            .filter(|entry| id_of(entry) == Some(*id));
        own.filter_map(|entry| Timestamp::parse(entry.annotations.get(TAGGED)?))
            .max()
    }
    /// Enters an image under names, taking them from images that had them. Such an image stays, without
    /// a name if it was its last one.
    pub(super) fn enter(
        &mut self,
        image: &Image,
        manifest: &Descriptor,
        names: &[Reference],
        known: Option<Digest>,
        now: Timestamp,
    ) {
        for name in names {
            let name = entered(name);
            let mut entry = manifest.clone();
            entry
                .annotations
                .insert(ID.to_owned(), image.id.to_string());
            entry.annotations.insert(NAME.to_owned(), name.canonical());
            entry.annotations.insert(TAGGED.to_owned(), now.rfc3339());
            if let Some(tag) = &name.tag {
                entry.annotations.insert(TAG.to_owned(), tag.clone());
            }
            if let Some(known) = known {
                entry
                    .annotations
                    .insert(KNOWN_AS.to_owned(), known.to_string());
            }
            self.free(&name);
            self.0.manifests.push(entry);
        }
        if !self.ids().contains(&image.id) {
            let mut entry = manifest.clone();
            entry
                .annotations
                .insert(ID.to_owned(), image.id.to_string());
            self.0.manifests.push(entry);
        }
        self.tidy();
    }
    /// Gives an image one more name; `false` when there is no such image.
    pub(super) fn tag(&mut self, id: &Digest, name: &Reference, now: Timestamp) -> bool {
        let own = |entry: &&Descriptor| id_of(entry) == Some(*id);
        let Some(mut entry) = self.0.manifests.iter().find(own).cloned() else {
            return false;
        };
        let name = entered(name);
        if self.by_name(&name) == Some(*id) && name.digest.is_none() {
            return true;
        }
        let Some(full) = entry.annotations.get(ID).cloned() else {
            return false;
        };
        entry.annotations.clear();
        entry.annotations.insert(ID.to_owned(), full);
        entry.annotations.insert(NAME.to_owned(), name.canonical());
        entry.annotations.insert(TAGGED.to_owned(), now.rfc3339());
        if let Some(tag) = &name.tag {
            entry.annotations.insert(TAG.to_owned(), tag.clone());
        }
        self.free(&name);
        self.0.manifests.push(entry);
        self.tidy();
        true
    }
    /// Notes the digest that a registry has for a name; `false` when the image has no such name.
    pub(super) fn know(&mut self, id: &Digest, name: &Reference, digest: Digest) -> bool {
        let own = |entry: &&mut Descriptor| {
            id_of(entry) == Some(*id) && name_of(entry).as_ref() == Some(name)
        };
        let found = self.0.manifests.iter_mut().find(own);
        found
            .map(|entry| {
                let digest = digest.to_string();
                entry.annotations.insert(KNOWN_AS.to_owned(), digest);
            })
            .is_some()
    }
    /// The manifest of an image.
    pub(super) fn manifest_of(&self, id: &Digest) -> Option<Descriptor> {
        let entries = &self.0.manifests;
        entries
            .iter()
            .find(|entry| id_of(entry) == Some(*id))
            .cloned()
    }
    /// Images that a registry has, each with its repository there.
    pub(super) fn repositories(&self, registry: &str) -> Vec<(Digest, String)> {
        let at = |entry: &Descriptor| {
            known_as(entry)?;
            let name = name_of(entry).filter(|name| name.registry == registry)?;
            Some((id_of(entry)?, name.repository))
        };
        self.0.manifests.iter().filter_map(at).collect()
    }
    /// Takes a name away; the image stays, without a name if it was its last one.
    pub(super) fn free(&mut self, name: &Reference) {
        for entry in &mut self.0.manifests {
            if name_of(entry).as_ref() == Some(name) {
                for key in [NAME, TAG, KNOWN_AS, TAGGED] {
                    entry.annotations.remove(key);
                }
            }
        }
        self.tidy();
    }
    /// Takes an image away with all its names.
    pub(super) fn drop_image(&mut self, id: &Digest) {
        self.0.manifests.retain(|entry| id_of(entry) != Some(*id));
    }
    /// Drops entries without a name of images that have one, and second ones of those that have none.
    fn tidy(&mut self) {
        let named: BTreeSet<Digest> = self
            .0
            .manifests
            .iter()
            .filter(|entry| name_of(entry).is_some())
            .filter_map(id_of)
            .collect();
        let mut bare = BTreeSet::new();
        self.0.manifests.retain(|entry| match id_of(entry) {
            _ if name_of(entry).is_some() => true,
            Some(id) => !named.contains(&id) && bare.insert(id),
            None => true,
        });
    }
}
