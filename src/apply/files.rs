//! Reads what decisions need of the host's files: contents of configs and secrets, seccomp profiles, sources of mounts.
//!
//! In: a project. Out: [`Facts`], faults with their places. It writes nothing.
//! Imports: `base`, `compose::model`, `engine`, `plan`, `image::digest`, `secrets`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::secrets::{self, Answer};
use super::{ApplyError, Context};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::compose::model::{FileSource, NetworkModeSpec, Project, Service, VolumeSource};
use crate::engine::spec::volume::Backing;
use crate::image::digest::{Digest, Hasher};
use crate::plan::desired::files::{given, granted};
use crate::plan::desired::{Facts, asks_the_host, block_devices};
use crate::plan::volume_spec;

/// Longest seccomp profile that is read, in bytes; Docker's own has 12 000.
const LONGEST_PROFILE: u64 = 4 << 20;

/// Reads the files that the project's services use, runs the programs that know contents if `ask` says so, and asks the engine about the host where a service has limits.
///
/// # Errors
/// The engine's.
pub(super) fn facts(
    context: &Context,
    project: &Project,
    ask: bool,
    faults: &mut Diagnostics,
) -> Result<Facts, ApplyError> {
    let engine = context.engine.as_ref();
    let mut facts = Facts {
        proxies: context.proxies.clone(),
        ..Facts::default()
    };
    if project.services.values().any(asks_the_host) {
        let devices = project.services.values().flat_map(block_devices);
        facts.offers = engine.offers(&devices.map(Path::to_owned).collect())?;
    }
    for service in project.services.values() {
        for (name, _, object, span) in granted(project, service) {
            if let FileSource::File(path) = &object.source
                && !facts.contents.contains_key(&name)
            {
                match of_file(path) {
                    Ok(Some(digest)) => {
                        facts.contents.insert(name, engine.fingerprint(digest)?);
                    }
                    Ok(None) => {}
                    Err(fault) => faults.push(fault.at(object.span.or(span))),
                }
            }
        }
        for (name, kind, object) in given(project, service) {
            if facts.given.contains_key(&name) {
                continue;
            }
            match secrets::content(context, project, (&name, kind, object), ask)? {
                Answer::Content(content) => {
                    let digest = engine.fingerprint(Digest::of(content.bytes()))?;
                    facts.contents.insert(name.clone(), digest);
                    facts.given.insert(name, content);
                }
                Answer::Untold => drop(facts.untold.insert(name)),
                Answer::None => {}
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

/// The digest of a file; `None` of a directory, which is shown as it is and not compared.
fn of_file(path: &Path) -> Result<Option<Digest>, Box<Diagnostic>> {
    let failed = |error: std::io::Error| {
        let fault = Diagnostic::error(format!("cannot read {}: {error}", path.display()));
        Box::new(fault.hint("make the file, or change `file`"))
    };
    let meta = std::fs::metadata(path).map_err(failed)?;
    if meta.is_dir() {
        return Ok(None);
    }
    if !meta.is_file() {
        // A FIFO would be waited for.
        return Err(failed(std::io::Error::other(
            "it is neither a file nor a directory",
        )));
    }
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(Some(hasher.finish())),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}
