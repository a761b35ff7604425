//! The table `dockerfile.txt`: each feature of Dockerfiles and of the builder, and the tests that see what it does.
//!
//! It is checked against the list of cases and against the sources' unit tests, so that a renamed or removed test does
//! not go unnoticed, and against what the parser knows, so that no new flag, option or check goes without a row.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

crate::cases!(&[];
    each_test_that_the_table_of_dockerfiles_names_is_there,
    each_feature_of_dockerfiles_names_the_tests_that_see_it,
);

/// A line: a feature, and tests or the reason why there are none.
struct Row {
    feature: &'static str,
    words: Vec<&'static str>,
}

fn rows() -> Vec<Row> {
    let lines = include_str!("dockerfile.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let row = |line: &'static str| {
        let mut words = line.split_whitespace();
        Row {
            feature: words.next().unwrap_or_default(),
            words: words.collect(),
        }
    };
    lines.map(row).collect()
}

/// The names of a source file's unit tests.
fn unit_tests(file: &str) -> Option<BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(path).ok()?;
    let mut marked = false;
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if line == "#[test]" {
            marked = true;
        } else if let Some(rest) = line.strip_prefix("fn ").filter(|_| marked) {
            let name = rest.split('(').next().unwrap_or_default();
            found.insert(name.to_owned());
            marked = false;
        }
    }
    Some(found)
}

fn each_test_that_the_table_of_dockerfiles_names_is_there() {
    let cases: BTreeSet<&str> = crate::cases().map(|case| case.short_name()).collect();
    let mut files: BTreeMap<&str, Option<BTreeSet<String>>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for row in rows() {
        if !seen.insert(row.feature) {
            faults.push(format!("{}: it has two lines", row.feature));
        }
        if matches!(row.words.first(), Some(&("!" | "?"))) {
            continue;
        }
        for name in &row.words {
            let unit = name
                .split_once("::")
                .filter(|(file, _)| file.starts_with("src/"));
            let known = match unit {
                None => cases.contains(name),
                Some((file, test)) => {
                    let tests = files.entry(file).or_insert_with(|| unit_tests(file));
                    tests.as_ref().is_some_and(|tests| tests.contains(test))
                }
            };
            if !known {
                faults.push(format!("{}: there is no test `{name}`", row.feature));
            }
        }
    }
    assert!(seen.len() > 150, "only {} features", seen.len());
    assert!(faults.is_empty(), "\n  {}", faults.join("\n  "));
}

fn each_feature_of_dockerfiles_names_the_tests_that_see_it() {
    let open = rows().into_iter().filter(|row| match &row.words[..] {
        [] | ["!"] | ["?", ..] => true,
        ["!", ..] => false,
        names => names.contains(&"?"),
    });
    let open: Vec<&str> = open.map(|row| row.feature).collect();
    assert!(
        open.is_empty(),
        "no test is named for\n  {}",
        open.join("\n  ")
    );
}
