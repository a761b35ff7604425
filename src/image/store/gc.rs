//! Removal: names, images, and what nothing needs any more.
//!
//! The index goes first, then layers, then blobs, so that a kill leaves only what [`Store::prune`] finds. What others need is asked
//! for under the store's lock, so that nobody begins to need it meanwhile.
//! Imports: `layer`, `refs`, `hold`. As Docker: moby `daemon/images/image_delete.go`, `image_prune.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use super::refs::Refs;
use super::{Image, Store, StoreError};
use crate::image::digest::Digest;
use crate::image::layer::Quiet;
use crate::image::manifest::Document;
use crate::image::reference::Reference;

/// How long a blob of which only a part may be written is left alone.
const GRACE: Duration = Duration::from_secs(10 * 60);

/// A container that uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its short id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it runs; then nothing takes the image away.
    pub running: bool,
}

/// What must stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Images that containers use; of several users one that runs.
    pub images: BTreeMap<Digest, User>,
    /// Layers that containers or build records need.
    pub layers: BTreeSet<Digest>,
}

/// What a removal must respect.
#[derive(Clone, Copy)]
pub struct Removal<'a> {
    /// Removes images that stopped containers use or that have several names.
    pub force: bool,
    /// Tells what must stay, when it is asked.
    pub needs: &'a dyn Fn() -> Result<Needs, StoreError>,
}

impl std::fmt::Debug for Removal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Removal")
            .field("force", &self.force)
            .finish_non_exhaustive()
    }
}

/// Something that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    /// A name was taken away.
    Name(Reference),
    /// An image is gone.
    Image(Digest),
    /// A layer is gone: its diff id, and the digest of all layers up to it, as Docker names it.
    Layer {
        /// Which it was.
        id: Digest,
        /// Its chain id.
        chain: Digest,
    },
}

/// What a removal did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Each thing in the order in which Docker tells it.
    pub gone: Vec<Gone>,
    /// Bytes of files in the layers that are gone.
    pub freed: u64,
}

impl Removed {
    /// Names that were taken away.
    pub fn names(&self) -> Vec<Reference> {
        let name = |gone: &Gone| match gone {
            Gone::Name(name) => Some(name.clone()),
            _ => None,
        };
        self.gone.iter().filter_map(name).collect()
    }
    /// Images that are gone.
    pub fn images(&self) -> Vec<Digest> {
        let image = |gone: &Gone| match gone {
            Gone::Image(id) => Some(*id),
            _ => None,
        };
        self.gone.iter().filter_map(image).collect()
    }
    /// Layers that are gone.
    pub fn layers(&self) -> Vec<Digest> {
        let layer = |gone: &Gone| match gone {
            Gone::Layer { id, .. } => Some(*id),
            _ => None,
        };
        self.gone.iter().filter_map(layer).collect()
    }
}

/// Whether all names are of one repository, with one tag at most.
fn is_single(names: &[Reference]) -> bool {
    let tags = names.iter().filter(|name| name.tag.is_some()).count();
    let place = |name: &Reference| (name.registry.clone(), name.repository.clone());
    let places: BTreeSet<_> = names.iter().map(place).collect();
    tags <= 1 && places.len() <= 1
}

/// What is being removed, in memory until it is written.
struct Change {
    refs: Refs,
    needs: Needs,
    done: Removed,
    /// Layers of the images that go, base first.
    layers: Vec<(Digest, Vec<Digest>)>,
}

impl Change {
    /// Takes a name away, and the repository's digests with its last tag.
    fn untag(&mut self, id: &Digest, name: &Reference) {
        let digests = |refs: &Refs| -> BTreeSet<Reference> {
            let all = refs.repo_digests(id);
            all.iter()
                .filter_map(|text| Reference::parse(text).ok())
                .collect()
        };
        let before = digests(&self.refs);
        self.refs.free(name);
        self.done.gone.push(Gone::Name(name.clone()));
        let same = |other: &Reference| {
            (&other.registry, &other.repository) == (&name.registry, &name.repository)
        };
        let left = self.refs.names_of(id);
        if left.iter().any(|other| same(other) && other.tag.is_some()) {
            return;
        }
        for pinned in left.iter().filter(|other| same(other)) {
            self.refs.free(pinned);
        }
        let after = digests(&self.refs);
        let gone = before.difference(&after).filter(|gone| *gone != name);
        self.done.gone.extend(gone.cloned().map(Gone::Name));
    }
    fn untag_all(&mut self, id: &Digest) {
        while let Some(name) = self.refs.names_of(id).first().cloned() {
            self.untag(id, &name);
        }
    }
    fn drop_image(&mut self, store: &Store, id: &Digest) {
        let layers = store.image(id).map(|image| image.layers().to_vec());
        self.refs.drop_image(id);
        self.done.gone.push(Gone::Image(*id));
        self.layers.push((*id, layers.unwrap_or_default()));
    }
    /// Why an image can't go.
    fn conflict(&self, id: &Digest, soft: bool, names: bool) -> Option<StoreError> {
        let refuse = |forced: bool, why: String, user: Option<&User>| StoreError::Conflict {
            what: format!("delete {}", id.short()),
            force: if forced {
                "must be forced"
            } else {
                "cannot be forced"
            },
            why,
            user: user.map(|user| user.name.clone()),
        };
        let user = self.needs.images.get(id);
        let used = |kind: &str, user: &User| format!("image is being used by {kind} {}", user.id);
        match user {
            Some(user) if user.running => {
                Some(refuse(false, used("running container", user), Some(user)))
            }
            _ if soft && names && !self.refs.names_of(id).is_empty() => {
                let why = "image is referenced in multiple repositories".to_owned();
                Some(refuse(true, why, None))
            }
            Some(user) if soft => Some(refuse(true, used("stopped container", user), Some(user))),
            _ => None,
        }
    }
}

impl Store {
    /// Takes a name away; the image stays even when it was its last one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Io`].
    pub fn untag(&self, name: &Reference) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let mut refs = self.refs()?;
        refs.by_name(name)
            .ok_or_else(|| StoreError::NotFound(name.to_string()))?;
        refs.free(name);
        self.write_refs(&refs)
    }
    fn change(&self, needs: &dyn Fn() -> Result<Needs, StoreError>) -> Result<Change, StoreError> {
        let mut needs = needs()?;
        for id in self.held_elsewhere()? {
            let user = || User {
                id: "of a command that is running".to_owned(),
                name: "another command".to_owned(),
                running: true,
            };
            needs.images.entry(id).or_insert_with(user).running = true;
            if let Ok(image) = self.image(&id) {
                needs.layers.extend(image.layers());
            }
        }
        for id in needs.images.keys() {
            if let Ok(image) = self.image(id) {
                needs.layers.extend(image.layers());
            }
        }
        Ok(Change {
            refs: self.refs()?,
            needs,
            done: Removed::default(),
            layers: Vec::new(),
        })
    }
    /// Removes a name, and the image with it when it was its last one; or, by id, an image with its names.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Ambiguous`], [`StoreError::Conflict`], [`StoreError::Io`].
    pub fn remove(&self, name_or_id: &str, how: &Removal<'_>) -> Result<Removed, StoreError> {
        let lock = self.lock()?;
        let id = self.refs()?.find(name_or_id)?;
        let mut change = self.change(how.needs)?;
        let names = change.refs.names_of(&id);
        // A name that happens to begin the image's id is a name nevertheless; Docker takes it for the id.
        let named = Reference::parse(name_or_id)
            .ok()
            .filter(|name| change.refs.by_name(name) == Some(id));
        let mut variants = Vec::new();
        let mut quiet = false;
        match named.map(|name| names.iter().find(|n| **n == name).cloned().unwrap_or(name)) {
            Some(name) => {
                if !how.force
                    && is_single(&names)
                    && let Some(user) = change.needs.images.get(&id)
                {
                    return Err(StoreError::Conflict {
                        what: format!("remove repository reference \"{name}\""),
                        force: "must force",
                        why: format!(
                            "container {} is using its referenced image {}",
                            user.id,
                            id.short()
                        ),
                        user: Some(user.name.clone()),
                    });
                }
                variants = self.variants(&name)?;
                change.untag(&id, &name);
                if !change.refs.names_of(&id).is_empty() {
                    self.write_refs(&change.refs)?;
                    return Ok(change.done);
                }
                quiet = true;
            }
            None if is_single(&names) => {
                if let Some(conflict) = change.conflict(&id, !how.force, false) {
                    return Err(conflict);
                }
                change.untag_all(&id);
            }
            None => {}
        }
        match change.conflict(&id, !how.force, true) {
            // The name was taken away, as asked; the image stays for who uses it.
            Some(_) if quiet => {
                self.write_refs(&change.refs)?;
                return Ok(change.done);
            }
            Some(conflict) => return Err(conflict),
            None => {}
        }
        change.untag_all(&id);
        change.drop_image(self, &id);
        for other in variants
            .iter()
            .map(|image| image.id)
            .filter(|other| *other != id)
        {
            let free = change.refs.names_of(&other).is_empty()
                && change.conflict(&other, true, true).is_none();
            if free {
                change.drop_image(self, &other);
            }
        }
        self.finish(change, lock)
    }
    /// Removes images that `goes` says of, with all their names, but none that anybody uses; then layers and blobs that nothing
    /// needs. `done` is asked with the bytes freed so far and says when it is enough.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`].
    pub fn prune(
        &self,
        how: &Removal<'_>,
        goes: &mut dyn FnMut(&Image, &[Reference]) -> bool,
    ) -> Result<Removed, StoreError> {
        let lock = self.lock()?;
        let mut change = self.change(how.needs)?;
        let variants = self.all_variants(&change.refs);
        for id in change.refs.ids() {
            let names = change.refs.names_of(&id);
            // Images of other platforms go with the name they stand behind.
            let stays = change.needs.images.contains_key(&id)
                || (names.is_empty() && variants.contains_key(&id));
            let image = match self.image(&id) {
                Ok(image) => image,
                Err(StoreError::Io { step, source }) => {
                    return Err(StoreError::Io { step, source });
                }
                // Damaged ones are told of by `check`.
                Err(_) => continue,
            };
            if !stays && goes(&image, &names) {
                change.untag_all(&id);
                change.drop_image(self, &id);
                let behind = variants.iter().filter(|(_, named)| **named == id);
                let behind: Vec<Digest> = behind.map(|(other, _)| *other).collect();
                for other in behind {
                    if change.refs.names_of(&other).is_empty()
                        && !change.needs.images.contains_key(&other)
                    {
                        change.drop_image(self, &other);
                    }
                }
            }
        }
        self.finish(change, lock)
    }
    /// Writes the index, and removes layers and blobs that nothing needs: also what a killed command has left.
    fn finish(
        &self,
        mut change: Change,
        lock: crate::sys::lock::Lock,
    ) -> Result<Removed, StoreError> {
        if !change.layers.is_empty() || !change.done.gone.is_empty() {
            self.write_refs(&change.refs)?;
        }
        // A build or pull of another process may be about to use them; `prune` comes later.
        let quiet = self.layers.quiet()?;
        let gone = match &quiet {
            Some(quiet) => {
                let all = self.layers.list()?.into_iter().collect();
                let gone = self.remove_layers(&change.refs, &all, &change.needs.layers, quiet)?;
                self.remove_blobs(&change.refs)?;
                gone
            }
            None => BTreeMap::new(),
        };
        // Files are removed when everything is in order and nobody waits.
        drop(lock);
        drop(quiet);
        change.done.freed = gone.values().sum();
        tell_layers(&mut change.done, &change.layers, gone.into_keys().collect());
        Ok(change.done)
    }
    /// Removes those of some layers that neither an image nor `keep` needs, but none while somebody makes one.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`].
    pub fn drop_layers(
        &self,
        layers: &BTreeSet<Digest>,
        keep: &BTreeSet<Digest>,
    ) -> Result<Removed, StoreError> {
        let lock = self.lock()?;
        let mut removed = Removed::default();
        if let Some(quiet) = self.layers.quiet()? {
            let refs = self.refs()?;
            let gone = self.remove_layers(&refs, layers, keep, &quiet)?;
            self.remove_blobs(&refs)?;
            drop(lock);
            drop(quiet);
            removed.freed = gone.values().sum();
            tell_layers(&mut removed, &[], gone.into_keys().collect());
        }
        Ok(removed)
    }
    /// Gives the layers that are gone with their bytes.
    fn remove_layers(
        &self,
        refs: &Refs,
        layers: &BTreeSet<Digest>,
        keep: &BTreeSet<Digest>,
        quiet: &Quiet,
    ) -> Result<BTreeMap<Digest, u64>, StoreError> {
        let used = self.layers_in_use(refs)?;
        let mut gone = BTreeMap::new();
        let free = layers
            .iter()
            .filter(|id| !used.contains(id) && !keep.contains(id));
        for id in free.filter(|id| self.layers.lies(id)) {
            let content = self.layers.record(id).map_or(0, |record| record.content);
            quiet.remove(id)?;
            gone.insert(*id, content);
        }
        Ok(gone)
    }
    /// Removes blobs that neither an image nor a layer needs.
    fn remove_blobs(&self, refs: &Refs) -> Result<(), StoreError> {
        // A pull has blobs before it has layers that name them.
        if self.downloads() {
            return Ok(());
        }
        let mut used: BTreeSet<Digest> = refs.ids();
        used.extend(refs.known());
        for digest in refs.manifests() {
            used.insert(digest);
            if let Ok(Document::Manifest(manifest)) = self
                .blob(&digest)
                .map_or(Err(()), |bytes| Document::parse(&bytes).map_err(drop))
            {
                used.insert(manifest.config.digest);
            }
        }
        for layer in self.layers.list()? {
            // One without a record has no blob either.
            let blob = self
                .layers
                .record(&layer)
                .ok()
                .and_then(|record| record.blob);
            used.extend(blob.map(|blob| blob.digest));
        }
        let failed = || StoreError::io("remove blobs that nothing needs");
        for entry in std::fs::read_dir(self.images.join("blobs/sha256")).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let digest = Digest::parse(&format!("sha256:{name}"));
            // Other names are of writes that a kill has ended, or that go on just now.
            let left = || {
                let age = path.metadata().ok()?.modified().ok()?;
                SystemTime::now().duration_since(age).ok()
            };
            if digest.map_or_else(
                |_| left().is_some_and(|age| age > GRACE),
                |d| !used.contains(&d),
            ) {
                crate::sys::fs::remove_tree(&path).map_err(failed())?;
            }
        }
        Ok(())
    }
    /// Whether some process downloads just now.
    fn downloads(&self) -> bool {
        let Ok(entries) = std::fs::read_dir(self.images.join("ingest")) else {
            return false;
        };
        entries.filter_map(Result::ok).any(|entry| {
            let held = std::fs::File::open(entry.path()).map(|file| file.try_lock().is_err());
            held.unwrap_or(false)
        })
    }
}

/// Puts layers that are gone behind the image they were of, the topmost first, and the others at the end.
fn tell_layers(done: &mut Removed, images: &[(Digest, Vec<Digest>)], mut gone: BTreeSet<Digest>) {
    let mut told = Vec::new();
    for one in done.gone.drain(..) {
        let image = match &one {
            Gone::Image(id) => images.iter().find(|(image, _)| image == id),
            _ => None,
        };
        told.push(one);
        let Some((_, layers)) = image else { continue };
        let mut chained: Option<Digest> = None;
        let mut own = Vec::new();
        for id in layers {
            let chain = match chained {
                None => *id,
                Some(below) => Digest::of(format!("{below} {id}").as_bytes()),
            };
            chained = Some(chain);
            if gone.remove(id) {
                own.push(Gone::Layer { id: *id, chain });
            }
        }
        told.extend(own.into_iter().rev());
    }
    told.extend(gone.into_iter().map(|id| Gone::Layer { id, chain: id }));
    done.gone = told;
}
