//! Configs and secrets of a service, as small files of its containers.
//!
//! Imports: `base`, `compose::model`, `engine::spec`, `storage`. Source: compose-spec, `configs`, `secrets`.

use super::storage::tidy;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::span::Span;
use crate::compose::model::{FileGrant, FileObject, FileSource, Project, Service};
use crate::engine::spec::{FileContent, InjectedFile};

/// Configs and secrets as small read-only files.
pub(super) fn files(
    project: &Project,
    service: &Service,
    found: &mut Diagnostics,
) -> Vec<InjectedFile> {
    let mut files = Vec::new();
    let kinds = [
        ("config", &service.configs, &project.configs),
        ("secret", &service.secrets, &project.secrets),
    ];
    for (kind, grants, objects) in kinds {
        for grant in grants {
            let Some(object) = objects.get(&grant.value.source) else {
                let text = format!("undefined {kind} `{}`", grant.value.source);
                found.push(Diagnostic::error(text).at(grant.span.or(service.span)));
                continue;
            };
            match content(kind, object) {
                Ok(content) => files.push(file(&grant.value, content)),
                Err(fault) => {
                    let asked = format!("service `{}` asks for it", service.name);
                    found.push(fault.related(grant.span, asked));
                }
            }
        }
    }
    files
}

fn file(grant: &FileGrant, content: FileContent) -> InjectedFile {
    InjectedFile {
        target: tidy(&grant.target),
        content,
        uid: grant.uid,
        gid: grant.gid,
        mode: grant.mode,
    }
}

/// The name of a content: `secrets.db`.
pub fn content_name(kind: &str, key: &str) -> String {
    format!("{kind}s.{key}")
}

/// Configs and secrets that a service is granted and that are declared: names of their contents, the kind, the
/// declaration, the place of the grant.
pub fn granted<'p>(
    project: &'p Project,
    service: &'p Service,
) -> impl Iterator<Item = (String, &'static str, &'p FileObject, Option<Span>)> {
    let configs = service
        .configs
        .iter()
        .map(|grant| ("config", grant, &project.configs));
    let secrets = service
        .secrets
        .iter()
        .map(|grant| ("secret", grant, &project.secrets));
    configs.chain(secrets).filter_map(|(kind, grant, objects)| {
        let object = objects.get(&grant.value.source)?;
        Some((content_name(kind, &object.key), kind, object, grant.span))
    })
}

/// Those of [`granted`] whose content no file of the host has.
pub fn given<'p>(
    project: &'p Project,
    service: &'p Service,
) -> impl Iterator<Item = (String, &'static str, &'p FileObject)> {
    let all = granted(project, service);
    all.filter(|(_, _, object, _)| !matches!(object.source, FileSource::File(_)))
        .map(|(name, kind, object, _)| (name, kind, object))
}

/// The fault of a config or secret whose variable is not set.
pub fn unset(kind: &str, object: &FileObject, variable: &str) -> Diagnostic {
    Diagnostic::error(format!(
        "environment variable `{variable}` required by {kind} `{}` is not set",
        object.key
    ))
    .at(object.span)
}

fn content(kind: &str, object: &FileObject) -> Result<FileContent, Box<Diagnostic>> {
    let none = "there is no store outside the project";
    let hint = "give it `file`, `environment` or `x-hoist: {command: […]}`";
    let drivers = [
        ("driver", &object.driver),
        ("template_driver", &object.template_driver),
    ];
    let driver = drivers
        .iter()
        .find_map(|(key, driver)| Some((key, driver.as_ref()?)));
    if let Some((key, driver)) = driver.filter(|(_, driver)| !driver.value.is_empty()) {
        let why = match *key {
            "driver" => none,
            _ => "contents are taken as they are",
        };
        let text = format!(
            "{key} `{}` of {kind} `{}` is not available: {why}",
            driver.value, object.key
        );
        let fault = Diagnostic::error(text).at(driver.span);
        return Err(Box::new(fault.hint(match *key {
            "driver" => hint,
            _ => "remove it, and write `content` with variables instead",
        })));
    }
    match &object.source {
        FileSource::File(path) => Ok(FileContent::Host(path.clone())),
        FileSource::Content(_) | FileSource::Environment(_, Some(_)) | FileSource::Command(_) => {
            Ok(FileContent::Given(content_name(kind, &object.key)))
        }
        FileSource::Environment(name, None) => Err(Box::new(unset(kind, object, name))),
        FileSource::External => {
            let fault = Diagnostic::error(format!(
                "unsupported external {kind} `{}`: {none}",
                object.key
            ));
            Err(Box::new(fault.at(object.span).hint(hint)))
        }
    }
}
