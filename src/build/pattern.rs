//! Wildcards: Go's `filepath.Match`, the ignore file's `**`, and the shell's `*` and `?`.
//!
//! In: a pattern and a text. Out: whether it matches, or where. Imports: nothing.
//! Time is bounded by pattern length times text length, whatever the pattern.
//! Rules: Go `path/filepath`, "Match"; moby `patternmatcher`; POSIX 2.6.2 (without brackets, as BuildKit).

/// One step of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`; the flag says whether it takes a `/`.
    One(bool),
    /// `*`; the flag says whether it takes a `/`.
    Many(bool),
    /// `**` before more: nothing, or anything up to and with a `/`.
    Folders,
    /// `[a-z]`, negated if the flag is set.
    Class(bool, Vec<(char, char)>),
    /// What nothing matches.
    Never,
}

/// How a pattern is compared, where that needs no more than a look.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// The text itself.
    Exact(String),
    /// What the text begins with.
    Prefix(String),
    /// What the text ends with; a slash at its beginning may be missing there.
    Suffix(String),
    /// By its tokens, if the text begins and ends with these.
    Tokens(String, String),
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    tokens: Vec<Token>,
    shape: Shape,
}

impl Pattern {
    /// Go's `filepath.Match`: `*`, `?`, `[…]`, `\x`; none takes a `/`.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub fn path(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(ch) = chars.next() {
            tokens.push(match ch {
                '*' => Token::Many(false),
                '?' => Token::One(false),
                '[' => class(&mut chars)?,
                '\\' => Token::Literal(chars.next().ok_or_else(bad)?),
                ch => Token::Literal(ch),
            });
        }
        Ok(Self::of(tokens))
    }
    /// The ignore file's patterns: as [`Self::path`], and `**` takes any number of folders.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub fn ignore(text: &str) -> Result<Self, String> {
        // It must be a pattern of Go's too.
        Self::path(text)?;
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        let mut shape = Shape::Exact(text.to_owned());
        let mut first = true;
        while let Some(ch) = chars.next() {
            let begins = std::mem::take(&mut first);
            if ch == '*' && chars.next_if_eq(&'*').is_some() {
                chars.next_if_eq(&'/');
                shape = match (chars.peek(), &shape) {
                    (None, Shape::Exact(_)) => {
                        Shape::Prefix(text.get(..text.len() - 2).unwrap_or_default().to_owned())
                    }
                    _ => Shape::Tokens(String::new(), String::new()),
                };
                tokens.push(match chars.peek() {
                    None => Token::Many(true),
                    Some(_) => Token::Folders,
                });
                if begins {
                    shape = Shape::Suffix(text.get(2..).unwrap_or_default().to_owned());
                }
                continue;
            }
            let token = match ch {
                '*' => Token::Many(false),
                '?' => Token::One(false),
                '[' => deep_class(&mut chars)?,
                '\\' => escaped(chars.next().ok_or_else(bad)?)?,
                // There it means the beginning, which is here or never comes again.
                '^' if begins => continue,
                '^' => Token::Never,
                ch => Token::Literal(ch),
            };
            if matches!(ch, '*' | '?' | '[' | ']' | '\\') {
                shape = Shape::Tokens(String::new(), String::new());
            }
            tokens.push(token);
        }
        let whole = Self::of(tokens);
        Ok(match shape {
            Shape::Tokens(..) => whole,
            shape => Self { shape, ..whole },
        })
    }
    /// The shell's `*` and `?`, which take a `/` too; `\` before `* ? \ / }`.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub fn shell(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(ch) = chars.next() {
            tokens.push(match ch {
                '*' => Token::Many(true),
                '?' => Token::One(true),
                '\\' => match chars.next() {
                    Some(ch @ ('*' | '?' | '\\' | '/' | '}')) => Token::Literal(ch),
                    other => return Err(format!("invalid escape '\\{}'", other.unwrap_or(' '))),
                },
                ch => Token::Literal(ch),
            });
        }
        Ok(Self::of(tokens))
    }
    fn of(tokens: Vec<Token>) -> Self {
        let literal = |token: &Token| match token {
            Token::Literal(ch) => Some(*ch),
            _ => None,
        };
        let head: String = tokens.iter().map_while(literal).collect();
        let shape = if tokens.iter().all(|token| literal(token).is_some()) {
            Shape::Exact(head)
        } else {
            let tail: Vec<char> = tokens.iter().rev().map_while(literal).collect();
            Shape::Tokens(head, tail.into_iter().rev().collect())
        };
        Self { tokens, shape }
    }
    /// Whether the pattern matches the whole text.
    pub fn matches(&self, text: &str) -> bool {
        match &self.shape {
            Shape::Exact(exact) => exact == text,
            Shape::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Shape::Suffix(suffix) => {
                text.ends_with(suffix.as_str()) || suffix.strip_prefix('/') == Some(text)
            }
            Shape::Tokens(head, tail) => {
                if !text.starts_with(head.as_str()) || !text.ends_with(tail.as_str()) {
                    return false;
                }
                let text: Vec<char> = text.chars().collect();
                self.ends(&text).last() == Some(&text.len())
            }
        }
    }
    /// Every length of a beginning of `text` that matches, ascending.
    fn ends(&self, text: &[char]) -> Vec<usize> {
        // The set of text positions that the tokens so far can reach.
        let mut reach = vec![false; text.len() + 1];
        reach[0] = true;
        for token in &self.tokens {
            let mut next = vec![false; text.len() + 1];
            for at in (0..=text.len()).filter(|at| reach[*at]) {
                match token {
                    Token::Many(slash) => {
                        let folder = text[at..].iter().position(|ch| !slash && *ch == '/');
                        let end = folder.map_or(text.len(), |length| at + length);
                        // From the first place that is reached already, the rest is too.
                        next[at..=end]
                            .iter_mut()
                            .take_while(|reached| !**reached)
                            .for_each(|reached| *reached = true);
                    }
                    Token::Folders => {
                        next[at] = true;
                        (at..text.len())
                            .filter(|i| text[*i] == '/')
                            .for_each(|i| next[i + 1] = true);
                    }
                    one => {
                        if text.get(at).is_some_and(|ch| takes(one, *ch)) {
                            next[at + 1] = true;
                        }
                    }
                }
                // Both wildcards reach from the first position all that they reach from a later one,
                // but for `*`, which stops at a slash.
                if matches!(token, Token::Many(true)) {
                    break;
                }
            }
            reach = next;
        }
        (0..=text.len()).filter(|at| reach[*at]).collect()
    }
    /// The text with the first match (or all) replaced; at each place the longest match counts.
    pub fn replace(&self, text: &str, with: &str, all: bool) -> String {
        let chars: Vec<char> = text.chars().collect();
        let mut out = String::new();
        let mut at = 0;
        while at <= chars.len() {
            match self.ends(&chars[at..]).last() {
                Some(0) | None => {
                    if self.tokens.is_empty() || self.ends(&chars[at..]).last() == Some(&0) {
                        out.push_str(with);
                        if !all {
                            out.extend(&chars[at..]);
                            return out;
                        }
                    }
                    out.extend(chars.get(at));
                    at += 1;
                }
                Some(length) => {
                    out.push_str(with);
                    at += length;
                    if !all {
                        out.extend(&chars[at..]);
                        return out;
                    }
                    if at == chars.len() {
                        break;
                    }
                }
            }
        }
        out
    }
}

fn takes(token: &Token, ch: char) -> bool {
    match token {
        Token::Literal(want) => *want == ch,
        Token::One(slash) => *slash || ch != '/',
        Token::Class(negated, ranges) => {
            let among = |(low, high): &(char, char)| (*low..=*high).contains(&ch);
            ranges.iter().any(among) != *negated
        }
        Token::Many(_) | Token::Folders | Token::Never => false,
    }
}

fn bad() -> String {
    "syntax error in pattern".to_owned()
}

/// What stands behind a backslash in an ignore pattern. moby hands it to its regular expressions as it is, where letters
/// and digits mean something else than themselves, if anything.
fn escaped(ch: char) -> Result<Token, String> {
    const DIGIT: [(char, char); 1] = [('0', '9')];
    const SPACE: [(char, char); 5] = [
        ('\t', '\t'),
        ('\n', '\n'),
        ('\x0c', '\x0c'),
        ('\r', '\r'),
        (' ', ' '),
    ];
    const WORD: [(char, char); 4] = [('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
    Ok(match ch {
        'a' => Token::Literal('\x07'),
        'f' => Token::Literal('\x0c'),
        'n' => Token::Literal('\n'),
        'r' => Token::Literal('\r'),
        't' => Token::Literal('\t'),
        'v' => Token::Literal('\x0b'),
        'd' | 'D' => Token::Class(ch == 'D', DIGIT.to_vec()),
        's' | 'S' => Token::Class(ch == 'S', SPACE.to_vec()),
        'w' | 'W' => Token::Class(ch == 'W', WORD.to_vec()),
        ch if ch.is_ascii_alphanumeric() || !ch.is_ascii() => return Err(bad()),
        ch => Token::Literal(ch),
    })
}

/// A class of an ignore pattern. moby reads a wildcard in it as one all the same, and so gets a class of other things
/// and a `]` behind it; what that matches nobody means.
fn deep_class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, String> {
    let token = class(chars)?;
    let Token::Class(_, ranges) = &token else {
        return Ok(token);
    };
    let wild = |(low, high): &(char, char)| low == high && matches!(low, '*' | '?');
    Ok(match ranges.iter().any(wild) {
        true => Token::Never,
        false => token,
    })
}

/// The rest of a class after its `[`.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, String> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    let one = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match chars.next() {
        Some('\\') => chars.next().ok_or_else(bad),
        Some('-' | ']') | None => Err(bad()),
        Some(ch) => Ok(ch),
    };
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Ok(Token::Class(negated, ranges));
        }
        let low = one(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() {
            one(chars)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

/// Whether a path holds a wildcard of [`Pattern::path`].
pub fn has_wildcard(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(ch) = chars.next() {
        match ch {
            '\\' => drop(chars.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_patterns_match_as_go_does() {
        for (pattern, text, want) in [
            ("a.txt", "a.txt", true),
            ("*.txt", "a.txt", true),
            ("*.txt", "d/a.txt", false),
            ("d/*.txt", "d/a.txt", true),
            ("?rop", "drop", true),
            ("a?b", "a/b", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("**", "a", true),
            ("**", "a/b", false),
            ("*a*b*", "xxaxxbxx", true),
        ] {
            assert_eq!(
                Pattern::path(pattern).unwrap().matches(text),
                want,
                "{pattern} {text}"
            );
        }
        for bad in ["[", "[]", "[a", "a\\", "[-]"] {
            assert!(Pattern::path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ignore_patterns_reach_through_folders() {
        for (pattern, text, want) in [
            ("**/*.o", "a.o", true),
            ("**/*.o", "k/l/a.o", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("**", "a/b", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a/**/z", "a/bz", false),
            ("foo/**", "foo", false),
            ("foo**", "foobar/x", true),
            ("**foo", "afoo", true),
            ("**/foo", "afoo", false),
            ("**/foo", "foo", true),
            ("a/***/f", "a/b/f", true),
            ("a^b", "a^b", true),
            ("a^*", "a^b", false),
            ("^a*", "ab", true),
            ("\\d*", "7x", true),
            ("\\d*", "dx", false),
            ("a\\/b", "a/b", true),
            ("[^a]b", "/b", true),
            ("[*]", "*", false),
        ] {
            assert_eq!(
                Pattern::ignore(pattern).unwrap().matches(text),
                want,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["[", "a\\", "afo\\o", "[a-]", "x[]y"] {
            assert!(Pattern::ignore(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends_soon() {
        let pattern = Pattern::path(&"*a".repeat(200)).unwrap();
        assert!(!pattern.matches(&"a".repeat(190)));
    }
}
