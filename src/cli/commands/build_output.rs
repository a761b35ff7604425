//! `--output`, `--load`, `--push` and what is attested of images → what the builder is asked for; and what is written about the
//! result.
//!
//! Imports: `build`, `image`. As buildx: `commands/build.go`, `build/opt.go`.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use serde_json::{Map, Value};

use crate::build::{BuildRequest, Output};
use crate::cli::app::App;
use crate::cli::args::ImageBuildArgs;
use crate::cli::exit::Failure;
use crate::image::attest::Annotation;
use crate::image::reference::Reference;
use crate::image::store::{Image, Store};

/// Puts the outputs into a request, whose names may be those of an output.
///
/// # Errors
/// For an output that can't be.
pub(super) fn put(
    app: &App,
    args: &ImageBuildArgs,
    request: &mut BuildRequest,
) -> Result<(), Failure> {
    let mut outputs = Vec::new();
    for text in args.output.iter().filter(|text| !text.is_empty()) {
        let wrong = |why: String| Failure::new(format!("invalid --output `{text}`: {why}"));
        let output = Output::parse(text, &app.env.cwd).map_err(wrong)?;
        output.check().map_err(wrong)?;
        if output.is_stdout() && io::stdout().is_terminal() {
            let text = "an archive can't be written to a terminal";
            let hint = "name a file with dest=, or redirect the output";
            return Err(Failure::new(text).hint(hint));
        }
        outputs.push(output);
    }
    let image = |output: &Output| matches!(output, Output::Image(_));
    if args.push || (args.load && !outputs.iter().any(image)) {
        let mut kept = false;
        for output in &mut outputs {
            if let Output::Image(own) = output {
                own.push |= args.push;
                kept = true;
            }
        }
        if !kept {
            let push = args.push;
            outputs.push(Output::Image(crate::build::output::Kept {
                push,
                ..Default::default()
            }));
        }
    }
    if outputs.iter().filter(|output| output.is_stdout()).count() > 1 {
        let text = "two outputs can't both be written to standard output";
        return Err(Failure::new(text));
    }
    let files = |output: &Output| matches!(output, Output::Files(_));
    if args.iidfile.is_some() && outputs.iter().any(files) {
        let text = "local and tar exporters are incompatible with image ID file";
        return Err(Failure::new(text));
    }
    if request.tags.is_empty() {
        let own = outputs.iter().filter(|output| image(output));
        request.tags = own.flat_map(Output::names).cloned().collect();
    }
    let pushes = |output: &Output| matches!(output, Output::Image(kept) if kept.push);
    if request.tags.is_empty() && outputs.iter().any(pushes) {
        let failure = Failure::new("tag is needed when pushing to registry");
        return Err(failure.hint("name the image with -t"));
    }
    request.outputs = outputs;
    Ok(())
}

/// Puts what is attested and annotated into a request.
///
/// # Errors
/// For a value that means nothing.
pub(super) fn attested(args: &ImageBuildArgs, request: &mut BuildRequest) -> Result<(), Failure> {
    let wrong = |flag: &str, text: &str, why: String| {
        Failure::new(format!("invalid {flag} `{text}`: {why}"))
    };
    let attest = &mut request.attest;
    for text in &args.attest {
        let read = attest.any(text);
        read.map_err(|why| wrong("--attest", text, why))?;
    }
    if let Some(text) = &args.provenance {
        let read = attest.provenance(text);
        read.map_err(|why| wrong("--provenance", text, why))?;
    }
    if let Some(text) = &args.sbom {
        let read = attest.sbom(text);
        read.map_err(|why| wrong("--sbom", text, why))?;
    }
    for text in &args.annotation {
        let read = Annotation::parse(text);
        let read = read.map_err(|why| wrong("--annotation", text, why))?;
        request.annotations.extend(read);
    }
    Ok(())
}

/// Writes what is known of the result to the file of `--metadata-file`.
///
/// # Errors
/// When it can't be written.
pub(super) fn metadata(
    path: &Path,
    request: &BuildRequest,
    image: &Image,
    store: &Store,
) -> Result<(), Failure> {
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(format!("cannot write {}: {why}", path.display()))
    };
    let mut all = Map::new();
    if has_image(request) {
        let digests = store.repo_digests(&image.id)?;
        let mut pushed = request.tags.iter().flat_map(|name: &Reference| {
            let head = format!("{}@", name.familiar_name());
            digests
                .iter()
                .filter_map(move |known| known.strip_prefix(&head).map(str::to_owned))
        });
        let digest = pushed.next().unwrap_or_else(|| image.id.to_string());
        let id = Value::from(image.id.to_string());
        all.insert("containerimage.config.digest".to_owned(), id);
        all.insert("containerimage.digest".to_owned(), digest.into());
        let names: Vec<String> = request.tags.iter().map(Reference::canonical).collect();
        if !names.is_empty() {
            all.insert("image.name".to_owned(), names.join(",").into());
        }
    }
    let text = serde_json::to_string_pretty(&all).map_err(|error| failed(&error))?;
    std::fs::write(path, text).map_err(|error| failed(&error))
}

/// Whether what is made has an id that is of use to anybody.
pub(super) fn has_image(request: &BuildRequest) -> bool {
    let image = |output: &Output| matches!(output, Output::Image(_) | Output::Archive(_));
    request.outputs.is_empty() || request.outputs.iter().any(image)
}
