//! Lines of a Dockerfile: directives, comments, continuations, heredocs.
//!
//! In: the file's text. Out: one [`Line`] an instruction, with its bytes and its heredocs.
//! It knows instructions only as far as heredocs need it. Imports: `base`, `vars`.
//! Rules: Dockerfile reference, "Parser directives", "Here-Documents"; details as BuildKit's parser.

use super::vars::Expander;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::span::{SourceId, Span};

/// One instruction with its continuations joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The joined text.
    pub text: String,
    /// All bytes of it, heredocs too.
    pub span: Span,
    /// Bodies that follow it, in order.
    pub heredocs: Vec<Heredoc>,
}

/// A text that follows an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it.
    pub name: String,
    /// The lines, each with its line end.
    pub content: String,
    /// Whether variables are worked out in it: the word was not quoted.
    pub expand: bool,
    /// Whether leading tabs are dropped: `<<-`.
    pub chomp: bool,
}

impl Heredoc {
    /// Reads a whole word such as `<<EOF`, `<<-"EOF"`; `None` if it is none.
    pub fn parse(word: &str) -> Option<Self> {
        let rest = word
            .trim_start_matches(|ch: char| ch.is_ascii_digit())
            .strip_prefix("<<")?;
        let (chomp, rest) = rest
            .strip_prefix('-')
            .map_or((false, rest), |rest| (true, rest));
        if rest.is_empty() || rest.contains('<') {
            return None;
        }
        let unset = |_: &str| None;
        let words = Expander::unquoting(&unset).words(rest).ok()?;
        let raw = Expander::raw(&unset).words(rest).ok()?;
        let ([name], [written]) = (words.as_slice(), raw.as_slice()) else {
            return None;
        };
        Some(Self {
            name: name.clone(),
            content: String::new(),
            expand: name == written,
            chomp,
        })
    }
    /// The content, without leading tabs if that was asked for.
    pub fn text(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        self.content
            .split_inclusive('\n')
            .map(|line| line.trim_start_matches('\t'))
            .collect()
    }
}

/// A file's lines and what its directives say.
#[derive(Debug, Clone)]
pub struct Lexed {
    /// The instructions.
    pub lines: Vec<Line>,
    /// `\` or `` ` ``.
    pub escape: char,
    /// `# syntax=`, with its place.
    pub syntax: Option<(String, Span)>,
}

struct Physical<'a> {
    /// Without the line end.
    text: &'a str,
    /// With it.
    full: &'a str,
    start: usize,
}

/// Splits a text into instructions. Faults go to `found`.
pub fn lex(text: &str, source: SourceId, found: &mut Diagnostics) -> Lexed {
    let mut at = 0;
    let mut rows = Vec::new();
    for full in text.split_inclusive('\n') {
        let bom = if at == 0 && full.starts_with('\u{feff}') {
            3
        } else {
            0
        };
        let row = &full[bom..];
        rows.push(Physical {
            text: row.trim_end_matches(['\n', '\r']),
            full: row,
            start: at + bom,
        });
        at += full.len();
    }
    let mut lexed = Lexed {
        lines: Vec::new(),
        escape: '\\',
        syntax: None,
    };
    let mut next = directives(&rows, source, &mut lexed, found);
    while next < rows.len() {
        next = instruction(&rows, next, source, &mut lexed, found);
    }
    lexed
}

/// Reads the directives at the head; gives the first row after them.
fn directives(
    rows: &[Physical<'_>],
    source: SourceId,
    lexed: &mut Lexed,
    found: &mut Diagnostics,
) -> usize {
    let mut seen = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        // A script's first line may name its interpreter.
        if at == 0 && row.text.starts_with("#!") {
            continue;
        }
        let Some((key, value)) = directive(row.text) else {
            return at;
        };
        let span = Span::new(source, row.start, row.start + row.text.len());
        if seen.contains(&key) {
            found.push(
                Diagnostic::error(format!("only one {key} parser directive can be used")).at(span),
            );
        }
        match key.as_str() {
            "escape" if value == "\\" || value == "`" => {
                lexed.escape = value.chars().next().unwrap_or('\\');
            }
            "escape" => found.push(
                Diagnostic::error(format!("invalid escape token `{value}`"))
                    .at(span)
                    .hint("write `# escape=\\` or `# escape=` and a backquote"),
            ),
            "syntax" => lexed.syntax = Some((value, span)),
            "check" => {}
            _ => return at,
        }
        seen.push(key);
    }
    rows.len()
}

/// `# key = value`.
fn directive(row: &str) -> Option<(String, String)> {
    let (key, value) = row.trim_start().strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let named = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric());
    (named && !value.is_empty()).then(|| (key.to_ascii_lowercase(), value.to_owned()))
}

fn is_comment(row: &str) -> bool {
    row.trim_start().starts_with('#')
}

/// The row without a continuation mark at its end, and whether there was one. A doubled mark is none.
fn continued(row: &str, escape: char) -> (&str, bool) {
    let trimmed = row.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest, true),
        _ => (row, false),
    }
}

/// Reads one instruction from row `at`; gives the row after it.
fn instruction(
    rows: &[Physical<'_>],
    at: usize,
    source: SourceId,
    lexed: &mut Lexed,
    found: &mut Diagnostics,
) -> usize {
    let first = &rows[at];
    let begin = first.text.trim_start();
    if begin.is_empty() || begin.starts_with('#') {
        return at + 1;
    }
    let (text, mut more) = continued(begin, lexed.escape);
    let mut text = text.to_owned();
    let mut next = at + 1;
    while more && next < rows.len() {
        let row = rows[next].text;
        next += 1;
        if is_comment(row) || row.trim_start().is_empty() {
            continue;
        }
        let (part, again) = continued(row, lexed.escape);
        text.push_str(part);
        more = again;
    }
    if text.trim().is_empty() {
        return next;
    }
    let mut heredocs = if takes_heredocs(&text) {
        heredocs_of(&text)
    } else {
        Vec::new()
    };
    let indent = first.text.len() - begin.len();
    let start = first.start + indent;
    for heredoc in &mut heredocs {
        let ended = rows[next..].iter().position(|row| {
            let row = if heredoc.chomp {
                row.text.trim_start_matches('\t')
            } else {
                row.text
            };
            row == heredoc.name
        });
        let Some(ended) = ended else {
            let end = first.start + first.text.len();
            found.push(
                Diagnostic::error("unterminated heredoc")
                    .at(Span::new(source, start, end))
                    .label(format!("no line `{}` follows", heredoc.name))
                    .hint(format!(
                        "end the text with a line that holds only {}",
                        heredoc.name
                    )),
            );
            return rows.len();
        };
        heredoc.content = rows[next..next + ended]
            .iter()
            .map(|row| row.full)
            .collect();
        next += ended + 1;
    }
    let last = &rows[next - 1];
    let span = Span::new(source, start, last.start + last.text.len());
    lexed.lines.push(Line {
        text,
        span,
        heredocs,
    });
    next
}

/// Whether the instruction is one that heredocs may follow. The exec form has none.
fn takes_heredocs(text: &str) -> bool {
    if !text.contains("<<") {
        return false;
    }
    let mut words = text.split_whitespace();
    let mut name = words.next().unwrap_or_default().to_ascii_uppercase();
    if name == "ONBUILD" {
        name = words.next().unwrap_or_default().to_ascii_uppercase();
    }
    let exec = words
        .find(|word| !word.starts_with("--"))
        .is_some_and(|word| word.starts_with('['));
    let json = || {
        text.find('[')
            .is_some_and(|at| serde_json::from_str::<Vec<String>>(text[at..].trim()).is_ok())
    };
    matches!(name.as_str(), "ADD" | "COPY" | "RUN") && !(exec && json())
}

fn heredocs_of(text: &str) -> Vec<Heredoc> {
    let unset = |_: &str| None;
    let words = Expander::raw(&unset).words(text).unwrap_or_default();
    words
        .iter()
        .filter_map(|word| Heredoc::parse(word))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(file: &str) -> Vec<String> {
        let mut found = Diagnostics::default();
        let lexed = lex(file, SourceId(0), &mut found);
        assert!(found.is_empty(), "{found:?}");
        lexed.lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn continuations_skip_comments_and_blank_lines() {
        let file =
            "\u{feff}FROM a\r\nRUN x \\\r\n  # no\r\n\r\n  y \\ \n z\n# c\nLABEL a=b\\\\\nCMD";
        assert_eq!(
            texts(file),
            ["FROM a", "RUN x   y  z", "LABEL a=b\\\\", "CMD"]
        );
    }

    #[test]
    fn the_escape_directive_changes_the_mark_only_at_the_head() {
        assert_eq!(
            texts("# escape=`\nRUN a `\n b\\\nCMD"),
            ["RUN a  b\\", "CMD"]
        );
        assert_eq!(texts("# x\n# escape=`\nRUN a \\\n b"), ["RUN a  b"]);
    }

    #[test]
    fn several_heredocs_follow_in_order() {
        let file = "FROM a\nRUN cat <<EOF > /a && cat <<-'E2' > /b\n1\nEOF\n\t2 $x\n\tE2\nCMD x\n";
        let mut found = Diagnostics::default();
        let lexed = lex(file, SourceId(0), &mut found);
        assert_eq!(lexed.lines.len(), 3);
        let [one, two] = lexed.lines[1].heredocs.as_slice() else {
            panic!("two heredocs")
        };
        assert_eq!((one.content.as_str(), one.expand), ("1\n", true));
        assert_eq!(
            (two.text().as_str(), two.expand, two.chomp),
            ("2 $x\n", false, true)
        );
    }

    #[test]
    fn shifts_and_here_strings_are_no_heredocs() {
        assert_eq!(
            texts("RUN echo $((1<<2)) && cat <<<x\nCMD [\"a\", \"<<b\"]\nRUN [\"a\", \"<<b\"]")
                .len(),
            3
        );
    }

    #[test]
    fn an_unterminated_heredoc_is_reported_where_it_begins() {
        let mut found = Diagnostics::default();
        lex(
            "FROM scratch\nCOPY <<EOF /x\nabc\n",
            SourceId(0),
            &mut found,
        );
        let item = found.iter().next().unwrap();
        assert_eq!(item.message, "unterminated heredoc");
        assert_eq!(item.span, Some(Span::new(SourceId(0), 13, 26)));
    }
}
