//! `image build`: builds an image from a Dockerfile, without a compose file.
//!
//! Imports: `build`, `image`. As Docker: `docker buildx build`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;

use super::build_call::Question;
use super::{build_output, build_steps};
use crate::base::scalar::parse_size;
use crate::build::cache::spec::{CacheFrom, CacheTo};
use crate::build::slots::Slots;
use crate::build::{
    self, BuildError, BuildRequest, Builder, ContextSource, DockerfileSource, NamedContext,
    SecretSource,
};
use crate::cli::app::{App, progress_mode};
use crate::cli::args::ImageBuildArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::trace::TraceFile;
use crate::cli::{debugger, parse};
use crate::engine::{self, sandbox::SandboxNetwork};
use crate::image::manifest::Platform;
use crate::image::reference::Reference;
use crate::image::registry::{self, PullOptions};
use crate::ui::{Mode, write_out};

pub(super) fn run(app: &App, args: &ImageBuildArgs) -> Outcome {
    let question = Question::read(args.call.as_deref(), args.check)?;
    super::build::own_builder(args.builder.as_deref())?;
    let tags: Vec<Reference> = args
        .tag
        .iter()
        .map(|name| Reference::parse(name))
        .collect::<Result<_, _>>()?;
    let mode = match args.progress {
        Some(mode) if !args.quiet => progress_mode(mode),
        // What is asked for is the answer, on standard output.
        None if question.is_some() => Mode::Quiet,
        _ if args.quiet => Mode::Quiet,
        _ => {
            app.build_form()?;
            app.mode(false)
        }
    };
    let making = app.making(mode)?;
    let _trace = TraceFile::begin(app, &making.progress, args.trace.as_deref())?;
    let sandbox = engine::open_sandbox(&making.roots);
    let context = context(app, args)?;
    let given = args.platform.iter().map(String::as_str);
    let usual = app.env.non_empty("DOCKER_DEFAULT_PLATFORM");
    let usual = usual.filter(|_| args.platform.is_empty());
    let mut platforms: Vec<String> = given
        .chain(usual)
        .flat_map(|all| all.split(','))
        .map(|one| one.trim().to_owned())
        .collect();
    // The names are for the image that runs here, if there is one.
    let host = Platform::host();
    platforms.sort_by_key(|text| !Platform::parse(text).is_ok_and(|one| one == host));
    let mut platforms = platforms.into_iter();
    let mut request = BuildRequest {
        target_name: tags
            .first()
            .map_or_else(|| "image".to_owned(), ToString::to_string),
        dockerfile: dockerfile(app, args, &context)?,
        context,
        target: args.target.clone(),
        args: args.build_arg.iter().map(|arg| parse::pair(arg)).collect(),
        labels: labels(&args.label),
        tags,
        secrets: args
            .secret
            .iter()
            .map(|text| secret(app, text))
            .collect::<Result<_, _>>()?,
        no_cache: args.no_cache,
        no_cache_filter: stages(&args.no_cache_filter),
        pull: args.pull,
        network: network(&args.network)?,
        extra_hosts: args
            .add_host
            .iter()
            .map(|text| parse::host(text))
            .collect::<Result<_, _>>()?,
        shm_size: shm_size(args)?,
        platform: platforms.next(),
        more_platforms: platforms.collect(),
        named_contexts: args
            .build_context
            .iter()
            .map(|text| named(app, text))
            .collect::<Result<_, _>>()?,
        trust_host_ca: app.trusted_ca()?,
        env: app.env.clone(),
        proxies: app.proxies(),
        cache_from: cache_from(app, &args.cache_from)?,
        cache_to: cache_to(app, &args.cache_to)?,
        ..BuildRequest::default()
    };
    build_steps::put(app, &args.steps, &mut request)?;
    build_output::put(app, args, &mut request)?;
    build_output::attested(args, &mut request)?;
    let debugger = debugger::of(app, args.steps.debug, &making.progress);
    let events = making.progress.as_ref();
    let pull = |reference: &Reference, platform: &Platform| {
        let options = PullOptions {
            platform: Some(platform.to_string()),
            nameless: !Platform::host().takes(platform),
            env: app.env.clone(),
            cancel: making.cancel.clone(),
            ..PullOptions::default()
        };
        registry::pull(&making.store, reference, &options, events)
    };
    let builder = Builder {
        store: &making.store,
        sandbox: sandbox.as_ref(),
        events,
        cancel: &making.cancel,
        pull: &pull,
        cache_dir: making.roots.data.join("cache"),
        slots: &Slots::new(app.parallel()),
        debugger: debugger.as_deref(),
    };
    if let Some(question) = question {
        let answer = build::call::call(question.call, &request, &builder);
        making.progress.finish();
        return question.show(answer?);
    }
    let result = loop {
        match build::build(&request, &builder) {
            // The user has changed the Dockerfile to go on with it.
            Err(BuildError::ReadAgain) => {}
            other => break other,
        }
    };
    making.progress.finish();
    let image = result.map_err(|error| Failure::from(error).in_json(mode == Mode::Json))?;
    if let Some(path) = &args.iidfile {
        std::fs::write(app.env.cwd.join(path), image.id.to_string())
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
    }
    if let Some(path) = &args.metadata_file {
        let path = app.env.cwd.join(path);
        build_output::metadata(&path, &request, &image, &making.store)?;
    }
    super::cache::tidy(app);
    // Without a name the id is the only way to the image.
    let shown = (args.quiet || request.tags.is_empty()) && build_output::has_image(&request);
    if shown && !request.outputs.iter().any(build::Output::is_stdout) {
        write_out(format!("{}\n", image.id))?;
    }
    Ok(0)
}

/// The context: a directory, if there is one of that name; standard input; an address.
fn context(app: &App, args: &ImageBuildArgs) -> Result<ContextSource, Failure> {
    let path = &args.context;
    if path == Path::new("-") {
        if args.file.as_deref() == Some(path) {
            let text = "standard input can't be both the context and the Dockerfile";
            return Err(Failure::new(text));
        }
        let input = std::io::stdin().as_fd().try_clone_to_owned();
        let input =
            input.map_err(|error| Failure::new(format!("cannot read standard input: {error}")))?;
        return Ok(ContextSource::Input(Arc::new(input.into())));
    }
    let dir = app.env.cwd.join(path);
    if dir.is_dir() {
        return Ok(ContextSource::Dir(dir));
    }
    let wrong = |why: String| Failure::new(format!("the context {}: {why}", path.display()));
    let text = path
        .to_str()
        .ok_or_else(|| wrong("it is no directory".to_owned()))?;
    match ContextSource::parse(text, &app.env.cwd).map_err(wrong)? {
        ContextSource::Dir(_) => Err(Failure::new(format!(
            "the context {} is no directory",
            path.display()
        ))),
        context => Ok(context),
    }
}

fn dockerfile(
    app: &App,
    args: &ImageBuildArgs,
    context: &ContextSource,
) -> Result<DockerfileSource, Failure> {
    match (&args.file, context) {
        (None, ContextSource::Dir(dir)) => Ok(DockerfileSource::Path(dir.join("Dockerfile"))),
        (None, _) => Ok(DockerfileSource::InContext("Dockerfile".to_owned())),
        (Some(path), _) if path == Path::new("-") => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| Failure::new(format!("cannot read standard input: {error}")))?;
            Ok(DockerfileSource::Inline(text))
        }
        (Some(path), ContextSource::Dir(_)) => Ok(DockerfileSource::Path(app.env.cwd.join(path))),
        (Some(path), _) => {
            let text = path.to_str();
            let text = text.ok_or_else(|| Failure::new("the Dockerfile's name is no text"))?;
            Ok(DockerfileSource::InContext(text.to_owned()))
        }
    }
}

/// Names of stages, with commas between.
fn stages(items: &[String]) -> Vec<String> {
    let names = items.iter().flat_map(|text| text.split(','));
    names.map(|name| name.trim().to_owned()).collect()
}

fn labels(items: &[String]) -> BTreeMap<String, String> {
    items
        .iter()
        .map(|text| parse::pair(text))
        .map(|(name, value)| (name, value.unwrap_or_default()))
        .collect()
}

fn cache_from(app: &App, items: &[String]) -> Result<Vec<CacheFrom>, Failure> {
    let mut found = Vec::new();
    for text in items {
        let parsed = CacheFrom::parse(text, &app.env.cwd);
        let wrong = |why| Failure::new(format!("invalid --cache-from `{text}`: {why}"));
        found.extend(parsed.map_err(wrong)?);
    }
    Ok(found)
}

fn cache_to(app: &App, items: &[String]) -> Result<Vec<CacheTo>, Failure> {
    let parse = |text: &String| {
        let wrong = |why| Failure::new(format!("invalid --cache-to `{text}`: {why}"));
        CacheTo::parse(text, &app.env.cwd).map_err(wrong)
    };
    items.iter().map(parse).collect()
}

fn network(text: &str) -> Result<SandboxNetwork, Failure> {
    match text {
        "default" | "" => Ok(SandboxNetwork::Default),
        "none" => Ok(SandboxNetwork::None),
        "host" => Ok(SandboxNetwork::Host),
        other => Err(Failure::new(format!(
            "invalid --network `{other}`: write default, none or host"
        ))),
    }
}

fn shm_size(args: &ImageBuildArgs) -> Result<Option<u64>, Failure> {
    let parse = |text: &String| {
        parse_size(text)
            .map(|size| size.0)
            .map_err(|error| Failure::new(format!("invalid --shm-size: {error}")))
    };
    args.shm_size.as_ref().map(parse).transpose()
}

/// `id=NAME[,src=FILE|,env=VARIABLE]`; without a source the variable or file of that name.
fn secret(app: &App, text: &str) -> Result<(String, SecretSource), Failure> {
    let wrong = |why: &str| Failure::new(format!("invalid --secret `{text}`: {why}"));
    let (mut id, mut file, mut variable) = (None, None, None);
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("src" | "source", value)) => file = Some(value.to_owned()),
            Some(("env", value)) => variable = Some(value.to_owned()),
            Some(("type", "file" | "env")) => {}
            _ => return Err(wrong(&format!("`{part}` is none of id=, src=, env="))),
        }
    }
    let id = id
        .or_else(|| file.clone())
        .filter(|id| !id.is_empty())
        .ok_or_else(|| wrong("it has no id"))?;
    let variable =
        variable.or_else(|| (file.is_none() && app.env.get(&id).is_some()).then(|| id.clone()));
    if let Some(name) = variable {
        let value = app
            .env
            .get(&name)
            .ok_or_else(|| wrong(&format!("the variable {name} is not set")))?;
        return Ok((id, SecretSource::Bytes(value.as_bytes().to_vec())));
    }
    let path = app.env.cwd.join(file.unwrap_or_else(|| id.clone()));
    if !path.is_file() {
        return Err(wrong(&format!("there is no file {}", path.display())));
    }
    Ok((id, SecretSource::File(path)))
}

/// `NAME=SOURCE`.
fn named(app: &App, text: &str) -> Result<(String, NamedContext), Failure> {
    let wrong = |why: &str| Failure::new(format!("invalid --build-context `{text}`: {why}"));
    let (name, source) = text
        .split_once('=')
        .ok_or_else(|| wrong("write NAME=SOURCE"))?;
    let dir = app.env.cwd.join(source);
    if dir.is_dir() {
        return Ok((name.to_owned(), NamedContext::Dir(dir)));
    }
    match NamedContext::parse(source, &app.env.cwd).map_err(|why| wrong(&why))? {
        NamedContext::Dir(dir) => Err(wrong(&format!("there is no directory {}", dir.display()))),
        context => Ok((name.to_owned(), context)),
    }
}
