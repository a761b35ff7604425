//! `system prune` within a budget: what was used least recently goes, images and build cache alike, until enough is free.
//!
//! In: a wish ([`Prune`]), of which the budget counts. Out: which images and entries go. Imports: `room`, `build::cache::prune`.

use std::collections::BTreeSet;

use super::room::{Candidate, Room};
use crate::build::cache::prune::Prune;
use crate::image::digest::Digest;

/// What is to go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) images: BTreeSet<Digest>,
    pub(super) entries: BTreeSet<String>,
}

/// Chooses as far as the budget asks for; `free` is what the disk has left, in bytes.
pub(super) fn choose(mut room: Room, wish: &Prune, free: u64) -> Chosen {
    let mut chosen = Chosen::default();
    let mut left = room.total;
    let budget = wish.kept(room.total, free);
    let candidates = std::mem::take(&mut room.candidates);
    for (_, candidate) in candidates {
        if budget.is_some_and(|budget| left <= budget) {
            break;
        }
        left = left.saturating_sub(room.without(&candidate));
        match candidate {
            Candidate::Image(image) => {
                chosen.images.insert(image.id);
            }
            Candidate::Cache(entry) => {
                chosen.entries.insert(entry.id);
            }
        }
    }
    chosen
}
