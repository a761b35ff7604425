//! Files on top of each other in, one service or the findings out.

use super::*;
use crate::base::span::SourceMap;
use crate::compose::read::read;

fn merged(files: &[&str]) -> (String, Vec<String>) {
    let (mut sources, mut diags) = (SourceMap::default(), Diagnostics::default());
    let files = files
        .iter()
        .enumerate()
        .map(|(at, text)| {
            let id = sources.add(format!("{at}.yaml"), *text);
            Joined {
                documents: read(id, text, &mut diags).documents,
            }
        })
        .collect();
    let root = merge(files, false, &mut diags, |_, _| {}).root.unwrap();
    let services = root
        .get("services")
        .unwrap()
        .get("a")
        .unwrap()
        .to_json()
        .to_string();
    (
        services,
        diags
            .sorted()
            .iter()
            .map(|d| d.headline(&sources))
            .collect(),
    )
}

fn both(below: &str, above: &str) -> String {
    let file = |body: &str| format!("services: {{a: {{{body}}}}}");
    let (json, faults) = merged(&[&file(below), &file(above)]);
    assert_eq!(faults, Vec::<String>::new());
    json
}

#[test]
fn each_key_merges_by_its_own_rule() {
    assert_eq!(both("command: [a]", "command: [b]"), r#"{"command":["b"]}"#);
    assert_eq!(both("dns: a", "dns: [b]"), r#"{"dns":["a","b"]}"#);
    assert_eq!(
        both("labels: {x: 1}", "labels: [y=2, x=3]"),
        r#"{"labels":{"x":"3","y":"2"}}"#
    );
    assert_eq!(
        both("build: ./a", "build: {target: t}"),
        r#"{"build":{"context":"./a","target":"t"}}"#
    );
    assert_eq!(
        both("networks: [n]", "networks: {m: {}}"),
        r#"{"networks":{"m":{},"n":null}}"#
    );
    assert_eq!(
        both("ulimits: {n: 1}", "ulimits: {n: {soft: 1, hard: 2}}"),
        r#"{"ulimits":{"n":{"hard":2,"soft":1}}}"#
    );
    assert_eq!(both("hostname: h", "hostname: "), r#"{"hostname":"h"}"#);
    assert_eq!(
        both("extra_hosts: {a: 1.1.1.1}", "extra_hosts: ['b:2.2.2.2']"),
        r#"{"extra_hosts":["a=1.1.1.1","b=2.2.2.2"]}"#
    );
    assert_eq!(
        both(
            "logging: {driver: a, options: {x: 1}}",
            "logging: {driver: b, options: {y: 2}}"
        ),
        r#"{"logging":{"driver":"b","options":{"y":2}}}"#
    );
}

#[test]
fn reset_removes_and_override_replaces() {
    assert_eq!(
        both("ports: [1], image: x", "ports: !reset []"),
        r#"{"image":"x"}"#
    );
    assert_eq!(
        both("ports: [1]", "ports: !override [2]"),
        r#"{"ports":[2]}"#
    );
    assert_eq!(
        both("environment: {A: 1, B: 2}", "environment: {A: !reset null}"),
        r#"{"environment":{"B":2}}"#
    );
}

#[test]
fn what_fits_no_form_of_its_key_changes_nothing_and_is_warned_about() {
    let file = |body: &str| format!("services: {{a: {{{body}}}}}");
    for (below, above, json) in [
        ("labels: {x: 1}", "labels: 5", r#"{"labels":{"x":1}}"#),
        ("build: ./b", "build: [c]", r#"{"build":"./b"}"#),
        (
            "depends_on: [b]",
            "depends_on: c",
            r#"{"depends_on":["b"]}"#,
        ),
    ] {
        let (merged, faults) = merged(&[&file(below), &file(above)]);
        assert_eq!(merged, json);
        assert!(faults[0].contains("and is ignored"), "{faults:?}");
    }
}

#[test]
fn names_are_replaced_by_nothing_and_single_texts_are_added() {
    assert_eq!(
        both("environment: {A: 1}", "environment: [A]"),
        r#"{"environment":{"A":null}}"#
    );
    assert_eq!(
        both("labels: {x: 1}", "labels: y"),
        r#"{"labels":{"x":1,"y":null}}"#
    );
    assert_eq!(
        both("labels: {x: 1}", "labels: ''"),
        r#"{"labels":{"":null,"x":1}}"#
    );
    assert_eq!(
        both("ulimits: {n: {soft: 1, hard: 2}}", "ulimits: {n: 5}"),
        r#"{"ulimits":{"n":5}}"#
    );
    assert_eq!(
        both("gpus: all", "gpus: [{count: 1}]"),
        r#"{"gpus":[{"count":-1},{"count":1}]}"#
    );
}

#[test]
fn tags_mean_nothing_through_aliases_inside_tagged_values_and_to_extending_services() {
    let text = "x: &m {ports: !reset []}\nservices: {a: {<<: *m}}\n";
    let (json, faults) = merged(&["services: {a: {ports: [1]}}", text]);
    assert_eq!(json, r#"{"ports":[1]}"#);
    assert!(faults[0].contains("has no effect through this alias"));
    assert_eq!(
        both(
            "ports: [1]",
            "ports: !override [2], labels: !override {a: !reset 1}"
        ),
        r#"{"labels":{"a":"1"},"ports":[2]}"#
    );
}

#[test]
fn kinds_that_can_not_merge_are_reported_with_both_places() {
    let (_, faults) = merged(&["services: {a: {ports: [1]}}", "services: {a: {ports: x}}"]);
    assert_eq!(
        faults,
        ["1.yaml:1:23: services.a.ports: a string can't be merged with a list"]
    );
}
