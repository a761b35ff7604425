//! `develop`, and what runs around a service's containers: hooks and init containers.

use std::path::PathBuf;

use indexmap::IndexMap;

use crate::base::span::Spanned;

/// `develop`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Develop {
    /// `watch`, in order.
    pub watch: Vec<Spanned<WatchRule>>,
}

/// An entry of `develop.watch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRule {
    /// `path`, absolute.
    pub path: PathBuf,
    /// `action`.
    pub action: WatchAction,
    /// `target`: path in the containers.
    pub target: Option<String>,
    /// `ignore`: patterns relative to `path`.
    pub ignore: Vec<String>,
    /// `include`: patterns relative to `path`; empty is all.
    pub include: Vec<String>,
    /// `exec`, for `sync+exec`.
    pub exec: Option<Hook>,
    /// `initial_sync`.
    pub initial_sync: bool,
}

/// What a change of a watched path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchAction {
    /// `rebuild`: the image is built and the containers are replaced.
    Rebuild,
    /// `sync`: the files are copied.
    Sync,
    /// `restart`: the containers are restarted.
    Restart,
    /// `sync+restart`: both, in this order.
    SyncRestart,
    /// `sync+exec`: the files are copied, then a command runs.
    SyncExec,
}

/// A command that runs in a running container: `post_start`, `pre_stop`, `develop.watch[].exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hook {
    /// `command`.
    pub command: Vec<String>,
    /// `user`; `None` is the container's.
    pub user: Option<String>,
    /// `privileged`.
    pub privileged: bool,
    /// `working_dir`; `None` is the container's.
    pub working_dir: Option<String>,
    /// `environment`, on top of the container's; `None` is a name the host did not set.
    pub environment: IndexMap<String, Option<String>>,
}

/// An entry of `pre_start`: a container that runs to its end before the service's starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InitContainer {
    /// `image`; `None` is the service's.
    pub image: Option<Spanned<String>>,
    /// `per_replica`: once for each container of the service instead of once in all.
    pub per_replica: bool,
    /// What runs; an empty command is the image's.
    pub run: Hook,
}
