//! Whose a network or a volume is, kept beside its record: when that is lost or broken, `down` still knows.
//!
//! It is a link, which is there as a whole or not at all, whatever a power cut does to what files hold.
//! Imports: `base`, `engine`.

use std::io;
use std::path::Path;

use crate::base::name::ProjectName;

/// The link's name in the directory of a network or volume.
const OWNER: &str = "project";

/// Notes whose a network or volume is.
///
/// # Errors
/// The system's.
pub(super) fn note(dir: &Path, project: Option<&ProjectName>) -> io::Result<()> {
    let Some(project) = project else {
        return Ok(());
    };
    let link = dir.join(OWNER);
    match std::os::unix::fs::symlink(project.as_str(), &link) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if owner(dir).as_ref() == Some(project) {
                return Ok(());
            }
            std::fs::remove_file(&link)?;
            std::os::unix::fs::symlink(project.as_str(), &link)
        }
        other => other,
    }
}

/// Whose it is, as far as that was noted.
fn owner(dir: &Path) -> Option<ProjectName> {
    let target = std::fs::read_link(dir.join(OWNER)).ok()?;
    ProjectName::new(target.to_str()?).ok()
}

/// Whether a network or volume whose record can't be read is a project's: by what was noted, else by its name.
pub(super) fn is_of(dir: &Path, project: &ProjectName) -> bool {
    let named = || {
        let name = dir.file_name().and_then(|name| name.to_str());
        let rest = name.and_then(|name| name.strip_prefix(project.as_str()));
        rest.is_some_and(|rest| rest.starts_with('_'))
    };
    owner(dir).map_or_else(named, |owner| owner == *project)
}

/// Whether it is known to be another project's.
pub(super) fn is_of_another(dir: &Path, project: Option<&ProjectName>) -> bool {
    owner(dir).is_some_and(|owner| Some(&owner) != project)
}
