//! The table `commands.txt`: each command and each of its flags, and the case that uses it.
//!
//! It is checked against the grammar of hoist's own command line, against the list of cases and their sources, and against
//! `compose.txt`, the commands and flags of docker compose: what is neither in hoist nor said to be left out is a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::{Arg, Command};

use crate::harness::{Sandbox, repository};

crate::cases!(&[];
    each_command_and_flag_names_a_case_that_uses_it,
    each_flag_of_docker_compose_is_there_or_said_to_be_left_out,
    what_is_left_out_is_refused,
);

/// A line: a command, a flag of it (`-` is the command itself), and the case, or `!` and why there is none.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    command: String,
    flag: String,
    case: String,
}

impl Row {
    fn is_left_out(&self) -> bool {
        self.case.starts_with('!')
    }
    fn name(&self) -> String {
        match self.flag.as_str() {
            "-" => self.command.clone(),
            flag => format!("{} {flag}", self.command),
        }
    }
}

/// The rows; columns are two blanks or more apart, since names of commands have one.
fn rows() -> Vec<Row> {
    let lines = include_str!("commands.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let row = |line: &str| {
        let mut columns = line
            .split("  ")
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let mut next = || columns.next().unwrap_or_default().to_owned();
        Row {
            command: next(),
            flag: next(),
            case: next(),
        }
    };
    lines.map(row).collect()
}

/// A flag, and its letter, if it has one.
type Flag = (String, Option<char>);

/// Flags as they are in the grammar, each with its letter, if it has one.
type Flags = BTreeMap<String, Option<char>>;

/// A command as it is in the grammar.
struct Entry {
    flags: Flags,
    /// Whether this is another name of a command: one row is enough for it.
    is_alias: bool,
}

/// All commands with their flags, hidden ones and other names of both as well. What stands before a command is `hoist`'s.
fn grammar() -> BTreeMap<String, Entry> {
    let mut all = BTreeMap::new();
    let root = hoist::cli::help::command();
    let flags = flags_of(&root);
    let is_alias = false;
    all.insert("hoist".to_owned(), Entry { flags, is_alias });
    for command in root.get_subcommands() {
        walk(command, "", &mut all);
    }
    all
}

fn walk(command: &Command, above: &str, all: &mut BTreeMap<String, Entry>) {
    let own = command.get_name();
    for name in std::iter::once(own).chain(command.get_all_aliases()) {
        let path = format!("{above} {name}").trim().to_owned();
        for below in command.get_subcommands().filter(|_| name == own) {
            walk(below, &path, all);
        }
        let flags = flags_of(command);
        let is_alias = name != own;
        all.insert(path, Entry { flags, is_alias });
    }
}

fn flags_of(command: &Command) -> Flags {
    let arguments = command.get_arguments().filter(|arg| !arg.is_positional());
    let named = |arg: &Arg| {
        let letter = arg.get_short();
        names_of(arg).into_iter().map(move |name| (name, letter))
    };
    arguments.flat_map(named).collect()
}

/// `--long` under all its names; a flag without one is its letter.
fn names_of(arg: &Arg) -> Vec<String> {
    let long = arg.get_long_and_visible_aliases().unwrap_or_default();
    let hidden = arg.get_all_aliases().unwrap_or_default();
    let names: BTreeSet<String> = long
        .into_iter()
        .chain(hidden)
        .map(|name| format!("--{name}"))
        .collect();
    match (names.is_empty(), arg.get_short()) {
        (true, Some(letter)) => vec![format!("-{letter}")],
        _ => names.into_iter().collect(),
    }
}

fn fail(faults: &[String]) {
    assert!(
        faults.is_empty(),
        "{} faults\n  {}\n",
        faults.len(),
        faults.join("\n  ")
    );
}

/// The source of a case: its file without the other cases in it, so that what helpers do for it counts.
pub fn source(case: &str, all: &BTreeSet<&str>) -> Option<String> {
    let (modules, function) = case.rsplit_once("::")?;
    let mut parts: Vec<&str> = modules.split("::").collect();
    let text = loop {
        let base = parts
            .iter()
            .fold(repository().join("tests"), |path, part| path.join(part));
        let files: [PathBuf; 2] = [base.with_extension("rs"), base.join("mod.rs")];
        if let Some(text) = files
            .iter()
            .find_map(|file| std::fs::read_to_string(file).ok())
        {
            break text;
        }
        parts.pop()?;
        if parts.is_empty() {
            return None;
        }
    };
    let others: BTreeSet<&str> = all
        .iter()
        .filter(|other| **other != case)
        .filter_map(|other| other.rsplit_once("::").map(|(_, name)| name))
        .filter(|name| *name != function)
        .collect();
    let mut kept = String::new();
    let mut end: Option<String> = None;
    for line in text.lines() {
        if let Some(last) = &end {
            if line == last {
                end = None;
            }
            continue;
        }
        let bare = line.trim_start();
        let name = bare
            .strip_prefix("fn ")
            .and_then(|rest| rest.split('(').next());
        if name.is_some_and(|name| others.contains(name)) && !line.ends_with('}') {
            end = Some(format!("{}}}", &line[..line.len() - bare.len()]));
            continue;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    Some(kept)
}

/// Whether a text uses a flag: in full, or by its letter, perhaps among others.
fn uses(text: &str, flag: &str, letter: Option<char>) -> bool {
    let mut words = text.split(|c: char| c.is_whitespace() || "\"',;()[]={}`&".contains(c));
    words.any(|word| {
        let short = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
        word == flag
            || short.is_some_and(|letters| letter.is_some_and(|letter| letters.contains(letter)))
    })
}

fn each_command_and_flag_names_a_case_that_uses_it() {
    let (rows, grammar) = (rows(), grammar());
    let cases: BTreeSet<&str> = crate::cases().map(|case| case.short_name()).collect();
    let mut faults = Vec::new();
    let known: BTreeSet<(&str, &str)> = rows
        .iter()
        .map(|row| (row.command.as_str(), row.flag.as_str()))
        .collect();
    for (command, entry) in &grammar {
        let flags = entry.flags.keys().filter(|_| !entry.is_alias);
        for flag in std::iter::once("-").chain(flags.map(String::as_str)) {
            if !known.contains(&(command.as_str(), flag)) {
                faults.push(format!(
                    "`{command} {flag}` has no row: add `{command}  {flag}  module::case_that_uses_it`"
                ));
            }
        }
    }
    for row in rows.iter().filter(|row| !row.is_left_out()) {
        let letter = match (grammar.get(&row.command), row.flag.as_str()) {
            (None, _) => {
                faults.push(format!(
                    "`{}`: there is no such command: remove its row",
                    row.name()
                ));
                continue;
            }
            (Some(_), "-") => None,
            (Some(entry), flag) => match entry.flags.get(flag) {
                Some(letter) => *letter,
                None => {
                    faults.push(format!(
                        "`{}`: there is no such flag: remove its row",
                        row.name()
                    ));
                    continue;
                }
            },
        };
        if !cases.contains(row.case.as_str()) {
            faults.push(format!("`{}`: there is no case `{}`", row.name(), row.case));
            continue;
        }
        let text = source(&row.case, &cases).unwrap_or_default();
        let word = match row.flag.as_str() {
            // The command line begins with the program's name; what uses any flag of it uses it.
            "-" if row.command == "hoist" => continue,
            "-" => row.command.rsplit(' ').next().unwrap_or_default(),
            flag => flag,
        };
        if !uses(&text, word, letter) {
            faults.push(format!(
                "`{}`: case `{}` does not use it",
                row.name(),
                row.case
            ));
        }
    }
    for pair in rows.windows(2) {
        let key = |row: &Row| (row.is_left_out(), row.command.clone(), row.flag.clone());
        if key(&pair[0]) >= key(&pair[1]) {
            faults.push(format!(
                "`{}` stands after `{}`: rows are sorted, one for each flag",
                pair[1].name(),
                pair[0].name()
            ));
        }
    }
    fail(&faults);
}

/// Commands of docker compose with their flags; `-x,--long` where a flag has a letter.
fn reference() -> Vec<(String, Vec<Flag>)> {
    let lines = include_str!("compose.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let flag = |word: &str| match word.split_once(',') {
        Some((letter, long)) => (long.to_owned(), letter.chars().nth(1)),
        None => (word.to_owned(), None),
    };
    lines
        .map(|line| {
            let (command, flags) = line.split_once(':').unwrap_or((line, ""));
            (
                command.to_owned(),
                flags.split_whitespace().map(flag).collect(),
            )
        })
        .collect()
}

fn each_flag_of_docker_compose_is_there_or_said_to_be_left_out() {
    let (rows, grammar) = (rows(), grammar());
    let left_out = |command: &str, flag: &str| {
        let covers = |row: &Row| match row.flag.as_str() {
            "-" => format!("{command} ").starts_with(&format!("{} ", row.command)),
            own => row.command == command && own == flag,
        };
        rows.iter().any(|row| row.is_left_out() && covers(row))
    };
    let mut faults = Vec::new();
    for (command, flags) in reference() {
        let Some(ours) = grammar.get(&command) else {
            if !left_out(&command, "-") {
                faults.push(format!("docker compose's `{command}` is not there: add it, or a row `{command}  -  ! reason`"));
            }
            continue;
        };
        for (flag, letter) in flags {
            match ours.flags.get(&flag) {
                None if left_out(&command, &flag) => {}
                None => faults.push(format!(
                    "docker compose's `{command} {flag}` is not there: add it, or a row `{command}  {flag}  ! reason`"
                )),
                Some(have) if letter.is_some() && *have != letter => faults.push(format!(
                    "docker compose's `{command} {flag}` has the letter {letter:?}, ours has {have:?}"
                )),
                Some(_) => {}
            }
        }
    }
    for row in rows.iter().filter(|row| row.is_left_out()) {
        let there = match (grammar.get(&row.command), row.flag.as_str()) {
            (None, _) => false,
            (Some(_), "-") => true,
            (Some(entry), flag) => entry.flags.contains_key(flag),
        };
        if there {
            faults.push(format!(
                "`{}` is there now: name a case in its row",
                row.name()
            ));
        }
        if row.case.trim_start_matches(['!', ' ']).is_empty() {
            faults.push(format!("`{}` is left out without a reason", row.name()));
        }
    }
    fail(&faults);
}

fn what_is_left_out_is_refused() {
    let hoist = Sandbox::empty();
    hoist.compose("services: {a: {image: x}}\n");
    for row in rows().iter().filter(|row| row.is_left_out()) {
        let mut words: Vec<&str> = row
            .command
            .split(' ')
            .filter(|word| *word != "hoist")
            .collect();
        if row.flag != "-" {
            words.push(&row.flag);
        }
        let done = hoist.global(&words).code(1);
        let named = words.last().copied().unwrap_or_default();
        assert!(done.err.contains(named), "{}", done.story());
    }
}
