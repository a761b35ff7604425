//! A plan as text: groups of things, a sign and a line each, what changed below.
//!
//! In: a [`Summary`]. Out: text. Imports: `plan::summary`, `ui`.

use crate::plan::summary::{Difference, Item, Sign, Summary};
use crate::ui::paint;
use crate::ui::render::clean;

/// Groups with the kinds of things in them.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Images", &["image"]),
    ("Networks", &["network"]),
    ("Volumes", &["volume"]),
    ("Providers", &["provider", "model"]),
    ("Containers", &["container", "service"]),
];
/// Characters of a value that are shown.
const VALUE: usize = 120;

/// The whole plan; ends with a line end.
pub(super) fn text(summary: &Summary, colour: bool) -> String {
    let mut out = format!("Project {}: {}\n", summary.project, counts(summary));
    let width = |of: &dyn Fn(&Item) -> usize| summary.items.iter().map(of).max().unwrap_or(0);
    let action = width(&|item| item.action.chars().count());
    let name = width(&|item| clean(&item.name).chars().count());
    for (title, kinds) in GROUPS {
        let items: Vec<&Item> = summary
            .items
            .iter()
            .filter(|item| kinds.contains(&item.kind))
            .collect();
        if items.is_empty() {
            continue;
        }
        out.push_str(&format!("\n{}\n", paint(colour, "1", title)));
        for item in items {
            out.push_str(&lines(item, (action, name), colour));
        }
    }
    if !summary.unchanged.is_empty() {
        let names = summary.unchanged.join(", ");
        out.push_str(&format!("\nUnchanged: {names}\n"));
    }
    out
}

/// `2 to add, 1 to change`.
fn counts(summary: &Summary) -> String {
    let counts = &summary.counts;
    let all = [
        (counts.add, "to add"),
        (counts.change, "to change"),
        (counts.remove, "to remove"),
    ];
    let said: Vec<String> = all
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    match said.is_empty() {
        true => "nothing to do".to_owned(),
        false => said.join(", "),
    }
}

fn code(sign: Sign) -> &'static str {
    match sign {
        Sign::Add => "32",
        Sign::Change => "33",
        Sign::Remove => "31",
        Sign::Look => "2",
    }
}

fn lines(item: &Item, (action, name): (usize, usize), colour: bool) -> String {
    let mut reasons: Vec<String> = item.reasons.iter().map(|r| clean(&r.text)).collect();
    if let Some(condition) = &item.only_if {
        reasons.push(format!("only if {condition}"));
    }
    let head = format!("{} {:<action$}", item.sign.mark(), item.action);
    let head = paint(colour, code(item.sign), &head);
    let line = format!(
        "  {head}  {:<name$}  {}",
        clean(&item.name),
        reasons.join("; ")
    );
    let mut out = format!("{}\n", line.trim_end());
    for change in item.reasons.iter().flat_map(|reason| &reason.changes) {
        out.push_str(&format!("      {}\n", difference(change, colour)));
    }
    if let Some(later) = item.later {
        out.push_str(&format!("      {}\n", paint(colour, "2", later)));
    }
    out
}

fn difference(change: &Difference, colour: bool) -> String {
    let cut = |text: &String| {
        let text = clean(text).replace('\n', "⏎");
        match text.char_indices().nth(VALUE) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        }
    };
    let (sign, text) = match (&change.was, &change.now) {
        (Some(was), Some(now)) => (Sign::Change, format!(": {} → {}", cut(was), cut(now))),
        (None, Some(now)) => (Sign::Add, format!(": {}", cut(now))),
        (Some(was), None) => (Sign::Remove, format!(": {}", cut(was))),
        // Its value is not for showing, or too long for a line.
        (None, None) => (Sign::Change, String::new()),
    };
    let head = format!("{} {}", sign.mark(), clean(&change.path));
    format!("{}{text}", paint(colour, code(sign), &head))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::summary::{Counts, Reason};

    fn item(sign: Sign, action: &'static str, name: &str, reason: Reason) -> Item {
        Item {
            kind: "container",
            name: name.to_owned(),
            service: Some("a".to_owned()),
            sign,
            action,
            reasons: vec![reason],
            only_if: None,
            later: None,
            steps: vec![1],
        }
    }

    #[test]
    fn a_plan_shows_signs_names_and_what_changed_below() {
        let change = |path: &str, was: Option<&str>, now: Option<&str>| Difference {
            path: path.to_owned(),
            was: was.map(str::to_owned),
            now: now.map(str::to_owned),
        };
        let changed = Reason {
            code: "configuration_changed",
            text: "configuration changed".to_owned(),
            changes: vec![
                change("environment.A", Some("1"), Some("2\u{1b}[2J")),
                change("environment.KEY", None, None),
                change("hostname", None, Some("h")),
            ],
        };
        let orphan = Reason {
            code: "orphan",
            text: "orphan".to_owned(),
            changes: Vec::new(),
        };
        let summary = Summary {
            version: 1,
            project: "p".to_owned(),
            changes: true,
            counts: Counts {
                add: 0,
                change: 1,
                remove: 1,
            },
            items: vec![
                item(Sign::Change, "replace", "p-a-1", changed),
                item(Sign::Remove, "remove", "p-old-1", orphan),
            ],
            unchanged: vec!["p-b-1".to_owned()],
            warnings: Vec::new(),
            steps: serde_json::Value::Null,
        };
        let want = "Project p: 1 to change, 1 to remove\n\nContainers\n  \
                    ~ replace  p-a-1    configuration changed\n      ~ environment.A: 1 → 2\n      \
                    ~ environment.KEY\n      + hostname: h\n  - remove   p-old-1  orphan\n\nUnchanged: p-b-1\n";
        assert_eq!(text(&summary, false), want);
        assert!(text(&summary, true).contains("\u{1b}[33m~ replace\u{1b}[0m"));
    }
}
