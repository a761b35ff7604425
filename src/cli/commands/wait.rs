//! `wait`: waits until containers of services have ended, and ends as the last of them.
//!
//! Imports: `engine`, `commands::down`. As Compose: `pkg/compose/wait.go`.

use std::sync::Arc;
use std::sync::mpsc::channel;

use super::containers::label;
use crate::cli::app::App;
use crate::cli::args::{DownArgs, WaitArgs};
use crate::cli::exit::{Failure, Outcome};
use crate::engine::state::{ObservedContainer, State};
use crate::engine::{EngineError, Until, Waited};
use crate::ui::write_out;

/// The code when a wait itself fails. As Compose.
const FAILED: i32 = 42;

pub(super) fn run(app: &App, args: &WaitArgs) -> Outcome {
    let (name, project) = app.project_or_name()?;
    app.known(project.as_ref(), &args.services)?;
    let work = app.work(false)?;
    let engine = Arc::clone(&work.context.engine);
    let waited = |c: &ObservedContainer| {
        let live = c.state.is_up() || matches!(c.state, State::Restarting { .. });
        live && args.services.iter().any(|s| s == label(c, "service"))
    };
    let mut containers = engine.observe(&name)?.containers;
    containers.retain(waited);
    if containers.is_empty() {
        let text = format!("no containers for project \"{name}\"");
        return Err(Failure::new(text).hint("only containers that run can be waited for"));
    }
    let (ends, ended) = channel();
    for container in containers {
        let (engine, ends) = (Arc::clone(&engine), ends.clone());
        let cancel = work.context.cancel.clone();
        let wait = move || {
            let end = engine.wait(&container.id, Until::Exited, &cancel);
            // Nobody listens any more when another wait has failed.
            let _ = ends.send((container.id, end));
        };
        std::thread::Builder::new()
            .spawn(wait)
            .map_err(|error| Failure::new(format!("cannot wait: {error}")))?;
    }
    drop(ends);
    let (mut code, mut down) = (0, args.down_project);
    let mut taken = Ok(0);
    for (id, end) in ended {
        match end {
            Ok(Waited::Exited(exit)) => {
                code = exit.code();
                write_out(format!(
                    "container \"{}\" exited with status code {code}\n",
                    id.as_str()
                ))?;
            }
            Ok(Waited::Cancelled) => return Err(Failure::said(130)),
            Ok(_) | Err(EngineError::NotFound { .. }) => {
                let text = format!(
                    "container {} is gone; its exit code is not known",
                    id.short()
                );
                return Err(Failure::new(text).code(FAILED));
            }
            Err(error) => return Err(Failure::from(error).code(FAILED)),
        }
        if std::mem::take(&mut down) {
            let all = DownArgs {
                remove_orphans: true,
                ..DownArgs::default()
            };
            taken = super::down::take(app, &all, &work);
        }
    }
    taken?;
    Ok(code)
}
