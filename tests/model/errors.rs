//! Errors in compose files, compared as whole texts.
//!
//! Each directory of `error_pages` is a mistake that people make: its files, and in `expected.txt` all that
//! `hoist config -q` (or the command line in its file `cmd`) says on standard error, and its exit code. With `HOIST_TEST_BLESS=1` the test
//! writes these files anew; read what has changed as the user who has to work with it.

use std::path::{Path, PathBuf};

use crate::harness::{Sandbox, leftovers::children, repository};

crate::cases!(&[];
    an_unknown_key_is_shown_in_its_line_with_the_nearest_key,
    all_errors_of_a_file_are_shown_at_once,
    a_cycle_is_shown_as_the_path_with_positions,
    a_dependency_that_is_not_defined_has_a_place,
    broken_yaml_has_a_place,
    a_wrong_type_says_what_was_expected,
    a_valid_key_that_is_not_acted_on_is_reported_by_name,
    an_alias_bomb_is_refused_at_once,
    control_characters_of_a_file_do_not_reach_the_terminal,
    each_error_page_reads_as_it_is_written_down,
);

/// Runs `config -q`, which must fail, and gives standard error.
fn fails(hoist: &Sandbox) -> String {
    hoist.global(&["config", "-q"]).code(1).err
}

fn an_unknown_key_is_shown_in_its_line_with_the_nearest_key() {
    let hoist = Sandbox::empty();
    hoist.compose("services:\n  web:\n    image: nginx\n    enviroment: {A: 1}\n");
    let text = fails(&hoist);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("compose.yaml:4:5: ") && lines[0].contains("unknown key `enviroment`"),
        "{text}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains("4 |") && line.ends_with("enviroment: {A: 1}")),
        "{text}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.trim().trim_start_matches('|').trim()
                == "^^^^^^^^^^ not a key of a service"),
        "{text}"
    );
    assert_eq!(
        lines.last(),
        Some(&"hint: did you mean `environment`?"),
        "{text}"
    );
}

fn all_errors_of_a_file_are_shown_at_once() {
    let hoist = Sandbox::empty();
    hoist.compose("services:\n  web:\n    imag: nginx\n  db:\n    image: pg\n    prots: ['1:1']\n");
    let text = fails(&hoist);
    assert!(
        text.contains("compose.yaml:3:5") && text.contains("compose.yaml:6:5"),
        "{text}"
    );
}

fn a_cycle_is_shown_as_the_path_with_positions() {
    let hoist = Sandbox::empty();
    hoist.compose(
        "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [c]}\n  c: {image: x, depends_on: [a]}\n  d: {image: \
         x, depends_on: [a]}\n",
    );
    let text = fails(&hoist);
    assert!(
        text.contains("services depend on each other: a -> b -> c -> a"),
        "{text}"
    );
    for place in [
        "compose.yaml:2:30",
        "compose.yaml:3:30",
        "compose.yaml:4:30",
    ] {
        assert!(text.contains(place), "no {place} in {text}");
    }
    assert!(!text.contains("compose.yaml:5:"), "{text}");
}

fn a_dependency_that_is_not_defined_has_a_place() {
    let hoist = Sandbox::empty();
    hoist.compose(
        "services:\n  web:\n    image: x\n    depends_on: [databse]\n  database: {image: y}\n",
    );
    let text = fails(&hoist);
    assert!(
        text.starts_with("compose.yaml:4:18: ")
            && text.contains("`databse`")
            && text.contains("`database`"),
        "{text}"
    );
}

fn broken_yaml_has_a_place() {
    let hoist = Sandbox::empty();
    hoist.compose("services:\n  web:\n    image: [unclosed\n  db: x\n");
    let text = fails(&hoist);
    assert!(text.starts_with("compose.yaml:"), "{text}");
    hoist.compose("services:\n\tweb: {image: x}\n");
    assert!(fails(&hoist).starts_with("compose.yaml:2:"));
    hoist.compose("services:\n  a: {image: x}\n  a: {image: y}\n");
    assert!(fails(&hoist).starts_with("compose.yaml:3:3: "));
}

fn a_wrong_type_says_what_was_expected() {
    let hoist = Sandbox::empty();
    for (line, place) in [
        ("ports: 80", "compose.yaml:3:"),
        ("mem_limit: lots", "compose.yaml:3:"),
        ("healthcheck: {interval: soon}", "compose.yaml:3:"),
        ("image: {name: x}", "compose.yaml:3:"),
        ("ports: ['80000:1']", "compose.yaml:3:"),
        ("init: maybe", "compose.yaml:3:"),
    ] {
        hoist.compose(&format!("services:\n  a:\n    {line}\n"));
        let text = fails(&hoist);
        assert!(text.contains(place), "{line}: {text}");
    }
}

fn a_valid_key_that_is_not_acted_on_is_reported_by_name() {
    let hoist = Sandbox::empty();
    hoist.compose("services:\n  a:\n    image: x\n    isolation: process\n");
    let done = hoist.global(&["config", "-q"]).ok();
    assert!(
        done.err.contains("isolation") && done.err.contains("warning"),
        "{}",
        done.story()
    );
    assert!(done.err.contains("compose.yaml:4:5"), "{}", done.story());
}

fn an_alias_bomb_is_refused_at_once() {
    let hoist = Sandbox::empty();
    let mut text = String::from("x-0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 9].join(", ");
        text.push_str(&format!("x-{level}: &a{level} [{list}]\n"));
    }
    text.push_str("services:\n  a: {image: x, command: *a11}\n");
    hoist.compose(&text);
    let begun = std::time::Instant::now();
    let text = fails(&hoist);
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(10),
        "it took {:?}",
        begun.elapsed()
    );
    assert!(text.contains("alias"), "{text}");
}

fn control_characters_of_a_file_do_not_reach_the_terminal() {
    let hoist = Sandbox::empty();
    hoist.compose("services:\n  a:\n    image: x\n    \"bad\\e]0;owned\\a\": 1\n");
    let text = fails(&hoist);
    assert!(
        !text.contains('\u{1b}') && !text.contains('\u{7}'),
        "{text:?}"
    );
}

fn each_error_page_reads_as_it_is_written_down() {
    let pages = children(&repository().join("tests/model/error_pages"));
    assert!(pages.len() >= 30, "{}", pages.len());
    let bless = std::env::var_os("HOIST_TEST_BLESS").is_some_and(|value| value == "1");
    let mut wrong = Vec::new();
    for page in pages {
        let text = show(&page);
        let file = page.join("expected.txt");
        if bless {
            std::fs::write(&file, &text).expect("the repository is writable");
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if text != expected {
            wrong.push(format!(
                "{}\n--- expected\n{expected}--- got\n{text}",
                page.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a page's command says, twice the same.
fn show(page: &Path) -> String {
    let hoist = Sandbox::empty();
    for (name, path) in files(page, Path::new("")) {
        hoist.file(
            &name,
            std::fs::read(path).expect("a file of the repository"),
        );
    }
    let line = std::fs::read_to_string(page.join("cmd")).unwrap_or_else(|_| "config -q".into());
    let words: Vec<&str> = line.split_whitespace().collect();
    let text = |done: crate::harness::process::Done| {
        let said = done.err.replace(&*hoist.dir().to_string_lossy(), "$DIR");
        format!("{said}[exit code {}]\n", done.code)
    };
    let first = text(hoist.global(&words));
    assert_eq!(first, text(hoist.global(&words)), "{}", page.display());
    first
}

/// The files below a directory that belong to the project, with their names in it.
fn files(dir: &Path, below: &Path) -> Vec<(String, PathBuf)> {
    let mut all = Vec::new();
    for path in children(dir) {
        let name = below.join(path.file_name().expect("a name"));
        if path.is_dir() {
            all.extend(files(&path, &name));
        } else if name != Path::new("expected.txt") && name != Path::new("cmd") {
            all.push((name.to_string_lossy().into_owned(), path));
        }
    }
    all
}
