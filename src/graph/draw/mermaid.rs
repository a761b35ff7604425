//! Mermaid text. Imports: `draw`. Source: mermaid.js.org, "Flowcharts: basic syntax".

use super::{Drawing, Shape, Tone};

/// The drawing in Mermaid's language.
pub fn mermaid(drawing: &Drawing) -> String {
    let mut out = String::from("flowchart LR\n");
    for (at, node) in drawing.nodes.iter().enumerate() {
        let label = quote(&node.lines().join("\n"));
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
    for (tone, name, style) in CLASSES {
        let with = drawing.nodes.iter().enumerate();
        let with = with.filter(|(_, node)| node.tone == tone);
        let with: Vec<String> = with.map(|(at, _)| format!("n{at}")).collect();
        if !with.is_empty() {
            out.push_str(&format!("  classDef {name} {style}\n"));
            out.push_str(&format!("  class {} {name}\n", with.join(",")));
        }
    }
    out
}

/// Colours of the tones, text included: they read on a light and on a dark page.
const CLASSES: [(Tone, &str, &str); 5] = [
    (Tone::Good, "good", "fill:#dff3e4,stroke:#1e7e34,color:#111"),
    (
        Tone::Uneasy,
        "uneasy",
        "fill:#fff3d6,stroke:#a86400,color:#111",
    ),
    (Tone::Bad, "bad", "fill:#fbe3e4,stroke:#b3261e,color:#111"),
    (Tone::Idle, "idle", "fill:#ececec,stroke:#6b6b6b,color:#111"),
    (
        Tone::Absent,
        "absent",
        "fill:none,stroke:#8a8a8a,stroke-dasharray:4",
    ),
];

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
