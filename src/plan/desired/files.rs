//! Configs and secrets of a service, as small files of its containers.
//!
//! Imports: `base`, `compose::model`, `engine::spec`, `storage`. Source: compose-spec, `configs`, `secrets`.

use super::storage::tidy;
use crate::base::diag::{Diagnostic, Diagnostics};
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
                    found.push(
                        fault
                            .at(object.span.or(grant.span))
                            .related(grant.span, asked),
                    );
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

fn content(kind: &str, object: &FileObject) -> Result<FileContent, Box<Diagnostic>> {
    match &object.source {
        FileSource::File(path) => Ok(FileContent::Host(path.clone())),
        FileSource::Content(text) => Ok(FileContent::Inline(text.clone())),
        FileSource::Environment(_, Some(text)) => Ok(FileContent::Inline(text.clone())),
        FileSource::Environment(name, None) => Err(Box::new(Diagnostic::error(format!(
            "environment variable `{name}` required by {kind} `{}` is not set",
            object.key
        )))),
        FileSource::External => {
            let fault = Diagnostic::error(format!(
                "external {kind} `{}` is not available: there is no store outside the project",
                object.key
            ));
            Err(Box::new(
                fault.hint("give it `file`, `environment` or `content`"),
            ))
        }
    }
}
