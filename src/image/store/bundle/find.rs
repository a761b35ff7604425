//! What an archive says it holds.
//!
//! In: [`Files`]. Out: groups of images; the images of a group differ in their platforms and have the same names. Documents that are
//! named by a digest must have it. Imports: `manifest`, `reference`.

use std::collections::BTreeSet;

use super::files::Files;
use super::{ATTESTATION, Listing, NAME, StoreError, TAG, blob_name, corrupt, legacy};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Document, Index, Manifest, Platform, media};
use crate::image::reference::Reference;
use crate::image::store::{Image, parse_config};

/// Deepest nesting of indexes.
const DEEPEST: usize = 4;
/// Most images of an archive.
const MOST_IMAGES: usize = 10_000;

/// One image of an archive.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) config: Vec<u8>,
    pub(super) image: Image,
    /// Where its layers are, and what they must be where that is said.
    pub(super) layers: Vec<(String, Option<Descriptor>)>,
    /// Its manifest with its type.
    pub(super) manifest: Option<(Vec<u8>, String)>,
}

impl Found {
    pub(super) fn platform(&self) -> Platform {
        let config = &self.image.config;
        Platform {
            os: config.os.clone(),
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
        }
    }
}

/// Images that have the same names.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) names: Vec<Reference>,
    pub(super) images: Vec<Found>,
}

/// All images of an archive, in the order it has them.
pub(super) fn groups(files: &Files) -> Result<Vec<Group>, StoreError> {
    let (docker, oci) = (files.has("manifest.json"), files.has("index.json"));
    let mut found = Vec::new();
    if oci {
        found = of_layout(files)?;
    }
    if docker {
        let bytes = files.document("manifest.json")?;
        if !bytes.trim_ascii_start().starts_with(b"[") {
            return of_dir(files, &bytes).map(|group| vec![group]);
        }
        found = of_listings(files, &bytes, found)?;
    }
    if !oci && !docker {
        if !files.has("repositories") {
            return Err(corrupt(
                "the archive holds no image: it has neither manifest.json nor index.json; \
                 an archive of a root file system is taken by `hoist image import`",
            ));
        }
        found = legacy::groups(files)?;
    }
    match found.is_empty() {
        true => Err(corrupt("the archive holds no image")),
        false => Ok(found),
    }
}

fn names(texts: &[String]) -> Result<Vec<Reference>, StoreError> {
    let parse = |text: &String| {
        Reference::parse(text).map_err(|error| corrupt(format!("a name in the archive: {error}")))
    };
    texts.iter().map(parse).collect()
}

/// The images of `manifest.json`. Those of the layout beside it have their manifests there, and perhaps more platforms.
fn of_listings(files: &Files, bytes: &[u8], layout: Vec<Group>) -> Result<Vec<Group>, StoreError> {
    let listings: Vec<Listing> = serde_json::from_slice(bytes)
        .map_err(|error| corrupt(format!("the archive's manifest.json: {error}")))?;
    if listings.len() > MOST_IMAGES {
        return Err(corrupt("the archive has too many images"));
    }
    let mut layout: Vec<Option<Group>> = layout.into_iter().map(Some).collect();
    let mut found: Vec<Group> = Vec::new();
    for listing in listings {
        let names = names(&listing.repo_tags.unwrap_or_default())?;
        let config = files.document(&listing.config)?;
        let id = Digest::of(&config);
        let of_id = |group: &Group| group.images.iter().any(|one| one.image.id == id);
        // The names may stand with several entries.
        let same = layout
            .iter_mut()
            .filter(|group| group.as_ref().is_some_and(of_id));
        let same: Vec<Group> = same.filter_map(Option::take).collect();
        if let Some(mut first) = same.into_iter().reduce(joined) {
            join_names(&mut first.names, names);
            found.push(first);
            continue;
        }
        let image = parse_config(&config)?;
        let layers = listing.layers.into_iter().map(|name| (name, None));
        let one = Found {
            config,
            image,
            layers: layers.collect(),
            manifest: None,
        };
        check_count(&one)?;
        found.push(Group {
            names,
            images: vec![one],
        });
    }
    found.extend(layout.into_iter().flatten());
    Ok(found)
}

fn joined(mut one: Group, other: Group) -> Group {
    join_names(&mut one.names, other.names);
    for image in other.images {
        if !one
            .images
            .iter()
            .any(|known| known.image.id == image.image.id)
        {
            one.images.push(image);
        }
    }
    one
}

fn join_names(names: &mut Vec<Reference>, more: Vec<Reference>) {
    let mut more: Vec<Reference> = more;
    more.retain(|name| !names.contains(name));
    names.append(&mut more);
}

/// skopeo's `dir:`: a manifest, and beside it blobs named by their digits.
fn of_dir(files: &Files, bytes: &[u8]) -> Result<Group, StoreError> {
    let document = Document::parse(bytes).map_err(|error| corrupt(error.to_string()))?;
    let Document::Manifest(manifest) = document else {
        return Err(corrupt("the directory holds an index in place of an image"));
    };
    let place = |digest: &Digest| digest.hex().to_owned();
    let one = image_of(files, &manifest, bytes, &place)?;
    Ok(Group {
        names: Vec::new(),
        images: vec![one],
    })
}

/// The images of an OCI layout.
fn of_layout(files: &Files) -> Result<Vec<Group>, StoreError> {
    let index: Index = serde_json::from_slice(&files.document("index.json")?)
        .map_err(|error| corrupt(format!("the archive's index.json: {error}")))?;
    if index.manifests.len() > MOST_IMAGES {
        return Err(corrupt("the archive has too many images"));
    }
    let mut found: Vec<(Digest, Group)> = Vec::new();
    for entry in &index.manifests {
        if entry.annotations.contains_key(ATTESTATION) {
            continue;
        }
        let names = name_of(entry)?;
        if let Some((_, known)) = found.iter_mut().find(|(digest, _)| *digest == entry.digest) {
            join_names(&mut known.names, names);
            continue;
        }
        let mut images = Vec::new();
        collect(files, entry, 0, &mut images)?;
        if images.is_empty() {
            let text = format!("the archive has no image of its index {}", entry.digest);
            return Err(corrupt(text));
        }
        found.push((entry.digest, Group { names, images }));
    }
    Ok(found.into_iter().map(|(_, group)| group).collect())
}

/// The name of an entry. A lone tag names nothing: nobody knows of what.
fn name_of(entry: &Descriptor) -> Result<Vec<Reference>, StoreError> {
    if let Some(name) = entry.annotations.get(NAME) {
        return names(std::slice::from_ref(name));
    }
    let name = entry.annotations.get(TAG);
    let whole = name.filter(|name| name.contains(['/', ':']));
    let parsed = whole.and_then(|name| Reference::parse(name).ok());
    Ok(parsed.into_iter().collect())
}

fn collect(
    files: &Files,
    entry: &Descriptor,
    depth: usize,
    found: &mut Vec<Found>,
) -> Result<(), StoreError> {
    let bytes = checked(files, &blob_name(&entry.digest), entry)?;
    match Document::parse(&bytes).map_err(|error| corrupt(error.to_string()))? {
        Document::Manifest(manifest) => {
            found.push(image_of(files, &manifest, &bytes, &blob_name)?);
        }
        Document::Index(_) if depth >= DEEPEST => {
            return Err(corrupt("the archive's indexes are nested too deep"));
        }
        Document::Index(index) => {
            // An index names all platforms, also those that are not in the archive.
            let here = |one: &&Descriptor| {
                !one.annotations.contains_key(ATTESTATION) && files.has(&blob_name(&one.digest))
            };
            let mut seen = BTreeSet::new();
            for one in index.manifests.iter().filter(here) {
                if seen.insert(one.digest) && found.len() < MOST_IMAGES {
                    collect(files, one, depth + 1, found)?;
                }
            }
        }
    }
    Ok(())
}

/// A document with the digest and the length that were said.
fn checked(files: &Files, name: &str, said: &Descriptor) -> Result<Vec<u8>, StoreError> {
    let bytes = files.document(name)?;
    if Digest::of(&bytes) != said.digest || bytes.len() as u64 != said.size {
        let text = format!("the archive's blob {} has another content", said.digest);
        return Err(corrupt(text));
    }
    Ok(bytes)
}

fn image_of(
    files: &Files,
    manifest: &Manifest,
    bytes: &[u8],
    place: &dyn Fn(&Digest) -> String,
) -> Result<Found, StoreError> {
    let kind = manifest.config.media_type.as_str();
    if !matches!(kind, media::CONFIG | media::DOCKER_CONFIG) {
        let text = format!("the archive holds no image but something of type `{kind}`");
        return Err(corrupt(text));
    }
    let config = checked(files, &place(&manifest.config.digest), &manifest.config)?;
    let image = parse_config(&config)?;
    let layers = manifest.layers.iter();
    let layers = layers.map(|layer| (place(&layer.digest), Some(layer.clone())));
    let media_type = manifest.media_type.as_deref().unwrap_or(media::MANIFEST);
    let one = Found {
        config,
        image,
        layers: layers.collect(),
        manifest: Some((bytes.to_vec(), media_type.to_owned())),
    };
    check_count(&one)?;
    Ok(one)
}

fn check_count(one: &Found) -> Result<(), StoreError> {
    let (has, says) = (one.layers.len(), one.image.layers().len());
    if has == says {
        return Ok(());
    }
    Err(corrupt(format!(
        "an image of the archive has {has} layers, and its config says {says}"
    )))
}
