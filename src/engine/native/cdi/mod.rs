//! Devices by name, as their makers describe them: the Container Device Interface.
//!
//! In: directories, full names. Out: what is there ([`catalog`]), and what a container gets with some of it
//! ([`resolve`]). A description is trusted as its owner is: only files that nobody but root can change are read, since
//! they name paths and programs of the host. Names come from the user's own file only, never from an image.
//! Never: applies an edit; that is `runtime`'s. Imports: `base`, `engine`, `sys`.
//! Rules: Container Device Interface, `SPEC.md` and its cache (`pkg/cdi`): the later directory wins, a device that two
//! files of one directory describe is none.

mod spec;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::device::DeviceName;
use crate::engine::state::DeviceCatalog;
use crate::engine::{EngineError, Result};
use spec::Spec;
pub use spec::{Edits, Hook, Moment, MountEdit, NodeEdit};

/// Longest file in bytes; those of a machine with 16 GPUs have some 100 KiB.
const LIMIT: u64 = 8 << 20;

/// What the directories hold.
#[derive(Debug, Default)]
struct Cache {
    /// Each device with the file it is from.
    devices: BTreeMap<DeviceName, Arc<(PathBuf, Spec)>>,
    /// Devices that two files of one directory describe: those files.
    conflicts: BTreeMap<DeviceName, String>,
    /// Files that can't be used, and why.
    faults: Vec<String>,
}

/// Lists the devices that the directories describe; later directories win.
pub fn catalog(dirs: &[PathBuf]) -> DeviceCatalog {
    let cache = Cache::read(dirs);
    let devices = cache.devices.iter().map(|(name, file)| {
        let (path, spec) = &**file;
        let device = spec
            .devices
            .iter()
            .find(|device| device.name == name.name());
        let edits = device.map(|device| &device.container_edits);
        let missing = edits
            .into_iter()
            .chain([&spec.container_edits])
            .find_map(Edits::missing);
        let fault = missing.map(|what| refused(path, what));
        (name.clone(), fault)
    });
    let conflicts = cache.conflicts.iter();
    let conflicts = conflicts.map(|(name, fault)| (name.clone(), Some(fault.clone())));
    DeviceCatalog {
        devices: devices.chain(conflicts).collect(),
        dirs: dirs.to_vec(),
        faults: cache.faults,
        nvidia: nvidia_nodes(Path::new("/dev")),
    }
}

/// What a container gets that has these devices.
///
/// # Errors
/// [`EngineError::Unsupported`]: a device that is not there, or asks for what can't be had.
pub fn resolve(dirs: &[PathBuf], names: &[DeviceName]) -> Result<Edits> {
    let mut all = Edits::default();
    if names.is_empty() {
        return Ok(all);
    }
    let cache = Cache::read(dirs);
    let mut seen: Vec<&Path> = Vec::new();
    for name in names {
        let (path, spec) = &**cache.find(name, dirs)?;
        let mut add = |edits: &Edits| match edits.missing() {
            Some(what) => Err(EngineError::Unsupported {
                what: format!("device `{name}`: {}", refused(path, what)),
            }),
            None => {
                all.append(edits);
                Ok(())
            }
        };
        if !seen.contains(&path.as_path()) {
            seen.push(path);
            add(&spec.container_edits)?;
        }
        if let Some(device) = spec
            .devices
            .iter()
            .find(|device| device.name == name.name())
        {
            add(&device.container_edits)?;
        }
    }
    all.mounts.sort_by_key(|mount| depth(&mount.container_path));
    Ok(all)
}

fn depth(path: &str) -> usize {
    crate::sys::fs::clean(Path::new(path)).components().count()
}

fn refused(path: &Path, what: &str) -> String {
    format!(
        "{} asks for {what}, which hoist does not set up",
        path.display()
    )
}

impl Cache {
    fn read(dirs: &[PathBuf]) -> Self {
        let mut cache = Self::default();
        for dir in dirs {
            cache.add_dir(dir);
        }
        cache
    }

    fn find(&self, name: &DeviceName, dirs: &[PathBuf]) -> Result<&Arc<(PathBuf, Spec)>> {
        if let Some(found) = self.devices.get(name) {
            return Ok(found);
        }
        let mut what = match self.conflicts.get(name) {
            Some(fault) => format!("device `{name}`: {fault}"),
            None => {
                let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
                format!(
                    "device `{name}` is not described in {} any more",
                    dirs.join(" or ")
                )
            }
        };
        for fault in &self.faults {
            what.push_str("; ");
            what.push_str(fault);
        }
        Err(EngineError::Unsupported { what })
    }

    /// Adds the files of one directory; one that is missing is as good as empty.
    fn add_dir(&mut self, dir: &Path) {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                return self
                    .faults
                    .push(format!("cannot read {}: {error}", dir.display()));
            }
        };
        let described = |path: &PathBuf| {
            let end = path.extension().and_then(|end| end.to_str());
            matches!(end, Some("json" | "yaml"))
        };
        let mut paths: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(described)
            .collect();
        paths.sort();
        if paths.is_empty() {
            return;
        }
        if let Err(fault) = File::open(dir)
            .map_err(|e| e.to_string())
            .and_then(|dir| guarded(&dir))
        {
            return self
                .faults
                .push(format!("{} is not used: {fault}", dir.display()));
        }
        let mut here: BTreeMap<DeviceName, PathBuf> = BTreeMap::new();
        for path in paths {
            match read_file(&path) {
                Ok(Some(spec)) => self.add(&mut here, path, spec),
                Ok(None) => {}
                Err(fault) => self
                    .faults
                    .push(format!("{} is not used: {fault}", path.display())),
            }
        }
    }

    fn add(&mut self, here: &mut BTreeMap<DeviceName, PathBuf>, path: PathBuf, spec: Spec) {
        let names: Vec<DeviceName> = spec
            .devices
            .iter()
            .filter_map(|device| DeviceName::new(&spec.kind, &device.name).ok())
            .collect();
        let file = Arc::new((path.clone(), spec));
        for name in names {
            if let Some(other) = here.get(&name) {
                let fault = format!(
                    "both {} and {} describe it",
                    other.display(),
                    path.display()
                );
                self.devices.remove(&name);
                self.conflicts.insert(name, fault);
                continue;
            }
            here.insert(name.clone(), path.clone());
            self.conflicts.remove(&name);
            self.devices.insert(name, Arc::clone(&file));
        }
    }
}

/// Reads a file; what is no regular one is none of ours.
fn read_file(path: &Path) -> std::result::Result<Option<Spec>, String> {
    use nix::fcntl::{OFlag, open};
    // A pipe in the directory must not hold us up.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = open(path, flags, nix::sys::stat::Mode::empty());
    let file = File::from(file.map_err(|errno| errno.desc().to_lowercase())?);
    let meta = file.metadata().map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Ok(None);
    }
    guarded(&file)?;
    let mut text = String::new();
    let read = file.take(LIMIT + 1).read_to_string(&mut text);
    read.map_err(|error| error.to_string())?;
    if text.len() as u64 > LIMIT {
        return Err("it is longer than 8 MiB".to_owned());
    }
    Spec::of(yaml::read(&text)?).map(Some)
}

/// Whether nobody but root, or who we are, can change an open file or directory.
fn guarded(file: &File) -> std::result::Result<(), String> {
    let meta = file.metadata().map_err(|error| error.to_string())?;
    guarded_meta(meta.uid(), meta.gid(), meta.mode())
}

/// The same for an owner, group and mode.
///
/// # Errors
/// Who could change it.
pub fn guarded_meta(uid: u32, gid: u32, mode: u32) -> std::result::Result<(), String> {
    if uid != 0 && uid != nix::unistd::geteuid().as_raw() {
        return Err(format!("it belongs to the user {uid}, not to root"));
    }
    if mode & 0o002 != 0 || (mode & 0o020 != 0 && gid != 0) {
        return Err(
            "others than root may change it: take their right to write away (chmod go-w)"
                .to_owned(),
        );
    }
    Ok(())
}

/// Device nodes of NVIDIA cards, sorted.
fn nvidia_nodes(dev: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dev).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("nvidia"));
    let mut paths: Vec<PathBuf> = ours.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
