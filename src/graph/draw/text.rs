//! A picture for the terminal: one tree a box that nothing leads to, marks where it was drawn before.
//!
//! Imports: `draw`.

use std::collections::BTreeSet;

use super::{Drawing, Shape};

/// The drawing as trees: a box, below it what its arrows lead to. A box met again is marked `↑` and not
/// repeated.
pub fn text(drawing: &Drawing) -> String {
    let links = drawing.links();
    let mut tree = Tree {
        drawing,
        links: &links,
        seen: BTreeSet::new(),
        out: String::new(),
    };
    let led_to: BTreeSet<usize> = links
        .iter()
        .filter(|(f, t, _)| f != t)
        .map(|(_, t, _)| *t)
        .collect();
    let roots = (0..drawing.nodes.len()).filter(|at| !led_to.contains(at));
    // In a circle every box is led to: the rest is begun at its first box.
    for at in roots.chain(0..drawing.nodes.len()) {
        if !tree.seen.contains(&at) {
            tree.node(at, "", "", "");
        }
    }
    tree.out
}

struct Tree<'a> {
    drawing: &'a Drawing,
    links: &'a [(usize, usize, &'a str)],
    seen: BTreeSet<usize>,
    out: String,
}

impl Tree<'_> {
    /// Writes one box and what lies below; `first` and `rest` go before its first and later lines.
    fn node(&mut self, at: usize, first: &str, rest: &str, label: &str) {
        let node = &self.drawing.nodes[at];
        let again = !self.seen.insert(at);
        let name = node.label.replace('\n', "  ");
        let name = match node.kind {
            Shape::Box => name,
            Shape::Round => format!("({name})"),
            Shape::Drum => format!("[{name}]"),
            Shape::Page => format!("<{name}>"),
        };
        let mut line = format!("{first}{name}");
        if !label.is_empty() {
            line.push_str(&format!("  {label}"));
        }
        let below: Vec<_> = self
            .links
            .iter()
            .filter(|(from, _, _)| *from == at)
            .collect();
        if again && !below.is_empty() {
            line.push_str("  ↑");
        }
        self.out.push_str(&line);
        self.out.push('\n');
        if again {
            return;
        }
        for (place, (_, to, label)) in below.iter().enumerate() {
            let last = place + 1 == below.len();
            let (fork, line) = if last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            self.node(
                *to,
                &format!("{rest}{fork}"),
                &format!("{rest}{line}"),
                label,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Edge, sample};

    #[test]
    fn the_text_is_a_tree_that_repeats_no_box() {
        let mut drawing = sample();
        drawing.edges.push(Edge {
            from: "n:back".into(),
            to: "s:web".into(),
            label: String::new(),
        });
        drawing.edges.pop();
        assert_eq!(
            super::text(&drawing),
            "web
├─ db  postgres:16  healthy
│  ├─ (back)
│  └─ [data]  /var/lib/postgresql
└─ (back)
"
        );
    }

    #[test]
    fn a_circle_is_drawn_once_and_marked() {
        let mut drawing = sample();
        drawing.edges = vec![
            Edge {
                from: "s:web".into(),
                to: "s:db".into(),
                label: String::new(),
            },
            Edge {
                from: "s:db".into(),
                to: "s:web".into(),
                label: String::new(),
            },
        ];
        drawing.nodes.truncate(2);
        assert_eq!(
            super::text(&drawing),
            "web\n└─ db  postgres:16\n   └─ web  ↑\n"
        );
    }
}
