//! Mermaid text. Imports: `draw`. Source: mermaid.js.org, "Flowcharts: basic syntax".

use super::{Drawing, Shape};

/// The drawing in Mermaid's language.
pub fn mermaid(drawing: &Drawing) -> String {
    let mut out = String::from("flowchart LR\n");
    for (at, node) in drawing.nodes.iter().enumerate() {
        let label = quote(&node.label);
        let shaped = match node.kind {
            Shape::Box => format!("[{label}]"),
            Shape::Round => format!("([{label}])"),
            Shape::Drum => format!("[({label})]"),
            Shape::Page => format!("[/{label}/]"),
        };
        out.push_str(&format!("  n{at}{shaped}\n"));
    }
    for (from, to, label) in drawing.links() {
        let label = if label.is_empty() {
            String::new()
        } else {
            format!("|{}|", quote(label))
        };
        out.push_str(&format!("  n{from} -->{label} n{to}\n"));
    }
    out
}

/// Quoted text with Mermaid's entities for what its grammar or HTML would read.
fn quote(text: &str) -> String {
    let safe = text
        .replace('#', "#35;")
        .replace('"', "#quot;")
        .replace('<', "#lt;")
        .replace('>', "#gt;")
        .replace('\n', "<br/>");
    format!("\"{safe}\"")
}

#[cfg(test)]
mod tests {
    #[test]
    fn mermaid_gives_each_kind_its_shape() {
        assert_eq!(
            super::mermaid(&super::super::sample()),
            r#"flowchart LR
  n0["web"]
  n1["db<br/>postgres:16"]
  n2(["back"])
  n3[("data")]
  n0 -->|"healthy"| n1
  n0 --> n2
  n1 --> n2
  n1 -->|"/var/lib/postgresql"| n3
"#
        );
    }
}
