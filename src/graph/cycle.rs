//! The shortest cycle of a graph, so that the user reads the smallest thing that is wrong.
//!
//! Imports: `dag`.

use std::collections::VecDeque;

use super::dag::{Cycle, Dag, NodeId};

/// A breadth-first search from each node back to itself; the first shortest one wins.
pub(super) fn shortest<N, E>(dag: &Dag<N, E>) -> Option<Cycle> {
    let mut best: Option<Vec<NodeId>> = None;
    for at in 0..dag.len() {
        let found = around(dag, NodeId(at), best.as_ref().map_or(usize::MAX, Vec::len));
        best = found.or(best);
    }
    best.map(Cycle)
}

/// The shortest way from `start` along needs back to it, if it is shorter than `limit`.
fn around<N, E>(dag: &Dag<N, E>, start: NodeId, limit: usize) -> Option<Vec<NodeId>> {
    let mut came: Vec<Option<NodeId>> = vec![None; dag.len()];
    let mut queue = VecDeque::from([(start, 1)]);
    while let Some((at, length)) = queue.pop_front() {
        if length >= limit {
            return None;
        }
        for (need, _) in dag.needs(at) {
            if need == start {
                let mut way = vec![at];
                while let Some(before) = way.last().and_then(|last| came[last.0]) {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            if came[need.0].is_none() {
                came[need.0] = Some(at);
                queue.push_back((need, length + 1));
            }
        }
    }
    None
}
