//! Graphviz text. Imports: `draw`. Source: graphviz.org, "DOT Language".

use super::{Drawing, Shape, Tone};

/// The drawing in Graphviz's language.
pub fn dot(drawing: &Drawing) -> String {
    let mut out = String::from(
        "digraph {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\"];\n",
    );
    for node in &drawing.nodes {
        let shape = match node.kind {
            Shape::Box => "box",
            Shape::Round => "ellipse",
            Shape::Drum => "cylinder",
            Shape::Page => "note",
        };
        out.push_str(&format!(
            "  {} [label={}, shape={shape}{}];\n",
            quote(&node.id),
            quote(&node.lines().join("\n")),
            look(node.tone)
        ));
    }
    for (from, to, label) in drawing.links() {
        let ends = [from, to].map(|at| quote(&drawing.nodes[at].id));
        let label = if label.is_empty() {
            String::new()
        } else {
            format!(" [label={}]", quote(label))
        };
        out.push_str(&format!("  {} -> {}{label};\n", ends[0], ends[1]));
    }
    out.push_str("}\n");
    out
}

/// Colours of a tone: dark text reads on all of them.
fn look(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "",
        Tone::Good => ", style=filled, fillcolor=\"#dff3e4\", color=\"#1e7e34\"",
        Tone::Uneasy => ", style=filled, fillcolor=\"#fff3d6\", color=\"#a86400\"",
        Tone::Bad => ", style=filled, fillcolor=\"#fbe3e4\", color=\"#b3261e\"",
        Tone::Idle => ", style=filled, fillcolor=\"#ececec\", color=\"#6b6b6b\"",
        Tone::Absent => ", style=dashed, color=\"#6b6b6b\"",
    }
}

fn quote(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn dot_names_every_node_and_edge_and_quotes_text() {
        let mut drawing = super::super::sample();
        drawing.nodes[0].label = "say \"hi\"".into();
        assert_eq!(
            super::dot(&drawing),
            r#"digraph {
  rankdir=LR;
  node [fontname="sans-serif"];
  edge [fontname="sans-serif"];
  "s:web" [label="say \"hi\"", shape=box];
  "s:db" [label="db\npostgres:16", shape=box];
  "n:back" [label="back", shape=ellipse];
  "v:data" [label="data", shape=cylinder];
  "s:web" -> "s:db" [label="healthy"];
  "s:web" -> "n:back";
  "s:db" -> "n:back";
  "s:db" -> "v:data" [label="/var/lib/postgresql"];
}
"#
        );
    }
}
