//! What changes lead to beyond files: restarts, commands, images built and containers replaced.
//!
//! In: services. Out: effects through `apply`, each told in a line. The project's lock is held only while containers
//! change, not while an image is built. Imports: `rules`, `deliver`, `compose`, `engine`, `apply`.
//! Source: Docker Compose 2.40, `pkg/compose/watch.go`, for words and order.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::deliver::{Carrier, Debts};
use super::rules::Rule;
use super::session::{Options, Report};
use crate::apply::{
    self, ApplyError, BuildChoice, BuildOptions, Context, ImagePolicy, StopOptions, UpOptions,
    UpPolicy,
};
use crate::base::name::ServiceName;
use crate::base::span::Spanned;
use crate::compose::model::{Project, PullPolicy};
use crate::compose::select::{Selection, select};
use crate::engine::state::State;
use crate::engine::{Cancel, Engine};
use crate::image::digest::Digest;
use crate::plan::labels;

/// What one service is to go through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) restart: bool,
    /// Rules whose commands run.
    pub(super) exec: BTreeSet<usize>,
}

/// Does it.
pub(super) struct Worker<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) project: &'a Project,
    pub(super) rules: &'a [Rule],
    pub(super) options: &'a Options,
    pub(super) report: &'a dyn Report,
    pub(super) cancel: &'a Cancel,
    pub(super) debts: &'a Mutex<Debts>,
}

/// `["a" "b"]`: as Go prints a list of quoted names.
fn list(services: &BTreeSet<ServiceName>) -> String {
    let names: Vec<String> = services
        .iter()
        .map(|name| format!("{:?}", name.as_str()))
        .collect();
    format!("[{}]", names.join(" "))
}

impl Worker<'_> {
    pub(super) fn debts(&self) -> MutexGuard<'_, Debts> {
        self.debts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives containers what they lack; with `locked` also those that do not run.
    pub(super) fn deliver(&self, locked: bool) {
        let carrier = Carrier {
            engine: self.engine,
            project: &self.project.name,
            rules: self.rules,
            cancel: self.cancel,
        };
        match carrier.deliver(&mut self.debts(), locked) {
            Ok(refused) => {
                for refused in refused {
                    if !self.cancel.is_cancelled() {
                        let text = format!("cannot sync to {}: {}", refused.name, refused.why);
                        self.report.warn(&text);
                    }
                }
            }
            Err(error) => self.report.warn(&format!("cannot sync: {error}")),
        }
    }

    /// Waits until nobody has files of containers open for what was copied before.
    fn all_left(&self) {
        let leaving = self.debts().take_leaving();
        // One that failed has let go as well.
        leaving.into_iter().for_each(|leaving| drop(leaving.join()));
    }

    /// As [`Worker::deliver`], while nobody else changes the project.
    pub(super) fn deliver_locked(&self) {
        let result = self.report.showing(false, &mut |context| {
            let _lock = apply::lock(context, &self.project.name)?;
            self.deliver(true);
            self.all_left();
            Ok(())
        });
        self.tell("cannot sync: ", result);
    }

    /// Tells an error, unless the user wanted the end. Gives whether there was none.
    fn tell(&self, what: &str, result: Result<(), ApplyError>) -> bool {
        match result {
            Ok(()) => true,
            Err(error) if error.is_cancelled() => false,
            Err(error) => {
                self.report.failed(what, error);
                false
            }
        }
    }

    /// Restarts a service and runs its commands.
    pub(super) fn small(&self, service: &ServiceName, work: &Work) {
        if work.restart {
            let options = StopOptions {
                services: vec![service.to_string()],
                ..StopOptions::default()
            };
            let name = &self.project.name;
            let result = self.report.showing(false, &mut |context| {
                let _lock = apply::lock(context, name)?;
                self.all_left();
                let plan = apply::plan_restart(context, name, Some(self.project), &options)?;
                apply::run(context, &plan).map(drop)
            });
            if !self.tell("Failed to restart services after update. Error: ", result) {
                return;
            }
            let restarted = list(&BTreeSet::from([service.clone()]));
            self.report
                .say(&format!("service(s) {restarted} restarted"));
            self.deliver(false);
        }
        self.exec(&work.exec);
    }

    /// Runs the commands of rules in all containers of their services.
    fn exec(&self, rules: &BTreeSet<usize>) {
        for rule in rules.iter().filter_map(|at| self.rules.get(*at)) {
            let Some(hook) = &rule.exec else { continue };
            let result = self.report.showing(false, &mut |context| {
                let world = context.engine.observe(&self.project.name)?;
                let meant = world.containers.iter().filter(|container| {
                    labels::service(container).as_ref() == Some(&rule.service)
                        && !labels::is_oneoff(container)
                        && matches!(container.state, State::Running { .. })
                });
                let prefix = format!("{}-", self.project.name);
                for container in meant {
                    let name = container.name.strip_prefix(&prefix);
                    let name = name.unwrap_or(&container.name);
                    apply::exec(context, &container.id, name, hook)?;
                }
                Ok(())
            });
            self.tell("", result);
        }
    }

    /// Builds the images of services and replaces their containers where the image is another one now.
    pub(super) fn rebuild(&self, services: &BTreeSet<ServiceName>, exec: &BTreeSet<usize>) {
        let shown = list(services);
        self.report.say(&format!(
            "Rebuilding service(s) {shown} after changes were detected..."
        ));
        let options = BuildOptions {
            services: services.iter().map(ToString::to_string).collect(),
            ..BuildOptions::default()
        };
        let old = self.images(services);
        let built = self.report.showing(true, &mut |context| {
            let plan = apply::plan_build(context, self.project, &options)?;
            apply::run(context, &plan).map(drop)
        });
        if !self.tell("Build failed. Error: ", built) {
            return;
        }
        self.report
            .say(&format!("service(s) {shown} successfully built"));
        let replaced = self
            .report
            .showing(false, &mut |context| self.replace(context, services));
        let what = "Failed to recreate services after update. Error: ";
        let replaced = self.tell(what, replaced);
        if self.options.prune {
            let result = self.report.showing(false, &mut |context| {
                old.iter()
                    .try_for_each(|id| apply::drop_unnamed(context, id))
            });
            self.tell("cannot remove the image of before: ", result);
        }
        self.deliver(false);
        if replaced {
            self.exec(exec);
        }
    }

    /// Images that containers of services are made from now.
    fn images(&self, services: &BTreeSet<ServiceName>) -> BTreeSet<Digest> {
        let containers = self.engine.observe(&self.project.name);
        let containers = containers.map(|world| world.containers).unwrap_or_default();
        containers
            .iter()
            .filter(|container| {
                labels::service(container).is_some_and(|service| services.contains(&service))
            })
            .map(|container| container.image_id)
            .collect()
    }

    fn replace(
        &self,
        context: &Context,
        services: &BTreeSet<ServiceName>,
    ) -> Result<(), ApplyError> {
        let project = self.narrow(services)?;
        let options = UpOptions {
            policy: UpPolicy {
                services: services.iter().map(ToString::to_string).collect(),
                ignore_orphans: true,
                ..UpPolicy::default()
            },
            images: ImagePolicy {
                build: BuildChoice::Missing,
                pull: None,
            },
            ask: true,
            ..UpOptions::default()
        };
        let _lock = apply::lock(context, &project.name)?;
        self.all_left();
        let plan = apply::plan_up(context, &project, &options)?;
        apply::run(context, &plan).map(drop)
    }

    /// The project with nothing but services and those that are restarted with them: what they need runs already, or was
    /// stopped by somebody. No image is built or pulled that is here.
    fn narrow(&self, services: &BTreeSet<ServiceName>) -> Result<Project, ApplyError> {
        let follows = |name: &ServiceName| {
            let needs = self.project.service(name.as_str()).map(|s| &s.depends_on);
            needs
                .into_iter()
                .flatten()
                .any(|(other, dependency)| services.contains(other) && dependency.restart)
        };
        let wanted = self
            .project
            .services
            .keys()
            .filter(|name| services.contains(*name) || follows(name));
        let selection = Selection {
            services: wanted.map(ToString::to_string).collect(),
            with_dependencies: false,
            ..Selection::default()
        };
        let project = select(self.project.clone(), &selection);
        let mut project =
            project.map_err(|faults| ApplyError::faults(faults, &self.project.sources))?;
        for service in project.services.values_mut() {
            service.pull_policy = Some(Spanned::bare(PullPolicy::Missing));
        }
        Ok(project)
    }
}
