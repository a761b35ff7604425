//! Images taken from an archive or a directory.
//!
//! Layers first, several at a time, each under the digest its bytes have; an image only when all its layers are there. A kill
//! leaves layers that nothing names, and no half image; neither does a power cut. Imports: `archive`, `layer`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::files::{Files, Input, Part};
use super::find::{Found, Group, groups};
use super::{StoreError, corrupt};
use crate::image::archive::pack::Packing;
use crate::image::archive::{Compression, decoder, sniff};
use crate::image::digest::{Digest, Hasher};
use crate::image::layer::unpack::Limits;
use crate::image::layer::{Staging, open_blob};
use crate::image::manifest::{Descriptor, Index, ManifestError, Platform, media};
use crate::image::reference::Reference;
use crate::image::store::packed::packing_of;
use crate::image::store::{Image, Store};

/// Layers that are unpacked at the same time.
const SIDE_BY_SIDE: usize = 4;

/// What came of one image of an archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The image; where there are several platforms, the one that has the names.
    pub image: Image,
    /// Its names, as the archive has them.
    pub names: Vec<Reference>,
    /// Names that another image had until now.
    pub taken: Vec<(Reference, Digest)>,
}

/// A layer that is not here yet.
struct Job {
    id: Digest,
    part: Part,
    said: Option<Descriptor>,
}

impl Store {
    /// Takes the images of an archive or a directory, with the names it says; of each only the one for `platform`, where
    /// that is said.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Io`].
    pub fn load(
        &self,
        input: Input,
        platform: Option<&Platform>,
    ) -> Result<Vec<Loaded>, StoreError> {
        // Also holds the layers that are found here.
        let staging = self.layers().staging()?;
        let files = Files::open(input, staging.dir())?;
        let mut all = groups(&files)?;
        for group in &mut all {
            if let Some(wanted) = platform {
                narrow(group, wanted)?;
            }
        }
        self.load_layers(&files, &all, &staging)?;
        self.settle()?;
        all.into_iter()
            .map(|group| self.load_group(group))
            .collect()
    }
    fn load_group(&self, group: Group) -> Result<Loaded, StoreError> {
        let mut taken = Vec::new();
        for name in &group.names {
            if let Some(had) = self.resolve(name)? {
                taken.push((name.clone(), had.id));
            }
        }
        let first = first(&group.images);
        let mut images = Vec::new();
        let mut named = None;
        for (at, one) in group.images.into_iter().enumerate() {
            let names = if at == first {
                group.names.as_slice()
            } else {
                &[]
            };
            let image = match &one.manifest {
                Some((bytes, kind)) => self.enter(&one.config, bytes, kind, names, None)?,
                None => self.keep(&one.config, names)?,
            };
            if at == first {
                named = Some(image.clone());
            }
            images.push(image);
        }
        let image = named.ok_or_else(|| corrupt("the archive holds no image"))?;
        if images.len() > 1 {
            for name in &group.names {
                self.keep_variants(name, &image, &images)?;
            }
        }
        taken.retain(|(_, had)| *had != image.id);
        let names = group.names;
        Ok(Loaded {
            image,
            names,
            taken,
        })
    }
    fn load_layers(
        &self,
        files: &Files,
        all: &[Group],
        staging: &Staging,
    ) -> Result<(), StoreError> {
        let mut jobs = BTreeMap::new();
        for one in all.iter().flat_map(|group| &group.images) {
            for (id, (name, said)) in one.image.layers().iter().zip(&one.layers) {
                if !jobs.contains_key(id) && !self.layers().contains(id) {
                    refuse_foreign(said.as_ref())?;
                    let (part, said) = (files.part(name)?, said.clone());
                    jobs.insert(
                        *id,
                        Job {
                            id: *id,
                            part,
                            said,
                        },
                    );
                }
            }
        }
        let mut jobs: Vec<Job> = jobs.into_values().collect();
        // The longest first: whoever begins it last waits alone for its end.
        jobs.sort_by_key(|job| job.part.length);
        let workers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = workers.min(SIDE_BY_SIDE).min(jobs.len());
        let (jobs, fault) = (Mutex::new(jobs), Mutex::new(None));
        let next = || jobs.lock().ok().and_then(|mut jobs| jobs.pop());
        let work = || {
            while let Some(job) = next() {
                if let Err(error) = self.load_layer(job, staging) {
                    if let Ok(mut fault) = fault.lock() {
                        fault.get_or_insert(error);
                    }
                    if let Ok(mut jobs) = jobs.lock() {
                        jobs.clear();
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..workers {
                scope.spawn(work);
            }
            work();
        });
        match fault.into_inner() {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error),
            Err(_) => Err(corrupt("a layer of the archive could not be unpacked")),
        }
    }
    fn load_layer(&self, job: Job, staging: &Staging) -> Result<(), StoreError> {
        let head = job
            .part
            .head()
            .map_err(StoreError::io("read a layer of the archive"))?;
        let packing = match sniff(&head) {
            Compression::Gzip => Packing::Gzip,
            Compression::Zstd => Packing::Zstd,
            _ => return self.load_plain(&job, staging),
        };
        let docker = matches!(&job.said, Some(said) if said.media_type.starts_with("application/vnd.docker"));
        let blob = self.keep_part(job.part, media::layer(packing, docker), staging)?;
        agree(job.said.as_ref(), &blob)?;
        let file = open_blob(&self.blob_path(&blob.digest))?;
        (self.layers().import_ahead(file, &job.id, Some(&blob))).map(drop)
    }
    /// A layer that is not compressed, or in a way that no registry knows: its archive is made of its files again.
    fn load_plain(&self, job: &Job, staging: &Staging) -> Result<(), StoreError> {
        let limits = Limits::for_archive(Some(job.part.length)).within(self.free());
        let fresh = self.layers().unpack(decoder(job.part.clone()), limits)?;
        if fresh.id != job.id {
            let text = format!("layer {} of the archive unpacks to {}", job.id, fresh.id);
            return Err(corrupt(text));
        }
        if let Some(said) = job.said.as_ref()
            && packing_of(&said.media_type) == Packing::Plain
            && (said.digest, said.size) != (job.id, job.part.length)
        {
            return Err(other_content(&said.digest));
        }
        let blob = match fresh.whole {
            true => None,
            false => Some(self.keep_part(decoder(job.part.clone()), media::LAYER, staging)?),
        };
        self.layers().settle(fresh, blob.as_ref()).map(drop)
    }
    /// Copies what an archive has into a blob.
    fn keep_part(
        &self,
        mut from: impl Read,
        media_type: &str,
        staging: &Staging,
    ) -> Result<Descriptor, StoreError> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let failed = || StoreError::io("keep a layer of the archive");
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = staging.dir().join(format!("blob-{serial}"));
        let mut file = File::create_new(&path).map_err(failed())?;
        let mut hasher = Hasher::default();
        let mut size = 0;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let read = match from.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(failed())?,
            };
            if read == 0 {
                break;
            }
            let bytes = buffer.get(..read).unwrap_or_default();
            hasher.update(bytes);
            size += read as u64;
            file.write_all(bytes).map_err(failed())?;
        }
        let blob = Descriptor::new(media_type, hasher.finish(), size);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        file.set_permissions(mode)
            .and_then(|()| std::fs::rename(&path, self.blob_path(&blob.digest)))
            .map_err(failed())?;
        Ok(blob)
    }
}

/// Leaves only the image for a platform.
fn narrow(group: &mut Group, wanted: &Platform) -> Result<(), StoreError> {
    let best = best(&group.images, wanted).map_err(|error| match error {
        ManifestError::NoPlatform { wanted, offered } => corrupt(format!(
            "no image of the archive is for {wanted}; there is {}",
            offered.join(", ")
        )),
        other => corrupt(other.to_string()),
    })?;
    let mut at = 0;
    group.images.retain(|_| {
        at += 1;
        at - 1 == best
    });
    Ok(())
}

/// Which image gets the names: the one for this machine, else the first.
fn first(images: &[Found]) -> usize {
    best(images, &Platform::host()).unwrap_or(0)
}

fn best(images: &[Found], wanted: &Platform) -> Result<usize, ManifestError> {
    let entry = |(at, one): (usize, &Found)| {
        let mut entry = Descriptor::new(media::MANIFEST, one.image.id, at as u64);
        entry.platform = Some(one.platform());
        entry
    };
    let index = Index {
        manifests: images.iter().enumerate().map(entry).collect(),
        ..Index::default()
    };
    let chosen = index.select(wanted)?.size;
    Ok(usize::try_from(chosen).unwrap_or(0))
}

fn refuse_foreign(said: Option<&Descriptor>) -> Result<(), StoreError> {
    let foreign = |said: &&Descriptor| {
        said.media_type.contains("nondistributable") || said.media_type.contains("foreign")
    };
    match said.filter(foreign) {
        None => Ok(()),
        Some(said) => Err(corrupt(format!(
            "a layer of the archive is of type `{}`, which is kept elsewhere and not supported",
            said.media_type
        ))),
    }
}

fn agree(said: Option<&Descriptor>, found: &Descriptor) -> Result<(), StoreError> {
    match said {
        Some(said) if (said.digest, said.size) != (found.digest, found.size) => {
            Err(other_content(&said.digest))
        }
        _ => Ok(()),
    }
}

fn other_content(digest: &Digest) -> StoreError {
    corrupt(format!("the archive's blob {digest} has another content"))
}
