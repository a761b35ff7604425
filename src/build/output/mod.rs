//! Where what a build makes goes, beside the store: directories, archives, registries.
//!
//! In: images and layers that a build made, and the [`Output`]s that were asked for ([`spec`] reads them). Out: files with
//! the content of the image ([`files`]), archives of images ([`archive`]), pushes. It builds nothing.
//! Imports: `image`, [`super::told`]. Rules: buildx's reference, "Exporters"; BuildKit's `exporter/`.

mod archive;
mod beside;
mod files;
pub mod spec;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::BuildError;
use super::told::Teller;
use super::{BuildRequest, Builder, Built};
use crate::base::cancel::Cancel;
use crate::base::event::internal;
use crate::image::archive::pack::Packing;
use crate::image::attest::{Along, Annotation};
use crate::image::reference::Reference;
use crate::image::registry::{self, Form, PushError, PushOptions};
use crate::image::store::Image;

/// One thing that is made of what was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The image, in the store: what a build makes unless it is asked for something else.
    Image(Kept),
    /// An archive of images.
    Archive(Archive),
    /// The files of the image.
    Files(Files),
    /// Nothing: steps are remembered all the same.
    Nothing,
}

/// An image in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Names of its own, where the build was given none.
    pub names: Vec<Reference>,
    /// It is pushed under its names.
    pub push: bool,
    /// How layers are compressed for a push.
    pub packing: Packing,
    /// Also those that came compressed in another way.
    pub repack: bool,
    /// The form of manifests that are pushed.
    pub form: Form,
    /// Remarks on what is pushed.
    pub annotations: Vec<Annotation>,
    /// It is pushed under its digest, and no tag is moved.
    pub by_digest: bool,
}

/// The kind of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An OCI image layout.
    Oci,
    /// What `docker load` takes: of one platform.
    Docker,
}

/// An archive of images; what docker takes is an OCI layout too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// As what it was asked for.
    pub kind: Kind,
    /// Names of its own, where the build was given none.
    pub names: Vec<Reference>,
    /// Where it goes.
    pub dest: Dest,
    /// The files of the layout in a directory, in place of one archive.
    pub spread: bool,
    /// How layers are compressed; when nothing is said, they are as the store has them.
    pub packing: Option<Packing>,
    /// Remarks on what is in it.
    pub annotations: Vec<Annotation>,
}

/// The files of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Where they go.
    pub dest: Dest,
    /// As a tar archive.
    pub packed: bool,
    /// A directory a platform; when nothing is said, where there are several.
    pub split: Option<bool>,
}

/// Where an output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dest {
    /// Standard output.
    Stdout,
    /// A file or a directory.
    Path(PathBuf),
}

impl Output {
    /// Whether it is written to standard output.
    pub fn is_stdout(&self) -> bool {
        match self {
            Self::Archive(archive) => archive.dest == Dest::Stdout,
            Self::Files(files) => files.dest == Dest::Stdout,
            Self::Image(_) | Self::Nothing => false,
        }
    }
    /// Looks whether the place can be what it should be, before anything is built.
    ///
    /// # Errors
    /// What is in the way.
    pub fn check(&self) -> Result<(), String> {
        let (dest, directory) = match self {
            Self::Archive(archive) => (&archive.dest, archive.spread),
            Self::Files(files) => (&files.dest, !files.packed),
            Self::Image(_) | Self::Nothing => return Ok(()),
        };
        let Dest::Path(path) = dest else {
            return Ok(());
        };
        let shown = path.display();
        match (std::fs::metadata(path), directory) {
            (Ok(found), true) if !found.is_dir() => {
                Err(format!("destination directory {shown} is a file"))
            }
            (Ok(found), false) if found.is_dir() => {
                Err(format!("destination file {shown} is a directory"))
            }
            (Ok(_), _) => Ok(()),
            (Err(error), false) if error.kind() == io::ErrorKind::NotFound => above(path),
            (Err(error), true) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            (Err(error), _) => Err(format!("invalid destination {shown}: {error}")),
        }
    }
}

/// Whether a file can be made at a path.
fn above(path: &Path) -> Result<(), String> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
            let path = path.display();
            let parent = parent.display();
            Err(format!(
                "cannot write {path}: there is no directory {parent}"
            ))
        }
        _ => Ok(()),
    }
}

impl BuildRequest {
    /// Whether the image goes to the store for good.
    pub(super) fn keeps(&self) -> bool {
        let kept = |output: &Output| matches!(output, Output::Image(_));
        self.outputs.is_empty() || self.outputs.iter().any(kept)
    }
    /// Names that the image gets in the store.
    pub(super) fn kept_names(&self) -> &[Reference] {
        match self.keeps() {
            true => &self.tags,
            false => &[],
        }
    }
}

/// Makes all that was asked for beside the store, of one image a platform.
///
/// # Errors
/// [`BuildError`].
pub(super) fn write(
    request: &BuildRequest,
    built: Vec<Built>,
    builder: &Builder<'_>,
) -> Result<(), BuildError> {
    if request.outputs.is_empty() {
        return Ok(());
    }
    // While there is a staging place, no other process removes the layers of what is not in the store.
    let _kept = builder.store.layers().staging()?;
    let teller = Teller::new(request, builder);
    let (images, statements) = built
        .into_iter()
        .map(|one| (one.image, one.statements))
        .unzip::<_, _, Vec<_>, Vec<_>>();
    let images = images.as_slice();
    let along = |own: &[Annotation]| Along {
        statements: statements.clone(),
        annotations: own.iter().chain(&request.annotations).cloned().collect(),
    };
    for (number, output) in (0..).zip(&request.outputs) {
        let step = internal::output(number);
        let title = title(output);
        match output {
            Output::Files(files) => {
                teller.during(step, title, || {
                    files::write(files, images, &statements, builder)
                })?;
            }
            Output::Archive(archive) => {
                teller.during(step, title, || {
                    let along = along(&archive.annotations);
                    archive::write(archive, &request.tags, (images, along), builder)
                })?;
            }
            Output::Image(kept) if kept.push => {
                let along = along(&kept.annotations);
                push(kept, request, (images, &along), (builder, teller))?;
            }
            Output::Image(_) | Output::Nothing => {}
        }
    }
    Ok(())
}

/// What BuildKit calls the step.
fn title(output: &Output) -> &'static str {
    match output {
        Output::Files(Files { packed: false, .. }) => "exporting to client directory",
        Output::Files(Files { packed: true, .. }) => "exporting to client tarball",
        Output::Archive(Archive {
            kind: Kind::Oci, ..
        }) => "exporting to oci image format",
        Output::Archive(Archive {
            kind: Kind::Docker, ..
        }) => "exporting to docker image format",
        Output::Image(_) | Output::Nothing => "exporting to image",
    }
}

fn push(
    kept: &Kept,
    request: &BuildRequest,
    (images, along): (&[Image], &Along),
    (builder, teller): (&Builder<'_>, Teller<'_>),
) -> Result<(), BuildError> {
    let options = PushOptions {
        packing: kept.packing,
        repack: kept.repack,
        form: kept.form,
        by_digest: kept.by_digest,
        env: request.env.clone(),
        cancel: builder.cancel.clone(),
        ..PushOptions::default()
    };
    let (store, events) = (builder.store, builder.events);
    for name in &request.tags {
        let title = format!("pushing {name}");
        teller.during(internal::PUSH, &title, || {
            let pushed = registry::push_index(store, images, along, name, &options, events);
            pushed.map(drop).map_err(|error| match error {
                PushError::Cancelled(_) => BuildError::Cancelled,
                other => BuildError::Output(other.to_string()),
            })
        })?;
    }
    Ok(())
}

/// A file that is there when all of it was written, and not before: what is there keeps its content until then. Devices and
/// pipes are written as they are.
enum Whole {
    Direct(std::fs::File),
    Renamed {
        file: std::fs::File,
        temporary: PathBuf,
        path: PathBuf,
        done: bool,
    },
}

impl Whole {
    fn create(path: &Path) -> io::Result<Self> {
        // The file behind links is the one that is replaced.
        let path = match std::fs::canonicalize(path) {
            Ok(real) if std::fs::metadata(&real)?.is_file() => real,
            Ok(_) => return std::fs::File::create(path).map(Self::Direct),
            Err(_) => path.to_owned(),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let file = std::fs::File::create_new(&temporary)?;
        Ok(Self::Renamed {
            file,
            temporary,
            path,
            done: false,
        })
    }
    fn finish(mut self) -> io::Result<()> {
        if let Self::Renamed {
            file,
            temporary,
            path,
            done,
        } = &mut self
        {
            file.sync_data()?;
            std::fs::rename(temporary, path)?;
            *done = true;
        }
        Ok(())
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if let Self::Renamed {
            temporary,
            done: false,
            ..
        } = self
        {
            // What can't be removed is no worse than the failure that is told.
            let _ = std::fs::remove_file(temporary);
        }
    }
}

impl Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Direct(file) | Self::Renamed { file, .. } => file.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts what goes through it, and ends when the build is to end.
struct Counted<'a, W> {
    out: W,
    count: u64,
    cancel: &'a Cancel,
}

impl<'a, W> Counted<'a, W> {
    fn new(out: W, cancel: &'a Cancel) -> Self {
        Self {
            out,
            count: 0,
            cancel,
        }
    }
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("the build was cancelled"));
        }
        let written = self.out.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Has an archive written to where it goes.
fn to_file(
    dest: &Dest,
    cancel: &Cancel,
    write: impl FnOnce(&mut dyn Write) -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    let shown = match dest {
        Dest::Stdout => "standard output".to_owned(),
        Dest::Path(path) => path.display().to_string(),
    };
    let failed = |error| BuildError::io(format!("write {shown}"), error);
    let written = match dest {
        Dest::Stdout => {
            let mut out = Counted::new(io::stdout().lock(), cancel);
            write(&mut out).and_then(|()| out.flush().map_err(failed))
        }
        Dest::Path(path) => {
            let mut out = Counted::new(Whole::create(path).map_err(failed)?, cancel);
            write(&mut out).and_then(|()| out.out.finish().map_err(failed))
        }
    };
    match written {
        Err(_) if cancel.is_cancelled() => Err(BuildError::Cancelled),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_content_until_the_new_one_is_whole() {
        let dir = std::env::temp_dir().join(format!("hoist-whole-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a");
        std::fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink("a", dir.join("link")).unwrap();
        let dest = Dest::Path(dir.join("link"));
        let cancel = Cancel::default();
        let half = to_file(&dest, &cancel, |out| {
            out.write_all(b"new").unwrap();
            Err(BuildError::Output("no".to_owned()))
        });
        assert!(half.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2);
        to_file(&dest, &cancel, |out| {
            out.write_all(b"new").unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        cancel.cancel();
        let ended = to_file(&dest, &cancel, |out| {
            let written = out.write_all(b"more");
            written.map_err(|error| BuildError::io("write", error))
        });
        assert!(matches!(ended, Err(BuildError::Cancelled)));
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
