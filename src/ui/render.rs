//! Findings and errors as text: place and message first, then the source with a caret, then what to do.
//!
//! In: diagnostics and the texts they point into. Out: one string. Of many findings the first are shown and the rest
//! counted; of long lines the part around the caret is. Nothing of a file steers the terminal. Imports: `base`.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::paint;
use crate::base::diag::{Diagnostic, Severity};
use crate::base::event::StopReport;
use crate::base::span::{Source, SourceMap, Span};

/// Errors that are shown in full, and as many warnings: more than anyone works through in one go.
const SHOWN: usize = 50;
/// Places that are shown beside that of a finding.
const RELATED: usize = 10;
/// Characters of a line that are shown around the caret.
const WIDTH: usize = 160;
/// Of them, those in front of it.
const BEFORE: usize = 60;
/// Characters of a message, a path or a hint: names can be as long as a file.
const LINE: usize = 600;

/// Renders findings in the order given, each followed by its snippet and hints, and a last line that counts them.
pub fn diagnostics(items: &[Diagnostic], sources: &SourceMap, colour: bool) -> String {
    let mut text = String::new();
    let (mut errors, mut warnings) = (0, 0);
    for item in items {
        let count = match item.severity {
            Severity::Error => &mut errors,
            Severity::Warning => &mut warnings,
        };
        *count += 1;
        if *count <= SHOWN {
            text.push_str(&diagnostic(item, sources, colour));
        }
    }
    let (more_errors, more_warnings) = (over(errors), over(warnings));
    if more_errors + more_warnings > 0 {
        let more = counted(more_errors, more_warnings);
        text.push_str(&format!("and {more} more\n"));
    }
    if errors > 0 && errors + warnings > 1 {
        let all = counted(errors, warnings);
        text.push_str(&format!("{}\n", paint(colour, "1", &all)));
    }
    text
}

fn over(count: usize) -> usize {
    count.saturating_sub(SHOWN)
}

/// `3 errors, 1 warning`.
fn counted(errors: usize, warnings: usize) -> String {
    let one = |count: usize, word: &str| match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        _ => Some(format!("{count} {word}s")),
    };
    let both = [one(errors, "error"), one(warnings, "warning")];
    both.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Renders one finding.
pub fn diagnostic(item: &Diagnostic, sources: &SourceMap, colour: bool) -> String {
    let headline = cut(&clean(&item.headline(sources)));
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
        let label = item.label.as_deref();
        text.push_str(&snippet(level, span, label, sources, colour));
        text.push_str(&chain(span, sources));
    }
    for (span, what) in item.related.iter().take(RELATED) {
        let line = format!("{}: {}", sources.place(*span), clean(what));
        text.push_str(&format!("{}\n", cut(&line)));
        text.push_str(&snippet(Level::NOTE, *span, None, sources, colour));
    }
    if item.related.len() > RELATED {
        let more = item.related.len() - RELATED;
        text.push_str(&format!("and {more} more places\n"));
    }
    text.push_str(&hints(&item.hints, colour));
    text
}

/// The places that led to a file, innermost first.
fn chain(span: Span, sources: &SourceMap) -> String {
    let mut text = String::new();
    let mut source = span.source;
    // Files that name each other are refused before their findings get here; the limit is for safety.
    for _ in 0..100 {
        let Some(place) = sources.get(source).and_then(|source| source.named_at) else {
            break;
        };
        let shown = clean(&sources.place(place));
        text.push_str(&format!("  in a file named at {shown}\n"));
        source = place.source;
    }
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

/// Renders acts the user can do; further lines of one, such as text to paste, stand below it.
pub fn hints(hints: &[String], colour: bool) -> String {
    let one = |hint: &String| format!("{} {}\n", tag(Tag::Hint, colour), cut(&clean(hint)));
    hints.iter().map(one).collect()
}

/// Renders a warning that no place in a file belongs to.
pub fn warning(message: &str, colour: bool) -> String {
    format!("{} {}\n", tag(Tag::Warning, colour), clean(message))
}

/// Renders a stop that cost time, with what mends it.
pub fn slow_stop(report: &StopReport, colour: bool) -> String {
    warning(&report.text, colour) + &hints(&report.hints, colour)
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

/// The line a span starts in, with a caret below and the label beside it.
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
    let (line, _) = sources.line_col(span);
    let (shown, caret) = excerpt(source, span);
    let label = label.map(|label| cut(&clean(label)));
    let annotation = AnnotationKind::Primary.span(caret).label(label.as_deref());
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
    // The widest line is cut already; the renderer's own cut would count the label too.
    let mut rendered = renderer.term_width(4 * WIDTH).render(&group);
    rendered.push('\n');
    rendered
}

/// The line a span starts in, cut around it, and the bytes of that text which the span covers.
fn excerpt(source: &Source, span: Span) -> (String, Range<usize>) {
    let text = &source.text;
    let at = (span.start as usize).min(text.len());
    let line = source.line(at);
    let whole = text.get(line.clone()).unwrap_or_default();
    let mut from = at.saturating_sub(line.start).min(whole.len());
    while !whole.is_char_boundary(from) {
        from -= 1;
    }
    let to = (span.end as usize).saturating_sub(line.start);
    let mut to = to.clamp(from, whole.len());
    while !whole.is_char_boundary(to) {
        to -= 1;
    }
    if to > from {
        to = from + whole[from..to].trim_end().len().max(1);
    }
    let (before, rest) = whole.split_at(from);
    let long = before.chars().count() + rest.chars().count() > WIDTH;
    let (skipped, taken) = match long {
        false => (0, whole.len()),
        true => {
            let first = before.char_indices().rev().nth(BEFORE);
            let last = rest.char_indices().nth(WIDTH - BEFORE);
            (
                first.map_or(0, |(at, _)| at),
                last.map_or(whole.len(), |(at, _)| from + at),
            )
        }
    };
    let mut shown = String::new();
    let (mut start, mut end) = (None, None);
    if skipped > 0 {
        shown.push('…');
    }
    for (at, c) in whole[skipped..taken].char_indices() {
        if skipped + at >= from {
            start.get_or_insert(shown.len());
        }
        if skipped + at >= to {
            end.get_or_insert(shown.len());
        }
        shown.push(visible(c));
    }
    let start = start.unwrap_or(shown.len());
    let end = end.unwrap_or(shown.len()).max(start);
    if taken < whole.len() {
        shown.push('…');
    }
    (shown, start..end)
}

/// A character that shows and steers nothing: control characters get their picture, what turns text around a mark.
fn visible(c: char) -> char {
    match c {
        '\t' => c,
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{a0}' => '\u{237d}',
        c if is_hidden(c) => '\u{fffd}',
        c => c,
    }
}

/// C1 controls, line separators, marks without width and those that turn the direction of text.
///
/// Source: Unicode Technical Report 36, 2.10.5.
pub(super) fn is_hidden(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A text with its middle left out where it is very long.
fn cut(text: &str) -> String {
    let Some((end, _)) = text.char_indices().nth(LINE) else {
        return text.to_owned();
    };
    let tail = text.char_indices().rev().nth(LINE / 3);
    let tail = tail.map_or(text.len(), |(at, _)| at).max(end);
    let head = text.char_indices().nth(LINE * 2 / 3);
    let head = head.map_or(end, |(at, _)| at);
    format!("{} … {}", &text[..head], &text[tail..])
}

/// Text of a file or a container without control sequences, so that it can't steer the terminal.
pub fn clean(text: &str) -> String {
    let line = |line: &str| {
        let safe = super::logs::sanitise(line.as_bytes());
        let text = String::from_utf8_lossy(&safe).into_owned();
        let text = console::strip_ansi_codes(&text).into_owned();
        match text.contains(is_hidden) {
            true => text.replace(is_hidden, "\u{fffd}"),
            false => text,
        }
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

    /// The second line of a rendered snippet and the one with the caret, of a text with one line.
    fn shown(text: &str, from: usize, to: usize) -> (String, String) {
        let mut map = SourceMap::default();
        let id = map.add("a", text);
        let item = Diagnostic::error("m").at(Span::new(id, from, to));
        let text = diagnostic(&item, &map, false);
        let lines: Vec<&str> = text.lines().collect();
        (lines[2].to_owned(), lines[3].to_owned())
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let text = format!("{}é:{}", "x".repeat(5000), "y".repeat(5000));
        let at = text.find('é').expect("it is there");
        let (line, caret) = shown(&text, at, at + 'é'.len_utf8());
        assert!(line.chars().count() < 180, "{line}");
        assert!(line.contains("…x") && line.ends_with("y…"), "{line}");
        let column = caret.chars().position(|c| c == '^');
        assert_eq!(column, line.chars().position(|c| c == 'é'));
        let (line, _) = shown(&text, 0, text.len());
        assert!(line.starts_with("1 | xx") && line.ends_with('…'), "{line}");
    }

    #[test]
    fn control_characters_of_a_line_show_and_move_no_caret() {
        let (line, caret) = shown("a\x1b]0;t\x07\u{9b}\u{202e}: b\r\n", 14, 15);
        assert_eq!(line, "1 | a␛]0;t␇\u{fffd}\u{fffd}: b");
        assert_eq!(caret.find('^'), Some(15));
        let (line, caret) = shown("名: \tb", 6, 7);
        assert_eq!(
            (line.as_str(), caret.trim()),
            ("1 | 名:     b", "|         ^")
        );
    }

    #[test]
    fn many_findings_are_counted_and_very_long_names_cut() {
        let (map, span, _) = sources();
        let long = "k".repeat(1 << 20);
        let mut items = vec![Diagnostic::error(format!("unknown key `{long}`")).at(span); 60];
        items.push(Diagnostic::warning("w").at(span));
        let text = diagnostics(&items, &map, false);
        assert!(text.len() < 100_000, "{}", text.len());
        assert!(text.ends_with("and 10 errors more\n60 errors, 1 warning\n"));
    }

    #[test]
    fn a_file_that_another_names_says_by_which_way_it_was_reached() {
        let (mut map, _, place) = sources();
        let id = map.add("base.yaml", "a: 1");
        map.set_named_at(id, Some(place));
        let text = diagnostic(&Diagnostic::error("m").at(Span::new(id, 0, 1)), &map, false);
        assert!(
            text.ends_with("  in a file named at compose.yaml:4:3\n"),
            "{text}"
        );
    }
}
