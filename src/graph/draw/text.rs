//! A picture for the terminal: one tree a box that nothing leads to, marks where it was drawn before.
//!
//! Imports: `draw`.

use std::collections::BTreeSet;

use super::{Drawing, Look, Node, Shape, Tone};

/// The drawing as trees: a box, below it what its arrows lead to. A box met again is marked `↑` and not
/// repeated. What does not fit on a line goes on below it.
pub fn text(drawing: &Drawing, look: Look) -> String {
    let links = drawing.links();
    let mut tree = Tree {
        drawing,
        look,
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
    look: Look,
    links: &'a [(usize, usize, &'a str)],
    seen: BTreeSet<usize>,
    out: String,
}

impl Tree<'_> {
    /// Writes one box and what lies below; `first` and `rest` go before its first and later lines.
    fn node(&mut self, at: usize, first: &str, rest: &str, label: &str) {
        let node = &self.drawing.nodes[at];
        let again = !self.seen.insert(at);
        let below: Vec<_> = self
            .links
            .iter()
            .filter(|(from, _, _)| *from == at)
            .collect();
        let mut parts = parts(node);
        parts.extend((!label.is_empty()).then(|| label.to_owned()));
        if again && !below.is_empty() {
            parts.push("↑".to_owned());
        }
        let more = if below.is_empty() || again {
            "   "
        } else {
            "│  "
        };
        self.line((first, &format!("{rest}{more}")), &parts, node);
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

impl Tree<'_> {
    /// Writes the parts behind each other, and those that don't fit below; the name and the note have the tone's colour.
    fn line(&mut self, (first, rest): (&str, &str), parts: &[String], node: &Node) {
        let toned = 1 + node.note.lines().count();
        let (mut used, mut empty) = (first.chars().count(), true);
        self.out.push_str(first);
        for (at, part) in parts.iter().enumerate() {
            let wide = part.chars().count();
            let full = |width| used + 2 + wide > width;
            if !empty && self.look.width.is_some_and(full) {
                self.out.push_str(&format!("\n{rest} "));
                (used, empty) = (rest.chars().count() + 1, true);
            }
            let gap = if empty { "" } else { "  " };
            self.out.push_str(gap);
            match (at < toned).then(|| code(node.tone)).flatten() {
                Some(code) if self.look.colour => {
                    self.out.push_str(&format!("\x1b[{code}m{part}\x1b[0m"));
                }
                _ => self.out.push_str(part),
            }
            used += gap.len() + wide;
            empty = false;
        }
        self.out.push('\n');
    }
}

/// What is written of a box, the brackets of its shape included.
fn parts(node: &Node) -> Vec<String> {
    let mut parts: Vec<String> = node.lines().into_iter().map(str::to_owned).collect();
    let (open, close) = match node.kind {
        Shape::Box => ("", ""),
        Shape::Round => ("(", ")"),
        Shape::Drum => ("[", "]"),
        Shape::Page => ("<", ">"),
    };
    if let Some(first) = parts.first_mut() {
        first.insert_str(0, open);
    }
    if let Some(last) = parts.last_mut() {
        last.push_str(close);
    }
    parts
}

/// The terminal's colour of a tone.
fn code(tone: Tone) -> Option<&'static str> {
    match tone {
        Tone::Plain => None,
        Tone::Good => Some("32"),
        Tone::Uneasy => Some("33"),
        Tone::Bad => Some("31"),
        Tone::Idle | Tone::Absent => Some("2"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Edge, Look, Tone, sample};

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
            super::text(&drawing, Look::default()),
            "web
├─ db  postgres:16  healthy
│  ├─ (back)
│  └─ [data]  /var/lib/postgresql
└─ (back)
"
        );
    }

    #[test]
    fn what_does_not_fit_goes_on_below_and_tones_have_colours() {
        let mut drawing = sample();
        drawing.nodes[1].note = "running (healthy)".into();
        drawing.nodes[1].tone = Tone::Good;
        let look = Look {
            colour: false,
            width: Some(30),
        };
        let text = super::text(&drawing, look);
        let want = "web
├─ db  running (healthy)
│  │   postgres:16  healthy
│  ├─ (back)
│  └─ [data]
│         /var/lib/postgresql
└─ (back)
";
        assert_eq!(text, want);
        let look = Look {
            colour: true,
            ..Look::default()
        };
        let text = super::text(&drawing, look);
        assert!(
            text.contains("├─ \x1b[32mdb\x1b[0m  \x1b[32mrunning"),
            "{text:?}"
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
            super::text(&drawing, Look::default()),
            "web\n└─ db  postgres:16\n   └─ web  ↑\n"
        );
    }
}
