//! Variables and quotes in Dockerfile words: `$v ${v:-w} ${v#p} ${v/a/b} "…" '…' \x`.
//!
//! In: a word and a lookup. Out: the word with variables and quotes worked out, whole or split at blanks.
//! It never runs anything and knows no instruction. Imports: `build::pattern`.
//! Rules: Dockerfile reference, "Environment replacement"; where it is silent, as BuildKit's shell lexer.

use crate::build::pattern::Pattern;

/// Where values come from; `None` is unset.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How words are worked out.
#[derive(Clone, Copy)]
pub struct Expander<'a> {
    lookup: Lookup<'a>,
    escape: char,
    keep_quotes: bool,
    keep_escapes: bool,
    plain_quotes: bool,
    keep_unset: bool,
}

impl std::fmt::Debug for Expander<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expander")
            .field("escape", &self.escape)
            .finish_non_exhaustive()
    }
}

impl<'a> Expander<'a> {
    /// Works words out as instructions do.
    pub fn new(escape: char, lookup: Lookup<'a>) -> Self {
        Self {
            lookup,
            escape,
            keep_quotes: false,
            keep_escapes: false,
            plain_quotes: false,
            keep_unset: false,
        }
    }
    /// Works variables of a heredoc's body out: quotes are plain characters there.
    pub fn for_heredoc(lookup: Lookup<'a>) -> Self {
        Self {
            plain_quotes: true,
            ..Self::new('\\', lookup)
        }
    }
    /// Splits at blanks and leaves quotes, escapes and unset variables as they are written.
    pub fn raw(lookup: Lookup<'a>) -> Self {
        Self {
            keep_quotes: true,
            keep_escapes: true,
            keep_unset: true,
            ..Self::new('\\', lookup)
        }
    }
    /// As [`Self::raw`], but with quotes and escapes taken away.
    pub(super) fn unquoting(lookup: Lookup<'a>) -> Self {
        Self {
            keep_unset: true,
            ..Self::new('\\', lookup)
        }
    }
    /// The text with quotes and variables worked out.
    ///
    /// # Errors
    /// What is wrong with the text, or the message of a `${v:?message}`.
    pub fn word(&self, text: &str) -> Result<String, String> {
        self.run(text).map(|(word, _)| word)
    }
    /// The text worked out, then split at blanks that are not quoted.
    ///
    /// # Errors
    /// As [`Self::word`].
    pub fn words(&self, text: &str) -> Result<Vec<String>, String> {
        self.run(text).map(|(_, words)| words)
    }
    fn run(&self, text: &str) -> Result<(String, Vec<String>), String> {
        let mut cursor = Cursor {
            text: text.chars().collect(),
            at: 0,
            how: *self,
            raw: self.keep_escapes,
            depth: 0,
        };
        cursor.until(None)
    }
}

/// Collects words: blanks end one only outside quotes.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
    open: bool,
}

impl Words {
    fn push(&mut self, ch: char) {
        if !ch.is_whitespace() {
            self.push_raw(ch);
        } else if self.open && !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
            self.open = false;
        }
    }
    fn push_raw(&mut self, ch: char) {
        self.word.push(ch);
        self.open = true;
    }
    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

/// A variable that holds itself twice doubles each time it is set; nothing meant is longer than this.
const LONGEST: usize = 1 << 20;

/// Nested `${…}` deeper than this are refused, so that no text can exhaust the stack.
const DEPTH: usize = 100;

struct Cursor<'a> {
    text: Vec<char>,
    at: usize,
    how: Expander<'a>,
    /// Whether escapes stay in the result (inside patterns).
    raw: bool,
    depth: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }
    fn next(&mut self) -> Option<char> {
        let ch = self.peek()?;
        self.at += 1;
        Some(ch)
    }
    /// Reads to `stop`, which is taken, or to the end if there is none.
    fn until(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), String> {
        let mut out = String::new();
        let mut words = Words::default();
        while let Some(ch) = self.peek() {
            if out.len() > LONGEST {
                return Err(format!("the text grows beyond {LONGEST} bytes"));
            }
            if Some(ch) == stop {
                self.at += 1;
                return Ok((out, words.finish()));
            }
            match ch {
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|ch| words.push(ch));
                    out.push_str(&value);
                }
                '\'' | '"' if !self.how.plain_quotes => {
                    let value = if ch == '"' {
                        self.double()?
                    } else {
                        self.single()?
                    };
                    words.word.push_str(&value);
                    words.open = true;
                    out.push_str(&value);
                }
                _ => {
                    self.at += 1;
                    let mut ch = ch;
                    if ch == self.how.escape {
                        if self.raw {
                            words.push_raw(ch);
                            out.push(ch);
                        }
                        let Some(escaped) = self.next() else { break };
                        ch = escaped;
                        words.push_raw(ch);
                    } else {
                        words.push(ch);
                    }
                    out.push(ch);
                }
            }
        }
        match stop {
            Some(stop) => Err(format!(
                "unexpected end of statement while looking for matching {stop}"
            )),
            None => Ok((out, words.finish())),
        }
    }
    fn single(&mut self) -> Result<String, String> {
        let mut out = String::new();
        let quote = self.next();
        out.extend(quote.filter(|_| self.how.keep_quotes));
        loop {
            match self.next() {
                None => {
                    return Err(
                        "unexpected end of statement while looking for matching single-quote"
                            .into(),
                    );
                }
                Some('\'') => {
                    out.extend(quote.filter(|_| self.how.keep_quotes));
                    return Ok(out);
                }
                Some(ch) => out.push(ch),
            }
        }
    }
    fn double(&mut self) -> Result<String, String> {
        let mut out = String::new();
        let quote = self.next();
        out.extend(quote.filter(|_| self.how.keep_quotes));
        loop {
            match self.peek() {
                None => {
                    return Err(
                        "unexpected end of statement while looking for matching double-quote"
                            .into(),
                    );
                }
                Some('"') => {
                    self.at += 1;
                    out.extend(quote.filter(|_| self.how.keep_quotes));
                    return Ok(out);
                }
                Some('$') => out.push_str(&self.dollar()?),
                Some(mut ch) => {
                    self.at += 1;
                    if ch == self.how.escape {
                        if self.raw {
                            out.push(ch);
                        }
                        match self.peek() {
                            None => continue,
                            Some(next) if next == '"' || next == '$' || next == self.how.escape => {
                                self.at += 1;
                                ch = next;
                            }
                            Some(_) if self.raw => continue,
                            Some(_) => {}
                        }
                    }
                    out.push(ch);
                }
            }
        }
    }
    /// A part of `${…}` up to `stop`, with escapes kept or not.
    fn part(&mut self, stop: char, raw: bool) -> Result<String, String> {
        let before = std::mem::replace(&mut self.raw, raw);
        self.depth += 1;
        let result = if self.depth > DEPTH {
            Err("substitutions are nested too deeply".to_owned())
        } else {
            self.until(Some(stop)).map(|(word, _)| word)
        };
        self.depth -= 1;
        self.raw = before;
        result.map_err(|error| {
            if self.peek().is_some() {
                error
            } else if stop == '/' {
                "syntax error: missing '/' in ${}".to_owned()
            } else {
                "syntax error: missing '}'".to_owned()
            }
        })
    }
    fn dollar(&mut self) -> Result<String, String> {
        self.at += 1;
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match (self.how.lookup)(&name) {
                None if self.how.keep_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        self.at += 1;
        match self.peek() {
            None => return Err("syntax error: missing '}'".to_owned()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_owned()),
            Some(_) => {}
        }
        let name = self.name();
        let value = (self.how.lookup)(&name);
        match self.next() {
            Some('}') => Ok(match value {
                None if self.how.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            Some(':') => {
                let modifier = self.next();
                self.modified(&name, value, modifier, true)
            }
            Some('/') => self.replaced(&name, value),
            modifier => self.modified(&name, value, modifier, false),
        }
    }
    /// `${name:-word}` and its kin, read up to and with the modifier.
    fn modified(
        &mut self,
        name: &str,
        value: Option<String>,
        modifier: Option<char>,
        colon: bool,
    ) -> Result<String, String> {
        let sign = if colon { ":" } else { "" };
        let Some(modifier) = modifier else {
            return Err("syntax error: missing '}'".to_owned());
        };
        if !matches!(modifier, '+' | '-' | '?' | '#' | '%')
            || (colon && matches!(modifier, '#' | '%'))
        {
            return Err(format!(
                "unsupported modifier ({sign}{modifier}) in substitution"
            ));
        }
        let word = self.part('}', matches!(modifier, '#' | '%'))?;
        if value.is_none() && self.how.keep_unset {
            return Ok(format!("${{{name}{sign}{modifier}{word}}}"));
        }
        let missing = value.as_ref().is_none_or(|value| colon && value.is_empty());
        match modifier {
            '-' if missing => Ok(word),
            '+' => Ok(if missing { String::new() } else { word }),
            '?' if missing => {
                let what = if value.is_none() { "unset" } else { "empty" };
                let why = if word.is_empty() {
                    format!("is not allowed to be {what}")
                } else {
                    word
                };
                Err(format!("{name}: {why}"))
            }
            '#' | '%' => trimmed(&value.unwrap_or_default(), modifier, &word),
            _ => Ok(value.unwrap_or_default()),
        }
    }
    fn replaced(&mut self, name: &str, value: Option<String>) -> Result<String, String> {
        let all = self.peek() == Some('/');
        if all {
            self.at += 1;
        }
        let pattern = self.part('/', true)?;
        let with = self.part('}', true)?;
        let Some(value) = value else {
            let kept = if self.how.keep_unset {
                format!("${{{name}/{pattern}/{with}}}")
            } else {
                String::new()
            };
            return Ok(kept);
        };
        Ok(shell_pattern(&pattern)?.replace(&value, &with, all))
    }
    /// A variable's name: letters, digits and `_`; digits alone; or one special character.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(ch) = self.peek() {
            if name.is_empty() && ch.is_ascii_digit() {
                while let Some(digit) = self.peek().filter(char::is_ascii_digit) {
                    name.push(digit);
                    self.at += 1;
                }
                return name;
            }
            if name.is_empty() && matches!(ch, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
                self.at += 1;
                return ch.to_string();
            }
            if !ch.is_alphanumeric() && ch != '_' {
                break;
            }
            name.push(ch);
            self.at += 1;
        }
        name
    }
}

/// `${v#pattern}` (`##`, `%`, `%%`): the value without its shortest or longest matching end.
fn trimmed(value: &str, modifier: char, word: &str) -> Result<String, String> {
    let (longest, word) = match word.strip_prefix(modifier) {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    let pattern = shell_pattern(word)?;
    let mut cuts: Vec<usize> = value
        .char_indices()
        .map(|(at, _)| at)
        .chain([value.len()])
        .collect();
    if longest == (modifier == '#') {
        cuts.reverse();
    }
    for cut in cuts {
        let (head, tail) = value.split_at(cut);
        let (part, rest) = if modifier == '#' {
            (head, tail)
        } else {
            (tail, head)
        };
        if pattern.matches(part) {
            return Ok(rest.to_owned());
        }
    }
    Ok(value.to_owned())
}

fn shell_pattern(text: &str) -> Result<Pattern, String> {
    Pattern::shell(text).map_err(|why| format!("invalid pattern ({text}) in substitution: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "A" => "alpha",
            "E" => "",
            "P" => "/usr/local/lib/foo.tar.gz",
            "S" => "a b  c",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn every_form_of_a_variable_gives_its_value() {
        let expander = Expander::new('\\', &lookup);
        for (text, want) in [
            ("$A", "alpha"),
            ("${A}x", "alphax"),
            ("${U:-def}", "def"),
            ("${E:-def}", "def"),
            ("[${E-def}]", "[]"),
            ("${U-def}", "def"),
            ("${A:+alt}", "alt"),
            ("[${E:+alt}]", "[]"),
            ("${E+alt}", "alt"),
            ("${U:-${A}-n}", "alpha-n"),
            ("${U:-${E:-${A}}}", "alpha"),
            ("${P#*/}", "usr/local/lib/foo.tar.gz"),
            ("${P##*/}", "foo.tar.gz"),
            ("${P%.*}", "/usr/local/lib/foo.tar"),
            ("${P%%.*}", "/usr/local/lib/foo"),
            ("${P#/usr}", "/local/lib/foo.tar.gz"),
            ("${P/lib/LIB}", "/usr/local/LIB/foo.tar.gz"),
            ("${P//o/0}", "/usr/l0cal/lib/f00.tar.gz"),
            ("${P//\\//-}", "-usr-local-lib-foo.tar.gz"),
            ("${A#\\*}", "alpha"),
            ("\\$A \\${A}", "$A ${A}"),
            ("[$U][${U}]", "[][]"),
            ("$A$A-${A}_$A", "alphaalpha-alpha_alpha"),
            ("'$A' \"$A\" \"\\$A\" \"\\x\"", "$A alpha $A \\x"),
            ("a$ b$", "a$ b$"),
            ("$1a", "a"),
        ] {
            assert_eq!(expander.word(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn faults_are_named_as_the_reference_names_them() {
        let expander = Expander::new('\\', &lookup);
        for (text, want) in [
            ("${U:?must be set}", "U: must be set"),
            ("${E:?}", "E: is not allowed to be empty"),
            ("${U?}", "U: is not allowed to be unset"),
            ("${A", "syntax error: missing '}'"),
            ("${}", "syntax error: bad substitution"),
            ("${A:x}", "unsupported modifier (:x) in substitution"),
            ("${A:-b", "syntax error: missing '}'"),
            (
                "'a",
                "unexpected end of statement while looking for matching single-quote",
            ),
            (
                "\"a",
                "unexpected end of statement while looking for matching double-quote",
            ),
        ] {
            assert_eq!(expander.word(text).err().as_deref(), Some(want), "{text}");
        }
        let deep = "${U:-".repeat(5000);
        assert!(expander.word(&deep).is_err());
    }

    #[test]
    fn words_split_at_blanks_of_values_but_not_of_quotes() {
        let expander = Expander::new('\\', &lookup);
        let words = expander.words("x $S \"$S\" 'p q' a\\ b").unwrap();
        assert_eq!(words, ["x", "a", "b", "c", "a b  c", "p q", "a b"]);
    }

    #[test]
    fn a_heredoc_keeps_quotes_and_loses_escapes() {
        let expander = Expander::for_heredoc(&lookup);
        assert_eq!(
            expander.word("\"$A\" '$A' \\$A").as_deref(),
            Ok("\"alpha\" 'alpha' $A")
        );
    }
}
