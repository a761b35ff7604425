//! Directed graphs: stable order, cycles, running and drawing them. No word of our field is used here.
//!
//! In: nodes and labelled edges. Out: an order, a cycle, results of running, a picture as text.
//! Imports: `base`. Rules: none but its own.

mod cycle;
mod dag;
pub mod draw;
pub mod schedule;

pub use dag::{Cycle, Dag, NodeId};
