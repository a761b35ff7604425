//! A directed graph that keeps the order its nodes were added in.
//!
//! Imports: `cycle`. Built on petgraph.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;

use super::cycle;

/// Names a node of one [`Dag`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// Nodes in a circle: each needs the next, the last needs the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle(pub Vec<NodeId>);

/// Nodes `N` and edges `E`; an edge goes from a need to what needs it.
#[derive(Debug, Clone)]
pub struct Dag<N, E> {
    graph: DiGraph<N, E>,
}

impl<N, E> Default for Dag<N, E> {
    fn default() -> Self {
        Self {
            graph: DiGraph::new(),
        }
    }
}

impl<N, E> Dag<N, E> {
    /// Adds a node; ids count from 0.
    pub fn add(&mut self, node: N) -> NodeId {
        NodeId(self.graph.add_node(node).index())
    }
    /// Says that `node` needs `need`. Saying it twice keeps the first label.
    pub fn need(&mut self, node: NodeId, need: NodeId, label: E) {
        let (from, to) = (NodeIndex::new(need.0), NodeIndex::new(node.0));
        if from != to && self.graph.find_edge(from, to).is_none() {
            self.graph.add_edge(from, to, label);
        }
    }
    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// A node of this graph.
    pub fn get(&self, id: NodeId) -> Option<&N> {
        self.graph.node_weight(NodeIndex::new(id.0))
    }
    /// A node of this graph, to change.
    pub fn get_mut(&mut self, id: NodeId) -> Option<&mut N> {
        self.graph.node_weight_mut(NodeIndex::new(id.0))
    }
    /// All nodes in the order they were added.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &N)> {
        self.graph
            .node_indices()
            .map(|at| (NodeId(at.index()), &self.graph[at]))
    }
    /// What a node needs, in order of ids.
    pub fn needs(&self, id: NodeId) -> Vec<(NodeId, &E)> {
        self.beside(id, Direction::Incoming)
    }
    /// What needs a node, in order of ids.
    pub fn dependents(&self, id: NodeId) -> Vec<(NodeId, &E)> {
        self.beside(id, Direction::Outgoing)
    }
    fn beside(&self, id: NodeId, direction: Direction) -> Vec<(NodeId, &E)> {
        let mut found: Vec<_> = self
            .graph
            .edges_directed(NodeIndex::new(id.0), direction)
            .map(|edge| match direction {
                Direction::Incoming => (NodeId(edge.source().index()), edge.weight()),
                Direction::Outgoing => (NodeId(edge.target().index()), edge.weight()),
            })
            .collect();
        found.sort_by_key(|(id, _)| *id);
        found
    }
    /// Needs before what needs them; among the free ones the first added comes first.
    ///
    /// # Errors
    /// The shortest [`Cycle`] if there is any.
    pub fn order(&self) -> Result<Vec<NodeId>, Cycle> {
        let mut open: Vec<usize> = (0..self.len())
            .map(|at| self.needs(NodeId(at)).len())
            .collect();
        let mut free: BinaryHeap<Reverse<usize>> = (0..self.len())
            .filter(|at| open[*at] == 0)
            .map(Reverse)
            .collect();
        let mut order = Vec::with_capacity(self.len());
        while let Some(Reverse(at)) = free.pop() {
            order.push(NodeId(at));
            for (next, _) in self.dependents(NodeId(at)) {
                open[next.0] -= 1;
                if open[next.0] == 0 {
                    free.push(Reverse(next.0));
                }
            }
        }
        if order.len() == self.len() {
            return Ok(order);
        }
        Err(cycle::shortest(self).unwrap_or(Cycle(Vec::new())))
    }
    /// The shortest cycle, if there is any; of equally short ones that with the smallest id.
    pub fn shortest_cycle(&self) -> Option<Cycle> {
        cycle::shortest(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(usize, usize)], nodes: usize) -> Dag<usize, ()> {
        let mut dag = Dag::default();
        for at in 0..nodes {
            dag.add(at);
        }
        for (node, need) in edges {
            dag.need(NodeId(*node), NodeId(*need), ());
        }
        dag
    }

    #[test]
    fn the_order_keeps_needs_first_and_is_stable_among_the_free() {
        let dag = graph(&[(0, 3), (1, 3)], 4);
        assert_eq!(
            dag.order().map(|o| o.iter().map(|n| n.0).collect()),
            Ok(vec![2, 3, 0, 1])
        );
    }

    #[test]
    fn the_shortest_of_several_cycles_is_named() {
        let dag = graph(&[(0, 1), (1, 2), (2, 0), (3, 4), (4, 3)], 5);
        assert_eq!(dag.order(), Err(Cycle(vec![NodeId(3), NodeId(4)])));
    }
}
