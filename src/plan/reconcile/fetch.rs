//! Pulls and builds, one step an image.
//!
//! Imports: `reconcile`.

use super::Draft;
use crate::base::name::ServiceName;
use crate::compose::model::VolumeSource;
use crate::plan::action::{Action, Step};
use crate::plan::builds;
use crate::plan::cause::Cause;
use crate::plan::images::{Fetch, WantedImage};

impl Draft<'_> {
    /// Plans the images of all services, and of `type: image` mounts.
    pub(super) fn fetch_all(&mut self) {
        if let Some(fault) = builds::circle(&self.desired.facts.builds) {
            // In a circle no order is right, and nothing of it is carried out.
            self.found.push(fault);
            return;
        }
        let names: Vec<ServiceName> = self.desired.images.keys().cloned().collect();
        for name in &names {
            self.fetch(name, &mut Vec::new());
        }
        for (image, wanted) in &self.desired.facts.mount_images {
            if let Some((_, cause)) = &wanted.fetch {
                self.pull(image.clone(), wanted, cause.clone());
            }
        }
        self.order_builds();
    }

    /// Plans one service's image; what a build takes of others comes before it.
    fn fetch(&mut self, name: &ServiceName, above: &mut Vec<ServiceName>) {
        if self.fetches.contains_key(name) || above.contains(name) {
            return;
        }
        let Some(wanted) = self.desired.images.get(name) else {
            return;
        };
        let Some((fetch, cause)) = wanted.fetch.clone() else {
            return;
        };
        let node = match fetch {
            // As Compose: an image that another service builds is not asked for at the registry.
            Fetch::Pull => match self.builder_of(name, wanted) {
                Some(other) => {
                    self.fetch(&other, above);
                    match self.fetches.get(&other) {
                        Some(node) => *node,
                        None => return,
                    }
                }
                None => self.pull(wanted.name.clone(), wanted, cause),
            },
            Fetch::Build { pull_first } => {
                above.push(name.clone());
                for other in needed(self, name) {
                    self.fetch(&other, above);
                }
                above.pop();
                let action = Action::Build {
                    service: name.clone(),
                    image: wanted.name.clone(),
                    pull_first,
                };
                self.step(Step::new(action, cause), [])
            }
        };
        self.fetches.insert(name.clone(), node);
    }

    /// Another service whose build gives the image its name.
    fn builder_of(&self, name: &ServiceName, wanted: &WantedImage) -> Option<ServiceName> {
        let builds = |image: &WantedImage| matches!(image.fetch, Some((Fetch::Build { .. }, _)));
        let mut all = self.desired.images.iter();
        let found = all.find(|(other, image)| {
            *other != name
                && builds(image)
                && image.name == wanted.name
                && image.platform == wanted.platform
        });
        found.map(|(other, _)| other.clone())
    }

    fn pull(&mut self, key: String, wanted: &WantedImage, cause: Cause) -> crate::graph::NodeId {
        let key = format!("{key} {}", wanted.platform.as_deref().unwrap_or_default());
        if let Some(node) = self.pulls.get(&key) {
            return *node;
        }
        let (image, platform) = (wanted.name.clone(), wanted.platform.clone());
        let node = self.step(
            Step::new(
                Action::Pull {
                    image,
                    platform,
                    tolerate: false,
                },
                cause,
            ),
            [],
        );
        self.pulls.insert(key, node);
        node
    }

    /// A build waits for the images it takes.
    fn order_builds(&mut self) {
        let pairs: Vec<_> = self
            .fetches
            .iter()
            .map(|(name, node)| (name.clone(), *node))
            .collect();
        for (name, node) in pairs {
            for other in needed(self, &name) {
                if let Some(need) = self.fetches.get(&other).copied() {
                    self.plan
                        .steps
                        .need(node, need, crate::plan::action::When::Done);
                }
            }
        }
    }

    /// The step that gets an image by name, if there is one.
    pub(super) fn image_step(&self, name: &str) -> Option<crate::graph::NodeId> {
        let pulled = self.pulls.get(&format!("{name} ")).copied();
        let built = |(service, node): (&ServiceName, &crate::graph::NodeId)| {
            let image = self.desired.images.get(service)?;
            (image.name == name).then_some(*node)
        };
        pulled.or_else(|| self.fetches.iter().find_map(built))
    }

    /// Steps that get the images a service's containers need.
    pub(super) fn image_steps(&self, name: &ServiceName) -> Vec<crate::graph::NodeId> {
        let mut nodes: Vec<_> = self.fetches.get(name).copied().into_iter().collect();
        let service = self.desired.project.services.get(name);
        for mount in service.iter().flat_map(|service| &service.volumes) {
            if let VolumeSource::Image { image, .. } = &mount.value.source {
                nodes.extend(self.pulls.get(&format!("{image} ")).copied());
            }
        }
        nodes
    }
}

/// Services whose images a build takes.
fn needed(draft: &Draft<'_>, name: &ServiceName) -> Vec<ServiceName> {
    let needs = draft.desired.facts.builds.get(name).into_iter().flatten();
    needs.map(|need| need.service.clone()).collect()
}
