//! What runs: entry point, command and environment of service and image in one.
//!
//! Imports: `base`, `compose::model`, `engine::spec`.
//! Source: moby `daemon/commit.go` (`merge`): a service's entry point drops the image's command.

use super::Replica;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::compose::model::Service;
use crate::engine::spec::Process;
use crate::image::config::RunConfig;

/// Docker's default search path on Linux. Source: moby `oci/defaults.go`.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the environment gets from elsewhere.
pub(super) struct Surroundings<'a> {
    /// The container's own name.
    pub(super) hostname: &'a str,
    /// Variables in upper case, which are set in lower case too.
    pub(super) proxies: &'a [(String, String)],
}

pub(super) fn process(
    service: &Service,
    replica: &Replica<'_>,
    around: &Surroundings<'_>,
    found: &mut Diagnostics,
) -> Process {
    let image = &replica.image.run;
    let args = args(service, image);
    // Nothing is known of an image that is still to be fetched.
    if args.is_empty() && replica.image.id.is_some() {
        let text = format!(
            "service `{}` has no command, and its image has none either",
            service.name
        );
        let span = service.image.as_ref().and_then(|i| i.span).or(service.span);
        found.push(
            Diagnostic::error(text)
                .at(span)
                .hint("set `command` or `entrypoint`"),
        );
    }
    let own = |own: &Option<String>, image: &str| own.clone().unwrap_or_else(|| image.to_owned());
    Process {
        args,
        env: env(service, image, around),
        cwd: own(&service.working_dir, &image.working_dir),
        user: own(&service.user, &image.user),
        groups: service.group_add.clone(),
        privileged: service.privileged,
        tty: service.tty,
    }
}

/// An entry point of the service drops the image's command. An empty one drops only the image's entry point, `[""]`
/// both; an empty command is as none. As Docker, whatever compose-spec says of empty ones.
fn args(service: &Service, image: &RunConfig) -> Vec<String> {
    let own = service.entrypoint.as_deref();
    let mut command = service.command.clone().unwrap_or_default();
    if command.is_empty() && own.is_none_or(<[String]>::is_empty) {
        command = image.cmd.clone().unwrap_or_default();
    }
    let mut args = match own.or(image.entrypoint.as_deref()).unwrap_or_default() {
        [only] if only.is_empty() => Vec::new(),
        entrypoint => entrypoint.to_vec(),
    };
    args.extend(command);
    args
}

/// Defaults, the image's, proxies, the service's; a name without a value takes the variable away (as Docker).
fn env(service: &Service, image: &RunConfig, around: &Surroundings<'_>) -> Vec<String> {
    let mut all: Vec<String> = vec![PATH.to_owned(), format!("HOSTNAME={}", around.hostname)];
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut put = |key: &str, entry: Option<String>| {
        let at = all.iter().position(|old| name(old) == key);
        match (at, entry) {
            (Some(at), Some(entry)) => all[at] = entry,
            (None, Some(entry)) => all.push(entry),
            (Some(at), None) => drop(all.remove(at)),
            (None, None) => {}
        }
    };
    for entry in &image.env {
        put(&name(entry), Some(entry.clone()));
    }
    for (key, value) in around.proxies {
        for key in [key.clone(), key.to_lowercase()] {
            put(&key, Some(format!("{key}={value}")));
        }
    }
    for (key, value) in &service.environment {
        put(
            key,
            value.as_ref().map(|value| format!("{key}={}", value.value)),
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::span::Spanned;

    fn list(text: &str) -> Option<Vec<String>> {
        Some(text.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn an_entry_point_of_the_service_drops_the_images_command() {
        let image = RunConfig {
            entrypoint: list("/entry"),
            cmd: list("serve"),
            ..Default::default()
        };
        let of = |entrypoint, command| {
            args(
                &Service {
                    entrypoint,
                    command,
                    ..Default::default()
                },
                &image,
            )
            .join(" ")
        };
        assert_eq!(of(None, None), "/entry serve");
        assert_eq!(of(None, list("x y")), "/entry x y");
        assert_eq!(of(list("/mine"), None), "/mine");
        assert_eq!(of(list("/mine"), list("x")), "/mine x");
        assert_eq!(of(Some(Vec::new()), list("x")), "x");
        assert_eq!(of(Some(Vec::new()), None), "serve");
        assert_eq!(of(Some(vec![String::new()]), list("x")), "x");
        assert_eq!(of(Some(vec![String::new()]), None), "");
        assert_eq!(of(None, Some(Vec::new())), "/entry serve");
    }

    #[test]
    fn the_services_environment_wins_and_a_bare_name_takes_away() {
        let image = RunConfig {
            env: vec!["PATH=/bin".into(), "A=1".into(), "B=1".into()],
            ..Default::default()
        };
        let mut service = Service::default();
        service
            .environment
            .insert("A".into(), Some(Spanned::bare("2".into())));
        service.environment.insert("B".into(), None);
        service
            .environment
            .insert("C".into(), Some(Spanned::bare("3".into())));
        let around = Surroundings {
            hostname: "h",
            proxies: &[],
        };
        let plain = ["PATH=/bin", "HOSTNAME=h", "A=2", "C=3"];
        assert_eq!(env(&service, &image, &around), plain);
        // Proxies stand over the image's and below the service's, in both cases.
        let proxies = [
            ("A".to_owned(), "proxy".to_owned()),
            ("NO_PROXY".to_owned(), "x".to_owned()),
        ];
        let around = Surroundings {
            hostname: "h",
            proxies: &proxies,
        };
        let all = [
            "PATH=/bin",
            "HOSTNAME=h",
            "A=2",
            "a=proxy",
            "NO_PROXY=x",
            "no_proxy=x",
            "C=3",
        ];
        assert_eq!(env(&service, &image, &around), all);
    }
}
