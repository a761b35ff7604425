//! Reads what decisions need of the host's files: contents of configs and secrets, seccomp profiles, sources of mounts.
//!
//! In: a project. Out: [`Facts`], faults with their places. It writes nothing.
//! Imports: `base`, `compose::model`, `engine`, `plan`, `image::digest`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::ApplyError;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::compose::model::{
    FileObject, FileSource, NetworkModeSpec, Project, Service, VolumeSource,
};
use crate::engine::Engine;
use crate::engine::spec::volume::Backing;
use crate::image::digest::{Digest, Hasher};
use crate::plan::desired::{Facts, asks_the_host, block_devices};
use crate::plan::volume_spec;

/// Longest seccomp profile that is read, in bytes; Docker's own has 12 000.
const LONGEST_PROFILE: u64 = 4 << 20;

/// Reads the files that the project's services use, and asks the engine about the host where a service has limits.
///
/// # Errors
/// The engine's.
pub(super) fn facts(
    engine: &dyn Engine,
    project: &Project,
    faults: &mut Diagnostics,
) -> Result<Facts, ApplyError> {
    let mut facts = Facts::default();
    if project.services.values().any(asks_the_host) {
        let devices = project.services.values().flat_map(block_devices);
        facts.offers = engine.offers(&devices.map(Path::to_owned).collect())?;
    }
    for service in project.services.values() {
        let configs = service
            .configs
            .iter()
            .map(|grant| ("configs", grant, &project.configs));
        let secrets = service
            .secrets
            .iter()
            .map(|grant| ("secrets", grant, &project.secrets));
        for (kind, grant, objects) in configs.chain(secrets) {
            let name = format!("{kind}.{}", grant.value.source);
            let Some(object) = objects.get(&grant.value.source) else {
                continue;
            };
            if facts.contents.contains_key(&name) {
                continue;
            }
            match content(object) {
                Ok(Some(digest)) => drop(facts.contents.insert(name, digest)),
                Ok(None) => {}
                Err(fault) => faults.push(fault.at(object.span.or(grant.span))),
            }
        }
        missing_sources(project, service, &mut facts);
        for device in &service.devices {
            let source = &device.value.source;
            if source.starts_with('/')
                && let Some(why) = absent(Path::new(source))
            {
                facts.absent.insert(source.clone(), why);
            }
        }
        for option in &service.security_opt {
            let Some(path) = profile_path(&option.value) else {
                continue;
            };
            match read_text(&project.dir.join(path)) {
                Ok(text) => drop(facts.profiles.insert(option.value.clone(), text)),
                Err(error) => faults.push(
                    Diagnostic::error(format!("cannot read the seccomp profile `{path}`: {error}"))
                        .at(option.span.or(service.span)),
                ),
            }
        }
        let on_host = service
            .network_mode
            .as_ref()
            .is_some_and(|mode| mode.value == NetworkModeSpec::Host);
        if (on_host || service.uts_host) && facts.host_name.is_empty() {
            let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            facts.host_name = name.trim().to_owned();
        }
    }
    Ok(facts)
}

/// Notes what the mounts of a service need and this machine does not have.
fn missing_sources(project: &Project, service: &Service, facts: &mut Facts) {
    for mount in &service.volumes {
        let needed = match &mount.value.source {
            VolumeSource::Bind {
                path,
                create_host_path,
                selinux,
                ..
            } => {
                facts.selinux |= selinux.is_some() && Path::new("/sys/fs/selinux/enforce").exists();
                (!create_host_path).then(|| path.clone())
            }
            VolumeSource::Volume { key: Some(key), .. } => {
                let volume = project.volumes.get(key).filter(|volume| !volume.external);
                // What is wrong with its options is told where it is planned.
                let backing = volume.and_then(|volume| volume_spec(project, volume).backing().ok());
                match backing {
                    Some(Backing::Bind { dir, .. }) => Some(dir),
                    _ => None,
                }
            }
            _ => None,
        };
        let absent = |path: &PathBuf| matches!(path.try_exists(), Ok(false));
        facts.missing.extend(needed.filter(absent));
    }
}

/// Why a path can't be handed in as a device. What lies in a directory is looked at when the container starts.
fn absent(path: &Path) -> Option<String> {
    use std::os::unix::fs::FileTypeExt as _;
    match path.metadata() {
        Ok(meta) if meta.is_dir() => None,
        Ok(meta) => {
            let kind = meta.file_type();
            let device = kind.is_block_device() || kind.is_char_device();
            (!device).then(|| "it is no device".to_owned())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some("this machine has no such device".to_owned())
        }
        Err(error) => Some(format!("it can't be looked at: {error}")),
    }
}

/// `seccomp=./profile.json` → the path.
fn profile_path(option: &str) -> Option<&str> {
    let value = option
        .strip_prefix("seccomp")
        .and_then(|rest| rest.strip_prefix(['=', ':']))?;
    (!matches!(value, "unconfined" | "builtin" | "")).then_some(value)
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(LONGEST_PROFILE)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// The digest of what a config or secret holds; `None` where that is not known before the start.
fn content(object: &FileObject) -> Result<Option<Digest>, Box<Diagnostic>> {
    match &object.source {
        FileSource::Content(text) => Ok(Some(Digest::of(text.as_bytes()))),
        FileSource::Environment(_, value) => Ok(value.as_ref().map(|v| Digest::of(v.as_bytes()))),
        FileSource::External => Ok(None),
        FileSource::File(path) => {
            let failed = |error: std::io::Error| {
                let fault = Diagnostic::error(format!("cannot read {}: {error}", path.display()));
                Box::new(fault.hint("make the file, or change `file`"))
            };
            let mut file = File::open(path).map_err(failed)?;
            if file.metadata().map_err(failed)?.is_dir() {
                // A directory can be given to a container too; its content is not compared.
                return Ok(None);
            }
            let mut hasher = Hasher::default();
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match file.read(&mut buffer).map_err(failed)? {
                    0 => return Ok(Some(hasher.finish())),
                    read => hasher.update(buffer.get(..read).unwrap_or_default()),
                }
            }
        }
    }
}
