//! The labels that say what belongs to whom; `docker compose` reads and writes the same ones.
//!
//! Imports: `engine::state`. Source: Docker Compose, `pkg/api/labels.go`.

use crate::base::name::ProjectName;
use crate::base::name::ServiceName;
use crate::engine::state::{ObservedContainer, State};

/// The project.
pub const PROJECT: &str = "com.docker.compose.project";
/// The service.
pub const SERVICE: &str = "com.docker.compose.service";
/// The hash of what the container, network or volume was made from.
pub const CONFIG_HASH: &str = "com.docker.compose.config-hash";
/// The replica's number, from 1.
pub const NUMBER: &str = "com.docker.compose.container-number";
/// `True` for a container of `run`.
pub const ONEOFF: &str = "com.docker.compose.oneoff";
/// The random part of a one-off's name.
pub const SLUG: &str = "com.docker.compose.slug";
/// What a container runs for another one: `pre_start`.
pub const HOOK: &str = "com.docker.compose.hook";
/// The project directory.
pub const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
/// The compose files, with commas between.
pub const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
/// The env files, with commas between.
pub const ENV_FILES: &str = "com.docker.compose.project.environment_file";
/// The image's id.
pub const IMAGE: &str = "com.docker.compose.image";
/// `db:service_healthy:false`, with commas between; the last part is `restart`.
pub const DEPENDS_ON: &str = "com.docker.compose.depends_on";
/// Version of what made it.
pub const VERSION: &str = "com.docker.compose.version";
/// The network's key.
pub const NETWORK: &str = "com.docker.compose.network";
/// The volume's key.
pub const VOLUME: &str = "com.docker.compose.volume";
/// The hashed document, values of secrets left out: what a later plan compares with.
pub const SPEC: &str = "io.hoist.spec";

/// What its variables of providers and models were made from: `db=sha256:…`, with commas between.
pub const PROVIDED: &str = "io.hoist.provided";

/// Whether a label says something that hoist, or Compose, relies on.
pub fn is_ours(key: &str) -> bool {
    key.starts_with("com.docker.compose.") || key.starts_with("io.hoist.")
}

/// The service a container belongs to, if its label says one.
pub fn service(container: &ObservedContainer) -> Option<ServiceName> {
    container
        .labels
        .get(SERVICE)
        .map(|name| ServiceName::new(name.as_str()))
}

/// Its number; 1 when the label is missing or no number.
pub fn number(container: &ObservedContainer) -> u32 {
    container
        .labels
        .get(NUMBER)
        .and_then(|n| n.parse().ok())
        .unwrap_or(1)
}

/// Whether it is a container of `run`.
pub fn is_oneoff(container: &ObservedContainer) -> bool {
    container
        .labels
        .get(ONEOFF)
        .is_some_and(|v| v.eq_ignore_ascii_case("true"))
}

/// Whether it is a container of `pre_start`.
pub fn is_hook(container: &ObservedContainer) -> bool {
    container.labels.contains_key(HOOK)
}

/// `created`, `exited (3)`: a state with its exit code.
pub fn state_text(state: State) -> String {
    match state {
        State::Exited { exit } => format!("exited ({})", exit.code()),
        other => other.as_str().to_owned(),
    }
}

/// Labels of an image that is built for a service. Compose adds its own version, by which each release would give the
/// same build another id.
pub fn of_build(project: &ProjectName, service: &ServiceName) -> [(String, String); 2] {
    [
        (PROJECT.to_owned(), project.to_string()),
        (SERVICE.to_owned(), service.to_string()),
    ]
}
