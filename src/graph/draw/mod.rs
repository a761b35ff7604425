//! Pictures of graphs: a readable text, Mermaid, DOT and a self-contained SVG.
//!
//! In: a [`Drawing`]. Out: text, the same for the same input. Imports: nothing.
//! Rules: Mermaid `flowchart` syntax, Graphviz `dot` language, SVG 1.1.

mod dot;
mod layout;
mod mermaid;
mod svg;
mod text;

pub use dot::dot;
pub use mermaid::mermaid;
pub use svg::svg;
pub use text::text;

/// Boxes and arrows, as plain values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drawing {
    /// Boxes.
    pub nodes: Vec<Node>,
    /// Arrows; one whose ends are not among the nodes is left out.
    pub edges: Vec<Edge>,
    /// What the tones mean, where they mean something.
    pub legend: Vec<(Tone, String)>,
}

/// One box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Unique.
    pub id: String,
    /// What is written in it; lines are separated by `\n`.
    pub label: String,
    /// Its shape; also the heading it is listed under in text.
    pub kind: Shape,
    /// How it is about it, for the eye.
    pub tone: Tone,
    /// The same in words, below its first line; may be empty.
    pub note: String,
}

impl Node {
    /// A box of no tone.
    pub fn new(id: impl Into<String>, label: impl Into<String>, kind: Shape) -> Self {
        Self {
            id: id.into(),
            label: label.into(),
            kind,
            tone: Tone::Plain,
            note: String::new(),
        }
    }
    /// What is written in it: its name, the note, the rest.
    fn lines(&self) -> Vec<&str> {
        let mut label = self.label.lines();
        let name = label.next().unwrap_or_default();
        let note = self.note.lines();
        std::iter::once(name).chain(note).chain(label).collect()
    }
}

/// How it is about a box, for the eye; words say it too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// Nothing is said.
    #[default]
    Plain,
    /// All is well.
    Good,
    /// On the way, or half well.
    Uneasy,
    /// Not well.
    Bad,
    /// Nothing is going on.
    Idle,
    /// It is not there.
    Absent,
}

/// How text is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// Whether tones are coloured.
    pub colour: bool,
    /// The screen's columns; `None` for as long as lines are.
    pub width: Option<usize>,
}

/// The look of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// A plain box: a thing that does something.
    Box,
    /// A round one: something things meet at.
    Round,
    /// A drum: something that keeps.
    Drum,
    /// A page: a text.
    Page,
}

/// One arrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Id of the box it starts at.
    pub from: String,
    /// Id of the box it ends at.
    pub to: String,
    /// What is written on it; may be empty.
    pub label: String,
}

impl Drawing {
    fn position(&self, id: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }
    /// Edges as indices of nodes, without the ones that lead nowhere.
    fn links(&self) -> Vec<(usize, usize, &str)> {
        let link = |e: &'_ Edge| Some((self.position(&e.from)?, self.position(&e.to)?));
        self.edges
            .iter()
            .filter_map(|edge| link(edge).map(|(from, to)| (from, to, edge.label.as_str())))
            .collect()
    }
}

#[cfg(test)]
pub(crate) fn sample() -> Drawing {
    let node = |id: &str, label: &str, kind| Node::new(id, label, kind);
    let edge = |from: &str, to: &str, label: &str| Edge {
        from: from.into(),
        to: to.into(),
        label: label.into(),
    };
    Drawing {
        nodes: vec![
            node("s:web", "web", Shape::Box),
            node("s:db", "db\npostgres:16", Shape::Box),
            node("n:back", "back", Shape::Round),
            node("v:data", "data", Shape::Drum),
        ],
        edges: vec![
            edge("s:web", "s:db", "healthy"),
            edge("s:web", "n:back", ""),
            edge("s:db", "n:back", ""),
            edge("s:db", "v:data", "/var/lib/postgresql"),
            edge("s:db", "v:nowhere", ""),
        ],
        legend: Vec::new(),
    }
}
