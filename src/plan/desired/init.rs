//! Containers of `pre_start`: each runs to its end before the service's container starts for the first time.
//!
//! In: a service, which entry of its list, the anonymous volumes of the container it comes before. Out: a spec.
//! Imports: `base`, `compose::model`, `engine::spec`. Source: compose-spec, `pre_start`; Docker Compose 5.3,
//! `pkg/compose/pre_start.go` (2.40 does not know it). Everything but what an entry says itself is the service's, its
//! `entrypoint` excepted: the command is one for the image, not for what the service makes of it.

use std::collections::BTreeMap;

use super::{Desired, Replica};
use crate::base::diag::Diagnostics;
use crate::base::span::Spanned;
use crate::base::term::RestartPolicy;
use crate::compose::model::{InitContainer, Service};
use crate::engine::spec::{ContainerSpec, LogConfig, Mount, MountSource};
use crate::plan::labels;

impl Desired {
    /// The name of the container of an entry of `pre_start`: one for the service, or one for each replica.
    pub fn init_name(&self, service: &Service, at: usize, number: u32) -> String {
        let alone = service
            .pre_start
            .get(at)
            .is_none_or(|init| !init.value.per_replica);
        let project = &self.project.name;
        match alone {
            true => format!("{project}-{}-pre_start-{at}", service.name),
            false => format!("{project}-{}-{number}-pre_start-{at}", service.name),
        }
    }

    /// Decides everything about the container of an entry of `pre_start`. `volumes` are the anonymous ones of the
    /// container it comes before: target → volume.
    pub fn init_spec(
        &self,
        service: &Service,
        init: &InitContainer,
        replica: &Replica<'_>,
        volumes: &BTreeMap<String, String>,
        found: &mut Diagnostics,
    ) -> ContainerSpec {
        let mut spec = self.container_spec(&variant(service, init), replica, found);
        for (target, name) in volumes {
            spec.mounts.retain(|mount| mount.target != *target);
            spec.mounts.push(Mount {
                target: target.clone(),
                // It stays with the container it belongs to.
                source: MountSource::Volume {
                    name: name.clone(),
                    subpath: None,
                    nocopy: true,
                    anonymous: false,
                    labels: BTreeMap::new(),
                },
                read_only: false,
            });
        }
        spec.mounts
            .sort_by_key(|mount| mount.target.matches('/').count());
        if let Some(image) = &init.image {
            spec.image.name.clone_from(&image.value);
        }
        // What it printed is what is left of it when it fails.
        spec.log = LogConfig::default();
        spec.labels.remove(labels::CONFIG_HASH);
        spec.labels.remove(labels::SPEC);
        spec.labels
            .insert(labels::HOOK.to_owned(), "pre_start".to_owned());
        spec
    }
}

/// The service as its entry sees it.
fn variant(service: &Service, init: &InitContainer) -> Service {
    let run = &init.run;
    let mut one = service.clone();
    one.entrypoint = None;
    one.command = (!run.command.is_empty()).then(|| run.command.clone());
    one.user = run.user.clone().or(one.user);
    one.working_dir = run.working_dir.clone().or(one.working_dir);
    one.privileged = run.privileged || one.privileged;
    for (name, value) in &run.environment {
        let value = value.clone().map(Spanned::bare);
        one.environment.insert(name.clone(), value);
    }
    if let Some(image) = &init.image {
        one.image = Some(image.clone());
    }
    one.container_name = None;
    one.ports.clear();
    one.restart = RestartPolicy::No;
    one.healthcheck = Some(crate::compose::model::HealthcheckSpec {
        disable: true,
        ..Default::default()
    });
    one.tty = false;
    one.stdin_open = false;
    for place in one.networks.values_mut() {
        // They are the service's own.
        place.aliases.clear();
        place.ipv4_address = None;
        place.ipv6_address = None;
        place.mac_address = None;
    }
    one.mac_address = None;
    one
}
