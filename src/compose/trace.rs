//! What a value's own place does not say: which alias, merge key or `extends` brought it, and what it replaced.
//!
//! In: what the phases note while they move and merge nodes. Out: the notes of a node, for `explain`.
//! Most nodes have none, and then a node carries one empty pointer. It decides nothing. Imports: `base`, `tree`.
//!
//! A step says "what was written in `of` stands at `at`". It is noted on the topmost node that was brought along;
//! nodes below it belong to the step as long as their place lies in `of`. So no note is copied to every leaf, and
//! what a later merge mixes into the same mapping from elsewhere is not taken for a part of it.

use std::rc::Rc;

use super::tree::Node;
use crate::base::span::Span;

/// How values came from where they are written to where they are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// An alias, `*name`.
    Alias,
    /// A merge key, `<<`.
    MergeKey,
    /// `extends` of a service.
    Extends,
}

/// One step on that way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// What made it.
    pub(super) by: By,
    /// Place that refers: the alias, the `extends`.
    pub(super) at: Span,
    /// Place that is referred to: all that was brought along is written in it.
    pub(super) of: Span,
}

impl Step {
    /// Whether a place was brought along.
    pub(super) fn brings(&self, place: Span) -> bool {
        self.of.source == place.source && self.of.start <= place.start && place.end <= self.of.end
    }
}

/// Notes on a node.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace {
    /// Steps that brought it, or parts of it.
    pub(super) steps: Vec<Step>,
    /// What it replaced, the least weighty first; each has notes of its own.
    pub(super) below: Vec<Node>,
    /// Entries that `!reset` took out of it.
    pub(super) removed: Vec<(String, Node)>,
}

/// The notes of a node; most have none.
pub(super) type Notes = Option<Rc<Trace>>;

impl Node {
    /// Notes that a step brought it.
    pub(super) fn brought(&mut self, step: Step) {
        Rc::make_mut(self.notes.get_or_insert_default())
            .steps
            .push(step);
    }
    /// As [`Node::brought`] for one of many nodes: those without notes of their own share `notes`, which hold the step.
    pub(super) fn brought_with(&mut self, notes: &Rc<Trace>) {
        match &mut self.notes {
            Some(own) => Rc::make_mut(own).steps.extend_from_slice(&notes.steps),
            none => *none = Some(Rc::clone(notes)),
        }
    }
    /// Notes that a value of less weight than all noted before is replaced, too.
    pub(super) fn replaces(&mut self, below: Self) {
        Rc::make_mut(self.notes.get_or_insert_default())
            .below
            .insert(0, below);
    }
    /// Itself, with the note that it replaced another value.
    #[must_use]
    pub(super) fn over(mut self, below: Self) -> Self {
        self.replaces(below);
        self
    }
    /// Notes that `!reset` took an entry out of it.
    pub(super) fn lost(&mut self, key: String, entry: Self) {
        Rc::make_mut(self.notes.get_or_insert_default())
            .removed
            .push((key, entry));
    }
}

/// The notes of a mapping or list that was made of two.
pub(super) fn joined(below: Notes, above: Notes) -> Notes {
    match (below, above) {
        (None, notes) | (notes, None) => notes,
        (Some(mut below), Some(above)) => {
            let notes = Rc::make_mut(&mut below);
            notes.steps.extend_from_slice(&above.steps);
            notes.below.extend(above.below.iter().cloned());
            notes.removed.extend(above.removed.iter().cloned());
            Some(below)
        }
    }
}
