//! `config`: checks the compose files and prints them in full.
//!
//! Imports: `compose`. It opens neither store nor engine.

use crate::cli::app::{App, Deps, load_failure, narrow};
use crate::cli::args::ConfigArgs;
use crate::cli::exit::{Failure, Outcome};
use crate::compose::model::Project;
use crate::compose::{self, LoadRequest, print};
use crate::ui::table::Table;
use crate::ui::write_out;

pub(super) fn run(app: &App, args: &ConfigArgs) -> Outcome {
    let request = LoadRequest {
        interpolate: !args.no_interpolate,
        normalize: !args.no_normalize,
        print_only: true,
        ..app.request()?
    };
    let text = if args.variables {
        variables(app, &request)?
    } else if args.environment {
        let all = compose::environment(&request, &app.env).map_err(load_failure)?;
        all.iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect()
    } else if args.no_interpolate || args.no_normalize {
        untyped(app, args, &request)?
    } else {
        typed(app, args, &request)?
    };
    if args.quiet {
        return Ok(0);
    }
    match &args.output {
        None => write_out(text)?,
        Some(path) => std::fs::write(app.env.cwd.join(path), text)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?,
    }
    Ok(0)
}

/// What is printed of a project with types.
fn typed(app: &App, args: &ConfigArgs, request: &LoadRequest) -> Result<String, Failure> {
    let project = compose::load(request, &app.env).map_err(load_failure)?;
    app.show_warnings(&project.warnings, &project.sources);
    if args.profiles {
        return Ok(lines(print::profiles(&project)));
    }
    let project = narrow(project, &args.names, Deps::Include, Vec::new())?;
    if let Some(name) = &args.hash {
        return hashes(&project, name);
    }
    let list = match (args.services, args.volumes, args.networks, args.images) {
        (true, ..) => Some(print::services(&project)),
        (_, true, ..) => Some(print::volumes(&project)),
        (_, _, true, _) => Some(print::networks(&project)),
        (.., true) => Some(print::images(&project)),
        _ => None,
    };
    match list {
        Some(list) => Ok(lines(list)),
        None => match args.format.as_str() {
            "json" => Ok(print::json(&project) + "\n"),
            "yaml" => Ok(print::yaml(&project)),
            other => Err(unknown_format(other)),
        },
    }
}

/// What is printed of a document that was not filled in.
fn untyped(app: &App, args: &ConfigArgs, request: &LoadRequest) -> Result<String, Failure> {
    let document = compose::document(request, &app.env, &args.names).map_err(load_failure)?;
    app.show_warnings(&document.warnings, &document.sources);
    let keys = |section: &str| {
        let section = document
            .json
            .get(section)
            .and_then(|value| value.as_object());
        lines(
            section
                .into_iter()
                .flatten()
                .map(|(key, _)| key.clone())
                .collect(),
        )
    };
    if args.services {
        return Ok(keys("services"));
    }
    if args.volumes {
        return Ok(keys("volumes"));
    }
    if args.networks {
        return Ok(keys("networks"));
    }
    // Without interpolation a `$` is the file's own and stays as it is.
    let escape = !args.no_interpolate;
    match args.format.as_str() {
        "json" => Ok(print::json_document(&document.json, escape) + "\n"),
        "yaml" => Ok(print::yaml_document(&document.json, escape)),
        other => Err(unknown_format(other)),
    }
}

fn unknown_format(format: &str) -> Failure {
    Failure::new(format!("unknown format `{format}`; write yaml or json"))
}

fn hashes(project: &Project, name: &str) -> Result<String, Failure> {
    let all = print::hashes(project);
    let wanted: Vec<&str> = name.split(',').collect();
    if let Some(missing) = wanted
        .iter()
        .find(|name| **name != "*" && !all.contains_key(**name))
    {
        return Err(Failure::new(format!("no such service: {missing}")));
    }
    let shown = all
        .iter()
        .filter(|(name, _)| wanted.contains(&"*") || wanted.contains(&name.as_str()));
    Ok(shown
        .map(|(name, hash)| format!("{name} {hash}\n"))
        .collect())
}

fn variables(app: &App, request: &LoadRequest) -> Result<String, Failure> {
    let mut table = Table::new(
        20,
        &["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"],
    );
    for variable in compose::variables(request, &app.env).map_err(load_failure)? {
        table.row([
            variable.name,
            variable.required.to_string(),
            variable.default.unwrap_or_default(),
            variable.alternate.unwrap_or_default(),
        ]);
    }
    Ok(table.text())
}

fn lines(items: Vec<String>) -> String {
    items.into_iter().map(|item| item + "\n").collect()
}
