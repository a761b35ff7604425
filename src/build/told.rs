//! What a build tells while it works: which steps there are, and what happens to each.
//!
//! In: a graph, and steps as they begin and end. Out: [`Event::Build`]s under one target. It decides nothing.
//! Imports: `base`, `lower`. Titles as BuildKit: `frontend/dockerfile/dockerfile2llb`, `solver/llbsolver`.

use std::time::Instant;

use super::error::BuildError;
use super::lower::{Base, Graph, Stage};
use super::{BuildRequest, Builder};
use crate::base::event::{BuildStep, Event, EventSink, Part, stage_of};

/// Tells of one build. Cheap to make; all that are made for one build tell the same.
#[derive(Clone, Copy)]
pub(super) struct Teller<'a> {
    events: &'a dyn EventSink,
    target: &'a str,
    label: Option<&'a str>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(request: &'a BuildRequest, builder: &'a Builder<'_>) -> Self {
        Self {
            events: builder.events,
            target: &request.target_name,
            label: request.label.as_deref(),
        }
    }

    /// Something happened to a step.
    pub(super) fn tell(&self, step: u32, what: BuildStep) {
        let what = match what {
            BuildStep::Started(title) => BuildStep::Started(self.titled(&title)),
            other => other,
        };
        let target = self.target.to_owned();
        self.events.send(Event::Build { target, step, what });
    }

    /// A title with the name of what is built, when several things are: `[web build 2/4] RUN make`.
    pub(super) fn titled(&self, title: &str) -> String {
        match (self.label, title.strip_prefix('[')) {
            (None, _) => title.to_owned(),
            (Some(label), Some(rest)) => format!("[{label} {rest}"),
            (Some(label), None) => format!("[{label}] {title}"),
        }
    }

    /// All steps of a graph, before the first one begins.
    pub(super) fn plan(&self, graph: &Graph) {
        let last = |index: usize| last_step(graph, index);
        for stage in graph.stages.values() {
            let mut below = match stage.base {
                Base::Stage(base) => last(base),
                Base::Scratch | Base::Image { .. } => None,
            };
            if let Some((number, title)) = &stage.first {
                self.planned(*number, title, Vec::new());
                below = Some(*number);
            }
            for step in &stage.steps {
                let needs = Stage::needs(step).into_iter().filter_map(last);
                self.planned(
                    step.number,
                    &step.title,
                    below.into_iter().chain(needs).collect(),
                );
                below = Some(step.number);
            }
        }
    }

    fn planned(&self, number: u32, title: &str, inputs: Vec<u32>) {
        let planned = BuildStep::Planned {
            title: self.titled(title),
            stage: stage_of(title),
            inputs,
        };
        self.tell(number, planned);
    }

    /// A step that no instruction stands for.
    ///
    /// # Errors
    /// Those of the work.
    pub(super) fn during<T, E: Told>(
        &self,
        number: u32,
        title: &str,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.planned(number, title, Vec::new());
        self.tell(number, BuildStep::Started(title.to_owned()));
        let begun = Instant::now();
        let outcome = work();
        self.tell(
            number,
            match &outcome {
                Ok(_) => BuildStep::Done(begun.elapsed().as_secs_f64()),
                Err(error) => error.told(),
            },
        );
        outcome
    }

    /// A part of a step that is done at once.
    pub(super) fn part(&self, number: u32, id: String) {
        let part = Part {
            id,
            done: true,
            ..Part::default()
        };
        self.tell(number, BuildStep::Part(part));
    }
}

/// How an error ends a step.
pub(super) trait Told {
    fn told(&self) -> BuildStep;
}

impl Told for BuildError {
    fn told(&self) -> BuildStep {
        match self {
            Self::Cancelled => BuildStep::Cancelled,
            other => other.to_string().told(),
        }
    }
}

impl Told for String {
    /// The first line says what happened; the whole comes with the error.
    fn told(&self) -> BuildStep {
        BuildStep::Failed(self.lines().next().unwrap_or_default().to_owned())
    }
}

/// The step whose result is a stage's.
fn last_step(graph: &Graph, index: usize) -> Option<u32> {
    let mut at = Some(index);
    // FROM names only stages above its own, so this ends.
    while let Some(stage) = at.and_then(|index| graph.stages.get(&index)) {
        if let Some(step) = stage.steps.last() {
            return Some(step.number);
        }
        at = match (&stage.base, &stage.first) {
            (_, Some((number, _))) => return Some(*number),
            (Base::Stage(base), None) => Some(*base),
            _ => None,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::Silent;

    #[test]
    fn a_title_gets_the_name_of_what_is_built_when_several_things_are() {
        let mut teller = Teller {
            events: &Silent,
            target: "demo-web",
            label: None,
        };
        assert_eq!(
            teller.titled("[build 2/4] RUN make"),
            "[build 2/4] RUN make"
        );
        teller.label = Some("web");
        assert_eq!(
            teller.titled("[build 2/4] RUN make"),
            "[web build 2/4] RUN make"
        );
        assert_eq!(
            teller.titled("exporting to image"),
            "[web] exporting to image"
        );
    }

    #[test]
    fn the_stage_of_a_step_is_read_from_its_title() {
        assert_eq!(stage_of("[build 2/4] RUN make"), "build");
        assert_eq!(stage_of("[ 2/14] RUN make"), "steps");
        assert_eq!(stage_of("[internal] load metadata for a"), "internal");
        assert_eq!(stage_of("exporting to image"), "image");
    }
}
