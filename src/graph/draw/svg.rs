//! A self-contained SVG: no script, no font, no address. Imports: `draw`, `layout`. Source: SVG 1.1.

use super::layout::{Layers, layers};
use super::{Drawing, Shape};

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

/// The drawing as one SVG document, layers from left to right.
pub fn svg(drawing: &Drawing) -> String {
    let links = drawing.links();
    let pairs: Vec<(usize, usize)> = links.iter().map(|(from, to, _)| (*from, *to)).collect();
    let (frames, width, height) = place(drawing, &layers(drawing.nodes.len(), &pairs));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, monospace\" font-size=\"13\">\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\">\
         <path d=\"M0 0L8 4L0 8z\" fill=\"#666\"/></marker></defs>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (from, to, label) in links {
        out.push_str(&arrow(frames[from], frames[to], label));
    }
    for (node, frame) in drawing.nodes.iter().zip(&frames) {
        out.push_str(&shape(*frame, node.kind));
        for (at, line) in node.label.lines().enumerate() {
            let weight = if at == 0 {
                " font-weight=\"bold\""
            } else {
                " fill=\"#555\""
            };
            out.push_str(&format!(
                "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\"{weight}>{}</text>\n",
                frame.x + frame.width / 2,
                frame.y + PAD + LINE * at + LINE * 3 / 4,
                escape(line)
            ));
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Gives every box a place; columns are as wide as their widest box and the labels between them.
pub(super) fn place(drawing: &Drawing, layers: &Layers) -> (Vec<Frame>, usize, usize) {
    let size = |label: &str| {
        let chars = label
            .lines()
            .map(|line| line.chars().count())
            .max()
            .unwrap_or(0);
        (
            chars.max(4) * CHAR + 2 * PAD,
            label.lines().count().max(1) * LINE + 2 * PAD,
        )
    };
    let mut frames = vec![Frame::default(); drawing.nodes.len()];
    let (mut x, mut height) = (MARGIN, 0);
    for row in &layers.rows {
        let wide = row
            .iter()
            .map(|at| size(&drawing.nodes[*at].label).0)
            .max()
            .unwrap_or(0);
        let mut y = MARGIN;
        for at in row {
            let (width, tall) = size(&drawing.nodes[*at].label);
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

fn arrow(from: Frame, to: Frame, label: &str) -> String {
    let ahead = to.x >= from.x + from.width;
    let (x1, y1) = (
        if ahead { from.x + from.width } else { from.x },
        from.y + from.height / 2,
    );
    let (x2, y2) = (
        if ahead { to.x } else { to.x + to.width },
        to.y + to.height / 2,
    );
    let bend = x1.abs_diff(x2) / 2 + usize::from(!ahead) * 40;
    let (c1, c2) = match ahead {
        true => (x1 + bend, x2.saturating_sub(bend)),
        false => (x1.saturating_sub(bend), x2 + bend),
    };
    let mut out = format!(
        "<path d=\"M{x1} {y1}C{c1} {y1} {c2} {y2} {x2} {y2}\" fill=\"none\" stroke=\"#666\" marker-end=\"url(#tip)\"/>\n"
    );
    if !label.is_empty() {
        out.push_str(&format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" font-size=\"11\" fill=\"#555\" stroke=\"#fff\" stroke-width=\"4\" paint-order=\"stroke\">{}</text>\n",
            (x1 + x2) / 2,
            ((y1 + y2) / 2).saturating_sub(4),
            escape(label)
        ));
    }
    out
}

fn shape(frame: Frame, kind: Shape) -> String {
    let Frame {
        x,
        y,
        width,
        height,
    } = frame;
    let (fill, stroke) = match kind {
        Shape::Box => ("#e8f0fe", "#1a56b0"),
        Shape::Round => ("#e9f7ef", "#1e7e46"),
        Shape::Drum => ("#fff4e0", "#b36b00"),
        Shape::Page => ("#f5f0fa", "#6b3fa0"),
    };
    let look = format!("fill=\"{fill}\" stroke=\"{stroke}\"");
    match kind {
        Shape::Drum => {
            let (bottom, right) = (y + height, x + width);
            format!(
                "<path d=\"M{x} {top}A{rx} 6 0 0 1 {right} {top}V{low}A{rx} 6 0 0 1 {x} {low}z\" {look}/>\n\
                 <path d=\"M{x} {top}A{rx} 6 0 0 0 {right} {top}\" fill=\"none\" stroke=\"{stroke}\"/>\n",
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
    use super::super::{Node, sample};
    use super::*;

    #[test]
    fn no_two_boxes_overlap_and_all_lie_inside() {
        let mut drawing = sample();
        for at in 0..12 {
            let label = "x".repeat(at * 3);
            drawing.nodes.push(Node {
                id: format!("f{at}"),
                label,
                kind: Shape::Page,
            });
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
