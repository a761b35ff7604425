//! Pieces → a tree.
//!
//! Imports: `template`. Rules: Go's `text/template/parse`, `parse.go`. `define`, `block` and `template` are left out: nobody
//! writes them on a command line.

use std::iter::Peekable;
use std::vec::IntoIter;

use serde_json::Value;

use super::lex::{Piece, Token};
use super::{At, Fault};

/// A part of a template.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    /// `if`, and `with`, which makes its value the dot.
    If {
        with: bool,
        what: Pipeline,
        then: Vec<Self>,
        otherwise: Vec<Self>,
    },
    Range {
        what: Pipeline,
        each: Vec<Self>,
        otherwise: Vec<Self>,
    },
    Break,
    Continue,
}

/// Commands, each of which gets what the one before gives.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    /// Variables that get the result, and whether they are new.
    pub(super) names: Vec<String>,
    pub(super) new: bool,
    pub(super) commands: Vec<Vec<Operand>>,
}

/// A word of a command.
#[derive(Debug, Clone)]
pub(super) struct Operand {
    pub(super) at: At,
    pub(super) what: What,
    /// `.A.B` behind it.
    pub(super) fields: Vec<String>,
}

/// What an operand begins with.
#[derive(Debug, Clone)]
pub(super) enum What {
    Dot,
    Variable(String),
    Constant(Value),
    Function(String),
    Group(Box<Pipeline>),
}

/// Deepest nesting.
const DEEPEST: usize = 100;

type Pieces = Peekable<IntoIter<Piece>>;
type Tokens = Peekable<IntoIter<(At, Token)>>;

/// How a list of nodes ended.
enum Stop {
    Text,
    End,
    Else(Tokens, At),
}

/// Makes a tree of pieces.
pub(super) fn parse(pieces: Vec<Piece>, known: &dyn Fn(&str) -> bool) -> Result<Vec<Node>, Fault> {
    let mut parser = Parser {
        pieces: pieces.into_iter().peekable(),
        known,
        depth: 0,
        last: At::default(),
    };
    match parser.list()? {
        (nodes, Stop::Text) => Ok(nodes),
        (_, Stop::End) => Err(Fault::at(parser.last, "unexpected {{end}}")),
        (_, Stop::Else(_, at)) => Err(Fault::at(at, "unexpected {{else}}")),
    }
}

struct Parser<'a> {
    pieces: Pieces,
    known: &'a dyn Fn(&str) -> bool,
    depth: usize,
    last: At,
}

impl Parser<'_> {
    fn list(&mut self) -> Result<(Vec<Node>, Stop), Fault> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (tokens, at) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens, at) => (tokens, at),
            };
            self.last = at;
            let mut tokens = tokens.into_iter().peekable();
            skip(&mut tokens);
            let word = match tokens.peek() {
                Some((_, Token::Word(word))) => word.clone(),
                Some(_) => String::new(),
                None => return Err(Fault::at(at, "missing value for command")),
            };
            match word.as_str() {
                "end" => return Ok((nodes, Stop::End)),
                "else" => {
                    tokens.next();
                    skip(&mut tokens);
                    return Ok((nodes, Stop::Else(tokens, at)));
                }
                "if" | "with" | "range" => {
                    tokens.next();
                    nodes.push(self.control(&word, tokens, at)?);
                }
                "break" => nodes.push(Node::Break),
                "continue" => nodes.push(Node::Continue),
                "define" | "block" | "template" => {
                    return Err(Fault::at(at, format!("{{{{{word}}}}} is not supported")));
                }
                _ => nodes.push(Node::Print(self.pipeline(&mut tokens, at, None)?)),
            }
        }
        Ok((nodes, Stop::Text))
    }

    fn control(&mut self, word: &str, mut tokens: Tokens, at: At) -> Result<Node, Fault> {
        self.deeper(at)?;
        let what = self.pipeline(&mut tokens, at, None)?;
        let (then, end) = self.list()?;
        let otherwise = match end {
            Stop::End => Vec::new(),
            Stop::Text => return Err(Fault::at(at, "unexpected EOF")),
            Stop::Else(mut tokens, at) => match tokens.peek() {
                None => match self.list()? {
                    (nodes, Stop::End) => nodes,
                    (_, Stop::Text) => return Err(Fault::at(at, "unexpected EOF")),
                    (_, Stop::Else(_, at)) => {
                        return Err(Fault::at(at, "expected end; found {{else}}"));
                    }
                },
                // `{{else if x}}` shares the end of the outer one.
                Some((_, Token::Word(again))) if again == "if" || again == "with" => {
                    let again = again.clone();
                    tokens.next();
                    vec![self.control(&again, tokens, at)?]
                }
                Some(_) => return Err(Fault::at(at, "unexpected token in {{else}}")),
            },
        };
        self.depth -= 1;
        Ok(match word {
            "range" => Node::Range {
                what,
                each: then,
                otherwise,
            },
            _ => Node::If {
                with: word == "with",
                what,
                then,
                otherwise,
            },
        })
    }

    fn deeper(&mut self, at: At) -> Result<(), Fault> {
        self.depth += 1;
        match self.depth > DEEPEST {
            true => Err(Fault::at(at, "nested too deep")),
            false => Ok(()),
        }
    }

    /// Up to the end of the action, or to `)`.
    fn pipeline(
        &mut self,
        tokens: &mut Tokens,
        at: At,
        close: Option<&str>,
    ) -> Result<Pipeline, Fault> {
        self.deeper(at)?;
        let (names, new) = assigned(tokens);
        let mut commands = vec![Vec::new()];
        let mut closed = close.is_none();
        while let Some((place, token)) = tokens.next() {
            let command = commands.last_mut().filter(|_| true);
            let what = match token {
                Token::Blank => continue,
                Token::Mark("|") => {
                    if command.is_none_or(|command| command.is_empty()) {
                        return Err(Fault::at(place, "missing value for command"));
                    }
                    commands.push(Vec::new());
                    continue;
                }
                Token::Mark(")") if close.is_some() => {
                    closed = true;
                    break;
                }
                Token::Mark("(") => {
                    What::Group(Box::new(self.pipeline(tokens, place, Some(")"))?))
                }
                Token::Mark(mark) => {
                    return Err(Fault::at(place, format!("unexpected {mark:?} in command")));
                }
                Token::Field(name) => {
                    let mut operand = operand(place, What::Dot, tokens);
                    if !name.is_empty() {
                        operand.fields.insert(0, name);
                    }
                    push(&mut commands, operand);
                    continue;
                }
                Token::Variable(name) => What::Variable(name),
                Token::Text(text) => What::Constant(Value::String(text)),
                Token::Number(number) => What::Constant(Value::Number(number)),
                Token::Word(word) => match word.as_str() {
                    "true" => What::Constant(Value::Bool(true)),
                    "false" => What::Constant(Value::Bool(false)),
                    "nil" => What::Constant(Value::Null),
                    _ if (self.known)(&word) => What::Function(word),
                    _ => {
                        return Err(Fault::at(place, format!("function {word:?} not defined")));
                    }
                },
            };
            let operand = operand(place, what, tokens);
            push(&mut commands, operand);
        }
        self.depth -= 1;
        if !closed {
            return Err(Fault::at(at, "unclosed left paren"));
        }
        if commands.iter().any(Vec::is_empty) {
            return Err(Fault::at(at, "missing value for command"));
        }
        Ok(Pipeline {
            names,
            new,
            commands,
        })
    }
}

fn push(commands: &mut [Vec<Operand>], operand: Operand) {
    if let Some(command) = commands.last_mut() {
        command.push(operand);
    }
}

fn operand(at: At, what: What, tokens: &mut Tokens) -> Operand {
    let mut fields = Vec::new();
    while let Some((_, Token::Field(name))) = tokens.peek() {
        if name.is_empty() {
            break;
        }
        fields.push(name.clone());
        tokens.next();
    }
    Operand { at, what, fields }
}

fn skip(tokens: &mut Tokens) {
    while tokens
        .next_if(|(_, token)| *token == Token::Blank)
        .is_some()
    {}
}

/// `$x :=`, `$i, $e :=`, `$x =`; takes nothing when there is no such thing.
fn assigned(tokens: &mut Tokens) -> (Vec<String>, bool) {
    skip(tokens);
    let mut ahead = tokens.clone();
    let mut names = Vec::new();
    loop {
        skip(&mut ahead);
        match ahead.next() {
            Some((_, Token::Variable(name))) => names.push(name),
            _ => return (Vec::new(), false),
        }
        skip(&mut ahead);
        match ahead.next() {
            Some((_, Token::Mark(","))) if names.len() < 2 => {}
            Some((_, Token::Mark(mark @ (":=" | "=")))) => {
                *tokens = ahead;
                return (names, mark == ":=");
            }
            _ => return (Vec::new(), false),
        }
    }
}
