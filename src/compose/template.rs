//! The `${…}` grammar of compose and `.env` files.
//!
//! In: a text and a lookup. Out: the text with its variables replaced, and the names that were not set.
//! It reads no environment itself. Imports: nothing.
//! Rules: Compose Specification, "Interpolation".

/// References inside references that are followed; every one of them is filled in, needed or not.
const DEPTH: usize = 100;

/// Bytes that variables may add up to: in a value, and in the values of one env file together.
///
/// A line such as `A=$A$A` doubles what it holds; a program can be given less than this in all of its variables.
pub(super) const LONGEST: usize = 8 << 20;

/// Why a text is no template or can't be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `$` that starts nothing known.
    #[error("`{0}` is no variable reference")]
    Invalid(String),
    /// `${NAME?message}` without a value.
    #[error("required variable {name} is missing a value{}{message}", if message.is_empty() { "" } else { ": " })]
    Required {
        /// The variable.
        name: String,
        /// The text after `?`, filled in.
        message: String,
    },
    /// A reference inside too many others.
    #[error("variable references are nested more than {DEPTH} levels deep")]
    Deep,
    /// Variables that hold more and more.
    #[error("what the variables stand for grows beyond {} MiB", LONGEST >> 20)]
    Long,
}

impl TemplateError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Invalid(text) if text.starts_with("${{") => {
                "write ${NAME} with one pair of braces".to_owned()
            }
            Self::Invalid(text) if !text.contains('}') => {
                let name = text.trim_start_matches("${");
                let name = &name[..name_len(name)];
                let name = if name.is_empty() { "NAME" } else { name };
                format!("close the brace: ${{{name}}}; or write $$ for a dollar sign")
            }
            Self::Invalid(_) => {
                "write ${NAME}, ${NAME:-default}, or $$ for a dollar sign; a name has letters, digits and `_`".to_owned()
            }
            Self::Required { name, .. } => {
                format!("set it in the environment or in `.env`: {name}=…")
            }
            Self::Long => "shorten the variables, or keep what they hold in a file".to_owned(),
            Self::Deep => "give the inner ones a variable of their own".to_owned(),
        }
    }
}

/// A variable that a text refers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Whether `?` demands a value.
    pub required: bool,
    /// The text after `-`.
    pub default: Option<String>,
    /// The text after `+`.
    pub alternate: Option<String>,
}

/// One part of a text.
enum Piece<'t> {
    Literal(&'t str),
    Variable(Reference<'t>),
}

/// `$NAME`, `${NAME}` or `${NAME-word}`.
struct Reference<'t> {
    name: &'t str,
    /// What stands behind the name, and whether an empty value counts as none (`:`).
    operator: Option<(Operator, bool)>,
    word: &'t str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Default,
    Required,
    Alternate,
}

/// Fills a text in. Names without a value and without an operator are added to `unset`.
///
/// As Compose, the word behind an operator is filled in even where it is not used: what is wrong in it counts.
///
/// # Errors
/// [`TemplateError`] when the text breaks the grammar or a required variable has no value.
pub fn substitute(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    unset: &mut Vec<String>,
) -> Result<String, TemplateError> {
    fill(text, lookup, unset, 0)
}

fn fill(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    unset: &mut Vec<String>,
    depth: usize,
) -> Result<String, TemplateError> {
    if depth > DEPTH {
        return Err(TemplateError::Deep);
    }
    let mut out = String::with_capacity(text.len());
    let mut pieces = Pieces::new(text);
    while let Some(piece) = pieces.next()? {
        if out.len() > LONGEST.max(text.len()) {
            return Err(TemplateError::Long);
        }
        let Reference {
            name,
            operator,
            word,
        } = match piece {
            Piece::Literal(literal) => {
                out.push_str(literal);
                continue;
            }
            Piece::Variable(reference) => reference,
        };
        let value = lookup(name);
        let Some((operator, or_empty)) = operator else {
            match value {
                Some(value) => out.push_str(&value),
                None => unset.push(name.to_owned()),
            }
            continue;
        };
        let word = fill(word, lookup, unset, depth + 1)?;
        let value = value.filter(|value| !(or_empty && value.is_empty()));
        match (operator, value) {
            (Operator::Default | Operator::Required, Some(value)) => out.push_str(&value),
            (Operator::Default, None) | (Operator::Alternate, Some(_)) => out.push_str(&word),
            (Operator::Alternate, None) => {}
            (Operator::Required, None) => {
                return Err(TemplateError::Required {
                    name: name.to_owned(),
                    message: word,
                });
            }
        }
    }
    Ok(out)
}

/// The variables a text refers to, nested ones too, in order; what breaks the grammar ends the list.
pub fn variables(text: &str) -> Vec<Variable> {
    let mut found = Vec::new();
    collect(text, &mut found, 0);
    found
}

fn collect(text: &str, found: &mut Vec<Variable>, depth: usize) {
    let mut pieces = Pieces::new(text);
    while let Ok(Some(piece)) = pieces.next() {
        let Piece::Variable(reference) = piece else {
            continue;
        };
        let kind = reference.operator.map(|(kind, _)| kind);
        let word_of = |want| (kind == Some(want)).then(|| reference.word.to_owned());
        found.push(Variable {
            name: reference.name.to_owned(),
            required: kind == Some(Operator::Required),
            default: word_of(Operator::Default),
            alternate: word_of(Operator::Alternate),
        });
        if depth < DEPTH {
            collect(reference.word, found, depth + 1);
        }
    }
}

/// The reference that a text starts with: its variable, and it as written; `None` if it starts with none.
pub fn reference(text: &str) -> Option<(&str, &str)> {
    let mut pieces = Pieces::new(text);
    match pieces.next() {
        Ok(Some(Piece::Variable(reference))) => Some((reference.name, text.get(..pieces.at)?)),
        _ => None,
    }
}

/// A text while it is cut into pieces.
struct Pieces<'t> {
    text: &'t str,
    at: usize,
    /// Where the line ends that was looked at last, and its last `}`.
    line: Option<(usize, Option<usize>)>,
}

impl<'t> Pieces<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            at: 0,
            line: None,
        }
    }

    /// The next literal or reference; `None` at the end.
    fn next(&mut self) -> Result<Option<Piece<'t>>, TemplateError> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let literal = |text: &'t str| Ok(Some(Piece::Literal(text)));
        let dollar = rest.find('$').unwrap_or(rest.len());
        if dollar > 0 {
            self.at += dollar;
            return literal(&rest[..dollar]);
        }
        let after = &rest[1..];
        if after.starts_with('$') {
            self.at += 2;
            return literal(&rest[..1]);
        }
        if let Some(body) = after.strip_prefix('{') {
            let found = self.braced(body);
            let (reference, len) = found.ok_or_else(|| TemplateError::Invalid(shown(rest)))?;
            self.at += 2 + len;
            return Ok(Some(Piece::Variable(reference)));
        }
        let name = &after[..name_len(after)];
        self.at += 1 + name.len();
        if name.is_empty() {
            // As Compose: `$(date)` in an inline Dockerfile or a script is no reference.
            return literal(&rest[..1]);
        }
        let (operator, word) = (None, "");
        Ok(Some(Piece::Variable(Reference {
            name,
            operator,
            word,
        })))
    }

    /// The reference whose text behind `${` is `body`, and its length with the closing brace.
    ///
    /// A word ends on its line: as Compose, whose pattern does not look past a line break.
    fn braced(&mut self, body: &'t str) -> Option<(Reference<'t>, usize)> {
        let name = &body[..name_len(body)];
        let tail = &body[name.len()..];
        if name.is_empty() {
            return None;
        }
        if tail.starts_with('}') {
            let (operator, word) = (None, "");
            let reference = Reference {
                name,
                operator,
                word,
            };
            return Some((reference, name.len() + 1));
        }
        let or_empty = tail.starts_with(':');
        let operator = match tail.as_bytes().get(usize::from(or_empty))? {
            b'-' => Operator::Default,
            b'?' => Operator::Required,
            b'+' => Operator::Alternate,
            _ => return None,
        };
        let start = name.len() + usize::from(or_empty) + 1;
        let last = self.last_brace()?.checked_sub(self.at + 2)?;
        let end = closing(&body[..=last]).unwrap_or(last);
        let reference = Reference {
            name,
            operator: Some((operator, or_empty)),
            word: body.get(start..end)?,
        };
        Some((reference, end + 1))
    }

    /// Where the last `}` of the line stands that `at` is in.
    fn last_brace(&mut self) -> Option<usize> {
        match self.line {
            Some((end, last)) if self.at < end => last,
            _ => {
                let rest = &self.text[self.at..];
                let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
                let last = line.rfind('}').map(|last| self.at + last);
                self.line = Some((self.at + line.len(), last));
                last
            }
        }
    }
}

/// Where the brace stands that balances the one in front of `body`, other braces counted.
///
/// As Compose, what follows an opening brace is not looked at: in `{}` only the opening one counts.
fn closing(body: &str) -> Option<usize> {
    let mut depth = 1usize;
    let mut bytes = body.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'{' => {
                depth += 1;
                bytes.next();
            }
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The start of a text, for messages.
fn shown(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let end = line.find('}').map_or(line.len(), |at| at + 1);
    line[..end].chars().take(40).collect()
}

/// The length of the name a text starts with.
///
/// `ſ` and the Kelvin sign are letters too: Compose's pattern ignores case, and these fold to `s` and `k`.
fn name_len(text: &str) -> usize {
    let good = |at: usize, c: char| {
        c == '_'
            || c.is_ascii_alphabetic()
            || (at > 0 && c.is_ascii_digit())
            || matches!(c, '\u{17f}' | '\u{212a}')
    };
    let bad = text.char_indices().find(|(at, c)| !good(*at, *c));
    bad.map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> Result<String, TemplateError> {
        let lookup = |name: &str| match name {
            "FOO" => Some("foo".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        substitute(text, &lookup, &mut Vec::new())
    }

    #[test]
    fn every_form_of_reference_is_filled_in() {
        for (text, want) in [
            ("$FOO-${FOO}", "foo-foo"),
            ("${U:-d} ${EMPTY:-d} ${EMPTY-d}", "d d "),
            ("${FOO:+r} ${EMPTY:+r} ${EMPTY+r} ${U+r}", "r  r "),
            ("${FOO?e} ${FOO:?e}", "foo foo"),
            ("${U:-a ${FOO} ${U:-b}} c", "a foo b c"),
            ("${U:-{a}}", "{a}"),
            ("$$FOO $${FOO}", "$FOO ${FOO}"),
            ("100% [$U]", "100% []"),
            ("${U:-é}$FOO.x", "éfoo.x"),
            ("$(date) $1 $", "$(date) $1 $"),
            ("${U:-{a}b}c}", "{a}bc}"),
            ("${U:-{} x} y", "{} x y"),
            ("${U:-{}${FOO:+}}", "{}"),
            ("${U:-a}\n${U:-b}", "a\nb"),
            ("$foo${\u{17f}-k}$\u{212a}.", "k."),
        ] {
            assert_eq!(fill(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn broken_references_and_missing_required_values_are_errors() {
        for text in [
            "${FOO",
            "${FO O}",
            "${1A}",
            "${}",
            "${FOO:}",
            "${FOO-",
            "${U:-a\nb}",
            "${FOO:-${1}}",
            "${U:+${FOO}",
        ] {
            assert!(
                matches!(fill(text), Err(TemplateError::Invalid(_))),
                "{text}"
            );
        }
        let error = fill("${EMPTY:?set $FOO}").map_err(|error| error.to_string());
        assert_eq!(
            error,
            Err("required variable EMPTY is missing a value: set foo".into())
        );
    }

    #[test]
    fn words_count_even_where_they_are_not_used() {
        assert!(matches!(
            fill("${FOO:-${U?}}"),
            Err(TemplateError::Required { .. })
        ));
        let mut unset = Vec::new();
        let filled = substitute(
            "${A-$B}",
            &|name| (name == "A").then(String::new),
            &mut unset,
        );
        assert_eq!((filled, unset), (Ok(String::new()), vec!["B".into()]));
    }

    #[test]
    fn nesting_is_bounded_and_long_lines_are_read_once() {
        let nested = |levels: usize| format!("{}x{}", "${U:-".repeat(levels), "}".repeat(levels));
        assert_eq!(fill(&nested(90)).as_deref(), Ok("x"));
        assert_eq!(fill(&nested(100_000)), Err(TemplateError::Deep));
        assert_eq!(
            fill(&"${U:-x}".repeat(100_000)).map(|text| text.len()),
            Ok(100_000)
        );
    }

    #[test]
    fn what_variables_add_up_to_is_bounded() {
        let lookup = |_: &str| Some("x".repeat(LONGEST / 4));
        let filled = |text: &str| substitute(text, &lookup, &mut Vec::new()).map(|text| text.len());
        assert_eq!(filled("$A$A$A$A"), Ok(LONGEST));
        assert_eq!(filled(&"$A".repeat(1000)), Err(TemplateError::Long));
    }

    #[test]
    fn unset_names_are_reported_and_references_listed() {
        let mut unset = Vec::new();
        let filled = substitute("$A ${B} ${C-}", &|_| None, &mut unset);
        assert_eq!(
            (filled.as_deref(), unset),
            (Ok("  "), vec!["A".into(), "B".into()])
        );
        let names: Vec<String> = variables("${A:-$B}$C")
            .into_iter()
            .map(|v| v.name)
            .collect();
        assert_eq!(names, ["A", "B", "C"]);
    }
}
