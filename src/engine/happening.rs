//! What has happened to containers: `create`, `start`, `die` … as `events` tells it.
//!
//! In and out: values, as JSON lines where they are kept. Imports: `base`. Names of actions and attributes: moby
//! `api/types/events`, docker's reference of `docker system events`.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use super::Result;
use crate::base::clock::Timestamp;
use crate::base::name::ContainerId;

/// One thing that happened to one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// When.
    pub time: Timestamp,
    /// The container.
    pub id: ContainerId,
    /// `create`, `start`, `die`, `exec_create: sh -c true` …
    pub action: String,
    /// The container's labels, its name and image, and what belongs to the action.
    pub attributes: BTreeMap<String, String>,
}

/// What has happened and happens in a project.
pub trait Happenings: Send {
    /// What was not given yet, oldest first.
    ///
    /// # Errors
    /// [`super::EngineError::Failed`] when it can't be read.
    fn read(&mut self) -> Result<Vec<Happening>>;
    /// Readable when there may be more.
    fn ready(&self) -> BorrowedFd<'_>;
}
