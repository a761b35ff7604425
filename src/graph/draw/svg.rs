//! A self-contained SVG: no script, no font, no address. Imports: `draw`, `layout`. Source: SVG 1.1.

use super::layout::{Layers, layers};
use super::{Drawing, Node, Shape, Tone};

/// Sizes in pixels.
const CHAR: usize = 8;
const LINE: usize = 18;
const PAD: usize = 12;
const GAP_Y: usize = 28;
const MIN_GAP_X: usize = 60;
const MARGIN: usize = 20;

/// A box with its place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// Colours for a light page and for a dark one.
const STYLE: &str = "<style>\n\
    .page{fill:#fff}.line{fill:none;stroke:#666}.tip{fill:#666}\n\
    .name{fill:#111;font-weight:bold}.text{fill:#555}.on{fill:#555;stroke:#fff;stroke-width:4;paint-order:stroke}\n\
    .box{fill:#e8f0fe;stroke:#1a56b0}.round{fill:#e9f3f7;stroke:#1e6a7e}.drum{fill:#f2ecfb;stroke:#6b3fa0}.leaf{fill:#f3f3f3;stroke:#555}\n\
    .good{fill:#dff3e4;stroke:#1e7e34}.uneasy{fill:#fff3d6;stroke:#a86400}.bad{fill:#fbe3e4;stroke:#b3261e}\n\
    .idle{fill:#ececec;stroke:#6b6b6b}.absent{fill:none;stroke:#8a8a8a;stroke-dasharray:5 4}.rim{fill:none}\n\
    .note{font-weight:bold}.of-good{fill:#1a6b2d}.of-uneasy{fill:#8a5200}.of-bad{fill:#a31f18}.of-idle,.of-absent,.of-plain{fill:#555}\n\
    @media (prefers-color-scheme:dark){\n\
    .page{fill:#15181d}.line{stroke:#9aa0a8}.tip{fill:#9aa0a8}.name{fill:#f2f2f2}.text{fill:#b6bbc2}.on{fill:#b6bbc2;stroke:#15181d}\n\
    .box{fill:#1c2b45;stroke:#7aa7f0}.round{fill:#173038;stroke:#6bb5c9}.drum{fill:#2b2140;stroke:#b394e6}.leaf{fill:#24272c;stroke:#9aa0a8}\n\
    .good{fill:#15331d;stroke:#5fc27a}.uneasy{fill:#3a2c0c;stroke:#e0a63c}.bad{fill:#421a1b;stroke:#f0807a}\n\
    .idle{fill:#2a2d32;stroke:#9aa0a8}.absent{fill:none;stroke:#8a9099}.rim{fill:none}\n\
    .of-good{fill:#7fd697}.of-uneasy{fill:#f0c069}.of-bad{fill:#ff9d97}.of-idle,.of-absent,.of-plain{fill:#b6bbc2}}\n\
    </style>\n";

/// The drawing as one SVG document, layers from left to right, the legend below.
pub fn svg(drawing: &Drawing) -> String {
    let links = drawing.links();
    let pairs: Vec<(usize, usize)> = links.iter().map(|(from, to, _)| (*from, *to)).collect();
    let (frames, width, height) = place(drawing, &layers(drawing.nodes.len(), &pairs));
    let (legend, right) = legend(drawing, height);
    let width = width.max(right);
    let height = height + if legend.is_empty() { 0 } else { LINE + PAD };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, monospace\" font-size=\"13\">\n{STYLE}\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\">\
         <path d=\"M0 0L8 4L0 8z\" class=\"tip\"/></marker></defs>\n\
         <rect width=\"{width}\" height=\"{height}\" class=\"page\"/>\n"
    );
    for (from, to, _) in &links {
        out.push_str(&arrow(frames[*from], frames[*to]));
    }
    for (node, frame) in drawing.nodes.iter().zip(&frames) {
        out.push_str(&shape(*frame, node.kind, node.tone));
        let notes = node.note.lines().count();
        for (at, line) in node.lines().into_iter().enumerate() {
            let class = match at {
                0 => "name".to_owned(),
                at if at <= notes => format!("note of-{}", tone_class(node.tone)),
                _ => "text".to_owned(),
            };
            out.push_str(&format!(
                "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" class=\"{class}\">{}</text>\n",
                frame.x + frame.width / 2,
                frame.y + PAD + LINE * at + LINE * 3 / 4,
                escape(line)
            ));
        }
    }
    // Above all boxes, so that none hides what is written on an arrow.
    for (from, to, label) in links {
        out.push_str(&on_arrow(frames[from], frames[to], label));
    }
    out.push_str(&legend);
    out.push_str("</svg>\n");
    out
}

/// What the tones mean, in a row below the boxes, and where it ends.
fn legend(drawing: &Drawing, top: usize) -> (String, usize) {
    let (mut out, mut x) = (String::new(), MARGIN);
    for (tone, text) in &drawing.legend {
        let class = match tone {
            Tone::Plain => "box",
            tone => tone_class(*tone),
        };
        out.push_str(&format!(
            "<rect x=\"{x}\" y=\"{top}\" width=\"14\" height=\"14\" rx=\"3\" class=\"{class}\"/>\
             <text x=\"{}\" y=\"{}\" class=\"text\">{}</text>\n",
            x + 20,
            top + 12,
            escape(text)
        ));
        x += 20 + text.chars().count() * CHAR + 2 * PAD;
    }
    (out, x)
}

fn tone_class(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Good => "good",
        Tone::Uneasy => "uneasy",
        Tone::Bad => "bad",
        Tone::Idle => "idle",
        Tone::Absent => "absent",
    }
}

/// Gives every box a place; columns are as wide as their widest box and the labels between them.
pub(super) fn place(drawing: &Drawing, layers: &Layers) -> (Vec<Frame>, usize, usize) {
    let size = |node: &Node| {
        let lines = node.lines();
        let chars = lines.iter().map(|line| line.chars().count()).max();
        (
            chars.unwrap_or(0).max(4) * CHAR + 2 * PAD,
            lines.len().max(1) * LINE + 2 * PAD,
        )
    };
    let mut frames = vec![Frame::default(); drawing.nodes.len()];
    let (mut x, mut height) = (MARGIN, 0);
    for row in &layers.rows {
        let wide = row
            .iter()
            .map(|at| size(&drawing.nodes[*at]).0)
            .max()
            .unwrap_or(0);
        let mut y = MARGIN;
        for at in row {
            let (width, tall) = size(&drawing.nodes[*at]);
            frames[*at] = Frame {
                x: x + (wide - width) / 2,
                y,
                width,
                height: tall,
            };
            y += tall + GAP_Y;
        }
        height = height.max(y - GAP_Y.min(y) + MARGIN);
        let labels = drawing.links();
        let text = labels
            .iter()
            .filter(|(from, _, _)| row.contains(from))
            .map(|(_, _, label)| label.chars().count() * CHAR + 2 * PAD)
            .max();
        x += wide + text.unwrap_or(0).max(MIN_GAP_X);
    }
    let middle = height / 2;
    for row in &layers.rows {
        let low = row
            .iter()
            .map(|at| frames[*at].y + frames[*at].height)
            .max()
            .unwrap_or(0);
        let shift = middle.saturating_sub((low + MARGIN) / 2);
        for at in row {
            frames[*at].y += shift;
        }
    }
    let right = frames
        .iter()
        .map(|frame| frame.x + frame.width)
        .max()
        .unwrap_or(0);
    let low = frames
        .iter()
        .map(|frame| frame.y + frame.height)
        .max()
        .unwrap_or(0);
    (
        frames,
        right + MARGIN,
        low.max(height.saturating_sub(MARGIN)) + MARGIN,
    )
}

/// Where an arrow starts and ends, and whether it leads on.
fn ends(from: Frame, to: Frame) -> ((usize, usize), (usize, usize), bool) {
    let ahead = to.x >= from.x + from.width;
    let (x1, y1) = (
        if ahead { from.x + from.width } else { from.x },
        from.y + from.height / 2,
    );
    let (x2, y2) = (
        if ahead { to.x } else { to.x + to.width },
        to.y + to.height / 2,
    );
    ((x1, y1), (x2, y2), ahead)
}

fn arrow(from: Frame, to: Frame) -> String {
    let ((x1, y1), (x2, y2), ahead) = ends(from, to);
    let bend = x1.abs_diff(x2) / 2 + usize::from(!ahead) * 40;
    let (c1, c2) = match ahead {
        true => (x1 + bend, x2.saturating_sub(bend)),
        false => (x1.saturating_sub(bend), x2 + bend),
    };
    format!(
        "<path d=\"M{x1} {y1}C{c1} {y1} {c2} {y2} {x2} {y2}\" class=\"line\" marker-end=\"url(#tip)\"/>\n"
    )
}

fn on_arrow(from: Frame, to: Frame, label: &str) -> String {
    if label.is_empty() {
        return String::new();
    }
    let ((x1, y1), (x2, y2), _) = ends(from, to);
    format!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" font-size=\"11\" class=\"on\">{}</text>\n",
        (x1 + x2) / 2,
        ((y1 + y2) / 2).saturating_sub(4),
        escape(label)
    )
}

fn shape(frame: Frame, kind: Shape, tone: Tone) -> String {
    let Frame {
        x,
        y,
        width,
        height,
    } = frame;
    let class = match (tone, kind) {
        (Tone::Plain, Shape::Box) => "box",
        (Tone::Plain, Shape::Round) => "round",
        (Tone::Plain, Shape::Drum) => "drum",
        (Tone::Plain, Shape::Page) => "leaf",
        (tone, _) => tone_class(tone),
    };
    let look = format!("class=\"{class}\"");
    match kind {
        Shape::Drum => {
            let (bottom, right) = (y + height, x + width);
            format!(
                "<path d=\"M{x} {top}A{rx} 6 0 0 1 {right} {top}V{low}A{rx} 6 0 0 1 {x} {low}z\" {look}/>\n\
                 <path d=\"M{x} {top}A{rx} 6 0 0 0 {right} {top}\" class=\"{class} rim\"/>\n",
                top = y + 6,
                low = bottom - 6,
                rx = width / 2,
            )
        }
        _ => {
            let round = match kind {
                Shape::Round => height / 2,
                Shape::Page => 0,
                _ => 4,
            };
            format!(
                "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{round}\" {look}/>\n"
            )
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn no_two_boxes_overlap_and_all_lie_inside() {
        let mut drawing = sample();
        for at in 0..12 {
            let label = "x".repeat(at * 3);
            let node = Node::new(format!("f{at}"), label, Shape::Page);
            drawing.nodes.push(node);
        }
        let pairs: Vec<_> = drawing.links().iter().map(|(a, b, _)| (*a, *b)).collect();
        let (frames, width, height) = place(&drawing, &layers(drawing.nodes.len(), &pairs));
        for (at, a) in frames.iter().enumerate() {
            assert!(a.x + a.width <= width && a.y + a.height <= height);
            for b in &frames[at + 1..] {
                let apart = a.x + a.width <= b.x
                    || b.x + b.width <= a.x
                    || a.y + a.height <= b.y
                    || b.y + b.height <= a.y;
                assert!(apart, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn text_of_the_user_can_not_become_markup() {
        let mut drawing = sample();
        drawing.nodes[0].label = "<script>&\"".into();
        let text = svg(&drawing);
        assert!(text.contains("&lt;script&gt;&amp;&quot;") && !text.contains("<script>"));
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
    }

    #[test]
    fn an_empty_drawing_is_an_empty_picture() {
        assert!(svg(&Drawing::default()).contains("<svg "));
    }
}
