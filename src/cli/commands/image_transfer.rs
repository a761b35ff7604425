//! `image pull` and `image push`: images between registries and the store, told as Docker tells it.
//!
//! Imports: `image`, `ui`. As Docker: `docker image pull`, `docker image push`; unlike there, several names may be given.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::event::{Event, EventSink};
use crate::cli::app::App;
use crate::cli::args::{ImagePullArgs, ImagePushArgs};
use crate::cli::exit::{Failure, Outcome};
use crate::image::digest::Digest;
use crate::image::manifest::Platform;
use crate::image::reference::Reference;
use crate::image::registry::{self, PullOptions, PushOptions};
use crate::image::store::{Image, Store};
use crate::ui::progress::Progress;
use crate::ui::{Mode, write_out};

/// How a transfer is shown.
enum Show {
    /// Only what comes out of it.
    Quiet,
    /// As a display on standard error.
    Display(Arc<Progress>),
    /// A line on standard output for each phase of a layer.
    Lines(Lines),
}

/// Prints the phases of layers, each once.
#[derive(Default)]
struct Lines(Mutex<BTreeMap<(String, String), &'static str>>);

impl EventSink for Lines {
    fn send(&self, event: Event) {
        match event {
            Event::Pull {
                image,
                layer,
                phase,
                ..
            } => {
                // How far they are is for displays only.
                if matches!(phase, "Downloading" | "Extracting" | "Pushing") {
                    return;
                }
                let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let line = format!("{layer}: {phase}\n");
                if seen.insert((image, layer), phase) != Some(phase) {
                    // Who does not read on is told so by what is written last.
                    let _ = std::io::stdout().write_all(line.as_bytes());
                }
            }
            Event::Warn(text) => {
                let _ = writeln!(std::io::stderr(), "warning: {text}");
            }
            _ => {}
        }
    }
}

impl Show {
    fn new(app: &App, quiet: bool) -> Self {
        match app.mode(quiet) {
            Mode::Quiet => Self::Quiet,
            Mode::Auto if !app.screen.err_redraw => Self::Lines(Lines::default()),
            Mode::Plain => Self::Lines(Lines::default()),
            _ => Self::Display(app.new_progress(false)),
        }
    }
    fn events(&self) -> &dyn EventSink {
        match self {
            Self::Quiet => &crate::base::event::Silent,
            Self::Display(progress) => progress.as_ref(),
            Self::Lines(lines) => lines,
        }
    }
    /// Leaves the display as it is, so that text can follow it.
    fn end(&self) {
        if let Self::Display(progress) = self {
            progress.finish();
        }
    }
    /// Text that is not wanted from a quiet command.
    fn say(&self, text: String) -> Result<(), Failure> {
        match self {
            Self::Quiet => Ok(()),
            _ => Ok(write_out(text)?),
        }
    }
}

pub(super) fn pull(app: &App, args: &ImagePullArgs) -> Outcome {
    let names = args.images.iter();
    let references = names
        .map(|name| Reference::parse(name))
        .collect::<Result<Vec<_>, _>>()?;
    let store = app.store()?;
    // Nothing is to be finished when a pull ends early: Ctrl-C simply ends the command.
    let options = PullOptions {
        platform: args.platform.clone(),
        insecure: insecure(app, args.insecure, &references),
        env: app.env.clone(),
        ..PullOptions::default()
    };
    for reference in &references {
        let show = Show::new(app, args.quiet);
        let before = store.resolve(reference)?;
        if let Some(tag) = reference
            .tag
            .as_ref()
            .filter(|_| reference.digest.is_none())
        {
            let from = &reference.repository;
            show.say(format!("{tag}: Pulling from {from}\n"))?;
        }
        let pulled = registry::pull(&store, reference, &options, show.events());
        show.end();
        let image = pulled?;
        if let Some(digest) = known_as(&store, &image, reference)? {
            show.say(format!("Digest: {digest}\n"))?;
        }
        let status = match before {
            Some(before) if before.id == image.id => "Image is up to date",
            _ => "Downloaded newer image",
        };
        show.say(format!("Status: {status} for {reference}\n"))?;
        write_out(format!("{}\n", reference.canonical()))?;
    }
    Ok(0)
}

/// The registries that are spoken to without TLS: those that the command line names, with `all` those of the names.
fn insecure<'a>(
    app: &App,
    all: bool,
    names: impl IntoIterator<Item = &'a Reference>,
) -> Vec<String> {
    let names = names.into_iter().filter(|_| all);
    let own = names.map(|name| name.registry.clone());
    let said = app.globals.insecure_registry.iter().cloned();
    said.chain(own).collect()
}

/// The digest under which the registry knows the name.
fn known_as(
    store: &Store,
    image: &Image,
    reference: &Reference,
) -> Result<Option<Digest>, Failure> {
    if let Some(digest) = reference.digest {
        return Ok(Some(digest));
    }
    let known = store.repo_digests(&image.id)?;
    let known = known.iter().filter_map(|text| Reference::parse(text).ok());
    let mut own = known.filter(|one| {
        (&one.registry, &one.repository) == (&reference.registry, &reference.repository)
    });
    Ok(own.next().and_then(|one| one.digest))
}

pub(super) fn push(app: &App, args: &ImagePushArgs) -> Outcome {
    let store = app.store()?;
    let platform = args.platform.as_deref().map(Platform::parse).transpose();
    let platform = platform.map_err(|text| {
        Failure::new(format!("`{text}` is no platform; write it as linux/amd64"))
    })?;
    let mut found = Vec::new();
    for name in &args.images {
        found.push(tags(&store, name, args.all_tags)?);
    }
    for (image, reference) in found.iter().flatten() {
        if let Some(wanted) = &platform {
            check_platform(image, reference, wanted)?;
        }
    }
    // As with a pull, Ctrl-C simply ends the command.
    let named = found.iter().flatten().map(|(_, reference)| reference);
    let options = PushOptions {
        insecure: insecure(app, args.insecure, named),
        env: app.env.clone(),
        ..PushOptions::default()
    };
    for (name, tags) in args.images.iter().zip(&found) {
        let Some((_, first)) = tags.first() else {
            continue;
        };
        let show = Show::new(app, args.quiet);
        let bare = !args.all_tags && first.tag.as_deref() == Some("latest");
        if bare && !name.ends_with(":latest") {
            show.say("Using default tag: latest\n".to_owned())?;
        }
        let place = format!("{}/{}", first.registry, first.repository);
        show.say(format!("The push refers to repository [{place}]\n"))?;
        for (image, reference) in tags {
            let show = Show::new(app, args.quiet);
            let pushed =
                registry::push_described(&store, image, reference, &options, show.events());
            show.end();
            let manifest = pushed?;
            let (tag, size) = (reference.tag.as_deref().unwrap_or("latest"), manifest.size);
            show.say(format!("{tag}: digest: {} size: {size}\n", manifest.digest))?;
        }
        if args.quiet {
            let name = match args.all_tags {
                true => first.familiar_name(),
                false => first.canonical(),
            };
            write_out(format!("{name}\n"))?;
        }
    }
    Ok(0)
}

/// The images that a name to push means: one, or with `all` one for each tag of the repository.
fn tags(store: &Store, name: &str, all: bool) -> Result<Vec<(Image, Reference)>, Failure> {
    let reference = Reference::parse(name)?;
    if reference.digest.is_some() {
        return Err(Failure::new("cannot push a digest reference")
            .hint("a digest follows from the content; name a tag instead"));
    }
    if !all {
        let image = store.resolve(&reference)?;
        let missing = || {
            Failure::new(format!(
                "an image does not exist locally with the tag: {reference}"
            ))
            .hint("`hoist image ls` shows what is here, `hoist image tag` gives another name")
        };
        return Ok(vec![(image.ok_or_else(missing)?, reference)]);
    }
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    let mut found = Vec::new();
    for listed in store.list()? {
        for own in listed.names {
            let same =
                (&own.registry, &own.repository) == (&reference.registry, &reference.repository);
            if same && own.tag.is_some() && own.digest.is_none() {
                found.push((listed.image.clone(), own));
            }
        }
    }
    if found.is_empty() {
        let name = reference.familiar_name();
        return Err(Failure::new(format!(
            "an image does not exist locally with the tag: {name}"
        )));
    }
    found.sort_by(|(_, one), (_, other)| one.tag.cmp(&other.tag));
    Ok(found)
}

fn check_platform(image: &Image, reference: &Reference, wanted: &Platform) -> Result<(), Failure> {
    let own = super::image::platform(&image.config);
    let same = Platform::parse(&own).is_ok_and(|own| own == *wanted);
    if same {
        return Ok(());
    }
    Err(Failure::new(format!(
        "image with reference {reference} was found but its platform ({own}) does not match the specified platform ({wanted})"
    )))
}
