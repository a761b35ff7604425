//! How an input is made of others: pieces are put in, taken out, repeated, nested and mixed.
//!
//! In: texts and the tokens of a grammar. Out: one text of at most [`LONGEST`] bytes. Imports: `random`.

use super::random::Random;

/// Bytes of an input.
const LONGEST: usize = 6_000;

/// Characters that mean something to some reader, or that readers forget.
const CHARACTERS: &[char] = &[
    '\0', '\u{1}', '\t', '\n', '\r', '\u{b}', ' ', '!', '"', '#', '$', '%', '&', '\'', '(', '*',
    '+', ',', '-', '.', '/', '0', '7', '9', ':', ';', '<', '=', '>', '?', '@', 'A', 'Z', '[', '\\',
    ']', '_', '`', 'a', 'e', 'n', 'x', '{', '|', '}', '~', '\u{7f}', '\u{85}', '\u{a0}', 'é', 'ſ',
    '\u{2028}', '日', '\u{feff}', '\u{fffd}', '\u{ffff}', '💥',
];

/// What opens a value and what closes it.
const NESTS: &[(&str, &str)] = &[
    ("[", "]"),
    ("{a: ", "}"),
    ("[[", "]]"),
    ("- ", ""),
    ("${A:-", "}"),
    ("${A+", "}"),
    ("{", "}"),
    ("\"", "\""),
    ("? ", ""),
];

/// A text made of the corpus.
pub(super) fn mutated(random: &mut Random, corpus: &[String], tokens: &[&str]) -> String {
    let mut text = random.pick(corpus).clone();
    for _ in 0..=random.below(6) {
        mutate(&mut text, random, corpus, tokens);
        if text.len() > LONGEST {
            let end = boundary(&text, LONGEST);
            text.truncate(end);
        }
    }
    text
}

fn mutate(text: &mut String, random: &mut Random, corpus: &[String], tokens: &[&str]) {
    match random.below(14) {
        0..=3 => {
            let at = place(text, random);
            let token: &str = random.pick::<&str>(tokens);
            text.insert_str(at, token);
        }
        4 => {
            let (start, end) = range(text, random, 20);
            let token: &str = random.pick::<&str>(tokens);
            text.replace_range(start..end, token);
        }
        5 => {
            let (start, end) = range(text, random, 40);
            text.replace_range(start..end, "");
        }
        6 => {
            let at = place(text, random);
            text.insert(at, *random.pick(CHARACTERS));
        }
        7 => {
            let (start, end) = range(text, random, 4);
            let new = random.pick(CHARACTERS).to_string();
            text.replace_range(start..end, &new);
        }
        8 => {
            let (start, end) = range(text, random, 60);
            let times = [2, 3, 10, 100][random.below(4)];
            let again = text[start..end].repeat(times);
            text.insert_str(end, &again[..boundary(&again, LONGEST)]);
        }
        9 => splice(text, random, corpus),
        10 | 11 => lines(text, random),
        12 => {
            let (open, close) = random.pick(NESTS);
            let times = [1, 3, 30, 140, 600][random.below(5)];
            let (start, end) = range(text, random, 30);
            text.insert_str(end, &close.repeat(times));
            text.insert_str(start, &open.repeat(times));
        }
        _ => {
            let end = place(text, random);
            text.truncate(end);
        }
    }
}

/// Puts lines of another text in.
fn splice(text: &mut String, random: &mut Random, corpus: &[String]) {
    let other: Vec<&str> = random.pick(corpus).split_inclusive('\n').collect();
    let start = random.below(other.len());
    let end = (start + 1 + random.below(6)).min(other.len());
    let taken = other.get(start..end).unwrap_or_default().concat();
    let begins: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    let at = match begins.is_empty() {
        true => place(text, random),
        false => *random.pick(&begins),
    };
    text.insert_str(at, &taken);
}

/// Moves, repeats, indents or drops a line.
fn lines(text: &mut String, random: &mut Random) {
    let mut all: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    if all.is_empty() {
        return;
    }
    let at = random.below(all.len());
    match random.below(6) {
        0 => drop(all.remove(at)),
        1 => {
            let other = random.below(all.len());
            all.swap(at, other);
        }
        2 => {
            let again = all[at].clone();
            let other = random.below(all.len());
            all.insert(other, again);
        }
        3 => all[at].insert_str(0, "  "),
        4 => {
            let shorter = all[at].strip_prefix("  ").map(str::to_owned);
            all[at] = shorter.unwrap_or_default();
        }
        _ => all[at] = all[at].replace('\n', "\r\n"),
    }
    *text = all.concat();
}

/// A place between two characters.
fn place(text: &str, random: &mut Random) -> usize {
    boundary(text, random.below(text.len() + 1))
}

/// A part of at most `most` bytes.
fn range(text: &str, random: &mut Random, most: usize) -> (usize, usize) {
    let start = place(text, random);
    let end = boundary(text, (start + random.below(most + 1)).min(text.len()));
    (start, end.max(start))
}

/// The last place between two characters that is not behind `at`.
fn boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}
