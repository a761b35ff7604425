//! What breaks YAML, in words that say what to do about it.
//!
//! In: the text and what the scanner says of it. Out: one finding, at the place that has to be changed: often another
//! than where the scanner gave up. It guesses from the lines around; it never reads on. Imports: `base`.
//! Rules: YAML 1.2.2; the mistakes are those that people ask about.

use granit_parser::ErrorKind;

use crate::base::diag::{Diagnostic, nearest};
use crate::base::span::{SourceId, Span};

/// Words for a scanner's error at a byte offset.
pub(super) fn fault(source: SourceId, text: &str, at: usize, kind: &ErrorKind) -> Diagnostic {
    let at = floor(text, at.min(text.len()));
    let page = Page { source, text, at };
    use ErrorKind as K;
    if let K::MappingValueNotAllowed
    | K::InvalidColonPlacement
    | K::ExpectedFlowMappingSeparator
    | K::InvalidSimpleKey
    | K::SimpleKeyExpected = kind
        && let Some(fault) = page.long_key()
    {
        return fault;
    }
    match kind {
        K::TabNotAllowed
        | K::TabInBlockIndentation
        | K::TabInIndentation
        | K::TabInPlainScalar
        | K::TabAtBlockScalarStart
        | K::InvalidBlockEntryWhitespace
        | K::InvalidMappingValueWhitespace => page.tab(),
        K::ExpectedBlockMappingKey | K::InvalidIndentation | K::InvalidBlockScalarIndent => {
            page.misplaced_line()
        }
        K::MappingValueNotAllowed | K::MappingKeyNotAllowed => page.second_colon(),
        K::SimpleKeyExpected | K::InvalidSimpleKey => page.no_colon(page.line(page.at)),
        K::InvalidQuotedScalarIndent
        | K::UnclosedQuotedScalar
        | K::DocumentIndicatorInQuotedScalar => page.open_quote(),
        K::InvalidTrailingSingleQuotedScalar | K::InvalidTrailingDoubleQuotedScalar => {
            page.after_quote()
        }
        K::UnclosedFlowCollection { open } => page.open_bracket(Some((page.at, *open))),
        K::MismatchedFlowCollectionEnd { open, close } => page
            .error(format!("the bracket `{open}` is closed by `{close}`"), 1)
            .label("opened here")
            .hint(format!("close it with `{}`", closing(*open))),
        K::InvalidColonPlacement
        | K::ExpectedFlowSequenceSeparator
        | K::ExpectedFlowMappingSeparator
        | K::InvalidFlowScalarIndent
        | K::BlockEntryInFlowCollection
        | K::UnexpectedEofFlowSequence
        | K::UnexpectedEofFlowMapping
        | K::UnexpectedEofImplicitFlowMapping => page.open_bracket(page.unclosed_bracket()),
        K::MisplacedFlowCollectionEnd => page
            .error("this bracket closes nothing", 1)
            .label("nothing is open here")
            .hint("remove it, or put the value in quotes"),
        K::UnknownAnchor => page.unknown_anchor(),
        K::MissingAnchorOrAliasName => page.reserved("starts an anchor or an alias in YAML"),
        K::UnexpectedCharacter { character } => page.character(*character),
        K::UnknownQuotedScalarEscape => page.escape(),
        K::CommentNotSeparated => page
            .error("a space is missing in front of the comment", 1)
            .hint("write ` #`, or put the value in quotes if the `#` belongs to it"),
        K::InvalidBlockScalarHeader => page
            .error("the text must start in the next line", 1)
            .label("nothing but a comment may follow in this line")
            .hint("break the line here and indent the text, or put it in quotes in one line"),
        K::RecursionLimitExceeded => page.error("values are nested more than 128 levels deep", 1),
        K::ExpectedBlockSequenceEntry => page.key_in_list(),
        K::ExpectedDocumentStart => page.second_root(),
        K::BlockSequenceEntryNotAllowed => page
            .error("a list can't start in the line of its key", 1)
            .label("start the list in a line of its own")
            .hint("break the line in front of this `-` and indent it"),
        K::ExpectedNodeContent => page.error("a value is missing here", 1),
        other => page.error(format!("this is no valid YAML: {other}"), 1),
    }
}

/// What to say of a text that is a page of the web: saving the page around a file is a common mistake.
pub(super) fn web_page(source: SourceId, text: &str) -> Option<Diagnostic> {
    let start = text.trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t']);
    let at = text.len() - start.len();
    let begins = |word: &str| {
        let head = start.get(..word.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(word))
    };
    let page = ["<!doctype", "<html"]
        .into_iter()
        .find(|word| begins(word))?;
    Some(
        Diagnostic::error("this is a web page, not a compose file")
            .at(Span::new(source, at, at + page.len()))
            .label("HTML starts here")
            .hint("download the file itself: look for a link “raw” on the page"),
    )
}

/// The text, and where the scanner gave up.
struct Page<'t> {
    source: SourceId,
    text: &'t str,
    at: usize,
}

/// One line of a text without its end.
#[derive(Clone, Copy)]
struct Line<'t> {
    start: usize,
    text: &'t str,
}

impl<'t> Line<'t> {
    /// Spaces it starts with.
    fn indent(&self) -> usize {
        self.text.len() - self.text.trim_start_matches(' ').len()
    }
    /// What follows them.
    fn body(&self) -> &'t str {
        self.text.trim()
    }
    fn is_blank(&self) -> bool {
        self.body().is_empty() || self.body().starts_with('#')
    }
}

impl<'t> Page<'t> {
    fn span(&self, start: usize, length: usize) -> Span {
        let start = floor(self.text, start);
        let mut end = (start + length).min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        Span::new(self.source, start, end)
    }
    /// An error where the scanner gave up, over a number of bytes.
    fn error(&self, message: impl Into<String>, length: usize) -> Diagnostic {
        Diagnostic::error(message).at(self.span(self.at, length))
    }
    /// The line that holds an offset.
    fn line(&self, at: usize) -> Line<'t> {
        let start = self.text[..at].rfind('\n').map_or(0, |end| end + 1);
        let rest = &self.text[start..];
        let text = rest.split('\n').next().unwrap_or_default();
        let text = text.strip_suffix('\r').unwrap_or(text);
        Line { start, text }
    }
    /// The lines above an offset's line, nearest first, without blank ones.
    fn above(&self, at: usize) -> impl Iterator<Item = Line<'t>> {
        let mut end = self.line(at).start;
        std::iter::from_fn(move || {
            let line = self.line(end.checked_sub(1)?);
            end = line.start;
            Some(line)
        })
        .filter(|line| !line.is_blank())
    }
    /// A line's text without its indentation.
    fn body_span(&self, line: Line<'_>) -> Span {
        let start = line.start + line.text.len() - line.text.trim_start().len();
        self.span(start, line.body().len())
    }

    fn tab(&self) -> Diagnostic {
        let here = self.line(self.at).start;
        let mut at = here;
        for line in self.text[here..].split_inclusive('\n').take(2) {
            let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
            if let Some(tab) = line[..blank].find('\t') {
                let tabs = line[tab..blank].len();
                return Diagnostic::error("a tab indents this line, but YAML takes spaces only")
                    .at(self.span(at + tab, tabs))
                    .label("expected spaces")
                    .hint("replace each tab by two spaces (most editors: “convert indentation to spaces”)");
            }
            at += line.len();
        }
        let tab = self.text[here..self.at].rfind('\t').map(|at| here + at);
        Diagnostic::error("a tab stands where YAML takes spaces only")
            .at(self.span(tab.unwrap_or(self.at), 1))
            .label("expected a space")
            .hint("replace the tab by a space")
    }

    /// A key that is longer than a key may be.
    ///
    /// Source: YAML 1.2.2, 7.4.2: an implicit key has at most 1024 characters.
    fn long_key(&self) -> Option<Diagnostic> {
        let line = self.line(self.at);
        let before = self.text[line.start..self.at].trim_end_matches(':');
        let start = before.rfind(['{', ',', ' ']).map_or(0, |at| at + 1);
        let length = before.len() - start;
        (length > 1024).then(|| {
            Diagnostic::error("a key may have at most 1024 characters")
                .at(self.span(line.start + start, length))
                .label(format!("{length} characters"))
                .hint("give it a shorter name")
        })
    }

    /// A line whose indentation fits neither the block it goes on with nor the one around.
    fn misplaced_line(&self) -> Diagnostic {
        let line = self.line(self.at);
        let lead = self.text[line.start..self.at].trim();
        if lead.ends_with(['"', '\'']) {
            return self.after_quote();
        }
        let indent = line.indent();
        let deeper = self.above(self.at).take_while(|l| l.indent() > indent);
        let inner = deeper.last();
        let outer = self.above(self.at).find(|l| l.indent() < indent);
        let same = self.above(self.at).find(|l| l.indent() <= indent);
        let item = line.body().starts_with('-');
        let key = same.filter(|key| key.indent() == indent && !key.body().starts_with('-'));
        if let Some(key) = key.filter(|_| item) {
            return Diagnostic::error("a list item stands among the keys of a mapping")
                .at(self.body_span(line))
                .label("expected a key, as in the line above")
                .related(self.body_span(key), "the mapping it stands in")
                .hint("indent it deeper than the key whose list it belongs to, or write `key: value` without the dash");
        }
        let Some(inner) = inner else {
            return self.error("this line fits nothing above it", line.body().len());
        };
        let hint = match outer {
            Some(outer) => format!(
                "indent it by {} to go on with the block above, or by {} to end that block",
                spaces(inner.indent()),
                spaces(outer.indent())
            ),
            None => format!("indent it by {}", spaces(inner.indent())),
        };
        Diagnostic::error(format!(
            "wrong indentation: this line starts with {}, the block above it with {}",
            spaces(indent),
            spaces(inner.indent())
        ))
        .at(self.body_span(line))
        .label(format!("expected {}", spaces(inner.indent())))
        .related(self.body_span(inner), "the block above")
        .hint(hint)
    }

    /// `key: a: b`, or a key whose line goes on with what stands above.
    fn second_colon(&self) -> Diagnostic {
        let line = self.line(self.at);
        let before = self.text[line.start..self.at].trim_start();
        let key = before.trim_start_matches("- ");
        if let Some((key, value)) = key.split_once(": ")
            && !value.trim().is_empty()
        {
            let rest = &line.text[line.text.find(value).unwrap_or_default()..];
            return self
                .error("a value with `: ` in it must stand in quotes", 1)
                .label("YAML takes this colon for a mapping")
                .hint(format!("write `{key}: {}`", quoted(rest.trim())));
        }
        let Some(above) = self.above(self.at).next() else {
            return self.error("no key may stand here", 1);
        };
        let body = above.body().trim_start_matches("- ");
        match body.split_once(':') {
            None => self.no_colon(above),
            Some((_, value)) if !value.starts_with(' ') && !value.is_empty() => {
                self.no_colon(above)
            }
            _ => {
                let depth = above.indent();
                Diagnostic::error(
                    "this line is indented deeper than the one above, which has a value already",
                )
                .at(self.body_span(line))
                .label(format!("expected {}", spaces(depth)))
                .related(self.body_span(above), "the line above")
                .hint(format!("indent it by {}", spaces(depth)))
            }
        }
    }

    /// A line that should be `key: value` and lacks the colon, or the space behind it.
    fn no_colon(&self, line: Line<'_>) -> Diagnostic {
        let body = line.body();
        let dash = if body.starts_with("- ") { "- " } else { "" };
        let pair = body.trim_start_matches("- ");
        let start = self.body_span(line).start as usize + body.len() - pair.len();
        if let Some((key, value)) = pair.split_once(':')
            && !value.is_empty()
        {
            return Diagnostic::error("a space is missing after the colon")
                .at(self.span(start + key.len(), 1))
                .label("expected a space behind it")
                .hint(format!("write `{dash}{key}: {}`", value.trim()));
        }
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        let value = value.trim();
        let fixed = match value {
            "" => format!("{dash}{key}:"),
            _ => format!("{dash}{key}: {value}"),
        };
        Diagnostic::error(format!("a colon is missing after `{key}`"))
            .at(self.span(start, key.len()))
            .label("expected `:` behind it")
            .hint(format!("write `{fixed}`"))
    }

    fn open_quote(&self) -> Diagnostic {
        let here = self.line(self.at);
        let opened = std::iter::once(here)
            .chain(self.above(self.at))
            .find_map(|line| Some((line, unclosed_quote(line.text)?)));
        let Some((line, (at, quote))) = opened else {
            return self.error("a quote is not closed", 1);
        };
        let whole = line.text.trim();
        let fixed = match quote {
            '\'' if line.text[at + 1..].contains('\'') => None,
            _ => Some(format!("{whole}{quote}")),
        };
        let fault = Diagnostic::error(format!("the quote {quote} is not closed"))
            .at(self.span(line.start + at, 1))
            .label("opened here");
        match fixed {
            Some(fixed) => fault.hint(format!("write `{fixed}`")),
            None => fault.hint("close it at the end of the value"),
        }
    }

    fn after_quote(&self) -> Diagnostic {
        let line = self.line(self.at);
        let body = line.body();
        let fault = self
            .error("text follows the closing quote", 1)
            .label("expected the end of the line");
        match body.split_once(": ") {
            Some((key, value)) => {
                let plain: String = value.chars().filter(|c| !matches!(c, '"' | '\'')).collect();
                fault.hint(format!(
                    "put the whole value in quotes: `{key}: {}`",
                    quoted(&plain)
                ))
            }
            None => fault.hint("put the whole value in quotes"),
        }
    }

    fn open_bracket(&self, open: Option<(usize, char)>) -> Diagnostic {
        let Some((at, open)) = open else {
            return self
                .error("a comma or a closing bracket is missing", 1)
                .label("expected `,` in front of it")
                .hint("separate the items with commas, and put values with `:`, `[`, `{` or `,` in quotes");
        };
        let line = self.line(at);
        let close = closing(open);
        let fault = Diagnostic::error(format!("the bracket `{open}` is not closed"))
            .at(self.span(at, 1))
            .label("opened here");
        match line.start == 0 && self.text[at..].contains('\n') && line.body().len() == 1 {
            true => fault.hint(format!("add `{close}`")),
            false => fault.hint(format!("write `{}{close}`", line.body())),
        }
    }

    /// The last bracket above the place that nothing closes.
    fn unclosed_bracket(&self) -> Option<(usize, char)> {
        let mut open: Vec<(usize, char)> = Vec::new();
        let mut quote = None;
        // Brackets are looked for from the line that starts the value on: a hundred lines are more than people write.
        let first = self.above(self.at).take(100).last();
        let start = first.map_or(self.line(self.at).start, |line| line.start);
        for (at, c) in self.text[start..self.at].char_indices() {
            match (quote, c) {
                (Some(closing), _) if c == closing => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') => quote = Some(c),
                (None, '[' | '{') => open.push((start + at, c)),
                (None, ']' | '}') => {
                    open.pop();
                }
                _ => {}
            }
        }
        open.pop()
    }

    fn unknown_anchor(&self) -> Diagnostic {
        let rest = &self.text[self.at..];
        let end = rest.find([' ', '\n', '\r', ',', ']', '}']);
        let alias = &rest[..end.unwrap_or(rest.len())];
        let name = alias.trim_start_matches('*');
        let fault = self
            .error(
                format!("no anchor `&{name}` stands above this alias"),
                alias.len(),
            )
            .label("expected the name of an anchor");
        let known = self.text[..self.at].split([' ', '\n', '[', ',', '{']);
        let known = known.filter_map(|word| word.trim_end().strip_prefix('&'));
        let good = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
        match nearest(name, known) {
            Some(near) => fault.hint(format!("did you mean `*{near}`?")),
            None if name.chars().all(good) => fault.hint(format!(
                "mark the value it stands for with `&{name}`, above this line; or put it in quotes: {}",
                quoted(alias)
            )),
            None => fault.hint(format!("if it is no alias, put it in quotes: {}", quoted(alias))),
        }
    }

    /// A character that has a meaning of its own where a value starts.
    fn reserved(&self, why: &str) -> Diagnostic {
        let rest = self.text[self.at..].lines().next().unwrap_or_default();
        let first = rest.chars().next().unwrap_or(' ');
        let shown = match first {
            '`' => "a backtick".to_owned(),
            first => format!("`{first}`"),
        };
        self.error(format!("{shown} {why}"), first.len_utf8())
            .label("expected a value")
            .hint(format!("put the value in quotes: {}", quoted(rest.trim())))
    }

    fn character(&self, c: char) -> Diagnostic {
        // The scanner may have gone past it.
        let near = floor(self.text, self.at.saturating_sub(1));
        let at = self.text[near..].find(c).map_or(self.at, |at| near + at);
        let page = Self { at, ..*self };
        if !c.is_control() && c != '\u{feff}' {
            return page.reserved("can't start a value in YAML");
        }
        let fault = page
            .error(
                format!(
                    "the character U+{:04X} is not allowed in YAML",
                    u32::from(c)
                ),
                c.len_utf8(),
            )
            .label("this character");
        match c {
            '\0' => fault.hint("remove it; is this a text file?"),
            _ => fault.hint(format!(
                "remove it, or write it as an escape in double quotes: \"\\x{:02X}\"",
                u32::from(c)
            )),
        }
    }

    fn escape(&self) -> Diagnostic {
        let known = "0abt\tnvfre \"/\\N_LPxuU\n\r";
        let rest = &self.text[self.at..];
        let mut chars = rest.char_indices();
        while let Some((at, c)) = chars.next() {
            let Some((_, escaped)) = (c == '\\').then(|| chars.next()).flatten() else {
                continue;
            };
            if !known.contains(escaped) {
                return Diagnostic::error(format!("`\\{escaped}` means nothing in double quotes"))
                    .at(self.span(self.at + at, 1 + escaped.len_utf8()))
                    .label("unknown escape")
                    .hint(format!(
                        "write `\\\\{escaped}`, or use single quotes, which have no escapes"
                    ));
            }
        }
        self.error("an escape in double quotes means nothing", 1)
            .hint("write `\\\\` for a backslash, or use single quotes")
    }

    fn key_in_list(&self) -> Diagnostic {
        let line = self.line(self.at);
        let outer = self.above(self.at).find(|l| l.indent() < line.indent());
        let fault = Diagnostic::error("a key stands among the items of a list")
            .at(self.body_span(line))
            .label("expected `- `, as in the lines above");
        match outer {
            Some(outer) => fault.hint(format!(
                "indent it by {} to end the list, or start it with `- `",
                spaces(outer.indent())
            )),
            None => fault.hint("start it with `- `"),
        }
    }

    fn second_root(&self) -> Diagnostic {
        let line = self.line(self.at);
        let first = self.above(self.at).last();
        let fault = Diagnostic::error("this line does not belong to what stands above it")
            .at(self.body_span(line));
        match first.filter(|first| first.indent() != line.indent()) {
            Some(first) => fault
                .label(format!("expected {}", spaces(first.indent())))
                .related(self.body_span(first), "the first key")
                .hint(format!(
                    "start all keys of the top level in one column: indent this line by {}, or the lines above less",
                    spaces(first.indent())
                )),
            None => fault.hint("remove it, or separate documents by a line `---`"),
        }
    }
}

/// The offset of the character that holds a byte.
fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn spaces(count: usize) -> String {
    match count {
        0 => "no space".to_owned(),
        1 => "1 space".to_owned(),
        _ => format!("{count} spaces"),
    }
}

fn closing(open: char) -> char {
    if open == '[' { ']' } else { '}' }
}

/// A value in quotes that leave it as it is.
pub(super) fn quoted(value: &str) -> String {
    match value.contains(['\\', '"']) {
        true => format!("'{}'", value.replace('\'', "''")),
        false => format!("\"{value}\""),
    }
}

/// The quote that starts a value in a line and is not closed there.
fn unclosed_quote(line: &str) -> Option<(usize, char)> {
    let mut open: Option<(usize, char)> = None;
    let (mut last, mut escaped) = (' ', false);
    for (at, c) in line.char_indices() {
        match open {
            Some((_, '"')) if escaped => escaped = false,
            Some((_, '"')) if c == '\\' => escaped = true,
            Some((_, quote)) if c == quote => open = None,
            None if matches!(c, '"' | '\'') && matches!(last, ' ' | '[' | '{' | ',' | '-') => {
                open = Some((at, c));
            }
            None if c == '#' && last == ' ' => return None,
            _ => {}
        }
        last = c;
    }
    open
}

#[cfg(test)]
mod tests {
    use crate::base::diag::Diagnostics;
    use crate::base::span::SourceMap;
    use crate::compose::read::read;

    /// Place, message and hints of the only finding.
    fn told(text: &str) -> String {
        let (mut sources, mut diags) = (SourceMap::default(), Diagnostics::default());
        let id = sources.add("f", text);
        read(id, text, &mut diags);
        let all = diags.sorted();
        let lines = all
            .iter()
            .map(|d| format!("{} | {}", d.headline(&sources), d.hints.join("; ")));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_breaks_yaml_is_told_at_the_place_to_change() {
        for (text, want) in [
            (
                "a:\n\tb: 1",
                "f:2:1: a tab indents this line, but YAML takes spaces only | replace each tab",
            ),
            (
                "a:\n  b: 1\n\t  c: 2",
                "f:3:1: a tab indents this line, but YAML takes spaces only | replace each tab",
            ),
            (
                "a:\n  b:1\n  c: 2",
                "f:2:4: a space is missing after the colon | write `b: 1`",
            ),
            (
                "a:\n  c: 2\n  b:1",
                "f:3:4: a space is missing after the colon | write `b: 1`",
            ),
            (
                "a\n  b: 1",
                "f:1:1: a colon is missing after `a` | write `a:`",
            ),
            (
                "a:\n  c: 1\n  b x",
                "f:3:3: a colon is missing after `b` | write `b: x`",
            ),
            (
                "a: \"x\nb:\n  - 1",
                "f:1:4: the quote \" is not closed | write `a: \"x\"`",
            ),
            (
                "a: b: c",
                "f:1:5: a value with `: ` in it must stand in quotes | write `a: \"b: c\"`",
            ),
            (
                "a: \"x\":y",
                "f:1:7: text follows the closing quote | put the whole value in quotes: `a: \"x:y\"`",
            ),
            (
                "a: [1, 2\nb: 3",
                "f:1:4: the bracket `[` is not closed | write `a: [1, 2]`",
            ),
            (
                "a: [1}",
                "f:1:4: the bracket `[` is closed by `}` | close it with `]`",
            ),
            (
                "a:\n  b:\n    c: 1\n   d: 2",
                "f:4:4: wrong indentation: this line starts with 3 spaces, the block above it with 4 spaces | indent it by 4 spaces",
            ),
            (
                "a:\n  b: 1\n    c: 2",
                "f:3:5: this line is indented deeper than the one above, which has a value already | indent it by 2 spaces",
            ),
            (
                "a:\n  b: 1\n  - c",
                "f:3:3: a list item stands among the keys of a mapping | indent it deeper",
            ),
            (
                "a:\n  - 1\n  b: 2",
                "f:3:3: a key stands among the items of a list | indent it by no space to end",
            ),
            (
                "x: &base 1\ny: *bas",
                "f:2:4: no anchor `&bas` stands above this alias | did you mean `*base`?",
            ),
            (
                "y: *.example",
                "f:1:4: no anchor `&.example` stands above this alias | if it is no alias, put it in quotes: \"*.example\"",
            ),
            (
                "y: @x",
                "f:1:4: `@` can't start a value in YAML | put the value in quotes: \"@x\"",
            ),
            (
                "y: \"\\d+\"",
                "f:1:5: `\\d` means nothing in double quotes | write `\\\\d`",
            ),
            (
                "y: \"x\0\"",
                "f:1:6: the character U+0000 is not allowed in YAML | remove it",
            ),
            (
                "  a: 1\nb: 2",
                "f:2:1: this line does not belong to what stands above it | start all keys",
            ),
            (
                "y: - 1",
                "f:1:4: a list can't start in the line of its key | break the line",
            ),
        ] {
            let got = told(text);
            assert!(got.starts_with(want), "{text:?}\n got: {got}\nwant: {want}");
            assert_eq!(got.lines().count(), 1, "{got}");
        }
    }

    #[test]
    fn broken_text_of_any_kind_has_words() {
        let marks = [
            "", "\t", "\"", "'", "[", "{", "]", "- ", ": ", "é", "*", "&", "\n  ", "#", "|", "\0",
            "\u{feff}", "!", "%", "?",
        ];
        for a in marks {
            for b in marks {
                for text in [
                    format!("a{a}é{b}: 1\n"),
                    format!("a:\n  {a}b: é{b}\n c"),
                    format!("{a}{b}"),
                ] {
                    told(&text);
                }
            }
        }
    }
}
