//! Services that programs of the host stand in for, and models that one serves: what is run before who needs it.
//!
//! What a program tells becomes variables of the containers that depend on it. It is known only once it has run; a
//! container that exists is replaced then if it was made with others. Pure. Imports: `reconcile`.
//! Source: compose-spec, `provider` and `models`; Compose, `pkg/compose/{plugins,model}.go`.

use std::collections::BTreeMap;

use super::{Draft, Renewed};
use crate::base::diag::Diagnostic;
use crate::base::name::ServiceName;
use crate::compose::model::{Project, Service};
use crate::engine::state::ObservedContainer;
use crate::graph::NodeId;
use crate::image::digest::Digest;
use crate::plan::action::{Action, ImageChange, Step, When};
use crate::plan::cause::Cause;
use crate::plan::labels;

/// What stands for the models among the providers: no service can have this name.
pub(crate) fn models_name() -> ServiceName {
    ServiceName::new(":models")
}

/// What gives a service variables: its providers, and the models if it uses one.
pub(crate) fn sources(project: &Project, service: &Service) -> Vec<ServiceName> {
    let provider = |name: &&ServiceName| {
        project
            .services
            .get(*name)
            .is_some_and(|s| s.provider.is_some())
    };
    let mut all: Vec<ServiceName> = service
        .depends_on
        .keys()
        .filter(provider)
        .cloned()
        .collect();
    if !service.models.is_empty() {
        all.push(models_name());
    }
    all
}

impl Draft<'_> {
    /// Plans the models, if any service uses one.
    pub(super) fn models(&mut self) {
        let mut users = self
            .desired
            .project
            .services
            .values()
            .filter(|service| !service.models.is_empty());
        let Some(user) = users.next() else { return };
        let Some(program) = self.world.programs.models.clone() else {
            let span = user
                .models
                .values()
                .next()
                .and_then(|grant| grant.span)
                .or(user.span);
            let text = format!(
                "service `{}` uses a model, which needs the Docker Model plugin, and that is not here",
                user.name
            );
            let hint = "install docker-model-plugin (it is `docker-model` among the plugins of the docker command)";
            self.found.push(Diagnostic::error(text).at(span).hint(hint));
            return;
        };
        let cause = Cause::NeededBy {
            service: user.name.clone(),
        };
        let node = self.step(Step::new(Action::Models { program }, cause), []);
        self.provided.insert(models_name(), node);
    }

    /// Plans the run of a service's program.
    pub(super) fn provide(&mut self, service: &Service) {
        let Some(provider) = &service.provider else {
            return;
        };
        let kind = provider.value.kind.as_str();
        let span = provider.span.or(service.span);
        let Some(program) = self.world.programs.providers.get(kind).cloned() else {
            let text = match kind {
                "compose" => format!("service `{}`: `compose` is no provider", service.name),
                _ => format!(
                    "service `{}`: there is no provider `{kind}` on this machine",
                    service.name
                ),
            };
            let hint = format!(
                "install it: `docker-{kind}` among the plugins of the docker command, or `{kind}` in PATH"
            );
            self.found.push(Diagnostic::error(text).at(span).hint(hint));
            return;
        };
        let action = Action::Provide {
            service: service.name.clone(),
            program,
        };
        let node = self.step(Step::new(action, Cause::Asked), []);
        self.provided.insert(service.name.clone(), node);
    }

    /// A program runs once what its service depends on was started.
    pub(super) fn provide_after(&mut self, service: &Service) {
        if let Some(node) = self.provided.get(&service.name).copied() {
            for (need, when) in self.dependencies(service) {
                self.plan.steps.need(node, need, when);
            }
        }
    }

    /// Steps after which a service's variables are known.
    pub(super) fn sources(&self, service: &Service) -> impl Iterator<Item = NodeId> {
        let all = sources(&self.desired.project, service);
        all.into_iter()
            .filter_map(|name| self.provided.get(&name).copied())
    }

    /// Whether a container is replaced for its variables: if they turn out to be others than it was made with.
    pub(super) fn variables_change(
        &self,
        service: &Service,
        old: &ObservedContainer,
    ) -> Option<(Renewed, Cause)> {
        let was = parse(old.labels.get(labels::PROVIDED).map_or("", String::as_str));
        let changes: Vec<ImageChange> = sources(&self.desired.project, service)
            .into_iter()
            .map(|service| ImageChange {
                was: was
                    .get(&service)
                    .copied()
                    .unwrap_or_else(|| Digest::of(b"nothing")),
                service,
                provided: true,
            })
            .collect();
        (!changes.is_empty()).then_some((Renewed::If(changes), Cause::Provided))
    }

    /// The step that gives a service's variables, with what dependents wait for.
    pub(super) fn provided_by(&self, service: &ServiceName) -> Option<(NodeId, When)> {
        self.provided.get(service).map(|node| (*node, When::Done))
    }
}

/// The label's text: `db=sha256:…`, with commas between.
pub(crate) fn label(all: &BTreeMap<ServiceName, Digest>) -> String {
    let each = all.iter().map(|(name, digest)| format!("{name}={digest}"));
    each.collect::<Vec<_>>().join(",")
}

fn parse(label: &str) -> BTreeMap<ServiceName, Digest> {
    let one = |text: &str| {
        let (name, digest) = text.split_once('=')?;
        Some((ServiceName::new(name), Digest::parse(digest).ok()?))
    };
    label.split(',').filter_map(one).collect()
}
