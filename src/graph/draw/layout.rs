//! Places boxes in layers: every arrow leads to a later layer, few arrows cross, no boxes overlap.
//!
//! In: sizes and links. Out: positions. Imports: nothing.
//! Rules: Sugiyama's method: layers by longest path, order within a layer by the mean of the neighbours.

/// Which layer each node is in and the order within the layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layers {
    /// Nodes of each layer, in order.
    pub(super) rows: Vec<Vec<usize>>,
}

/// Layers of `nodes` nodes; links that would close a cycle are followed only once.
pub(super) fn layers(nodes: usize, links: &[(usize, usize)]) -> Layers {
    let mut depth = vec![0usize; nodes];
    // Longest path by relaxation; so many rounds are enough without cycles and end it with them.
    for _ in 0..nodes {
        let mut moved = false;
        for (from, to) in links {
            if from != to && depth[*to] < depth[*from] + 1 && depth[*from] + 1 < nodes {
                depth[*to] = depth[*from] + 1;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    let mut used = depth.clone();
    used.sort_unstable();
    used.dedup();
    let mut rows = vec![Vec::new(); used.len()];
    for (node, depth) in depth.iter().enumerate() {
        rows[used.partition_point(|d| d < depth)].push(node);
    }
    for round in 0..4 {
        let down = round % 2 == 0;
        for step in 1..rows.len() {
            let at = if down { step } else { rows.len() - 1 - step };
            sort_row(&mut rows, at, links, down);
        }
    }
    Layers { rows }
}

/// Sorts one row by the mean place of each node's neighbours; nodes without any keep their place.
fn sort_row(rows: &mut [Vec<usize>], at: usize, links: &[(usize, usize)], down: bool) {
    let place = |node: usize| -> Option<f64> {
        let of_row = |row: &Vec<usize>| {
            let len = row.len() as f64;
            row.iter()
                .position(|n| *n == node)
                .map(|p| (p as f64 + 0.5) / len)
        };
        rows.iter().find_map(of_row)
    };
    let keyed = |node: usize| -> f64 {
        let near: Vec<f64> = links
            .iter()
            .filter_map(|(from, to)| match down {
                true if *to == node => place(*from),
                false if *from == node => place(*to),
                _ => None,
            })
            .collect();
        if near.is_empty() {
            place(node).unwrap_or(0.0)
        } else {
            near.iter().sum::<f64>() / near.len() as f64
        }
    };
    let mut keys: Vec<(f64, usize)> = rows[at].iter().map(|node| (keyed(*node), *node)).collect();
    keys.sort_by(|a, b| a.0.total_cmp(&b.0));
    rows[at] = keys.into_iter().map(|(_, node)| node).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_lead_to_later_layers_and_cycles_end() {
        let layers = layers(4, &[(0, 1), (1, 2), (0, 2), (3, 2)]);
        assert_eq!(layers.rows, [vec![0, 3], vec![1], vec![2]]);
        let round = super::layers(2, &[(0, 1), (1, 0)]);
        assert_eq!(round.rows.concat().len(), 2);
    }
}
