//! Why a step is not cached: what its key was made of when the same Dockerfile was built the last time.
//!
//! In: steps with the parts of their keys, as they are looked up. Out: reasons in words. Files are compared by lists that
//! are kept by their content, made only for steps that are not as the last time: a build in which nothing changed reads
//! one small file and writes none.
//! No secret gets here: keys don't have them. Values of proxy settings, and of variables whose names sound secret, are
//! not kept either.
//! On disk: `<cache>/seen/<file and target>` JSON, `<cache>/lists/<digest>` a line a file.
//! Imports: `key`, `image::digest`, `sys::fs`.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::key::{Input, Part};
use crate::image::digest::Digest;
use crate::sys::fs::{Durability, make_dirs, write_atomic};

/// Longest file that is read, in bytes.
const LONGEST: u64 = 64 << 20;
/// Longest value that is kept.
const LONGEST_VALUE: usize = 80;
/// Files that are named; the others are counted.
const NAMED: usize = 3;
/// Files of one list at most: of larger trees is only known whether they differ.
pub const MOST_FILES: usize = 100_000;

/// A step as it was looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The instruction.
    pub text: String,
    /// Its key.
    pub key: Digest,
    /// What the key is made of.
    pub inputs: Vec<Input>,
    /// Whether there was a result in the end.
    pub done: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Stages {
    version: u32,
    stages: BTreeMap<usize, Vec<Seen>>,
}

/// What was seen of one Dockerfile the last time, and now.
#[derive(Debug)]
pub struct Memory {
    dir: PathBuf,
    file: PathBuf,
    last: BTreeMap<usize, Vec<Seen>>,
    now: Mutex<BTreeMap<usize, Vec<Seen>>>,
}

/// What a reason calls things, since keys have no names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// What the step stands on.
    pub below: Below,
    /// The stage or image that files are copied from.
    pub other: String,
    /// Variables that are build arguments.
    pub arguments: Vec<String>,
}

/// What a step stands on, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Below {
    /// An image, as it is now: `base image debian:12 is now sha256:…`.
    Base(String),
    /// A stage.
    Stage(String),
    /// The step above; whether it ran.
    Step(bool),
}

impl Memory {
    /// Reads what was seen; a missing or broken file is an empty one.
    pub fn open(cache_dir: &Path, identity: &str) -> Self {
        let file = cache_dir
            .join("seen")
            .join(Digest::of(identity.as_bytes()).hex());
        let small = std::fs::metadata(&file).is_ok_and(|meta| meta.len() <= LONGEST);
        let bytes = small.then(|| std::fs::read(&file).ok()).flatten();
        let stages: Option<Stages> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let last = stages
            .filter(|stages| stages.version == 1)
            .map(|stages| stages.stages)
            .unwrap_or_default();
        Self {
            dir: cache_dir.to_owned(),
            file,
            last,
            now: Mutex::default(),
        }
    }
    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Vec<Seen>>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The step that stood for this one the last time: of the same text, the same number of times; else at its place.
    fn last(&self, stage: usize, place: usize, text: &str) -> Option<&Seen> {
        let steps = self.last.get(&stage)?;
        let before = self.lock().get(&stage).map_or(0, |now| {
            now.iter().take(place).filter(|s| s.text == text).count()
        });
        let same = steps.iter().filter(|seen| seen.text == text).nth(before);
        same.or_else(|| steps.get(place))
    }
    /// Whether a step is just what it was the last time, so that nothing has to be kept of it.
    pub fn is_same(&self, stage: usize, place: usize, text: &str, key: &Digest) -> bool {
        self.last(stage, place, text)
            .is_some_and(|seen| seen.key == *key && seen.text == text && seen.done)
    }
    /// Notes a step; one that is noted again, at the same place, has come further.
    pub fn note(&self, stage: usize, place: usize, mut seen: Seen) {
        if self.is_same(stage, place, &seen.text, &seen.key)
            && let Some(last) = self.last(stage, place, &seen.text)
        {
            seen.inputs.clone_from(&last.inputs);
        }
        for input in &mut seen.inputs {
            if let Part::Variable(name) = &input.part {
                input.shown = input.shown.take().filter(|value| may_be_shown(name, value));
            }
        }
        let mut now = self.lock();
        let steps = now.entry(stage).or_default();
        match steps.get_mut(place) {
            Some(known) => *known = seen,
            None => steps.push(seen),
        }
    }
    /// Why a step is not as the last time.
    pub fn reasons(&self, stage: usize, place: usize, seen: &Seen, words: &Words) -> Vec<String> {
        let Some(steps) = self.last.get(&stage).filter(|steps| !steps.is_empty()) else {
            return vec!["never built here".to_owned()];
        };
        let Some(last) = self.last(stage, place, &seen.text) else {
            return vec!["the instruction is new".to_owned()];
        };
        if last.text != seen.text {
            let elsewhere = steps.iter().any(|step| step.text == seen.text);
            let text = if elsewhere {
                "the instruction is new"
            } else {
                "the instruction changed"
            };
            return vec![text.to_owned()];
        }
        let reasons = self.differences(last, seen, words);
        match reasons.is_empty() {
            false => reasons,
            true if last.done => vec!["its result is no longer in the cache".to_owned()],
            true => vec!["it did not succeed the last time".to_owned()],
        }
    }
    fn differences(&self, last: &Seen, now: &Seen, words: &Words) -> Vec<String> {
        let of = |seen: &Seen| -> BTreeMap<Part, Input> {
            let each = seen.inputs.iter();
            each.map(|input| (input.part.clone(), input.clone()))
                .collect()
        };
        let (old, new) = (of(last), of(now));
        let mut reasons = Vec::new();
        let parts: std::collections::BTreeSet<&Part> = old.keys().chain(new.keys()).collect();
        for part in parts {
            let (was, is) = (old.get(part), new.get(part));
            if was.map(|input| input.digest) == is.map(|input| input.digest) {
                continue;
            }
            match part {
                Part::Below => reasons.push(match &words.below {
                    Below::Base(text) => text.clone(),
                    Below::Stage(name) => format!("stage {name} has other files"),
                    Below::Step(true) => "the step above ran again".to_owned(),
                    Below::Step(false) => "the step above has another result".to_owned(),
                }),
                Part::Instruction => {
                    reasons.push("the instruction's own values changed".to_owned());
                }
                Part::Other => reasons.push(format!("{} has other files", words.other)),
                Part::Variable(name) => reasons.push(variable(name, was, is, &words.arguments)),
                Part::Files(what) => reasons.push(self.files(what, was, is)),
            }
        }
        reasons
    }
    fn files(&self, what: &str, was: Option<&Input>, is: Option<&Input>) -> String {
        let what = match what {
            "" => "what is copied".to_owned(),
            at => format!("what is mounted at {at}"),
        };
        let general = || match (was, is) {
            (None, _) => format!("{what} is new"),
            (_, None) => format!("{what} is gone"),
            _ => format!("{what} changed"),
        };
        let list = |input: Option<&Input>| self.list(&input?.list?);
        let (Some(old), Some(new)) = (list(was), list(is)) else {
            return general();
        };
        let (old, new) = apart(&old, &new);
        let paths: std::collections::BTreeSet<&str> =
            old.keys().chain(new.keys()).copied().collect();
        let mut found: Vec<(String, &str)> = Vec::new();
        for path in paths {
            let verb = match (old.get(path), new.get(path)) {
                (None, _) => "is new",
                (_, None) => "was removed",
                (old, new) if old != new => "changed",
                _ => continue,
            };
            found.push((path.to_owned(), verb));
        }
        match found.as_slice() {
            [] => general(),
            [(path, verb)] => format!("{path} {verb}"),
            several => {
                let count = several.len();
                let named: Vec<&str> = several
                    .iter()
                    .take(NAMED)
                    .map(|(path, _)| path.as_str())
                    .collect();
                let more = if count > NAMED { ", …" } else { "" };
                format!("{count} files changed: {}{more}", named.join(", "))
            }
        }
    }
    fn list(&self, digest: &Digest) -> Option<String> {
        let path = self.dir.join("lists").join(digest.hex());
        let small = std::fs::metadata(&path).ok()?.len() <= LONGEST;
        small.then(|| std::fs::read_to_string(&path).ok()).flatten()
    }
    /// Keeps a list of files: lines of a digest of all that counts, and a path. Gives its name.
    ///
    /// # Errors
    /// The system's.
    pub fn keep_list(&self, text: &str) -> std::io::Result<Digest> {
        let name = Digest::of(text.as_bytes());
        let dir = self.dir.join("lists");
        let path = dir.join(name.hex());
        if !path.exists() {
            make_dirs(&dir, 0o700)?;
            write_atomic(&path, text.as_bytes(), 0o600, Durability::Renamed)?;
        }
        Ok(name)
    }
    /// Writes down what was seen, if it is not what was known. Steps behind the last one that was reached stay as they
    /// were known.
    ///
    /// # Errors
    /// The system's.
    pub fn save(&self) -> std::io::Result<()> {
        let now = self.lock();
        let mut stages = self.last.clone();
        for (stage, steps) in now.iter() {
            let known = stages.entry(*stage).or_default();
            let rest = known.split_off(steps.len().min(known.len()));
            known.clone_from(steps);
            known.extend(rest);
        }
        if stages == self.last {
            return Ok(());
        }
        let text = serde_json::to_vec(&Stages { version: 1, stages });
        let text = text.map_err(std::io::Error::other)?;
        make_dirs(&self.dir.join("seen"), 0o700)?;
        write_atomic(&self.file, &text, 0o600, Durability::Renamed)
    }
}

/// Files by path.
type Files<'a> = BTreeMap<&'a str, &'a str>;

/// The lines of two lists that are not the same at the same place of both. Lists are in the order of a walk, so that
/// most of two that hardly differ is left out; what is left may still be the same.
fn apart<'a>(old: &'a str, new: &'a str) -> (Files<'a>, Files<'a>) {
    let (mut left, mut right) = (old.lines().peekable(), new.lines().peekable());
    let (mut was, mut is) = (Files::new(), Files::new());
    let put = |files: &mut Files<'a>, line: Option<&'a str>| {
        if let Some((digest, path)) = line.and_then(|line| line.split_once(' ')) {
            files.insert(path, digest);
        }
    };
    let path = |line: &'a str| Path::new(line.split_once(' ').map_or(line, |(_, path)| path));
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return (was, is),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) if old == new => {
                left.next();
                right.next();
                continue;
            }
            (Some(old), Some(new)) => path(old).cmp(path(new)),
        };
        if order.is_le() {
            put(&mut was, left.next());
        }
        if order.is_ge() {
            put(&mut is, right.next());
        }
    }
}

fn steps_of(path: &Path) -> impl Iterator<Item = Seen> + use<> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let stages: Stages = serde_json::from_slice(&bytes).unwrap_or_default();
    stages.stages.into_values().flatten()
}

/// The keys that one file of what was seen names.
pub(super) fn keys_of(path: &Path) -> Vec<Digest> {
    steps_of(path).map(|seen| seen.key).collect()
}

/// The lists that one file of what was seen names.
pub(super) fn lists_of(path: &Path) -> Vec<String> {
    let inputs = steps_of(path).flat_map(|seen| seen.inputs);
    inputs
        .filter_map(|input| input.list)
        .map(|list| list.hex())
        .collect()
}

/// Whether a variable's value may be kept and shown.
fn may_be_shown(name: &str, value: &str) -> bool {
    const SECRET: [&str; 9] = [
        "secret",
        "token",
        "password",
        "passwd",
        "pword",
        "credential",
        "auth",
        "key",
        "pwd",
    ];
    let lower = name.to_ascii_lowercase();
    value.len() <= LONGEST_VALUE
        && !value.contains(|c: char| c.is_control())
        && !lower.ends_with("_proxy")
        && !SECRET.iter().any(|word| lower.contains(word))
}

fn variable(name: &str, was: Option<&Input>, is: Option<&Input>, arguments: &[String]) -> String {
    let kind = match arguments.iter().any(|known| known == name) {
        true => "build argument",
        false => "variable",
    };
    let value = |input: Option<&Input>| -> Option<String> {
        let value = input?.shown.as_deref()?;
        may_be_shown(name, value).then(|| match value {
            "" => "\"\"".to_owned(),
            value => value.to_owned(),
        })
    };
    match (was, is) {
        (None, _) => format!("{kind} {name} is new"),
        (_, None) => format!("{kind} {name} is no longer set"),
        _ => match (value(was), value(is)) {
            (Some(was), Some(is)) => format!("{kind} {name}: {was} → {is}"),
            _ => format!("{kind} {name} changed"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Key;
    use super::*;

    fn seen(text: &str, below: &[u8], pairs: &[&str], list: Option<Digest>) -> Seen {
        let mut key = Key::of_step("run", &[Digest::of(below)]);
        key.text(text);
        key.variables(pairs.iter().copied());
        key.part(Part::Files(String::new()));
        key.text(&format!("{list:?}"));
        let (key, mut inputs) = key.inputs();
        for input in &mut inputs {
            if let Part::Files(_) = input.part {
                input.list = list;
            }
        }
        Seen {
            text: text.to_owned(),
            key,
            inputs,
            done: true,
        }
    }

    #[test]
    fn a_reason_names_what_is_not_as_the_last_time() {
        let dir = std::env::temp_dir().join(format!("hoist-seen-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let words = Words {
            below: Below::Step(true),
            other: "stage a".to_owned(),
            arguments: vec!["VERSION".to_owned(), "API_TOKEN".to_owned()],
        };
        let memory = Memory::open(&dir, "x");
        let list = |files: &[(&str, &str)]| {
            let line = |(path, text): &(&str, &str)| {
                format!("{} {path}\n", Digest::of(text.as_bytes()).short())
            };
            let text: String = files.iter().map(line).collect();
            Some(memory.keep_list(&text).unwrap())
        };
        let env = ["VERSION=1", "API_TOKEN=hunter2", "HTTP_PROXY=http://u:p@h"];
        let first = seen("RUN a", b"0", &env, list(&[("src/a", "1"), ("src/b", "1")]));
        assert_eq!(memory.reasons(0, 0, &first, &words), ["never built here"]);
        memory.note(0, 0, first.clone());
        memory.save().unwrap();
        let kept = std::fs::read_dir(dir.join("seen")).unwrap().next().unwrap();
        let text = std::fs::read_to_string(kept.unwrap().path()).unwrap();
        assert!(text.contains("VERSION") && !text.contains("hunter2") && !text.contains("u:p"));

        let memory = Memory::open(&dir, "x");
        assert!(memory.is_same(0, 0, "RUN a", &first.key));
        let why = |now: &Seen| memory.reasons(0, 0, now, &words);
        assert_eq!(why(&first), ["its result is no longer in the cache"]);
        assert_eq!(
            why(&seen("RUN b", b"0", &env, None)),
            ["the instruction changed"]
        );
        let env = ["VERSION=2", "API_TOKEN=other", "NEW=1"];
        let files = list(&[("src/a", "2"), ("src/b", "1")]);
        assert_eq!(
            why(&seen("RUN a", b"1", &env, files)),
            [
                "the step above ran again",
                "build argument API_TOKEN changed",
                "variable HTTP_PROXY is no longer set",
                "variable NEW is new",
                "build argument VERSION: 1 → 2",
                "src/a changed",
            ]
        );
        let env = ["VERSION=1", "API_TOKEN=hunter2", "HTTP_PROXY=http://u:p@h"];
        let files = list(&[("c", "2"), ("d", "2"), ("src/b", "1"), ("e", "")]);
        assert_eq!(
            why(&seen("RUN a", b"0", &env, files)),
            ["4 files changed: c, d, e, …"]
        );
        // A step put before it does not hide what it was.
        memory.note(0, 0, seen("RUN new", b"0", &[], None));
        let moved = seen("RUN a", b"2", &env, list(&[("src/a", "1"), ("src/b", "1")]));
        assert_eq!(
            memory.reasons(0, 1, &moved, &words),
            ["the step above ran again"]
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
