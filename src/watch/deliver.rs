//! Which container still lacks which changes, and the carrying of them.
//!
//! In: changes by rule, the containers of a project. Out: batches for [`sync`](super::sync). A container that is not
//! there yet, or does not run, gets what it lacks when it does; one that was made anew gets all that has changed. Imports: `rules`, `files`, `sync`, `engine`.

use std::collections::{BTreeMap, BTreeSet};

use super::files::{Change, Changes, tell_of};
use super::rules::Rule;
use super::sync::{self, Batch, Leaving, SyncError};
use crate::base::name::{ContainerId, ProjectName};
use crate::engine::state::{ObservedContainer, State};
use crate::engine::{Cancel, Engine};
use crate::plan::labels;

/// Changes by the number of their rule.
pub(super) type ByRule = BTreeMap<usize, Changes>;

/// What each container lacks.
#[derive(Debug, Default)]
pub(super) struct Debts {
    known: BTreeSet<ContainerId>,
    owed: BTreeMap<ContainerId, ByRule>,
    /// All that has changed since the beginning: what is made anew may be made from an image that does not have it.
    touched: ByRule,
    /// Who still lets go of files of containers.
    leaving: Vec<Leaving>,
}

/// Adds changes to others of the same rule.
fn merge(into: &mut ByRule, rule: usize, changes: &Changes) {
    let all = into.entry(rule).or_default();
    for (path, change) in changes {
        tell_of(all, path, *change);
    }
}

impl Debts {
    /// Containers that need nothing but what comes.
    pub(super) fn know(&mut self, containers: &[ObservedContainer]) {
        for container in containers {
            self.known.insert(container.id.clone());
            self.owed.entry(container.id.clone()).or_default();
        }
    }

    /// Takes changes for one container, and for those that are made after it.
    pub(super) fn owe_one(&mut self, container: &ContainerId, rule: usize, changes: &Changes) {
        merge(&mut self.touched, rule, changes);
        merge(
            self.owed.entry(container.clone()).or_default(),
            rule,
            changes,
        );
    }

    /// Takes changes for all containers of the rule's service.
    pub(super) fn owe(&mut self, rules: &[Rule], rule: usize, changes: &Changes) {
        if !rules.get(rule).is_some_and(Rule::copies) {
            return;
        }
        merge(&mut self.touched, rule, changes);
        for owed in self.owed.values_mut() {
            merge(owed, rule, changes);
        }
    }

    /// Looks which containers there are now: those that were not there before lack all that was touched.
    fn meet(&mut self, containers: &[ObservedContainer]) {
        let here: BTreeSet<&ContainerId> = containers.iter().map(|c| &c.id).collect();
        self.known.retain(|id| here.contains(id));
        self.owed.retain(|id, _| here.contains(id));
        for container in containers {
            let owed = self.owed.entry(container.id.clone());
            if self.known.insert(container.id.clone()) {
                owed.insert_entry(self.touched.clone());
            } else {
                owed.or_default();
            }
        }
    }

    /// Whether a container that is made anew would lack something.
    pub(super) fn any_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Those who still let go of files of containers: before one is started again, its files must be free.
    pub(super) fn take_leaving(&mut self) -> Vec<Leaving> {
        std::mem::take(&mut self.leaving)
    }

    /// Whether anything is still to be carried anywhere.
    pub(super) fn any(&self) -> bool {
        let left = |owed: &ByRule| owed.values().any(|changes| !changes.is_empty());
        self.owed.values().any(left)
    }
}

/// One container that could not be given what it lacks.
#[derive(Debug)]
pub(super) struct Refused {
    /// Its name.
    pub(super) name: String,
    /// Why.
    pub(super) why: SyncError,
}

/// Who gives containers what they lack.
pub(super) struct Carrier<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) project: &'a ProjectName,
    pub(super) rules: &'a [Rule],
    pub(super) cancel: &'a Cancel,
}

impl Carrier<'_> {
    /// The containers that rules are for.
    ///
    /// # Errors
    /// The engine's.
    pub(super) fn containers(&self) -> crate::engine::Result<Vec<ObservedContainer>> {
        let mut all = self.engine.observe(self.project)?.containers;
        all.retain(|container| {
            let service = labels::service(container);
            !labels::is_oneoff(container)
                && !labels::is_hook(container)
                && self
                    .rules
                    .iter()
                    .any(|rule| Some(&rule.service) == service.as_ref())
        });
        Ok(all)
    }

    /// Gives every container that runs what it lacks; with `locked`, those that do not run, too. What a container
    /// refuses is not tried again, unless it has ended meanwhile.
    ///
    /// # Errors
    /// The engine's, when it can't say what there is.
    pub(super) fn deliver(
        &self,
        debts: &mut Debts,
        locked: bool,
    ) -> crate::engine::Result<Vec<Refused>> {
        let containers = self.containers()?;
        debts.meet(&containers);
        let batches: Vec<(&ObservedContainer, Batch)> = containers
            .iter()
            .filter(|container| is_running(container) || (locked && is_at_rest(container)))
            .filter_map(|container| {
                let owed = debts.owed.get(&container.id)?;
                let service = labels::service(container);
                let mut batch = Batch::default();
                for (rule, changes) in owed {
                    let rule = self.rules.get(*rule)?;
                    if Some(&rule.service) == service.as_ref() {
                        batch.add(rule, changes);
                    }
                }
                Some((container, batch))
            })
            .collect();
        let results: Vec<(Result<(), SyncError>, Option<Leaving>)> = std::thread::scope(|scope| {
            let handles: Vec<_> = batches
                .iter()
                .map(|(container, batch)| {
                    (!batch.is_empty()).then(|| {
                        scope.spawn(|| sync::carry(self.engine, &container.id, batch, self.cancel))
                    })
                })
                .collect();
            handles
                .into_iter()
                .map(
                    |handle| match handle.map(std::thread::ScopedJoinHandle::join) {
                        None => (Ok(()), None),
                        Some(Ok(result)) => result,
                        Some(Err(panic)) => std::panic::resume_unwind(panic),
                    },
                )
                .collect()
        });
        // The next save is met by processes that wait for it.
        self.engine.expect_files(batches.len());
        let mut refused = Vec::new();
        debts.leaving.retain(|leaving| !leaving.is_finished());
        for ((container, _), (result, leaving)) in batches.iter().zip(results) {
            debts.leaving.extend(leaving);
            if let Err(why) = result {
                let now = self.engine.container(&container.id);
                if !locked && now.is_ok_and(|now| now.pid != container.pid) {
                    // It has ended under our hands, and gets it all when it runs again.
                    continue;
                }
                refused.push(Refused {
                    name: container.name.clone(),
                    why,
                });
            }
            if let Some(owed) = debts.owed.get_mut(&container.id) {
                owed.clear();
            }
        }
        Ok(refused)
    }
}

fn is_running(container: &ObservedContainer) -> bool {
    matches!(
        container.state,
        State::Running { .. } | State::Paused { .. }
    )
}

/// Whether nobody starts it but who has the project's lock.
fn is_at_rest(container: &ObservedContainer) -> bool {
    matches!(container.state, State::Created | State::Exited { .. })
}

/// Changes that write all files of a set.
pub(super) fn all_written<'p>(paths: impl Iterator<Item = &'p std::path::Path>) -> Changes {
    paths
        .map(|path| (path.to_owned(), Change::Written))
        .collect()
}
