//! `config`: checks the compose files and prints them in full, or one thing about them.
//!
//! In: flags. Out: text on standard output or in a file. It opens neither store nor engine; registries are asked only
//! for digests. Imports: `compose`, `image`.
//! Rules: docker compose's `config`: which flag goes first where several ask for different things, and which of them
//! heed the names of services.

use serde_json::{Map, Value};

use crate::cli::app::{App, load_failure};
use crate::cli::args::ConfigArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::compose::model::Project;
use crate::compose::print::Format;
use crate::compose::select::{Selection, select};
use crate::compose::{self, LoadRequest, print};
use crate::image::reference::Reference;
use crate::image::registry::{self, PullOptions};
use crate::ui::table::Table;
use crate::ui::write_out;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
enum Question<'a> {
    Services,
    Volumes,
    Networks,
    Models,
    Hash(&'a str),
    Profiles,
    Images,
    Variables,
    Environment,
    Document,
}

impl Question<'_> {
    /// The first flag that is given, in docker compose's order.
    fn of(args: &ConfigArgs) -> Question<'_> {
        let hash = args.hash.as_deref().filter(|names| !names.is_empty());
        match args {
            args if args.services => Question::Services,
            args if args.volumes => Question::Volumes,
            args if args.networks => Question::Networks,
            args if args.models => Question::Models,
            _ if hash.is_some() => Question::Hash(hash.unwrap_or_default()),
            args if args.profiles => Question::Profiles,
            args if args.images => Question::Images,
            args if args.variables => Question::Variables,
            args if args.environment => Question::Environment,
            _ => Question::Document,
        }
    }

    /// Whether the names of services narrow the answer down; elsewhere they mean nothing.
    fn heeds_names(self) -> bool {
        matches!(
            self,
            Self::Profiles | Self::Images | Self::Environment | Self::Document
        )
    }
}

pub(super) fn run(app: &App, args: &ConfigArgs) -> Outcome {
    let question = Question::of(args);
    let request = LoadRequest {
        interpolate: !args.no_interpolate,
        // As docker compose: with the names of its first version come documents as they are written.
        normalize: !args.no_normalize && !app.globals.compatibility,
        consistent: !args.no_consistency,
        resolve_paths: !args.no_path_resolution,
        resolve_env: matches!(question, Question::Document | Question::Environment),
        name_env_files: matches!(question, Question::Hash(_)),
        print_only: true,
        document: !args.quiet || args.resolve_image_digests || args.lock_image_digests,
        ..app.request()?
    };
    match question {
        Question::Document => return document(app, args, &request),
        Question::Variables => return variables(app, args, &request),
        Question::Services if args.no_interpolate => {
            let document = compose::document(&request, &app.env).map_err(load_failure)?;
            app.show_warnings(&document.warnings, &document.sources);
            let services = document.json.get("services").and_then(Value::as_object);
            let names = services.into_iter().flat_map(Map::keys).cloned();
            write_out(lines(names))?;
            return Ok(0);
        }
        _ => {}
    }
    let project = project(app, args, &request, question)?;
    let text = match question {
        Question::Services => lines(print::services(&project)),
        Question::Volumes => lines(print::volumes(&project)),
        Question::Networks => lines(print::networks(&project)),
        Question::Models => lines(print::models(&project)),
        Question::Profiles => lines(print::profiles(&project)),
        Question::Images => lines(print::images(&project)),
        Question::Hash(names) => return hashes(&project, names),
        _ if args.quiet => String::new(),
        _ => environment(app, &request, &project)?,
    };
    write_out(text)?;
    Ok(0)
}

/// The project that a question is about. That about profiles is about all of it.
fn project(
    app: &App,
    args: &ConfigArgs,
    request: &LoadRequest,
    question: Question<'_>,
) -> Result<Project, Failure> {
    let project = compose::load(request, &app.env).map_err(load_failure)?;
    app.show_warnings(&project.warnings, &project.sources);
    let names = match question.heeds_names() {
        true => args.names.clone(),
        false => Vec::new(),
    };
    let selection = Selection {
        services: names,
        lenient: args.no_consistency,
        ..Selection::all()
    };
    let sources = project.sources.clone();
    let whole = matches!(question, Question::Profiles).then(|| project.clone());
    let selected =
        select(project, &selection).map_err(|faults| Failure::faults(faults.sorted(), sources))?;
    Ok(whole.unwrap_or(selected))
}

/// Prints the whole document.
fn document(app: &App, args: &ConfigArgs, request: &LoadRequest) -> Outcome {
    // Without interpolation the names of services and profiles have no meaning: everything is printed.
    let mut document = if args.no_interpolate {
        let document = compose::document(request, &app.env).map_err(load_failure)?;
        app.show_warnings(&document.warnings, &document.sources);
        document.json
    } else {
        project(app, args, request, Question::Document)?.document
    };
    if args.resolve_image_digests || args.lock_image_digests {
        pin(app, &mut document)?;
    }
    let format = match args.format.as_str() {
        "" | "yaml" => Format::Yaml,
        "json" => Format::Json,
        other => {
            return Err(super::format::unsupported(other, &["yaml", "json"]));
        }
    };
    if args.quiet {
        return Ok(0);
    }
    if args.lock_image_digests {
        document = print::images_only(&document, format);
    }
    let text = match args.no_interpolate {
        true => print::raw(&document, format),
        false => print::typed(&document, format),
    };
    match &args.output {
        None => write_out(text)?,
        Some(path) => std::fs::write(app.env.cwd.join(path), text)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?,
    }
    Ok(0)
}

/// Writes the image of each service with the digest that its registry has for it now.
pub(super) fn pin(app: &App, document: &mut Map<String, Value>) -> Result<(), Failure> {
    let services = document.get_mut("services").and_then(Value::as_object_mut);
    let images = services.into_iter().flat_map(Map::values_mut);
    let mut images: Vec<&mut Value> = images
        .filter_map(|service| service.get_mut("image"))
        .collect();
    let mut references = Vec::new();
    for image in &images {
        references.push(Reference::parse(image.as_str().unwrap_or_default())?);
    }
    let mut open: Vec<Reference> = references
        .iter()
        .filter(|reference| reference.digest.is_none())
        .cloned()
        .collect();
    open.sort_unstable();
    open.dedup();
    let options = PullOptions {
        env: app.env.clone(),
        ..PullOptions::default()
    };
    let digests = registry::digests(&open, &options).map_err(|failed| {
        let (reference, error) = *failed;
        Failure::new(format!("failed to resolve digest for {reference}: {error}"))
    })?;
    for (image, reference) in images.iter_mut().zip(&references) {
        let pinned = match open.binary_search(reference) {
            Ok(at) => Reference {
                digest: digests.get(at).copied(),
                ..reference.clone()
            },
            // A digest says more than the tag beside it.
            Err(_) => Reference {
                tag: None,
                ..reference.clone()
            },
        };
        **image = Value::String(pinned.canonical());
    }
    Ok(())
}

/// Prints the hashes of services, as far as the names go.
fn hashes(project: &Project, names: &str) -> Outcome {
    let all = print::hashes(project);
    let mut wanted: Vec<&str> = match names {
        "*" => all.keys().map(String::as_str).collect(),
        names => names.split(',').collect(),
    };
    wanted.sort_unstable();
    for name in wanted {
        match all.get(name) {
            Some(hash) => write_out(format!("{name} {hash}\n"))?,
            None => {
                let failure = Failure::new(format!("no such service: {name}"));
                let near = crate::base::diag::nearest(name, all.keys().map(String::as_str));
                return Err(match near {
                    Some(near) => failure.hint(format!("did you mean `{near}`?")),
                    None => failure,
                });
            }
        }
    }
    Ok(0)
}

fn environment(app: &App, request: &LoadRequest, project: &Project) -> Result<String, Failure> {
    let mut all = compose::environment(request, &app.env).map_err(load_failure)?;
    all.insert("COMPOSE_PROJECT_NAME".to_owned(), project.name.to_string());
    Ok(lines(
        all.iter().map(|(name, value)| format!("{name}={value}")),
    ))
}

fn variables(app: &App, args: &ConfigArgs, request: &LoadRequest) -> Outcome {
    let all = compose::variables(request, &app.env).map_err(load_failure)?;
    let text = match args.format.as_str() {
        "" | "table" | "pretty" => {
            let head = ["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"];
            let mut table = Table::new(20, &head);
            for variable in all {
                table.row([
                    variable.name,
                    variable.required.to_string(),
                    variable.default.unwrap_or_default(),
                    variable.alternate.unwrap_or_default(),
                ]);
            }
            table.text()
        }
        "json" => format!("{}\n\n", print::variables_json(&all)),
        "yaml" if args.quiet => String::new(),
        "yaml" => print::variables_yaml(&all),
        other => {
            let text = format!("unsupported format `{other}`");
            return Err(Failure::new(text).hint("write table, json or yaml"));
        }
    };
    write_out(text)?;
    Ok(0)
}

fn lines(items: impl IntoIterator<Item = String>) -> String {
    items.into_iter().map(|item| item + "\n").collect()
}
