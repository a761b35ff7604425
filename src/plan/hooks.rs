//! Commands that run in a container after its start and before its stop.
//!
//! In: a service, or what the label of a container says of it where there is no project. Out: [`Hook`]s as values, and
//! the steps they are in a plan. Containers of `pre_start` are another thing: `desired::init` makes them.
//! Imports: `base`, `compose::model`, `engine::{spec, state}`, and the parts of `plan`.
//! Source: compose-spec, `post_start`, `pre_stop`; Docker Compose 2.40, `pkg/compose/{hook,convergence,stop}.go`.

use serde_json::Value;

use super::action::{Action, ImageChange, Step, When, Who};
use super::cause::Cause;
use super::{Plan, labels};
use crate::compose::model::{self, Project, Service};
use crate::engine::spec::Process;
use crate::engine::state::ObservedContainer;
use crate::graph::NodeId;

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After the container's start.
    PostStart,
    /// Before its stop.
    PreStop,
}

impl Moment {
    /// The key it is written under.
    pub fn key(self) -> &'static str {
        match self {
            Self::PostStart => "post_start",
            Self::PreStop => "pre_stop",
        }
    }
}

/// A command that runs in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// When.
    pub moment: Moment,
    /// Which one of its list, from 0.
    pub at: usize,
    /// The command; what is empty is the container's own.
    pub process: Process,
}

/// The hooks of a service.
pub(super) fn of_service(service: &Service, moment: Moment) -> Vec<Hook> {
    let declared = match moment {
        Moment::PostStart => &service.post_start,
        Moment::PreStop => &service.pre_stop,
    };
    let declared = declared.iter().enumerate();
    declared
        .map(|(at, hook)| Hook {
            moment,
            at,
            process: process(&hook.value),
        })
        .collect()
}

/// The hooks of a container: those the project says now, or those it was made with where no project knows its service.
pub(super) fn of_container(
    project: Option<&Project>,
    container: &ObservedContainer,
    moment: Moment,
) -> Vec<Hook> {
    // Nobody else's hooks run in what runs for a moment only.
    if labels::is_oneoff(container) {
        return Vec::new();
    }
    let service = labels::service(container).unwrap_or_default();
    match project.and_then(|project| project.services.get(&service)) {
        Some(service) => of_service(service, moment),
        None => of_label(container, moment),
    }
}

/// The hooks of a container that is replaced: those it was made with. Its label keeps no secrets, so they
/// are taken from the service where it says the same still; `document` is what that says now.
pub(super) fn of_replaced(
    service: &Service,
    document: &str,
    container: &ObservedContainer,
    moment: Moment,
) -> Vec<Hook> {
    let key = moment.key();
    let part = |text: &str| {
        let document: Value = serde_json::from_str(text).unwrap_or_default();
        document.get(key).cloned()
    };
    let was = container.labels.get(labels::SPEC).map(String::as_str);
    match part(was.unwrap_or_default()) == part(document) {
        true => of_service(service, moment),
        false => of_label(container, moment),
    }
}

/// What a hook runs as.
pub fn process(hook: &model::Hook) -> Process {
    let env = hook.environment.iter();
    Process {
        args: hook.command.clone(),
        env: env
            .filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)))
            .collect(),
        cwd: hook.working_dir.clone().unwrap_or_default(),
        user: hook.user.clone().unwrap_or_default(),
        privileged: hook.privileged,
        ..Process::default()
    }
}

/// Reads the document a container was made from. Values that are kept only as digests are left out.
fn of_label(container: &ObservedContainer, moment: Moment) -> Vec<Hook> {
    let text = container
        .labels
        .get(labels::SPEC)
        .map_or("", String::as_str);
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    let entries = document.get(moment.key()).and_then(Value::as_array);
    let entries = entries.into_iter().flatten().enumerate();
    entries
        .map(|(at, entry)| Hook {
            moment,
            at,
            process: written(entry),
        })
        .filter(|hook| !hook.process.args.is_empty())
        .collect()
}

fn written(entry: &Value) -> Process {
    let text = |key: &str| {
        let value = entry.get(key).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let words = entry.get("command").and_then(Value::as_array);
    let variables = entry.get("environment").and_then(Value::as_object);
    Process {
        args: words
            .into_iter()
            .flatten()
            .filter_map(|word| Some(word.as_str()?.to_owned()))
            .collect(),
        env: variables
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)))
            .filter(|entry| !super::hash::is_masked(entry))
            .collect(),
        cwd: text("working_dir"),
        user: text("user"),
        privileged: entry.get("privileged").and_then(Value::as_bool) == Some(true),
        ..Process::default()
    }
}

impl Plan {
    /// Adds hooks one after another, the first behind `needs`; the last of them.
    pub(super) fn hooks(
        &mut self,
        hooks: Vec<Hook>,
        who: &Who,
        (cause, only_if): (&Cause, &[ImageChange]),
        needs: &[NodeId],
    ) -> Option<NodeId> {
        let mut last: Option<NodeId> = None;
        for hook in hooks {
            let action = Action::Hook {
                who: who.clone(),
                hook: Box::new(hook),
            };
            let node = self.steps.add(Step {
                action,
                cause: cause.clone(),
                only_if: only_if.to_vec(),
            });
            match last {
                Some(before) => self.steps.need(node, before, When::Done),
                None => needs
                    .iter()
                    .for_each(|need| self.steps.need(node, *need, When::Done)),
            }
            last = Some(node);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::base::name::{ContainerId, ProjectName};
    use crate::engine::state::State;
    use crate::image::digest::Digest;

    #[test]
    fn without_a_project_the_hooks_are_those_the_container_was_made_with() {
        let document = r#"{"pre_stop": [
            {"command": ["drain", "-v"], "environment": {"A": "1", "TOKEN": "sha256:0123"}, "user": "app"},
            {"command": []}
        ]}"#;
        let container = ObservedContainer {
            id: ContainerId::new("id"),
            name: "demo-a-1".into(),
            project: ProjectName::new("demo").expect("a valid name"),
            labels: [(labels::SPEC.to_owned(), document.to_owned())].into(),
            image: String::new(),
            image_id: Digest::of(b""),
            command: Vec::new(),
            created: Timestamp(0),
            state: State::Created,
            health: None,
            joins: Vec::new(),
            networks: Vec::new(),
            ports: Vec::new(),
            exposed: Vec::new(),
            volumes: Vec::new(),
            anonymous: Vec::new(),
            mounts: Vec::new(),
            tty: false,
            restarts: 0,
            pid: None,
        };
        let hooks = of_container(None, &container, Moment::PreStop);
        assert_eq!(hooks.len(), 1);
        assert_eq!(hooks[0].process.args, ["drain", "-v"]);
        assert_eq!(hooks[0].process.env, ["A=1"]);
        assert_eq!(hooks[0].process.user, "app");
        assert!(of_container(None, &container, Moment::PostStart).is_empty());
    }
}
