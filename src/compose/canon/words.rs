//! A command line as text becomes words.
//!
//! In: the text of `command`, `entrypoint` or a hook's command. Out: its words, or what is wrong with it.
//! No shell runs: an operator of a shell ends the command, as it does in Compose. Imports: nothing.
//! Rules: as Compose splits it (`go-shellwords` without variables and backticks).

/// The words of a command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// The words, without quotes.
    pub(super) words: Vec<String>,
    /// Where an operator such as `&&` ends the command, in bytes.
    pub(super) end: Option<usize>,
}

/// What makes a text no command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A quote that nothing closes, or a backslash at the end.
    Open,
    /// A parenthesis outside of quotes, at this byte.
    Parenthesis(usize),
}

/// What is open while a text is read.
#[derive(Debug, Default)]
struct State {
    escaped: bool,
    single: bool,
    double: bool,
    back: bool,
    dollar: bool,
}

impl State {
    fn quoted(&self) -> bool {
        self.single || self.double || self.back || self.dollar
    }
}

/// Splits a command line.
///
/// # Errors
/// [`Fault`] for quotes that stay open and for parentheses.
pub(super) fn split(text: &str) -> Result<Words, Fault> {
    let (mut words, mut word, mut started) = (Vec::new(), String::new(), false);
    let (mut state, mut end, mut paren) = (State::default(), None, None);
    for (at, c) in text.char_indices() {
        if state.escaped {
            state.escaped = false;
        } else {
            match c {
                '\\' if !state.single => {
                    state.escaped = true;
                    continue;
                }
                ' ' | '\t' | '\r' | '\n' if !state.quoted() => {
                    if std::mem::take(&mut started) {
                        words.push(std::mem::take(&mut word));
                    }
                    continue;
                }
                '"' if !state.single && !state.dollar => {
                    started |= state.double;
                    state.double = !state.double;
                    continue;
                }
                '\'' if !state.double && !state.dollar => {
                    started |= state.single;
                    state.single = !state.single;
                    continue;
                }
                '`' if !state.single && !state.double && !state.dollar => state.back = !state.back,
                '(' if !state.single && !state.double && !state.back => {
                    if state.dollar || !word.ends_with('$') {
                        return Err(Fault::Parenthesis(at));
                    }
                    state.dollar = true;
                    paren = Some(at);
                }
                ')' if !state.single && !state.double && !state.back => {
                    state.dollar = !state.dollar;
                    paren = Some(at);
                }
                ';' | '&' | '|' | '<' | '>' if !state.quoted() => {
                    // the number of a redirected file belongs to the operator
                    if c == '>' && word.starts_with(|c: char| c.is_ascii_digit()) {
                        started = false;
                    }
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        started = true;
        word.push(c);
    }
    match paren {
        Some(at) if state.dollar => return Err(Fault::Parenthesis(at)),
        _ if state.escaped || state.quoted() => return Err(Fault::Open),
        _ => {}
    }
    if started {
        words.push(word);
    }
    Ok(Words { words, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        split(text).map(|split| split.words).unwrap_or_default()
    }

    #[test]
    fn quotes_and_backslashes_join_and_nothing_is_expanded() {
        assert_eq!(words(r#"a "b c"'d e' \ f"#), ["a", "b cd e", " f"]);
        assert_eq!(words(r#"a "" ''"#), ["a", "", ""]);
        assert_eq!(words(r#""a\nb" 'a\nb'"#), ["anb", r"a\nb"]);
        assert_eq!(
            words("a # b ~ * {x} $Y"),
            ["a", "#", "b", "~", "*", "{x}", "$Y"]
        );
        assert_eq!(words("a $(b c) `d e`"), ["a", "$(b c)", "`d e`"]);
        assert_eq!(words("a \\\n b"), ["a", "\n", "b"]);
    }

    #[test]
    fn an_operator_of_a_shell_ends_the_command_and_is_told() {
        for (text, want, end) in [
            ("a && b", vec!["a"], Some(2)),
            ("a;b", vec!["a"], Some(1)),
            ("a 2>b", vec!["a"], Some(3)),
            ("| a", vec![], Some(0)),
            ("a '&&' b", vec!["a", "&&", "b"], None),
        ] {
            let got = split(text).expect("a command line");
            assert_eq!(
                (got.words, got.end),
                (want.into_iter().map(str::to_owned).collect(), end),
                "{text}"
            );
        }
    }

    #[test]
    fn what_stays_open_is_refused() {
        assert_eq!(split("a 'b"), Err(Fault::Open));
        assert_eq!(split("a \\"), Err(Fault::Open));
        assert_eq!(split("(a)"), Err(Fault::Parenthesis(0)));
        assert_eq!(split("a)b"), Err(Fault::Parenthesis(1)));
    }
}
