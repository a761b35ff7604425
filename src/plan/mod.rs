//! Decides what must change: desired and observed state in, one [`Plan`] out.
//!
//! Pure: no clock, no file, no engine call. The same input gives the same plan, byte for byte, so each
//! rule is tested as text. What is not known before an image is pulled or built is a condition on a step
//! ([`action::Step::only_if`]) that [`settle::needed`] answers later, again without looking at anything.
//! Imports: `base`, `graph`, `compose::model`, `engine::{spec, state}`, `image::{config, digest}`.
//! Rules: compose-spec, services (`depends_on`, `scale`, `pull_policy`). Where it is silent we do as
//! Docker Compose v5 and mark the line "as Compose".

pub mod action;
mod addresses;
pub mod builds;
pub mod cause;
pub mod desired;
pub mod down;
pub mod hash;
pub mod hooks;
pub mod images;
pub mod labels;
mod networks;
mod order;
pub mod pins;
pub mod policy;
mod pre_start;
pub mod reconcile;
mod resources;
pub mod rollout;
pub mod settle;
pub mod summary;
#[cfg(test)]
pub(crate) mod tests;
pub mod transfers;
pub mod views;

pub(crate) use resources::volume_spec;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::diag::Diagnostics;
use crate::base::name::ProjectName;
use crate::base::span::SourceMap;
use crate::compose::model::Project;
use crate::engine::state::{Observed, ObservedNetwork, ObservedVolume};
use crate::graph::{Dag, NodeId};

use action::{Step, When, Who};
use desired::Desired;

/// Why no plan could be made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PlanError {
    /// What the user's files ask for can't be.
    #[error("{}", faults.iter().next().map_or("", |f| f.message.as_str()))]
    Faults {
        /// What is wrong.
        faults: Diagnostics,
        /// The texts that places point into.
        sources: Box<SourceMap>,
    },
    /// What the command line asks for can't be.
    #[error("{0}")]
    Refused(String),
}

/// What is there now: the project's own things, and things of others that it names.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Things with the project's label.
    pub observed: Observed,
    /// Networks of others that the project names, by full name.
    pub networks: BTreeMap<String, ObservedNetwork>,
    /// Volumes of others that the project names, by full name.
    pub volumes: BTreeMap<String, ObservedVolume>,
    /// Programs of the host that the project names.
    pub programs: Programs,
}

/// Programs of the host that a project names, where they are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Programs {
    /// Providers, by type.
    pub providers: BTreeMap<String, PathBuf>,
    /// The Docker Model plugin.
    pub models: Option<PathBuf>,
}

impl World {
    fn network(&self, name: &str) -> Option<&ObservedNetwork> {
        self.observed
            .networks
            .iter()
            .find(|n| n.name == name)
            .or_else(|| self.networks.get(name))
    }
    fn volume(&self, name: &str) -> Option<&ObservedVolume> {
        self.observed
            .volumes
            .iter()
            .find(|v| v.name == name)
            .or_else(|| self.volumes.get(name))
    }
}

/// What a build was asked beyond what its service says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildTweaks {
    /// No step's result is taken from the cache.
    pub no_cache: bool,
    /// Base images are looked for again.
    pub pull: bool,
    /// Build arguments over the service's own.
    pub args: Vec<(String, Option<String>)>,
    /// Agents and keys beside the service's own: id, and a socket or key files.
    pub ssh: Vec<(String, Vec<PathBuf>)>,
    /// Memory of each `RUN` in bytes.
    pub memory: Option<u64>,
    /// Images of services that say `image` are pushed.
    pub push: bool,
    /// Images are built for all the platforms of their services, not only for one.
    pub all_platforms: bool,
    /// How images were built is attested so, over what services say.
    pub provenance: Option<String>,
    /// What is in images is attested so, over what services say.
    pub sbom: Option<String>,
}

/// What must be done, in which order, and why.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The project.
    pub project: ProjectName,
    /// The steps; an edge says what a step waits for.
    pub steps: Dag<Step, When>,
    /// What is wanted, where containers are made.
    pub desired: Option<Arc<Desired>>,
    /// The project's files, where what they say is taken away.
    pub files: Option<Arc<Project>>,
    /// Containers that are as they should be, and stay untouched.
    pub unchanged: Vec<Who>,
    /// Images that nothing is done with, and why.
    pub skipped: Vec<(String, Option<&'static str>)>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Whether a failure leaves independent steps running.
    pub go_on: bool,
    /// The longest time all waits may take together.
    pub wait_timeout: Option<Duration>,
    /// What builds were asked beyond their services.
    pub tweaks: BuildTweaks,
    /// No layer-by-layer progress of pulls.
    pub quiet_pull: bool,
    /// No output of build steps.
    pub quiet_build: bool,
}

impl Plan {
    pub(crate) fn new(project: &ProjectName) -> Self {
        Self {
            project: project.clone(),
            steps: Dag::default(),
            desired: None,
            files: None,
            unchanged: Vec::new(),
            skipped: Vec::new(),
            warnings: Vec::new(),
            go_on: false,
            wait_timeout: None,
            tweaks: BuildTweaks::default(),
            quiet_pull: false,
            quiet_build: false,
        }
    }
    /// Whether nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
    /// The steps in an order they could be done in one after another.
    pub fn order(&self) -> Vec<NodeId> {
        self.steps
            .order()
            .unwrap_or_else(|_| self.steps.nodes().map(|(id, _)| id).collect())
    }
    /// What a step waits for, without what one of those waits for itself.
    fn direct_needs(&self, id: NodeId) -> Vec<NodeId> {
        let needs: Vec<NodeId> = self
            .steps
            .needs(id)
            .into_iter()
            .map(|(need, _)| need)
            .collect();
        let mut implied = BTreeSet::new();
        let mut queue: Vec<NodeId> = needs
            .iter()
            .flat_map(|need| self.steps.needs(*need))
            .map(|(need, _)| need)
            .collect();
        while let Some(at) = queue.pop() {
            if implied.insert(at) {
                queue.extend(self.steps.needs(at).into_iter().map(|(need, _)| need));
            }
        }
        needs
            .into_iter()
            .filter(|need| !implied.contains(need))
            .collect()
    }
    /// Numbers of the steps as the texts show them, from 1.
    fn numbers(&self) -> BTreeMap<NodeId, usize> {
        self.order()
            .into_iter()
            .enumerate()
            .map(|(at, id)| (id, at + 1))
            .collect()
    }
    /// One line a step: number, action, thing, cause, what it waits for.
    pub fn text(&self) -> String {
        let numbers = self.numbers();
        let rows: Vec<[String; 5]> = self
            .order()
            .into_iter()
            .filter_map(|id| {
                let step = self.steps.get(id)?;
                let mut after: Vec<usize> = self
                    .direct_needs(id)
                    .iter()
                    .filter_map(|need| numbers.get(need).copied())
                    .collect();
                after.sort_unstable();
                let after: Vec<String> = after.iter().map(|n| format!("#{n}")).collect();
                let after = if after.is_empty() {
                    String::new()
                } else {
                    format!("after {}", after.join(" "))
                };
                let number = format!("#{}", numbers.get(&id)?);
                Some([
                    number,
                    step.action.verb().into(),
                    step.action.subject(),
                    step.cause_text(),
                    after,
                ])
            })
            .collect();
        let width = |at: usize| {
            rows.iter()
                .map(|row| row[at].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..4).map(width).collect();
        let mut out = String::new();
        for row in &rows {
            let line = format!(
                "{:<a$} {:<b$} {:<c$}  {:<d$}  {}",
                row[0],
                row[1],
                row[2],
                row[3],
                row[4],
                a = widths[0],
                b = widths[1],
                c = widths[2],
                d = widths[3],
            );
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
    /// The same as one JSON value.
    pub fn json(&self) -> Value {
        let numbers = self.numbers();
        let steps: Vec<Value> = self
            .order()
            .into_iter()
            .filter_map(|id| {
                let step = self.steps.get(id)?;
                let mut after: Vec<usize> = self
                    .steps
                    .needs(id)
                    .iter()
                    .filter_map(|(need, _)| numbers.get(need).copied())
                    .collect();
                after.sort_unstable();
                Some(json!({
                    "id": numbers.get(&id)?,
                    "action": step.action.verb(),
                    "kind": step.action.kind(),
                    "name": step.action.name(),
                    "cause": step.cause_text(),
                    "conditional": !step.only_if.is_empty(),
                    "after": after,
                }))
            })
            .collect();
        let unchanged: Vec<&str> = self.unchanged.iter().map(|who| who.name.as_str()).collect();
        json!({
            "project": self.project.as_str(),
            "actions": steps,
            "unchanged": unchanged,
            "warnings": self.warnings,
        })
    }
}
