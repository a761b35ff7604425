//! Lines of a Dockerfile: directives, comments, continuations, heredocs.
//!
//! In: the file's text. Out: one [`Line`] an instruction, with its bytes, its heredocs and the comments above it.
//! It knows instructions only as far as heredocs need it. Imports: `base`, `directives`, `vars`.
//! Rules: Dockerfile reference, "Parser directives", "Here-Documents"; details as BuildKit's parser.

use super::directives::{self, Directives};
use super::vars::Expander;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::span::{SourceId, Span};

/// One instruction with its continuations joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The joined text, and where its parts are written.
    pub written: Written,
    /// All bytes of it, heredocs too.
    pub span: Span,
    /// Bodies that follow it, in order.
    pub heredocs: Vec<Heredoc>,
    /// The comments right above it, without their marks.
    pub comments: Vec<String>,
}

/// A text joined of several rows, and where each of them begins in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// The joined text.
    pub text: String,
    /// Offsets in the text and in the file, one pair a row, ascending.
    rows: Vec<(usize, usize)>,
}

impl Written {
    /// A text whose place is not known.
    pub(super) fn bare(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            rows: Vec::new(),
        }
    }
    /// Where a word stands: as a whole word if it is one somewhere, else wherever it is found first.
    pub fn find(&self, word: &str, source: SourceId) -> Option<Span> {
        let ends = |ch: Option<char>| {
            ch.is_none_or(|ch| ch.is_whitespace() || matches!(ch, '=' | ',' | '"' | '\''))
        };
        let whole = |at: &usize| {
            let (before, behind) = (&self.text[..*at], &self.text[at + word.len()..]);
            ends(before.chars().next_back()) && ends(behind.chars().next())
        };
        if word.is_empty() {
            return None;
        }
        let places = || self.text.match_indices(word).map(|(at, _)| at);
        let name = self.text.split_whitespace().next().unwrap_or_default();
        // A word of the instruction's arguments is meant, unless it is the name itself.
        let at = match name == word {
            true => places().next(),
            false => places().find(whole).or_else(|| places().next()),
        }?;
        let end = self.place(at + word.len() - 1) + 1;
        Some(Span::new(source, self.place(at), end))
    }
    /// The place in the file of a byte of the text.
    fn place(&self, at: usize) -> usize {
        let row = self.rows.partition_point(|(text, _)| *text <= at);
        let (text, file) = self
            .rows
            .get(row.wrapping_sub(1))
            .copied()
            .unwrap_or_default();
        file + (at - text)
    }
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
    /// What the first lines direct.
    pub directives: Directives,
    /// The last rows of instructions that have empty rows in between.
    pub gaps: Vec<Span>,
}

/// One row of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    /// Without the line end.
    pub text: &'a str,
    /// With it.
    pub full: &'a str,
    start: usize,
}

impl Row<'_> {
    /// The row without its line end.
    pub(super) fn span(&self, source: SourceId) -> Span {
        Span::new(source, self.start, self.start + self.text.len())
    }
}

/// Splits a text into rows, without the mark that some editors begin a file with.
pub(super) fn rows(text: &str) -> Vec<Row<'_>> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut start = text.len() - body.len();
    let row = |full| {
        let text: &str = full;
        let row = Row {
            text: text.trim_end_matches(['\n', '\r']),
            full,
            start,
        };
        start += full.len();
        row
    };
    body.split_inclusive('\n').map(row).collect()
}

/// Splits a text into instructions. Faults go to `found`.
pub fn lex(text: &str, source: SourceId, found: &mut Diagnostics) -> Lexed {
    let rows = rows(text);
    let directives = directives::read(&rows, source, found);
    let mut lexed = Lexed {
        lines: Vec::new(),
        escape: directives.escape.unwrap_or('\\'),
        directives,
        gaps: Vec::new(),
    };
    let mut comments = Vec::new();
    let mut next = 0;
    while let Some(row) = rows.get(next) {
        let begin = row.text.trim_start();
        if let Some(comment) = begin.strip_prefix('#') {
            comments.push(comment.trim().to_owned());
            next += 1;
            continue;
        }
        let comments = std::mem::take(&mut comments);
        next = match begin.is_empty() {
            true => next + 1,
            false => instruction(&rows, next, (source, comments), &mut lexed, found),
        };
    }
    lexed
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
    rows: &[Row<'_>],
    at: usize,
    (source, comments): (SourceId, Vec<String>),
    lexed: &mut Lexed,
    found: &mut Diagnostics,
) -> usize {
    let first = &rows[at];
    let begin = first.text.trim_start();
    let start = first.start + (first.text.len() - begin.len());
    let (text, mut more) = continued(begin, lexed.escape);
    let mut text = text.to_owned();
    let mut places = vec![(0, start)];
    let mut next = at + 1;
    let mut gap = false;
    while more && next < rows.len() {
        let row = rows[next];
        next += 1;
        if is_comment(row.text) {
            continue;
        }
        if row.text.trim_start().is_empty() {
            gap = true;
            continue;
        }
        let (part, again) = continued(row.text, lexed.escape);
        places.push((text.len(), row.start));
        text.push_str(part);
        more = again;
    }
    if gap {
        lexed.gaps.push(rows[next - 1].span(source));
    }
    if text.trim().is_empty() {
        return next;
    }
    let mut heredocs = if takes_heredocs(&text) {
        heredocs_of(&text)
    } else {
        Vec::new()
    };
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
        written: Written { text, rows: places },
        span,
        heredocs,
        comments,
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
        lexed
            .lines
            .into_iter()
            .map(|line| line.written.text)
            .collect()
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
    fn words_are_found_in_the_row_they_are_written_in() {
        let file = "FROM a\nCOPY a \\\n  # no b\n  --x=b \\\n\n b ab\n";
        let mut found = Diagnostics::default();
        let lexed = lex(file, SourceId(0), &mut found);
        let written = &lexed.lines[1].written;
        let at = |word: &str| {
            let span = written
                .find(word, SourceId(0))
                .map(|span| span.start as usize..span.end as usize);
            span.map(|span| (span.start, &file[span]))
        };
        assert_eq!(at("COPY"), Some((7, "COPY")));
        assert_eq!(at("--x"), Some((27, "--x")));
        assert_eq!(at("ab"), Some((39, "ab")));
        assert_eq!(at("zz"), None);
        // The rows of an instruction that has an empty one in between are told by the last.
        let gaps: Vec<&str> = lexed
            .gaps
            .iter()
            .map(|s| &file[s.start as usize..s.end as usize])
            .collect();
        assert_eq!(gaps, [" b ab"]);
    }

    #[test]
    fn comments_belong_to_the_instruction_right_below() {
        let file = "# one\n  # A two\nARG A\n# lost\n\nFROM x\n# in\n";
        let mut found = Diagnostics::default();
        let lexed = lex(file, SourceId(0), &mut found);
        assert_eq!(lexed.lines[0].comments, ["one", "A two"]);
        assert!(lexed.lines[1].comments.is_empty());
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
