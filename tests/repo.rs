//! Rules of the repository that no compiler checks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::harness::{Sandbox, leftovers::children, repository};

crate::cases!(&[];
    modules_import_only_what_the_table_in_lib_rs_allows,
    every_module_says_at_its_head_what_it_is,
    nothing_unfinished_is_in_the_sources,
    no_file_is_longer_than_800_lines,
    unsafe_code_is_only_below_sys,
    every_file_of_the_tests_is_part_of_the_program,
    every_command_is_in_the_readme,
);

/// All Rust files below a directory of the repository.
fn sources(dir: &str) -> Vec<PathBuf> {
    let mut open = vec![repository().join(dir)];
    let mut files = Vec::new();
    while let Some(dir) = open.pop() {
        for path in children(&dir) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "no sources below {dir}");
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

fn short(path: &Path) -> String {
    path.strip_prefix(repository())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// The part of a file before its unit tests, without comment lines; line numbers stay.
fn code(text: &str) -> Vec<&str> {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end]
        .lines()
        .map(|line| {
            if line.trim_start().starts_with("//") {
                ""
            } else {
                line
            }
        })
        .collect()
}

fn fail(faults: &[String]) {
    assert!(faults.is_empty(), "\n  {}", faults.join("\n  "));
}

/// Rows of the import table: a module and what it may use. It is the block fenced as `imports` in the head of
/// `lib.rs`, one row a line: `apply  base graph compose::model engine`; `-` is nothing, `*` everything.
fn import_table() -> BTreeMap<String, Vec<String>> {
    let text = read(&repository().join("src/lib.rs"));
    let head = text
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(str::trim);
    let block = head.skip_while(|line| *line != "```imports").skip(1);
    let mut table = BTreeMap::new();
    for row in block.take_while(|line| !line.starts_with("```")) {
        let mut words = row.split_whitespace().map(str::to_owned);
        let Some(module) = words.next() else { continue };
        let used = words
            .filter(|word| word != "-")
            .flat_map(|word| expand(&word))
            .collect();
        assert!(
            table.insert(module.clone(), used).is_none(),
            "two rows for {module}"
        );
    }
    assert!(
        table.len() >= 10,
        "no import table in the head of src/lib.rs"
    );
    table
}

/// `a::{b,c}` → `a::b`, `a::c`.
fn expand(path: &str) -> Vec<String> {
    let Some((before, list)) = path.split_once('{') else {
        return vec![path.to_owned()];
    };
    list.trim_end_matches('}')
        .split(',')
        .map(|part| format!("{before}{}", part.trim()))
        .collect()
}

/// Whether `path` is `module` or inside of it.
fn is_in(path: &str, module: &str) -> bool {
    path == module
        || path
            .strip_prefix(module)
            .is_some_and(|rest| rest.starts_with("::"))
}

/// The row a path belongs to: the longest name that it is in.
fn row<'a>(table: &'a BTreeMap<String, Vec<String>>, path: &str) -> Option<&'a str> {
    table
        .keys()
        .filter(|module| is_in(path, module))
        .max_by_key(|module| module.len())
        .map(String::as_str)
}

/// Paths that follow `crate::` in a piece of code, groups taken apart.
fn crate_paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("crate::") {
        let inside_word = rest[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$');
        rest = &rest[at + "crate::".len()..];
        if !inside_word {
            tree("", rest, &mut found);
        }
    }
    found
}

/// Adds the paths of a use tree and gives what follows it.
fn tree<'a>(before: &str, text: &'a str, found: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            let after = tree(before, rest, found);
            if after.len() == rest.len() {
                return after;
            }
            rest = after;
        }
    }
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = if before.is_empty() {
        name.to_owned()
    } else {
        format!("{before}::{name}")
    };
    if let Some(after) = rest.strip_prefix("::")
        && after
            .trim_start()
            .starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '{' || c == '*')
    {
        return tree(&path, after, found);
    }
    found.push(path);
    // A renamed import names its new name next.
    rest.strip_prefix(" as ").map_or(rest, |renamed| {
        renamed.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
    })
}

fn modules_import_only_what_the_table_in_lib_rs_allows() {
    let table = import_table();
    let mut faults = Vec::new();
    for file in sources("src") {
        let name = short(&file);
        let module = name
            .trim_start_matches("src/")
            .trim_end_matches(".rs")
            .trim_end_matches("/mod")
            .replace('/', "::");
        if module == "lib" || module == "main" {
            continue;
        }
        let Some(own) = row(&table, &module) else {
            faults.push(format!("{name}: no row of the import table covers it"));
            continue;
        };
        let allowed = &table[own];
        let text = read(&file);
        for path in crate_paths(&code(&text).join("\n")) {
            // Not a module of ours: a macro or an item of the crate's root.
            let Some(target) = row(&table, &path) else {
                continue;
            };
            let covers = |entry: &String| {
                entry == "*"
                    || (is_in(&path, entry)
                        && !(target.len() > entry.len() && is_in(target, entry)))
            };
            if !is_in(&path, own) && !allowed.iter().any(covers) {
                faults.push(format!("{name}: `{own}` may not use `{path}`"));
            }
        }
    }
    fail(&faults);
}

fn every_module_says_at_its_head_what_it_is() {
    let headless = sources("src")
        .into_iter()
        .chain(sources("tests"))
        .filter(|file| {
            let text = read(file);
            !text.starts_with("//! ")
        });
    fail(
        &headless
            .map(|file| format!("{}: no `//!` head", short(&file)))
            .collect::<Vec<_>>(),
    );
}

fn nothing_unfinished_is_in_the_sources() {
    let marks = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let words = ["TODO", "FIXME", "XXX"].map(|word| format!("{word}:"));
    let mut faults = Vec::new();
    for file in sources("src").into_iter().chain(sources("tests")) {
        for (number, line) in read(&file).lines().enumerate() {
            if marks
                .iter()
                .chain(&words)
                .any(|mark| line.contains(mark.as_str()))
            {
                faults.push(format!("{}:{}: {}", short(&file), number + 1, line.trim()));
            }
        }
    }
    fail(&faults);
}

fn no_file_is_longer_than_800_lines() {
    let long = sources("src")
        .into_iter()
        .chain(sources("tests"))
        .filter_map(|file| {
            let lines = read(&file).lines().count();
            (lines > 800).then(|| format!("{}: {lines} lines", short(&file)))
        });
    fail(&long.collect::<Vec<_>>());
}

fn unsafe_code_is_only_below_sys() {
    // In two parts, so that this file does not find itself.
    let word = ["un", "safe"].concat();
    let mut faults = Vec::new();
    for file in sources("src")
        .into_iter()
        .chain(sources("tests"))
        .filter(|file| !short(file).starts_with("src/sys/"))
    {
        let text = read(&file);
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"));
        for (number, line) in lines {
            if ["{", "fn ", "impl ", "extern "]
                .iter()
                .any(|next| line.contains(&format!("{word} {next}")))
            {
                faults.push(format!("{}:{}: {}", short(&file), number + 1, line.trim()));
            }
        }
    }
    fail(&faults);
}

fn every_file_of_the_tests_is_part_of_the_program() {
    let forgotten = sources("tests").into_iter().filter(|file| {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let dir = file.parent().expect("a file has a directory");
        let (parent, name) = match name.as_str() {
            "main" => return false,
            "mod" => (dir.parent().expect("below tests"), dir.file_name().unwrap_or_default().to_string_lossy().into_owned()),
            _ => (dir, name),
        };
        let parents = [parent.join("mod.rs"), parent.join("main.rs")];
        let declared = parents.iter().filter(|path| path.is_file()).any(|path| {
            read(path).lines().any(|line| matches!(line.strip_suffix(';'), Some(line) if line.ends_with(&format!("mod {name}"))))
        });
        !declared
    });
    fail(
        &forgotten
            .map(|file| format!("{}: no `mod` declares it", short(&file)))
            .collect::<Vec<_>>(),
    );
}

fn every_command_is_in_the_readme() {
    let readme = read(&repository().join("README.md"));
    let help = Sandbox::empty().global(&["--help"]).ok().out;
    let commands: Vec<&str> = help
        .lines()
        .take_while(|line| !line.starts_with("Options:"))
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .collect();
    assert!(commands.len() > 8, "{help}");
    let missing = commands.into_iter().filter(|name| {
        !readme.contains(&format!("`{name}`")) && !readme.contains(&format!("hoist {name}"))
    });
    fail(
        &missing
            .map(|name| format!("README.md does not name `{name}`"))
            .collect::<Vec<_>>(),
    );
}
