//! Images → an archive that other tools load, or the files of a layout.
//!
//! The store writes archives of images that it has; one that is not to stay is lent to it for as long as that takes.
//! Imports: `image::{attest, store, tree}`.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::{Archive, Counted, Dest, Kind, to_file};
use crate::build::Builder;
use crate::build::error::BuildError;
use crate::image::attest::Along;
use crate::image::reference::Reference;
use crate::image::store::{self, Format, Image, Needs, Removal, Saved, Saving, Store, StoreError};
use crate::image::tree::unpack::{self, Links, Owner, Target};
use crate::sys::fs::Root;

/// Mode of a directory that is made for a layout.
const MODE: u32 = 0o755;

/// An image that the store has while this is there.
struct Lent<'a> {
    store: &'a Store,
    /// The image, if it was not there before.
    new: Option<&'a Image>,
}

impl<'a> Lent<'a> {
    fn to(store: &'a Store, image: &'a Image) -> Result<Self, StoreError> {
        let new = match store.find(&image.id.to_string()) {
            Ok(_) => None,
            Err(StoreError::NotFound(_)) => {
                store.put(&image.config, &[])?;
                Some(image)
            }
            Err(error) => return Err(error),
        };
        Ok(Self { store, new })
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(image) = self.new {
            // Its layers are results of steps: they stay, as others may need them by now.
            let needs = || {
                Ok(Needs {
                    layers: image.layers().iter().copied().collect(),
                    ..Needs::default()
                })
            };
            let how = Removal {
                force: false,
                needs: &needs,
            };
            // One that stays has no name, and `image prune` removes it.
            let _ = self.store.remove(&image.id.to_string(), &how);
        }
    }
}

/// Writes an archive; `tags` are the build's own names.
///
/// # Errors
/// [`BuildError`].
pub(super) fn write(
    archive: &Archive,
    tags: &[Reference],
    (images, along): (&[Image], Along),
    builder: &Builder<'_>,
) -> Result<(), BuildError> {
    if archive.kind == Kind::Docker && images.len() > 1 {
        let text = "an archive for docker holds an image of one platform: use type=oci for several";
        return Err(BuildError::Output(text.to_owned()));
    }
    let lend = |image| Lent::to(builder.store, image);
    let _lent: Vec<Lent<'_>> = images.iter().map(lend).collect::<Result<_, _>>()?;
    let names = match tags {
        [] => &archive.names[..],
        tags => tags,
    };
    let saved = Saved {
        images: images.to_vec(),
        names: names.to_vec(),
        along,
    };
    let how = Saving {
        format: match archive.kind {
            Kind::Docker => Format::Docker,
            Kind::Oci => Format::Oci,
        },
        packing: archive.packing,
    };
    match &archive.dest {
        Dest::Path(path) if archive.spread => spread(saved, how, path, builder),
        dest => to_file(dest, builder.cancel, |out| {
            Ok(builder
                .store
                .save(&[saved], &how, store::Target::archive(out))?)
        }),
    }
}

/// Writes the files that the archive would have into a directory.
fn spread(saved: Saved, how: Saving, path: &Path, builder: &Builder<'_>) -> Result<(), BuildError> {
    let failed = |error| BuildError::io(format!("make {}", path.display()), error);
    let make = |path: &Path| {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(MODE)
            .create(path)
    };
    // An archive names no directories.
    make(&path.join("blobs/sha256")).map_err(failed)?;
    let top = Root::open(path).map_err(|errno| failed(errno.into()))?;
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let target = Target {
        at_once: None,
        top: &top,
        links: Links::Refused,
        owner: Owner::Caller,
    };
    let (saved, unpacked) = std::thread::scope(|scope| {
        let unpacking = scope.spawn(|| unpack::read(reader, target));
        let out = store::Target::archive(Counted::new(writer, builder.cancel));
        let saved = builder.store.save(&[saved], &how, out);
        (saved, unpacking.join())
    });
    if builder.cancel.is_cancelled() {
        return Err(BuildError::Cancelled);
    }
    match unpacked {
        Ok(Err(fault)) => {
            let fault = fault.below(path);
            Err(BuildError::Output(format!("cannot export: {fault}")))
        }
        _ => Ok(saved?),
    }
}
