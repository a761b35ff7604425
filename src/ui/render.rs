//! Findings and errors as text: place and message first, then the source with a caret, then what to do.
//!
//! In: diagnostics and the texts they point into. Out: one string. Imports: `base`.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::paint;
use crate::base::diag::{Diagnostic, Severity};
use crate::base::span::{SourceMap, Span};

/// Renders findings in the order given, each followed by its snippet and hints.
pub fn diagnostics(items: &[Diagnostic], sources: &SourceMap, colour: bool) -> String {
    items
        .iter()
        .map(|item| diagnostic(item, sources, colour))
        .collect()
}

/// Renders one finding.
pub fn diagnostic(item: &Diagnostic, sources: &SourceMap, colour: bool) -> String {
    let headline = clean(&item.headline(sources));
    let mut text = match item.severity {
        Severity::Error if item.span.is_none() => {
            format!("{} {headline}\n", tag(Tag::Error, colour))
        }
        Severity::Error => format!("{}\n", paint(colour, "1", &headline)),
        Severity::Warning => format!("{} {headline}\n", tag(Tag::Warning, colour)),
    };
    if let Some(span) = item.span {
        let level = match item.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        text.push_str(&snippet(
            level,
            span,
            item.label.as_deref(),
            sources,
            colour,
        ));
    }
    for (span, what) in &item.related {
        text.push_str(&format!("{}: {}\n", sources.place(*span), clean(what)));
        text.push_str(&snippet(Level::NOTE, *span, None, sources, colour));
    }
    text.push_str(&hints(&item.hints, colour));
    text
}

/// Renders an error that no place in a file belongs to; further lines of `message` are kept as they are.
pub fn error(message: &str, hints: &[String], colour: bool) -> String {
    let text = format!(
        "{} {}\n",
        tag(Tag::Error, colour),
        clean(message.trim_end())
    );
    text + &self::hints(hints, colour)
}

/// Renders acts the user can do, one a line.
pub fn hints(hints: &[String], colour: bool) -> String {
    hints
        .iter()
        .map(|hint| format!("{} {}\n", tag(Tag::Hint, colour), clean(hint)))
        .collect()
}

/// Renders a warning that no place in a file belongs to.
pub fn warning(message: &str, colour: bool) -> String {
    format!("{} {}\n", tag(Tag::Warning, colour), clean(message))
}

/// Renders the lines of a place with a caret below.
pub fn place(span: Span, sources: &SourceMap, colour: bool) -> String {
    snippet(Level::NOTE, span, None, sources, colour)
}

/// The word a line begins with.
#[derive(Clone, Copy)]
enum Tag {
    Error,
    Warning,
    Hint,
}

fn tag(tag: Tag, colour: bool) -> String {
    match tag {
        Tag::Error => paint(colour, "1;31", "error:"),
        Tag::Warning => paint(colour, "1;33", "warning:"),
        Tag::Hint => paint(colour, "1;36", "hint:"),
    }
}

/// The lines a span covers, with a caret below and the label beside it.
fn snippet(
    level: Level<'static>,
    span: Span,
    label: Option<&str>,
    sources: &SourceMap,
    colour: bool,
) -> String {
    let Some(source) = sources.get(span.source) else {
        return String::new();
    };
    let (start, text) = excerpt(&source.text, span);
    let Some((line, _)) = sources.get(span.source).map(|_| sources.line_col(span)) else {
        return String::new();
    };
    let from = (span.start as usize).saturating_sub(start).min(text.len());
    let to = (span.end as usize)
        .saturating_sub(start)
        .clamp(from, text.len());
    let annotation = AnnotationKind::Primary.span(from..to).label(label);
    // A control character of a file must not reach the terminal; same length keeps the caret right.
    let shown: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_control() && c != '\n' && c != '\t' {
                '?'
            } else {
                c
            }
        })
        .collect();
    let snippet = Snippet::source(shown)
        .line_start(line)
        .fold(true)
        .annotation(annotation);
    let group = [Group::with_level(level).element(snippet)];
    let renderer = if colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let mut rendered = renderer.render(&group);
    rendered.push('\n');
    rendered
}

/// The whole lines a span lies in (three at most), and where they start.
fn excerpt(text: &str, span: Span) -> (usize, &str) {
    let bytes = text.as_bytes();
    let begin = (span.start as usize).min(bytes.len());
    let start = bytes
        .get(..begin)
        .and_then(|b| b.iter().rposition(|b| *b == b'\n'))
        .map_or(0, |p| p + 1);
    let mut end = start;
    for _ in 0..3 {
        let rest = bytes.get(end..).unwrap_or_default();
        end = rest
            .iter()
            .position(|b| *b == b'\n')
            .map_or(bytes.len(), |p| end + p + 1);
        if end >= span.end as usize {
            break;
        }
    }
    (start, text.get(start..end).unwrap_or_default())
}

/// Text of a file or a container without control sequences, so that it can't steer the terminal.
pub fn clean(text: &str) -> String {
    let line = |line: &str| {
        let safe = super::logs::sanitise(line.as_bytes());
        console::strip_ansi_codes(&String::from_utf8_lossy(&safe)).into_owned()
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key::KeyPath;

    fn sources() -> (SourceMap, Span, Span) {
        let mut map = SourceMap::default();
        let id = map.add(
            "compose.yaml",
            "services:\n  api:\n    imge: x\n  db:\n    image: y\n",
        );
        (map, Span::new(id, 21, 25), Span::new(id, 31, 33))
    }

    #[test]
    fn an_error_shows_place_line_caret_and_hint() {
        let (map, span, _) = sources();
        let item = Diagnostic::error("unknown key `imge`")
            .at(span)
            .path(&KeyPath::root().key("services").key("api").key("imge"))
            .label("not a key of a service")
            .hint("did you mean `image`?");
        let want = "\
compose.yaml:3:5: services.api.imge: unknown key `imge`
  |
3 |     imge: x
  |     ^^^^ not a key of a service
hint: did you mean `image`?
";
        assert_eq!(diagnostic(&item, &map, false), want);
    }

    #[test]
    fn a_warning_says_so_and_shows_related_places() {
        let (map, span, other) = sources();
        let item = Diagnostic::warning("seen twice")
            .at(span)
            .related(other, "first here");
        let want = "\
warning: compose.yaml:3:5: seen twice
  |
3 |     imge: x
  |     ^^^^
compose.yaml:4:3: first here
  |
4 |   db:
  |   ^^
";
        assert_eq!(diagnostic(&item, &map, false), want);
    }

    #[test]
    fn an_error_without_a_place_is_tagged_and_cannot_steer_the_terminal() {
        let text = error(
            "no such service: \x1b[2Jweb",
            &["see `hoist config`".to_owned()],
            false,
        );
        assert_eq!(
            text,
            "error: no such service: web\nhint: see `hoist config`\n"
        );
    }

    #[test]
    fn a_span_past_the_end_of_its_text_does_not_fail() {
        let mut map = SourceMap::default();
        let id = map.add("a", "x: é");
        let text = diagnostic(
            &Diagnostic::error("m").at(Span::new(id, 90, 95)),
            &map,
            false,
        );
        assert!(text.starts_with("a:1:"), "{text}");
    }
}
