//! The files of images, as they would be in a container → a directory or a tar archive.
//!
//! They travel as one archive in either case, whose reader trusts nobody: what lies in the directory already stays, but for
//! files of the same name, and no link in it is followed. In a directory everything belongs to the caller, as with buildx.
//! Imports: `image::{tree, layer}`.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::{Counted, Dest, Files, beside, to_file};
use crate::base::cancel::Cancel;
use crate::build::Builder;
use crate::build::error::BuildError;
use crate::image::attest::Statement;
use crate::image::store::Image;
use crate::image::tree::pack::{self, Holes, Opening, Source};
use crate::image::tree::unpack::{self, Links, Owner, Target};
use crate::sys::fs::Root;

/// Mode of a directory that is made for the files: programs in it may have rights of their own. As buildx.
const MODE: u32 = 0o700;

/// The files of one image, or those beside it.
pub(super) struct Part {
    pub(super) view: OwnedFd,
    /// Names at the top; `.` is the whole, below a directory of its own.
    pub(super) names: Vec<OsString>,
    pub(super) below: Option<String>,
}

impl Part {
    pub(super) fn open(
        image: &Image,
        split: bool,
        builder: &Builder<'_>,
    ) -> Result<Self, BuildError> {
        let view = builder.store.layers().view(image.layers())?;
        if split {
            return Ok(Self {
                view,
                names: vec![".".into()],
                below: Some(directory_of(image)),
            });
        }
        let listed = || -> std::io::Result<BTreeSet<OsString>> {
            // The view itself is only a place to look from.
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let mut dir = nix::dir::Dir::openat(&view, ".", flags, Mode::empty())?;
            let mut names = BTreeSet::new();
            for entry in dir.iter() {
                names.insert(OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned());
            }
            Ok(names)
        };
        let names =
            listed().map_err(|error| BuildError::io("list the files of the image", error))?;
        let names = names.into_iter().filter(|name| name != "." && name != "..");
        Ok(Self {
            names: names.collect(),
            view,
            below: None,
        })
    }
    pub(super) fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        self.names.iter().map(|name| Source {
            dir: self.view.as_fd(),
            name,
            stored_as: self.below.as_deref().map_or(name.as_bytes(), str::as_bytes),
        })
    }
}

/// `linux_arm_v7`
pub(super) fn directory_of(image: &Image) -> String {
    image.platform().to_string().replace('/', "_")
}

/// Writes the files of images.
///
/// # Errors
/// [`BuildError`].
pub(super) fn write(
    files: &Files,
    images: &[Image],
    statements: &[Vec<Statement>],
    builder: &Builder<'_>,
) -> Result<(), BuildError> {
    let split = files.split.unwrap_or(images.len() > 1);
    let open = |image| Part::open(image, split, builder);
    let mut parts: Vec<Part> = images.iter().map(open).collect::<Result<_, _>>()?;
    let place = builder.store.layers().staging()?;
    let told = beside::write(place.dir(), images, statements, split, builder)?;
    parts.extend(told);
    let sources: Vec<Source<'_>> = parts.iter().flat_map(Part::sources).collect();
    let packed = |error: pack::PackError| BuildError::Output(format!("cannot export: {error}"));
    match &files.dest {
        Dest::Path(path) if !files.packed => to_directory(&sources, path, builder.cancel),
        dest => to_file(dest, builder.cancel, |out| {
            pack::write_all(&sources, Opening::Twice, Holes::Filled, out).map_err(packed)
        }),
    }
}

fn to_directory(sources: &[Source<'_>], path: &Path, cancel: &Cancel) -> Result<(), BuildError> {
    let failed = |error| BuildError::io(format!("make {}", path.display()), error);
    let make = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(MODE)
        .create(path);
    make.map_err(failed)?;
    let top = Root::open(path).map_err(|errno| failed(errno.into()))?;
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let target = Target {
        at_once: None,
        top: &top,
        links: Links::Refused,
        owner: Owner::Caller,
    };
    let (packed, unpacked) = std::thread::scope(|scope| {
        let packing = scope.spawn(|| {
            let out = Counted::new(std::io::BufWriter::with_capacity(1 << 20, writer), cancel);
            pack::write_all(sources, Opening::Twice, Holes::Kept, out)
        });
        let unpacked = unpack::read(reader, target);
        (packing.join(), unpacked)
    });
    if cancel.is_cancelled() {
        return Err(BuildError::Cancelled);
    }
    // An archive that ends too early is what the reader says of whatever stopped the writer; a closed pipe is what the writer
    // says of whatever stopped the reader.
    match (packed, unpacked) {
        (Ok(Err(pack::PackError::Out(_))) | Ok(Ok(())), Err(fault)) => {
            let fault = fault.below(path);
            Err(BuildError::Output(format!("cannot export: {fault}")))
        }
        (Ok(Err(error)), _) => Err(BuildError::Output(format!("cannot export: {error}"))),
        (Err(_), _) => Err(BuildError::Output(
            "cannot export: the reader of the files has failed".to_owned(),
        )),
        (Ok(Ok(())), Ok(())) => Ok(()),
    }
}
