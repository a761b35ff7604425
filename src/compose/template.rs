//! The `${…}` grammar of compose and `.env` files.
//!
//! In: a text and a lookup. Out: the text with its variables replaced, and the names that were not set.
//! It reads no environment itself. Imports: nothing.
//! Rules: Compose Specification, "Interpolation".

/// Why a text is no template or can't be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `$` that starts nothing known.
    #[error(
        "`{0}` is no variable reference; write $NAME, ${{NAME}}, ${{NAME:-default}}, or $$ for a dollar sign"
    )]
    Invalid(String),
    /// `${NAME?message}` without a value.
    #[error("required variable {name} is missing a value: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The text after `?`, filled in.
        message: String,
    },
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

/// One reference inside a text.
enum Piece<'t> {
    Literal(&'t str),
    Variable {
        name: &'t str,
        operator: Option<(Operator, bool)>,
        rest: &'t str,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Default,
    Required,
    Alternate,
}

/// Fills a text in. Names without a value and without an operator are added to `unset`.
///
/// # Errors
/// [`TemplateError`] when the text breaks the grammar or a required variable has no value.
pub fn substitute(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    unset: &mut Vec<String>,
) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((piece, tail)) = next_piece(rest)? {
        rest = tail;
        match piece {
            Piece::Literal(literal) => out.push_str(literal),
            Piece::Variable {
                name,
                operator: None,
                ..
            } => match lookup(name) {
                Some(value) => out.push_str(&value),
                None => unset.push(name.to_owned()),
            },
            Piece::Variable {
                name,
                operator: Some((operator, or_empty)),
                rest: word,
            } => {
                let value = lookup(name).filter(|value| !(or_empty && value.is_empty()));
                let chosen = match (operator, value) {
                    (Operator::Alternate, None) => String::new(),
                    (Operator::Alternate, Some(_)) | (Operator::Default, None) => {
                        substitute(word, lookup, unset)?
                    }
                    (_, Some(value)) => value,
                    (Operator::Required, None) => {
                        let message = substitute(word, lookup, unset)?;
                        return Err(TemplateError::Required {
                            name: name.to_owned(),
                            message,
                        });
                    }
                };
                out.push_str(&chosen);
            }
        }
    }
    Ok(out)
}

/// The variables a text refers to, nested ones too, in order; what breaks the grammar ends the list.
pub fn variables(text: &str) -> Vec<Variable> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Ok(Some((piece, tail))) = next_piece(rest) {
        rest = tail;
        let Piece::Variable {
            name,
            operator,
            rest: word,
        } = piece
        else {
            continue;
        };
        let kind = operator.map(|(kind, _)| kind);
        let word_of = |want| (kind == Some(want)).then(|| word.to_owned());
        found.push(Variable {
            name: name.to_owned(),
            required: kind == Some(Operator::Required),
            default: word_of(Operator::Default),
            alternate: word_of(Operator::Alternate),
        });
        found.extend(variables(word));
    }
    found
}

/// The reference that a text starts with: its variable, and it as written; `None` if it starts with none.
pub fn reference(text: &str) -> Option<(&str, &str)> {
    match next_piece(text) {
        Ok(Some((Piece::Variable { name, .. }, tail))) => {
            Some((name, &text[..text.len() - tail.len()]))
        }
        _ => None,
    }
}

/// The next literal or reference and what follows it; `None` at the end.
fn next_piece(text: &str) -> Result<Option<(Piece<'_>, &str)>, TemplateError> {
    if text.is_empty() {
        return Ok(None);
    }
    let Some(at) = text.find('$') else {
        return Ok(Some((Piece::Literal(text), "")));
    };
    if at > 0 {
        let (literal, tail) = text.split_at(at);
        return Ok(Some((Piece::Literal(literal), tail)));
    }
    let invalid = || {
        TemplateError::Invalid(
            text.lines()
                .next()
                .unwrap_or_default()
                .chars()
                .take(40)
                .collect(),
        )
    };
    let after = &text[1..];
    if let Some(tail) = after.strip_prefix('$') {
        return Ok(Some((Piece::Literal("$"), tail)));
    }
    if let Some(body) = after.strip_prefix('{') {
        let end = closing(body).ok_or_else(invalid)?;
        let (body, tail) = (&body[..end], &body[end + 1..]);
        return Ok(Some((braced(body).ok_or_else(invalid)?, tail)));
    }
    let (name, tail) = after.split_at(name_len(after));
    if name.is_empty() {
        // As Compose: `$(date)` in an inline Dockerfile or a script is no reference.
        return Ok(Some((Piece::Literal("$"), after)));
    }
    Ok(Some((
        Piece::Variable {
            name,
            operator: None,
            rest: "",
        },
        tail,
    )))
}

/// Where the brace that ends a reference stands: balanced over all braces, else over `${` only.
fn closing(body: &str) -> Option<usize> {
    let balanced = |all: bool| {
        let mut depth = 1usize;
        let bytes = body.as_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'{' if all || (at > 0 && bytes[at - 1] == b'$') => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(at);
            }
        }
        None
    };
    balanced(true).or_else(|| balanced(false))
}

fn braced(body: &str) -> Option<Piece<'_>> {
    let (name, tail) = body.split_at(name_len(body));
    if name.is_empty() {
        return None;
    }
    if tail.is_empty() {
        return Some(Piece::Variable {
            name,
            operator: None,
            rest: "",
        });
    }
    let (or_empty, tail) = match tail.strip_prefix(':') {
        Some(tail) => (true, tail),
        None => (false, tail),
    };
    let mut chars = tail.chars();
    let operator = match chars.next()? {
        '-' => Operator::Default,
        '?' => Operator::Required,
        '+' => Operator::Alternate,
        _ => return None,
    };
    Some(Piece::Variable {
        name,
        operator: Some((operator, or_empty)),
        rest: chars.as_str(),
    })
}

fn name_len(text: &str) -> usize {
    let good =
        |at: usize, b: u8| b == b'_' || b.is_ascii_alphabetic() || (at > 0 && b.is_ascii_digit());
    text.bytes()
        .enumerate()
        .take_while(|(at, b)| good(*at, *b))
        .count()
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
        ] {
            assert_eq!(fill(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn broken_references_and_missing_required_values_are_errors() {
        for text in ["${FOO", "${FO O}", "${1A}", "${}", "${FOO:}"] {
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
