//! `image save`, `image load`, `image import`: images that come and go as files.
//!
//! Imports: `image`, `build::change`. As Docker: `docker image save|load|import`; `--format` as `podman save`.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::Path;

use crate::base::cancel::Cancel;
use crate::base::span::SourceMap;
use crate::build::change;
use crate::cli::app::App;
use crate::cli::args::{ImportArgs, LoadArgs, SaveArgs, SaveFormat};
use crate::cli::exit::{Failure, Outcome};
use crate::image::archive::pack::Packing;
use crate::image::attest::Along;
use crate::image::config::RunConfig;
use crate::image::manifest::Platform;
use crate::image::reference::Reference;
use crate::image::store::{Format, Image, Import, Input, Saved, Saving, Store, Target};
use crate::image::url;
use crate::sys::newfile::NewFile;
use crate::ui::write_out;

fn platform(text: Option<&String>) -> Result<Option<Platform>, Failure> {
    let parse = |text: &String| {
        Platform::parse(text).map_err(|_| {
            Failure::new(format!(
                "invalid platform: {text:?}: cannot parse platform specifier"
            ))
            .hint("write it as linux/amd64 or linux/arm/v7")
        })
    };
    text.map(parse).transpose()
}

pub(super) fn import(app: &App, args: &ImportArgs) -> Outcome {
    let name = args.name.as_deref().map(Reference::parse).transpose()?;
    if name.as_ref().is_some_and(|name| name.digest.is_some()) {
        let text = "cannot import digest reference";
        return Err(
            Failure::new(text).hint("name the image by a tag; its digest is what comes out")
        );
    }
    let platform = platform(args.platform.as_ref())?;
    if let Some(other) = platform.as_ref().filter(|platform| platform.os != "linux") {
        let text = format!("operating system is not supported: {}", other.os);
        return Err(Failure::new(text));
    }
    let from = match is_url(&args.file) {
        true => args.file.as_str(),
        false => "-",
    };
    let message = match args.message.as_str() {
        "" => format!("Imported from {}", without_credentials(from)),
        message => message.to_owned(),
    };
    let how = Import {
        names: name.into_iter().collect(),
        run: changes(RunConfig::default(), &args.change)?,
        message,
        platform,
    };
    let store = app.store()?;
    let imported = match is_url(&args.file) {
        true => from_url(app, &store, &args.file, &how)?,
        false => store.import_rootfs(archive(app, Path::new(&args.file))?, &how),
    };
    let (image, notes) = imported.map_err(|error| {
        Failure::new(format!("cannot import {}: {error}", without_credentials(&args.file))).hint(
            "it must be a tar archive of a root file system, plain or packed with gzip, bzip2, xz or zstd",
        )
    })?;
    for note in notes {
        app.warn(&note);
    }
    write_out(format!("{}\n", image.id))?;
    Ok(0)
}

/// What `--change` makes of a configuration.
///
/// # Errors
/// All that is wrong with the lines.
pub(super) fn changes(config: RunConfig, lines: &[String]) -> Result<RunConfig, Failure> {
    let text = lines.join("\n");
    let mut sources = SourceMap::default();
    let source = sources.add("--change", text.as_str());
    change::changed(config, &text, source).map_err(|found| Failure::faults(found.sorted(), sources))
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

fn without_credentials(text: &str) -> String {
    match is_url(text).then(|| url::parse(text)) {
        Some(Ok(url)) => url::shown(&url),
        _ => text.to_owned(),
    }
}

type Imported = Result<(Image, Vec<String>), crate::image::store::StoreError>;

fn from_url(app: &App, store: &Store, text: &str, how: &Import) -> Result<Imported, Failure> {
    let told = |error: url::UrlError| {
        let failure = Failure::new(format!("cannot import {error}"));
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    };
    let address = url::parse(text).map_err(told)?;
    // What is downloaded is needed once.
    let place = store.layers().staging()?;
    let wanted = url::Wanted {
        url: &address,
        name: Some("rootfs"),
        checksum: None,
        authorization: None,
    };
    let means = url::Means {
        dir: place.dir(),
        env: &app.env,
        cancel: &Cancel::default(),
    };
    write_out(format!("Downloading from {}\n", url::shown(&address)))?;
    let got = url::fetch(&wanted, &means, &|_| {}).map_err(told)?;
    let file = File::open(got.dir.join(&got.name))
        .map_err(|error| Failure::new(format!("cannot read what was downloaded: {error}")))?;
    Ok(store.import_rootfs(file, how))
}

/// An archive to read: a file, or standard input as `-`.
fn archive(app: &App, path: &Path) -> Result<Box<dyn Read>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let file = opened(app, path)?;
    if file.metadata().is_ok_and(|found| found.is_dir()) {
        let text = format!("cannot import {}: it is a directory", path.display());
        let hint = format!(
            "pack it: tar -C {} -c . | hoist image import -",
            path.display()
        );
        return Err(Failure::new(text).hint(hint));
    }
    Ok(Box::new(file))
}

fn opened(app: &App, path: &Path) -> Result<File, Failure> {
    File::open(app.env.cwd.join(path)).map_err(|error| {
        Failure::new(match error.kind() {
            io::ErrorKind::NotFound => {
                format!("open {}: no such file or directory", path.display())
            }
            _ => format!("cannot open {}: {error}", path.display()),
        })
    })
}

pub(super) fn load(app: &App, args: &LoadArgs) -> Outcome {
    let platform = platform(args.platform.as_ref())?;
    let input = match args.input.as_deref().filter(|path| *path != Path::new("-")) {
        Some(path) => {
            let file = opened(app, path)?;
            match file.metadata().is_ok_and(|found| found.is_dir()) {
                true => Input::Dir(app.env.cwd.join(path)),
                false => Input::File(file),
            }
        }
        None if io::stdin().is_terminal() => {
            let text = "requested load from stdin, but stdin is empty";
            return Err(Failure::new(text).hint("name an archive with -i, or pipe one in"));
        }
        None => Input::Stream(Box::new(io::stdin())),
    };
    let mut text = String::new();
    for loaded in app.store()?.load(input, platform.as_ref())? {
        for (name, had) in &loaded.taken {
            text.push_str(&format!(
                "The image {name} already exists, renaming the old one with ID {had} to empty string\n"
            ));
        }
        if loaded.names.is_empty() {
            text.push_str(&format!("Loaded image ID: {}\n", loaded.image.id));
        }
        for name in &loaded.names {
            text.push_str(&format!("Loaded image: {name}\n"));
        }
    }
    write_out(text)?;
    Ok(0)
}

pub(super) fn save(app: &App, args: &SaveArgs) -> Outcome {
    let platform = platform(args.platform.as_ref())?;
    let store = app.store()?;
    let how = saving(args)?;
    let directory = matches!(args.format, SaveFormat::OciDir | SaveFormat::DockerDir);
    let output = args.output.as_ref().map(|path| app.env.cwd.join(path));
    match &output {
        Some(path) => check_output(path, directory)?,
        None if directory => {
            return Err(
                Failure::new("a directory can't be written to standard output")
                    .hint("name one with -o"),
            );
        }
        None if io::stdout().is_terminal() => {
            let text = "cowardly refusing to save to a terminal. Use the -o flag or redirect";
            return Err(Failure::new(text));
        }
        None => {}
    }
    let images = chosen(&store, &args.images, platform.as_ref())?;
    match output {
        None => store.save(&images, &how, Target::archive(io::stdout().lock()))?,
        Some(path) if directory => store.save(&images, &how, Target::directory(&path)?)?,
        Some(path) => write_file(&store, &images, &how, &path)?,
    }
    Ok(0)
}

fn saving(args: &SaveArgs) -> Result<Saving, Failure> {
    let packing = args.compression_format.as_deref().map(|text| match text {
        "none" => Ok(Packing::Plain),
        text => text.parse(),
    });
    Ok(Saving {
        format: match args.format {
            SaveFormat::DockerArchive => Format::Docker,
            SaveFormat::OciArchive | SaveFormat::OciDir => Format::Oci,
            SaveFormat::DockerDir => Format::Dir,
        },
        packing: packing.transpose().map_err(Failure::new)?,
    })
}

/// Says what is wrong with a place before anything is read. In Docker's words.
fn check_output(path: &Path, directory: bool) -> Result<(), Failure> {
    if let Some(above) = path.parent()
        && let Err(error) = above.metadata()
    {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "no such file or directory".to_owned(),
            _ => error.to_string(),
        };
        return Err(Failure::new(format!(
            "failed to save image: invalid output path: stat {}: {why}",
            above.display()
        )));
    }
    if !directory && path.is_dir() {
        let text = "failed to save image: cannot write to a directory";
        return Err(Failure::new(text).hint("--format oci-dir writes one"));
    }
    Ok(())
}

fn write_file(store: &Store, images: &[Saved], how: &Saving, path: &Path) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::new(format!("cannot write {}: {error}", path.display()));
    let new = NewFile::create(path, 0o600).map_err(failed)?;
    store.save(images, how, Target::archive(new.file()))?;
    new.finish().map_err(failed)
}

/// The images that are named, each once with all names it is wanted by.
fn chosen(
    store: &Store,
    texts: &[String],
    platform: Option<&Platform>,
) -> Result<Vec<Saved>, Failure> {
    let mut found: Vec<Saved> = Vec::new();
    let mut add = |name: Option<Reference>, images: Vec<Image>| {
        let same = |known: &&mut Saved| known.images == images;
        match found.iter_mut().find(same) {
            Some(known) if name.iter().all(|name| known.names.contains(name)) => {}
            Some(known) => known.names.extend(name),
            None => found.push(Saved {
                images,
                names: name.into_iter().collect(),
                along: Along::default(),
            }),
        }
    };
    for text in texts {
        let reference = Reference::parse(text).ok();
        // A name without a tag is all its tags. As Docker.
        let bare = !text.contains('@') && !text.rsplit('/').next().unwrap_or(text).contains(':');
        if let Some(reference) = reference.as_ref().filter(|_| bare) {
            let tags = store.tags(reference)?;
            for name in &tags {
                add(Some(name.clone()), variants(store, name, platform)?);
            }
            if !tags.is_empty() {
                continue;
            }
        }
        let image = store.find(text)?;
        let resolved = |name: &Reference| {
            let found = store.resolve(name).ok().flatten();
            found.is_some_and(|found| found.id == image.id)
        };
        match reference.filter(resolved) {
            Some(name) => {
                let images = variants(store, &name, platform)?;
                add(Some(name), images);
            }
            None => add(None, suited(vec![image], platform)?),
        }
    }
    Ok(found)
}

/// The images of a name, the one that has it first.
fn variants(
    store: &Store,
    name: &Reference,
    platform: Option<&Platform>,
) -> Result<Vec<Image>, Failure> {
    let mut all = store.variants(name)?;
    if let Some(named) = store.resolve(name)? {
        all.retain(|image| image.id != named.id);
        all.insert(0, named);
    }
    suited(all, platform)
}

fn suited(mut images: Vec<Image>, platform: Option<&Platform>) -> Result<Vec<Image>, Failure> {
    let Some(wanted) = platform else {
        return Ok(images);
    };
    let offers: Vec<String> = images
        .iter()
        .map(|image| super::image::platform(&image.config))
        .collect();
    images.retain(|image| {
        let offer = Platform::parse(&super::image::platform(&image.config));
        offer.is_ok_and(|offer| wanted.takes(&offer))
    });
    if images.is_empty() {
        let text = format!("no suitable export target found for platform {wanted}");
        return Err(Failure::new(text).hint(format!("there is {}", offers.join(", "))));
    }
    images.truncate(1);
    Ok(images)
}
