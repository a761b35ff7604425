//! Paths as users write them: `services.api.ports[1]`, `services.api.labels."a.b"`.
//!
//! In: a text and a tree. Out: the nodes from the top to the one that is meant, or what is there instead.
//! Imports: `base`, `tree`.

use crate::base::diag::{Diagnostic, nearest};
use crate::base::key::{Key, KeyPath};
use crate::compose::tree::{Node, Value};

/// So many keys are listed of a mapping that does not have the one asked for.
const LISTED: usize = 20;

/// One word of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    text: String,
    /// Whether it stood in quotes: dots in it belong to it, and it is no index.
    quoted: bool,
}

/// A value of the document.
#[derive(Debug, Clone)]
pub(super) struct Target<'t> {
    /// Where it stands.
    pub(super) path: KeyPath,
    /// The nodes on the way: the top, …, the value itself.
    pub(super) nodes: Vec<&'t Node>,
}

impl<'t> Target<'t> {
    /// The top of a document.
    pub(super) fn top(root: &'t Node) -> Self {
        Self {
            path: KeyPath::root(),
            nodes: vec![root],
        }
    }
    /// The value.
    pub(super) fn node(&self) -> Option<&'t Node> {
        self.nodes.last().copied()
    }
    /// The target one step further down.
    pub(super) fn child(&self, key: Key, node: &'t Node) -> Self {
        let mut child = self.clone();
        child.path.0.push(key);
        child.nodes.push(node);
        child
    }
    /// The entries or items of the value, in the order in which `config` prints them.
    pub(super) fn children(&self) -> Vec<Self> {
        match self.node().map(|node| &node.value) {
            Some(Value::Map(entries)) => {
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_unstable_by_key(|(key, _)| *key);
                let child = |(key, node): (&String, &'t Node)| self.child(name(key), node);
                sorted.into_iter().map(child).collect()
            }
            Some(Value::List(items)) => {
                let child = |(at, node)| self.child(Key::Index(at), node);
                items.iter().enumerate().map(child).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn name(key: &str) -> Key {
    Key::Name(key.to_owned())
}

/// A path the way it can be written: keys with dots and other signs in quotes.
pub(super) fn shown(path: &KeyPath) -> String {
    let plain = |key: &str| !key.is_empty() && !key.contains(['.', '[', ']', '"', '\'', ' ']);
    let mut text = String::new();
    for key in &path.0 {
        match key {
            Key::Index(at) => text.push_str(&format!("[{at}]")),
            Key::Name(key) => {
                let dot = if text.is_empty() { "" } else { "." };
                text.push_str(dot);
                match plain(key) {
                    true => text.push_str(key),
                    false => text.push_str(&format!("{key:?}")),
                }
            }
        }
    }
    text
}

/// Takes a path apart.
fn words(text: &str) -> Result<Vec<Word>, Box<Diagnostic>> {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (word, tail) = match rest.chars().next() {
            Some('.') if !words.is_empty() => {
                rest = &rest[1..];
                one(rest)
            }
            Some('[') => bracket(rest),
            _ if words.is_empty() => one(rest),
            _ => None,
        }
        .ok_or_else(|| malformed(text, rest))?;
        words.push(word);
        rest = tail;
    }
    Ok(words)
}

fn malformed(text: &str, rest: &str) -> Box<Diagnostic> {
    let at = text.len() - rest.len();
    let fault = Diagnostic::error(format!("`{text}` is no path: see character {}", at + 1))
        .hint("write keys with dots between them, an index in brackets, and a key that holds a dot in quotes: services.api.labels.\"a.b\"");
    Box::new(fault)
}

/// A plain or quoted key at the start of a text.
fn one(text: &str) -> Option<(Word, &str)> {
    if let Some((text, tail)) = quoted(text) {
        return Some((text, tail));
    }
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (word, tail) = text.split_at(end);
    let word = Word {
        text: word.to_owned(),
        quoted: false,
    };
    (end > 0).then_some((word, tail))
}

fn quoted(text: &str) -> Option<(Word, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let body = &text[1..];
    let mut word = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quote == '"' => word.push(chars.next()?.1),
            c if c == quote => {
                let word = Word {
                    text: word,
                    quoted: true,
                };
                return Some((word, &body[at + 1..]));
            }
            c => word.push(c),
        }
    }
    None
}

fn bracket(text: &str) -> Option<(Word, &str)> {
    let body = text.strip_prefix('[')?;
    if let Some((word, tail)) = quoted(body) {
        return Some((word, tail.strip_prefix(']')?));
    }
    let (digits, tail) = body.split_once(']')?;
    let word = Word {
        text: digits.to_owned(),
        quoted: false,
    };
    digits.parse::<usize>().ok().map(|_| (word, tail))
}

/// The value a path means.
///
/// Keys with dots need no quotes where only one reading fits.
///
/// # Errors
/// How far the path leads, and what is there.
pub(super) fn find<'t>(root: &'t Node, text: &str) -> Result<Target<'t>, Missing<'t>> {
    let words = words(text).map_err(Missing::Malformed)?;
    let mut far = Far {
        target: Target::top(root),
        left: words.len(),
    };
    descend(Target::top(root), &words, &mut far).ok_or_else(|| {
        let rest = words.get(words.len() - far.left..).unwrap_or_default();
        Missing::Key {
            wanted: rest.iter().map(|word| word.text.clone()).collect(),
            last: far.target,
        }
    })
}

/// The deepest value that some reading of a path leads to.
struct Far<'t> {
    target: Target<'t>,
    /// So many words are left there.
    left: usize,
}

fn descend<'t>(here: Target<'t>, words: &[Word], far: &mut Far<'t>) -> Option<Target<'t>> {
    if here.path.0.len() > far.target.path.0.len() {
        far.target = here.clone();
        far.left = words.len();
    }
    let Some((first, rest)) = words.split_first() else {
        return Some(here);
    };
    match &here.node()?.value {
        Value::List(items) => {
            let at = first.text.parse::<usize>().ok().filter(|_| !first.quoted)?;
            descend(here.child(Key::Index(at), items.get(at)?), rest, far)
        }
        Value::Map(entries) => {
            let mut key = first.text.clone();
            let mut taken = 0;
            loop {
                if let Some((key, node)) = entries.get_key_value(&key)
                    && let Some(found) = descend(here.child(name(key), node), &rest[taken..], far)
                {
                    return Some(found);
                }
                let next = rest.get(taken).filter(|word| !word.quoted)?;
                if first.quoted {
                    return None;
                }
                key.push('.');
                key.push_str(&next.text);
                taken += 1;
            }
        }
        _ => None,
    }
}

/// Why a path means nothing.
#[derive(Debug)]
pub(super) enum Missing<'t> {
    /// It can't be read.
    Malformed(Box<Diagnostic>),
    /// It leads to `last`, which has no `wanted`.
    Key {
        /// The words that fit nothing, the first one foremost.
        wanted: Vec<String>,
        /// The value that the words before it lead to.
        last: Target<'t>,
    },
}

impl Missing<'_> {
    /// What to tell the user.
    pub(super) fn diagnostic(&self, text: &str) -> Diagnostic {
        let (wanted, last) = match self {
            Self::Malformed(diagnostic) => return (**diagnostic).clone(),
            Self::Key { wanted, last } => (wanted, last),
        };
        let whole = wanted.join(".");
        let wanted = wanted.first().map_or("", String::as_str);
        let place = match last.path.0.is_empty() {
            true => "the project".to_owned(),
            false => format!("`{}`", shown(&last.path)),
        };
        let Some(node) = last.node() else {
            return Diagnostic::error(format!("nothing is at `{text}`"));
        };
        if let Some((_, entry)) = node
            .notes
            .iter()
            .flat_map(|notes| &notes.removed)
            .find(|(key, _)| key == wanted)
        {
            let fault = format!("nothing is at `{text}`: `!reset` removes it");
            let fault = Diagnostic::error(fault).at(entry.place());
            let below = entry.notes.iter().flat_map(|notes| &notes.below);
            return below.fold(fault, |fault, node| {
                fault.related(node.place(), "what it removes")
            });
        }
        match &node.value {
            Value::Map(entries) => {
                let mut keys: Vec<&str> = entries.keys().map(String::as_str).collect();
                keys.sort_unstable();
                let fault = format!("nothing is at `{text}`: {place} has no `{wanted}`");
                let near = nearest(wanted, keys.iter().copied())
                    .or_else(|| nearest(&whole, keys.iter().copied()));
                let fault = match near {
                    Some(near) => {
                        let near = shown(&last.path.key(near));
                        Diagnostic::error(fault).hint(format!("did you mean `{near}`?"))
                    }
                    None => Diagnostic::error(fault),
                };
                fault.hint(listing(&place, &keys))
            }
            Value::List(items) => {
                let count = match items.len() {
                    1 => "one item, [0]".to_owned(),
                    n => format!("{n} items, [0] to [{}]", n.saturating_sub(1)),
                };
                let fault = format!("nothing is at `{text}`: {place} is a list with {count}");
                Diagnostic::error(fault)
            }
            _ => Diagnostic::error(format!(
                "nothing is at `{text}`: {place} is {} and has no parts",
                node.kind()
            ))
            .hint(format!("ask for {place}")),
        }
    }
}

fn listing(place: &str, keys: &[&str]) -> String {
    let more = keys.len().saturating_sub(LISTED);
    let listed: Vec<&str> = keys.iter().take(LISTED).copied().collect();
    match (keys.is_empty(), more) {
        (true, _) => format!("{place} is empty"),
        (_, 0) => format!("{place} has: {}", listed.join(", ")),
        _ => format!("{place} has: {} and {more} more", listed.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::diag::Diagnostics;
    use crate::base::span::SourceId;
    use crate::compose::read::read;

    fn root() -> Node {
        let text = "a: {b.c: {d: 1}, b: [x, {y: z}], 'k \"q\"': 1}\n";
        let mut diags = Diagnostics::default();
        read(SourceId(0), text, &mut diags).documents.remove(0)
    }

    fn lookup(text: &str) -> Result<String, String> {
        let root = root();
        let found = find(&root, text).map(|target| {
            let json = target
                .node()
                .map(crate::compose::explain::value_of)
                .unwrap_or_default();
            format!("{} {json}", shown(&target.path))
        });
        found.map_err(|missing| {
            let diagnostic = missing.diagnostic(text);
            [vec![diagnostic.message], diagnostic.hints]
                .concat()
                .join("; ")
        })
    }

    #[test]
    fn keys_indexes_and_quotes_lead_to_the_value_and_back() {
        for (text, want) in [
            ("a.b[1].y", "a.b[1].y \"z\""),
            ("a.b.1.y", "a.b[1].y \"z\""),
            ("a.\"b.c\".d", "a.\"b.c\".d 1"),
            ("a['b.c']['d']", "a.\"b.c\".d 1"),
            ("a.b.c.d", "a.\"b.c\".d 1"),
            ("a[\"k \\\"q\\\"\"]", "a.\"k \\\"q\\\"\" 1"),
        ] {
            assert_eq!(lookup(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn a_path_to_nothing_says_how_far_it_leads_and_what_is_there() {
        for (text, want) in [
            (
                "a.b.d",
                "nothing is at `a.b.d`: `a.b` is a list with 2 items, [0] to [1]",
            ),
            (
                "a.bc",
                "nothing is at `a.bc`: `a` has no `bc`; did you mean `a.\"b.c\"`?; `a` has: b, b.c, k \"q\"",
            ),
            (
                "a.b[2]",
                "nothing is at `a.b[2]`: `a.b` is a list with 2 items, [0] to [1]",
            ),
            (
                "a.b[0].x",
                "nothing is at `a.b[0].x`: `a.b[0]` is a string and has no parts; ask for `a.b[0]`",
            ),
            (
                "z",
                "nothing is at `z`: the project has no `z`; the project has: a",
            ),
        ] {
            assert_eq!(lookup(text), Err(want.to_owned()), "{text}");
        }
        for text in ["a..b", "a[x]", "a.\"b", "[0", "a]"] {
            assert!(lookup(text).is_err(), "{text}");
        }
    }
}
