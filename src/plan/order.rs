//! Which service needs which, from the project or, without one, from the containers' labels.
//!
//! Imports: `base`, `compose::model`, `engine::state`, `graph`, `labels`.

use std::collections::{BTreeMap, BTreeSet};

use super::desired::parse_depends_on;
use super::labels;
use crate::base::name::ServiceName;
use crate::base::span::Span;
use crate::compose::model::{Condition, Project};
use crate::engine::state::ObservedContainer;
use crate::graph::Dag;

/// What one service needs of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) service: ServiceName,
    pub(super) condition: Condition,
    pub(super) restart: bool,
    pub(super) required: bool,
    pub(super) span: Option<Span>,
}

/// What each service needs.
#[derive(Debug, Clone, Default)]
pub(super) struct Needs(BTreeMap<ServiceName, Vec<Need>>);

impl Needs {
    /// From the project; services it does not have, from their containers' labels.
    pub(super) fn read<'c>(
        project: Option<&Project>,
        containers: impl IntoIterator<Item = &'c ObservedContainer>,
    ) -> Self {
        let mut all = BTreeMap::new();
        for service in project.iter().flat_map(|project| project.services.values()) {
            let needs = service.depends_on.iter().map(|(name, need)| Need {
                service: name.clone(),
                condition: need.condition,
                restart: need.restart,
                required: need.required,
                span: need.span,
            });
            all.insert(service.name.clone(), needs.collect());
        }
        for container in containers {
            let Some(service) = labels::service(container) else {
                continue;
            };
            let label = container
                .labels
                .get(labels::DEPENDS_ON)
                .map_or("", String::as_str);
            all.entry(service).or_insert_with(|| {
                let need = |(service, condition, restart)| Need {
                    service,
                    condition,
                    restart,
                    required: true,
                    span: None,
                };
                parse_depends_on(label).into_iter().map(need).collect()
            });
        }
        Self(all)
    }

    /// Whether others wait for a service's end.
    pub(super) fn is_awaited(&self, service: &ServiceName) -> bool {
        let mut all = self.0.values().flatten();
        all.any(|need| need.service == *service && need.condition == Condition::Completed)
    }
    /// What `service` needs.
    pub(super) fn of(&self, service: &ServiceName) -> &[Need] {
        self.0.get(service).map_or(&[], Vec::as_slice)
    }

    /// The named services and all they need, directly or not; none named stays none.
    pub(super) fn with_needs(&self, services: &[String]) -> Vec<String> {
        let mut all: Vec<String> = services.to_vec();
        let mut at = 0;
        while let Some(name) = all.get(at).map(|name| ServiceName::new(name.as_str())) {
            for need in self.of(&name) {
                if !all.iter().any(|have| have == need.service.as_str()) {
                    all.push(need.service.to_string());
                }
            }
            at += 1;
        }
        all
    }

    /// The services, needs first. Circles can only come from labels; they are cut.
    pub(super) fn order(
        &self,
        services: impl IntoIterator<Item = ServiceName>,
    ) -> Vec<ServiceName> {
        let services: Vec<ServiceName> = services
            .into_iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let mut dag = Dag::default();
        let ids: BTreeMap<&ServiceName, _> =
            services.iter().map(|name| (name, dag.add(name))).collect();
        for (name, id) in &ids {
            for need in self.of(name) {
                if let Some(other) = ids.get(&need.service) {
                    dag.need(*id, *other, ());
                }
            }
        }
        match dag.order() {
            Ok(order) => order
                .iter()
                .filter_map(|id| dag.get(*id))
                .map(|n| (*n).clone())
                .collect(),
            Err(_) => services,
        }
    }
}
