//! `--trace FILE`: a timeline of the command, written when it ends, in whatever way.
//!
//! In: a display that keeps the timeline, a path. Out: a file, whole or not at all.
//! Imports: `ui`, `sys::newfile`.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::app::App;
use super::exit::Failure;
use crate::sys::newfile::NewFile;
use crate::ui::{Progress, render, write_err};

/// A timeline that is kept until the value is dropped, and written then.
#[derive(Debug)]
pub(super) struct TraceFile {
    progress: Arc<Progress>,
    path: PathBuf,
    colour: bool,
}

impl TraceFile {
    /// Begins a timeline, if one is wanted.
    ///
    /// # Errors
    /// When there is no folder that the file could lie in: better told now than after an hour.
    pub(super) fn begin(
        app: &App,
        progress: &Arc<Progress>,
        path: Option<&Path>,
    ) -> Result<Option<Self>, Failure> {
        let Some(path) = path else { return Ok(None) };
        let path = app.env.cwd.join(path);
        let folder = path.parent().is_some_and(Path::is_dir);
        if !folder || path.is_dir() {
            let text = format!("cannot write the timeline to {}", path.display());
            return Err(Failure::new(text).hint("name a file in a folder that is there"));
        }
        progress.start_trace();
        Ok(Some(Self {
            progress: Arc::clone(progress),
            path,
            colour: app.screen.err_colour,
        }))
    }
}

impl Drop for TraceFile {
    fn drop(&mut self) {
        self.progress.finish();
        let Some(text) = self.progress.trace() else {
            return;
        };
        let write = || -> io::Result<()> {
            let new = NewFile::create(&self.path, 0o644)?;
            new.file().write_all(text.as_bytes())?;
            new.finish()
        };
        if let Err(error) = write() {
            let text = format!(
                "cannot write the timeline to {}: {error}",
                self.path.display()
            );
            write_err(render::warning(&text, self.colour));
        }
    }
}
