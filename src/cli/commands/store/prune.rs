//! `image prune`.
//!
//! Imports: `image::store`. As Docker: `cli/command/image/prune.go`.

use super::{Filters, asker, rm};
use crate::base::clock::Timestamp;
use crate::base::scalar::ByteSize;
use crate::cli::app::App;
use crate::cli::args::ImagePruneArgs;
use crate::cli::ask::agreed;
use crate::cli::exit::{Failure, Outcome};
use crate::image::store::{Removal, Removed};
use crate::ui::write_out;

const FILTERS: [&str; 4] = ["dangling", "label", "label!", "until"];

pub(in crate::cli::commands) fn run(app: &App, args: &ImagePruneArgs) -> Outcome {
    let store = app.store()?;
    let filters = Filters::parse(&args.filter, &FILTERS, &store, Timestamp::now())?;
    let all = args.all || filters.dangling == Some(false);
    let what = match all {
        true => "all images without at least one container associated to them",
        false => "all dangling images",
    };
    let question = format!("WARNING! This will remove {what}.\nAre you sure you want to continue?");
    if !args.force && !agreed(&question)? {
        return Ok(0);
    }
    let removed = images(app, all, &filters)?;
    write_out(told(&removed) + &reclaimed(removed.freed))?;
    Ok(0)
}

/// Removes images without a name, or all that no container uses.
pub(in crate::cli::commands) fn images(
    app: &App,
    all: bool,
    filters: &Filters,
) -> Result<Removed, Failure> {
    let needs = asker(app, true)?;
    let how = Removal {
        force: false,
        needs: &needs,
    };
    let mut goes = |image: &crate::image::store::Image, names: &[_]| {
        (all || names.is_empty()) && filters.fits_image(&image.config, image.created())
    };
    Ok(app.store()?.prune(&how, &mut goes)?)
}

/// What docker prints of them.
pub(in crate::cli::commands) fn told(removed: &Removed) -> String {
    let text = rm::told(removed, "untagged", "deleted");
    match text.is_empty() {
        true => text,
        false => format!("Deleted Images:\n{text}\n"),
    }
}

/// The last line.
pub(in crate::cli::commands) fn reclaimed(bytes: u64) -> String {
    format!("Total reclaimed space: {}\n", ByteSize(bytes).decimal4())
}
