//! `image rm` and `image tag`.
//!
//! Imports: `image::store`. As Docker: `cli/command/image/remove.go`, `tag.go`.

use super::{asker, find};
use crate::cli::app::App;
use crate::cli::args::{ImageRmArgs, TagArgs};
use crate::cli::exit::{Failure, Outcome};
use crate::image::reference::Reference;
use crate::image::store::{Gone, Removal, Removed, StoreError};
use crate::ui::write_out;

pub(in crate::cli::commands) fn run(app: &App, args: &ImageRmArgs) -> Outcome {
    let store = app.store()?;
    // The build cache is cleared by its own command.
    let needs = asker(app, true)?;
    let how = Removal {
        force: args.force,
        needs: &needs,
    };
    let mut failed = Vec::new();
    let mut only_missing = true;
    for text in &args.images {
        let done = match &args.platform {
            None => store.remove(text, &how).map_err(|error| {
                only_missing &= matches!(error, StoreError::NotFound(_));
                removal(error, text)
            }),
            Some(platform) => find(&store, text, Some(platform))
                .and_then(|image| {
                    // The one that has the name goes with it; one behind it alone.
                    let named = store.find(text).is_ok_and(|named| named.id == image.id);
                    let id = image.id.to_string();
                    let done = store.remove(if named { text } else { &id }, &how);
                    done.map_err(|error| removal(error, text))
                })
                .inspect_err(|_| only_missing = false),
        };
        match done {
            Ok(removed) => write_out(told(&removed, "Untagged", "Deleted"))?,
            Err(failure) => failed.push(failure),
        }
    }
    let Some(last) = failed.pop() else {
        return Ok(0);
    };
    for failure in failed {
        failure.report(app.screen, app.json_progress());
    }
    match args.force && only_missing {
        // As Docker: what is not there is removed.
        true => {
            last.report(app.screen, app.json_progress());
            Ok(0)
        }
        false => Err(last),
    }
}

/// Why an image stays.
fn removal(error: StoreError, text: &str) -> Failure {
    match error {
        StoreError::Conflict {
            ref user, force, ..
        } => {
            let hint = match (user, force) {
                (Some(user), "cannot be forced") => {
                    format!("it is used by {user}: stop and remove that first")
                }
                (Some(user), _) => {
                    format!("it is used by {user}: remove that first, or use --force")
                }
                (None, _) => "remove its names one by one, or use --force".to_owned(),
            };
            Failure::from(error).hint(hint)
        }
        error => super::missing(error, text),
    }
}

/// What is gone, a line each.
pub(in crate::cli::commands) fn told(removed: &Removed, untagged: &str, deleted: &str) -> String {
    let line = |gone: &Gone| match gone {
        Gone::Name(name) => format!("{untagged}: {name}\n"),
        Gone::Image(id) => format!("{deleted}: {id}\n"),
        Gone::Layer { chain, .. } => format!("{deleted}: {chain}\n"),
    };
    removed.gone.iter().map(line).collect()
}

pub(in crate::cli::commands) fn tag(app: &App, args: &TagArgs) -> Outcome {
    let store = app.store()?;
    let target = Reference::parse(&args.target).map_err(|error| {
        Failure::new(format!(
            "error parsing reference: {:?} is not a valid repository/tag: {}",
            args.target, error.why
        ))
    })?;
    if target.digest.is_some() {
        return Err(Failure::new(
            "refusing to create a tag with a digest reference",
        ));
    }
    // As Docker: the name would read as an id.
    if target.familiar_name() == "sha256" {
        return Err(Failure::new(
            "refusing to create an ambiguous tag using digest algorithm as name",
        ));
    }
    let image = find(&store, &args.source, None)?;
    store.tag(&image.id, &target)?;
    Ok(0)
}
