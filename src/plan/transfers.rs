//! `pull` and `push` as views of the same graph: which images move, and why others don't.
//!
//! Pure. Imports: `base`, `compose::model`, and the parts of `plan`.
//! Source: Docker Compose, `pkg/compose/{pull,push}.go`: which services are skipped, and the words for it.

use std::collections::BTreeSet;

use super::action::{Action, Step};
use super::cause::Cause;
use super::desired::Desired;
use super::images::Fetch;
use super::order::Needs;
use super::policy::{PullView, PushView};
use super::views::known;
use super::{Plan, PlanError, reconcile};
use crate::base::diag::Diagnostics;
use crate::base::name::ServiceName;
use crate::compose::model::{Project, PullPolicy, Service};

/// Plans the pulls of the services' images.
///
/// # Errors
/// A named service that does not exist.
pub fn pull(mut desired: Desired, view: &PullView) -> Result<Plan, PlanError> {
    known(Some(&desired.project), &view.services)?;
    desired.unread = Diagnostics::default();
    let wanted = chosen(&desired.project, &view.services, view.include_deps);
    let mut skipped = Vec::new();
    for (name, image) in &mut desired.images {
        let Some(service) = desired.project.services.get(name) else {
            continue;
        };
        let fetch = image.fetch.take();
        if !wanted.contains(name) {
            continue;
        }
        match skips(service, view, image.here.is_some()) {
            Some(why) => {
                let shown = match service.image {
                    Some(_) => image.name.clone(),
                    None => name.to_string(),
                };
                skipped.push((shown, why));
            }
            None => {
                let cause = fetch.map_or(Cause::PullPolicy, |(_, cause)| cause);
                image.fetch = Some((Fetch::Pull, cause));
            }
        }
    }
    let mut plan = reconcile::images_only(desired, view.ignore_failures)?;
    plan.skipped = skipped;
    Ok(plan)
}

/// Why a service's image is not pulled, if it is not.
fn skips(service: &Service, view: &PullView, here: bool) -> Option<Option<&'static str>> {
    if service.image.is_none() {
        return Some(Some("No image to be pulled"));
    }
    let own = service.pull_policy.as_ref().map(|policy| policy.value);
    match view.policy.or(own) {
        Some(PullPolicy::Never | PullPolicy::Build) => Some(None),
        Some(PullPolicy::Missing) if here => Some(Some("Image is already present locally")),
        _ if view.ignore_buildable && service.build.is_some() => Some(Some("Image can be built")),
        _ => None,
    }
}

/// Plans the pushes of the images that services build: of each its name and its further tags.
///
/// # Errors
/// A named service that does not exist.
pub fn push(project: &Project, view: &PushView) -> Result<Plan, PlanError> {
    known(Some(project), &view.services)?;
    let wanted = chosen(project, &view.services, view.include_deps);
    let mut plan = Plan::new(&project.name);
    plan.go_on = view.ignore_failures;
    let mut images: BTreeSet<String> = BTreeSet::new();
    for service in project
        .services
        .values()
        .filter(|service| wanted.contains(&service.name))
    {
        let (Some(image), Some(build)) = (&service.image, &service.build) else {
            plan.skipped.push((project.image_of(service), None));
            continue;
        };
        let tags = build.tags.iter().map(|tag| tag.value.clone());
        images.extend(std::iter::once(image.value.clone()).chain(tags));
    }
    for image in images {
        let tolerate = view.ignore_failures;
        plan.steps
            .add(Step::new(Action::Push { image, tolerate }, Cause::Asked));
    }
    Ok(plan)
}

/// The services that are meant: the named ones, with `deps` what they need as well; all when none is named.
fn chosen(project: &Project, named: &[String], deps: bool) -> BTreeSet<ServiceName> {
    if named.is_empty() {
        return project.services.keys().cloned().collect();
    }
    let mut all: BTreeSet<ServiceName> = named
        .iter()
        .map(|name| ServiceName::new(name.as_str()))
        .collect();
    if deps {
        let needs = Needs::read(Some(project), &[]);
        let mut queue: Vec<ServiceName> = all.iter().cloned().collect();
        while let Some(name) = queue.pop() {
            for need in needs.of(&name) {
                if all.insert(need.service.clone()) {
                    queue.push(need.service.clone());
                }
            }
        }
    }
    all
}
