//! Decides how each service's image is got: it is here, it is pulled, or it is built.
//!
//! In: a service, what is in the store, the user's wishes. Out: a [`WantedImage`].
//! Imports: `base`, `compose::model`, `image::{config, digest}`, `policy`.
//! Rules: compose-spec, `pull_policy` and "Build and Deploy"; as Compose where both `image` and `build`
//! are said: the registry is asked first, then it is built.

use super::cause::Cause;
use super::policy::{BuildChoice, ImagePolicy};
use crate::base::diag::Diagnostic;
use crate::compose::model::{Project, PullPolicy, Service};
use crate::image::config::RunConfig;
use crate::image::digest::Digest;

/// What a container's spec takes from an image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageFacts {
    /// Its id; `None` as long as it is not known.
    pub id: Option<Digest>,
    /// Unpacked layers, base first.
    pub layers: Vec<Digest>,
    /// How containers of it run.
    pub run: RunConfig,
    /// What it is made for: operating system and architecture.
    pub platform: (String, String),
}

/// An image a service wants.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedImage {
    /// As the user wrote it, or `<project>-<service>`.
    pub name: String,
    /// `linux/arm64`, if the service says so.
    pub platform: Option<String>,
    /// What the store has under that name.
    pub here: Option<ImageFacts>,
    /// What has to be done to have it.
    pub fetch: Option<(Fetch, Cause)>,
}

/// What has to be done to have an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    /// It is pulled.
    Pull,
    /// It is built; `pull_first` asks the registry before.
    Build {
        /// Whether the registry is asked before.
        pull_first: bool,
    },
}

/// Decides how a service's image is got. `stale` says that the last pull is older than the policy's
/// time.
///
/// # Errors
/// An image that is not here and must not be got.
pub fn wanted(
    project: &Project,
    service: &Service,
    here: Option<ImageFacts>,
    policy: ImagePolicy,
    stale: bool,
) -> Result<WantedImage, Box<Diagnostic>> {
    let name = project.image_of(service);
    let pull = policy
        .pull
        .or_else(|| service.pull_policy.as_ref().map(|p| p.value));
    let fetch = match (&service.build, policy.build) {
        (Some(_), BuildChoice::Always) => {
            Some((Fetch::Build { pull_first: false }, Cause::BuildAsked))
        }
        (Some(_), BuildChoice::Missing) => with_build(service, pull, here.is_some(), stale),
        _ => without_build(service, pull, here.is_some(), stale, &name)?,
    };
    let platform = service.platform.as_ref().map(|p| p.value.clone());
    Ok(WantedImage {
        name,
        platform,
        here,
        fetch,
    })
}

fn with_build(
    service: &Service,
    pull: Option<PullPolicy>,
    here: bool,
    stale: bool,
) -> Option<(Fetch, Cause)> {
    let named = service.image.is_some();
    match pull {
        Some(PullPolicy::Build) => Some((Fetch::Build { pull_first: false }, Cause::BuildAsked)),
        Some(PullPolicy::Always) if named => {
            Some((Fetch::Build { pull_first: true }, Cause::PullPolicy))
        }
        Some(PullPolicy::Every(_)) if named && here && stale => {
            Some((Fetch::Build { pull_first: true }, Cause::PullPolicy))
        }
        _ if here => None,
        Some(PullPolicy::Never) => Some((Fetch::Build { pull_first: false }, Cause::Missing)),
        _ => Some((Fetch::Build { pull_first: named }, Cause::Missing)),
    }
}

fn without_build(
    service: &Service,
    pull: Option<PullPolicy>,
    here: bool,
    stale: bool,
    name: &str,
) -> Result<Option<(Fetch, Cause)>, Box<Diagnostic>> {
    let span = service.image.as_ref().and_then(|i| i.span).or(service.span);
    if service.image.is_none() && !here {
        let text = format!("service `{}` has no image here", service.name);
        return Err(Box::new(
            Diagnostic::error(text)
                .at(span)
                .hint("build it: leave out --no-build"),
        ));
    }
    Ok(match pull {
        Some(PullPolicy::Always) if service.image.is_some() => {
            Some((Fetch::Pull, Cause::PullPolicy))
        }
        Some(PullPolicy::Every(_)) if here && stale => Some((Fetch::Pull, Cause::PullPolicy)),
        _ if here => None,
        Some(PullPolicy::Never) => {
            let text = format!("image `{name}` of service `{}` is not here", service.name);
            let hint = format!(
                "pull it: hoist pull {}, or change pull_policy",
                service.name
            );
            return Err(Box::new(Diagnostic::error(text).at(span).hint(hint)));
        }
        _ => Some((Fetch::Pull, Cause::Missing)),
    })
}
