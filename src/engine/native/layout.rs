//! Where the native engine keeps things: one function a path, nothing else builds one.
//!
//! ```text
//! <data>/projects/<project>/containers/<id>/   record.json state.json upper/ work/ log/
//! <data>/projects/<project>/dossiers/          (owner: `dossier`)
//! <data>/names/<container name>                link: <project>/<id>
//! <data>/volumes/<name>/                       volume.json _data/ filling
//! <data>/networks/<name>/                      (owner: `net`)
//! <data>/key                                   (owner: `held`)
//! <run>/held/<id>/                             a file system in memory (owner: `held`)
//! <run>/volumes/<name>/                        .lock, a file for each container that uses what is mounted there
//! <run>/events/<project>                       what happened to its containers (owner: `journal`)
//! <run>/locks/<project>.lock                   held by a command while it changes the project
//! <run>/containers/<id>/                       lock sock stdin stdout stderr spool0 spool1 netns live.json health.json etc/
//! ```
//!
//! Imports: `base`, `engine`, `image::digest`.

use std::path::PathBuf;

use crate::base::name::{ContainerId, ProjectName};
use crate::engine::Roots;
use crate::image::digest::Digest;

/// End of the name of a container's directory that is removed without its anonymous volumes.
pub(super) const GONE: &str = ".gone";

/// Paths below the two roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    roots: Roots,
}

impl Layout {
    /// Paths below these roots.
    pub(super) fn new(roots: Roots) -> Self {
        Self { roots }
    }
    /// The roots themselves.
    pub(super) fn roots(&self) -> &Roots {
        &self.roots
    }
    /// `<data>/projects`.
    pub(super) fn projects(&self) -> PathBuf {
        self.roots.data.join("projects")
    }
    /// `<data>/projects/<project>/containers`.
    pub(super) fn containers(&self, project: &ProjectName) -> PathBuf {
        self.projects().join(project.as_str()).join("containers")
    }
    /// `<data>/projects/<project>/dossiers`.
    pub(super) fn dossiers(&self, project: &ProjectName) -> PathBuf {
        self.projects().join(project.as_str()).join("dossiers")
    }
    /// A container's place in `<data>`.
    pub(super) fn container(&self, project: &ProjectName, id: &ContainerId) -> ContainerDir {
        ContainerDir {
            data: self.containers(project).join(id.as_str()),
            run: self.run(id),
        }
    }
    /// `<data>/projects/<project>/containers/.<id>`: while it is made, or removed with its anonymous volumes.
    pub(super) fn hidden(&self, project: &ProjectName, id: &ContainerId) -> PathBuf {
        self.containers(project).join(format!(".{id}"))
    }
    /// `<data>/projects/<project>/containers/.<id>.gone`: while it is removed; its anonymous volumes stay. Every other
    /// hidden directory goes with them.
    pub(super) fn doomed(&self, project: &ProjectName, id: &ContainerId) -> PathBuf {
        self.containers(project).join(format!(".{id}{GONE}"))
    }
    /// `<run>/containers`.
    pub(super) fn runs(&self) -> PathBuf {
        self.roots.run.join("containers")
    }
    /// `<run>/containers/<id>`, whoever's project it is.
    pub(super) fn run(&self, id: &ContainerId) -> PathBuf {
        self.runs().join(id.as_str())
    }
    /// `<run>/containers/<id>/netns`, whoever's project it is.
    pub(super) fn netns(&self, id: &ContainerId) -> PathBuf {
        self.run(id).join("netns")
    }
    /// `<run>/containers/<id>/joined`, whoever's project it is.
    pub(super) fn joined(&self, id: &ContainerId) -> PathBuf {
        self.run(id).join("joined")
    }
    /// `<run>/containers/<id>/live.json`, whoever's project it is.
    pub(super) fn live(&self, id: &ContainerId) -> PathBuf {
        self.run(id).join("live.json")
    }
    /// `<run>/containers/<id>/etc`, whoever's project it is.
    pub(super) fn etc(&self, id: &ContainerId) -> PathBuf {
        self.run(id).join("etc")
    }
    /// `<data>/names`.
    pub(super) fn names(&self) -> PathBuf {
        self.roots.data.join("names")
    }
    /// `<data>/names/<name>`: who has a container name.
    pub(super) fn name(&self, name: &str) -> PathBuf {
        self.names().join(name)
    }
    /// `<run>/events`: what happened to containers, a file a project.
    pub(super) fn events(&self) -> PathBuf {
        self.roots.run.join("events")
    }
    /// `<run>/locks`.
    pub(super) fn locks(&self) -> PathBuf {
        self.roots.run.join("locks")
    }
    /// `<data>/key`: what fingerprints of contents are made with.
    pub(super) fn key(&self) -> PathBuf {
        self.roots.data.join("key")
    }
    /// `<run>/held`.
    pub(super) fn all_held(&self) -> PathBuf {
        self.roots.run.join("held")
    }
    /// `<run>/held/<id>`: contents that are held for a container.
    pub(super) fn held(&self, id: &ContainerId) -> PathBuf {
        self.all_held().join(id.as_str())
    }
    /// `<data>/volumes`.
    pub(super) fn volumes(&self) -> PathBuf {
        self.roots.data.join("volumes")
    }
    /// `<run>/volumes`.
    pub(super) fn mounted_volumes(&self) -> PathBuf {
        self.roots.run.join("volumes")
    }
    /// Directories of unpacked layers, base first. Overlay takes no directory twice; of a layer that an image
    /// repeats the topmost counts, which shows the same files.
    pub(super) fn lower(&self, layers: &[Digest]) -> Vec<PathBuf> {
        let repeated = |at: usize| layers.iter().skip(at + 1).any(|later| *later == layers[at]);
        let root = self.roots.data.join("layers");
        let kept = (0..layers.len()).filter(|at| !repeated(*at));
        kept.map(|at| root.join(layers[at].hex())).collect()
    }
    /// `<run>/locks/<project>.lock`.
    pub(super) fn project_lock(&self, project: &ProjectName) -> PathBuf {
        self.locks().join(format!("{project}.lock"))
    }
}

/// One container's two directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContainerDir {
    /// What must survive a reboot.
    pub(super) data: PathBuf,
    /// What need not.
    pub(super) run: PathBuf,
}

impl ContainerDir {
    /// The record: spec and time of creation. Written once.
    pub(super) fn record(&self) -> PathBuf {
        self.data.join("record.json")
    }
    /// Where the container stands. Owner: its supervisor.
    pub(super) fn state(&self) -> PathBuf {
        self.data.join("state.json")
    }
    /// Overlay's upper directory.
    pub(super) fn upper(&self) -> PathBuf {
        self.data.join("upper")
    }
    /// Overlay's work directory.
    pub(super) fn work(&self) -> PathBuf {
        self.data.join("work")
    }
    /// Its log files. Owner: its supervisor.
    pub(super) fn log(&self) -> PathBuf {
        self.data.join("log")
    }
    /// Held by its supervisor as long as that lives.
    pub(super) fn lock(&self) -> PathBuf {
        self.run.join("lock")
    }
    /// Its supervisor's control socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.run.join("sock")
    }
    /// A FIFO: `stdin`, `stdout`, `stderr`.
    pub(super) fn fifo(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }
    /// Keeps its network namespace.
    pub(super) fn netns(&self) -> PathBuf {
        self.run.join("netns")
    }
    /// Is there when another container was let into its network namespace.
    pub(super) fn joined(&self) -> PathBuf {
        self.run.join("joined")
    }
    /// Addresses and ports of this run.
    pub(super) fn live(&self) -> PathBuf {
        self.run.join("live.json")
    }
    /// Health of this run.
    pub(super) fn health(&self) -> PathBuf {
        self.run.join("health.json")
    }
    /// What hooks of devices are told of: `config.json`.
    pub(super) fn bundle(&self) -> PathBuf {
        self.run.join("bundle")
    }
    /// `hosts`, `hostname` and `resolv.conf` as the container sees them.
    pub(super) fn etc(&self) -> PathBuf {
        self.run.join("etc")
    }
}
