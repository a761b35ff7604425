//! A look at a step that failed: the port to whoever asks the user.
//!
//! Imports: `base`, `engine::sandbox`. It knows no terminal; `cli` has one.

use super::StepError;
use crate::base::cancel::Cancel;
use crate::engine::sandbox::{Sandbox, SandboxSpec};

/// A step that failed, in the state it left.
#[derive(Clone, Copy)]
pub struct Failed<'a> {
    /// The step as it is shown.
    pub title: &'a str,
    /// Why it failed.
    pub error: &'a StepError,
    /// What it ran with: its files as it left them, its mounts, environment, user, directory, network.
    pub spec: &'a SandboxSpec,
    /// Runs more in it.
    pub sandbox: &'a dyn Sandbox,
    /// Ends that.
    pub cancel: &'a Cancel,
}

impl std::fmt::Debug for Failed<'_> {
    /// Leaves the specification out: it may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Failed")
            .field("title", &self.title)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl Failed<'_> {
    /// Why it failed, in words.
    pub fn reason(&self) -> String {
        match self.error {
            StepError::Failed { message, .. } => message.clone(),
            StepError::Build(error) => error.to_string(),
        }
    }
}

/// What is to happen after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The step is run again, on what was there before it.
    Retry,
    /// The Dockerfile is read again and the build done from the beginning, with the cache.
    ReadAgain,
    /// The build fails.
    GiveUp,
}

/// Asked when a step has failed.
pub trait Debugger: Send + Sync {
    /// Shows the failure and says what is to happen.
    fn ask(&self, failed: &Failed<'_>) -> Next;
}
