//! One value of one key in, its part of the document or its findings out.

use std::path::PathBuf;

use crate::base::env::Env;
use crate::compose::{LoadRequest, Project, document, load};

/// Loads a service `a` with this body beside a service `b`.
fn service(body: &str) -> Result<Project, String> {
    whole(&format!(
        "services: {{a: {{image: x, {body}}}, b: {{image: y}}}}"
    ))
}

/// Loads a whole file.
fn whole(text: &str) -> Result<Project, String> {
    let request = LoadRequest {
        files: vec![PathBuf::from("-")],
        stdin: Some(text.to_owned()),
        project_name: Some("p".into()),
        print_only: true,
        ..LoadRequest::default()
    };
    let env = Env {
        cwd: PathBuf::from("/w"),
        ..Env::default()
    };
    load(&request, &env).map_err(|error| error.to_string())
}

/// What the document says of a key of `a`.
fn value(body: &str, key: &str) -> String {
    let project = service(body).unwrap_or_else(|error| panic!("{body}: {error}"));
    project.document["services"]["a"][key].to_string()
}

fn accepted(cases: &[(&str, &str)]) {
    for (body, want) in cases {
        let key = body.split(':').next().unwrap_or_default();
        assert_eq!(value(body, key), *want, "{body}");
    }
}

fn refused(cases: &[(&str, &str)]) {
    for (body, want) in cases {
        let error = service(body).err().unwrap_or_default();
        assert!(error.contains(want), "{body}: {error}");
    }
}

#[test]
fn numbers_keep_what_their_type_can_hold() {
    accepted(&[
        ("cpus: 1.23456789012", "1.2345679"),
        ("cpu_shares: 1.5", "1"),
        ("pids_limit: 2.0", "2"),
        ("scale: 0", "0"),
        ("mem_limit: -1", "\"-1\""),
        ("mem_limit: 1 g", "\"1073741824\""),
        ("mem_limit: 1e3", "null"),
        ("stop_grace_period: -10s", "\"-10s\""),
        (
            "labels: {a: 1000000.0, b: 1e3}",
            r#"{"a":"1e+06","b":"1000"}"#,
        ),
        (
            "ulimits: {n: 0, m: {soft: 0, hard: 2}}",
            r#"{"m":{"hard":2},"n":{}}"#,
        ),
    ]);
    refused(&[
        ("cpus: .inf", "too large"),
        ("cpus: ' 1'", "not a number"),
        ("scale: -1", "below zero"),
        ("cpu_percent: 101", "out of range"),
        ("oom_score_adj: -1001", "out of range"),
        ("mem_limit: '1g '", "spaces"),
        ("stop_grace_period: ''", "not a duration"),
        ("init: '1'", "not a boolean"),
        (
            "deploy: {resources: {limits: {memory: 1}}}",
            "with its unit",
        ),
    ]);
}

#[test]
fn lists_hold_texts_and_repeat_only_where_a_later_item_replaces() {
    accepted(&[
        ("cap_add: [A=1, B, A=2]", r#"["A=2","B"]"#),
        ("group_add: [1, '1']", r#"["1","1"]"#),
        ("expose: [80, '80']", r#"["80"]"#),
        (
            "extra_hosts: ['a:1.1.1.1', 'a=1.1.1.1']",
            r#"["a=1.1.1.1","a=1.1.1.1"]"#,
        ),
    ]);
    refused(&[
        ("cap_add: [1]", "expected a string"),
        ("security_opt: [a, a]", "stands in the list twice"),
        ("depends_on: [b, b]", "stands in the list twice"),
        ("group_add: [1, 1]", "stands in the list twice"),
        ("expose: [80.5]", "expected"),
        ("extra_hosts: [a]", "names no host and address"),
        ("labels: {'': a}", "the name is empty"),
        ("environment: ['A =1']", "ends with a space"),
        (
            "logging: {options: {a: true}}",
            "expected a string, number or nothing",
        ),
    ]);
}

#[test]
fn an_operator_of_a_shell_ends_a_command_with_a_warning() {
    let project = service("command: a && b").expect("a command");
    assert_eq!(
        project.document["services"]["a"]["command"].to_string(),
        r#"["a"]"#
    );
    let warnings = project.warnings.clone().sorted();
    assert!(
        warnings
            .iter()
            .any(|w| w.message.contains("`&&` and what follows is dropped"))
    );
    refused(&[("command: (a)", "parenthesis")]);
}

#[test]
fn short_forms_are_read_part_by_part() {
    accepted(&[
        (
            "devices: ['/a:r']",
            r#"[{"permissions":"rwm","source":"/a","target":"r"}]"#,
        ),
        (
            "devices: ['/a::m']",
            r#"[{"permissions":"m","source":"/a","target":"/a"}]"#,
        ),
        (
            "volumes: ['/a:/b:nocopy']",
            r#"[{"bind":{"create_host_path":true},"source":"/a","target":"/b","type":"bind","volume":{"nocopy":true}}]"#,
        ),
        (
            "ports: ['80/']",
            r#"[{"mode":"ingress","protocol":"tcp","target":80}]"#,
        ),
    ]);
    refused(&[
        ("devices: ['a:b:c:d']", "at most two colons"),
        ("devices: [{source: /a}]", "`target` is missing"),
        ("ports: ['80:0']", "no port 0"),
        ("ports: ['+80']", "not a port"),
        ("ports: [{target: 80, host_ip: a}]", "not an IP address"),
    ]);
}

#[test]
fn what_is_said_to_be_empty_gets_no_default() {
    accepted(&[
        ("build: {context: '', dockerfile: ''}", "{}"),
        ("build: {dockerfile_inline: ''}", r#"{"context":"/w"}"#),
        ("ports: [{target: 0, mode: '', protocol: ''}]", r#"[{}]"#),
        ("gpus: [{device_ids: []}]", "[{}]"),
        ("dns_search: ''", r#"[""]"#),
        ("extra_hosts: {h: []}", "[]"),
        (
            "volumes: [{type: volume, source: '', target: ''}]",
            r#"[{"target":".","type":"volume"}]"#,
        ),
        (
            "volumes: [{type: bind, source: '', target: a//b/../c}]",
            r#"[{"source":"/w","target":"a/c","type":"bind"}]"#,
        ),
    ]);
    let project = service("network_mode: ''").expect("a service");
    let a = &project.document["services"]["a"];
    assert!(a.get("networks").is_none() && a.get("network_mode").is_none());
    refused(&[
        ("ports: [{target: 80, host_ip: ''}]", "not an IP address"),
        ("gpus: [{device_ids: [], count: 1}]", "exclude each other"),
        ("label_file: ''", "not found"),
        ("env_file: [{path: ''}]", "not found"),
    ]);
}

#[test]
fn empty_keys_of_resources_exclude_others_and_are_not_printed() {
    let text = |section: &str, body: &str| {
        format!(
            "services: {{a: {{image: x, {section}: [{}]}}}}\n{section}: {{cc: {body}}}",
            if section == "volumes" {
                "'cc:/cc'"
            } else {
                "cc"
            }
        )
    };
    for (section, body, want) in [
        ("configs", "{content: ''}", r#"{"name":"p_cc"}"#),
        ("configs", "{external: false}", r#"{"name":"p_cc"}"#),
        ("configs", "{file: ''}", r#"{"file":"/w","name":"p_cc"}"#),
        ("secrets", "{file: f, name: ''}", r#"{"file":"/w/f"}"#),
        ("volumes", "{external: {name: ''}}", r#"{"external":true}"#),
        (
            "volumes",
            "{driver_opts: {o: bind, device: ./x}}",
            r#"{"driver_opts":{"device":"./x","o":"bind"},"name":"p_cc"}"#,
        ),
        (
            "volumes",
            "{driver: local, driver_opts: {o: bind, device: ./x}}",
            r#"{"driver":"local","driver_opts":{"device":"/w/x","o":"bind"},"name":"p_cc"}"#,
        ),
        (
            "networks",
            "{labels: [a, a]}",
            r#"{"ipam":{},"labels":{"a":""},"name":"p_cc"}"#,
        ),
    ] {
        let project = whole(&text(section, body)).unwrap_or_else(|e| panic!("{body}: {e}"));
        let found = project.document[section]["cc"].to_string();
        assert_eq!(found, want, "{section}: {body}");
    }
    for (section, body, want) in [
        ("configs", "{content: '', file: f}", "exclude each other"),
        ("secrets", "{environment: ''}", "must be set"),
        ("secrets", "{external: false}", "must be set"),
        ("secrets", "{driver: x}", "must be set"),
        (
            "secrets",
            "{file: f, driver_opts: {a: 1.5}}",
            "no whole number",
        ),
        (
            "volumes",
            "{external: true, labels: {}}",
            "exclude each other",
        ),
        ("networks", "{external: {name: x}, name: ''}", "differ"),
    ] {
        let error = whole(&text(section, body)).err().unwrap_or_default();
        assert!(error.contains(want), "{section}: {body}: {error}");
    }
}

#[test]
fn paths_that_stay_relative_and_implied_values_that_are_not_filled_in() {
    let load = |text: &str, resolve_paths: bool, normalize: bool, interpolate: bool| {
        let request = LoadRequest {
            files: vec![PathBuf::from("-")],
            stdin: Some(format!("services: {{a: {{image: x, {text}}}}}")),
            print_only: true,
            resolve_paths,
            normalize,
            interpolate,
            ..LoadRequest::default()
        };
        let env = Env {
            cwd: PathBuf::from("/w"),
            ..Env::default()
        };
        let project = load(&request, &env).unwrap_or_else(|e| panic!("{text}: {e}"));
        project.document["services"]["a"].clone()
    };
    let a = load(
        "build: {context: ../x, additional_contexts: {c: y}}",
        false,
        true,
        true,
    );
    assert_eq!(a["build"]["context"], "../x");
    assert_eq!(a["build"]["additional_contexts"]["c"], "y");
    assert_eq!(
        load("build: {}", false, true, true)["build"]["context"],
        "."
    );
    let a = load(
        "build: {args: [A]}, volumes: [{type: volume, target: ./t}]",
        true,
        false,
        true,
    );
    assert_eq!(a["build"]["args"].to_string(), r#"{"A":null}"#);
    assert_eq!(a["volumes"][0]["target"], "./t");
}

#[test]
fn two_services_that_are_on_have_no_container_name_in_common() {
    let text = |profiles: &str| {
        format!(
            "services: {{a: {{image: x, container_name: cc}}, b: {{image: y, container_name: cc{profiles}}}}}"
        )
    };
    let error = whole(&text("")).err().unwrap_or_default();
    assert!(
        error.contains("services.b.container_name: the containers of `a` and `b` have one name"),
        "{error}"
    );
    assert!(whole(&text(", profiles: [p]")).is_ok());
}

#[test]
fn numbers_in_quotes_and_without_are_two_ports() {
    let one = r#"{"mode":"ingress","protocol":"tcp","published":"81","target":80}"#;
    let two = format!("[{one},{one}]");
    accepted(&[
        (
            "ports: ['81:80', {target: 80, published: '81'}]",
            &format!("[{one}]"),
        ),
        ("ports: ['81:80', {target: 80, published: 81}]", &two),
    ]);
}

#[test]
fn hosts_are_sorted_as_they_are_printed_and_keep_their_spaces() {
    accepted(&[
        (
            "extra_hosts: {b: [z, a], a: '1', a-b: '2'}",
            r#"["a-b=2","a=1","b=a","b=z"]"#,
        ),
        (
            "extra_hosts: ['a : [::1]', 'b:[::1]']",
            r#"["a = [::1]","b=::1"]"#,
        ),
    ]);
    refused(&[("extra_hosts: {a=b: c}", "no name of a host")]);
}

#[test]
fn numbers_that_compose_cuts_or_refuses_are_cut_or_refused() {
    accepted(&[
        ("healthcheck: {retries: 1.5}", r#"{"retries":1}"#),
        (
            "volumes: [{type: tmpfs, target: /t, tmpfs: {mode: 7.5}}]",
            r#"[{"target":"/t","tmpfs":{"mode":7},"type":"tmpfs"}]"#,
        ),
        (
            "volumes: [{type: tmpfs, target: /t, tmpfs: {mode: '755'}}]",
            r#"[{"target":"/t","tmpfs":{"mode":493},"type":"tmpfs"}]"#,
        ),
        ("gpus: [{count: ALL}]", r#"[{"count":-1}]"#),
        (
            "provider: {type: x, options: {a: [], b: c}}",
            r#"{"options":{"b":["c"]},"type":"x"}"#,
        ),
    ]);
    refused(&[
        ("mem_limit: 8589934592g", "too large"),
        ("mem_limit: 9223372036854775808", "too large"),
        ("shm_size: \"1\\u00a0g\"", "spaces"),
        ("storage_opt: {size: 1.5}", "no whole number"),
        ("ulimits: {n: }", "is empty"),
        (
            "volumes: [{type: tmpfs, target: /t, tmpfs: {mode: -1}}]",
            "not a file mode",
        ),
    ]);
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    accepted(&[("scale: 2, deploy: {}", "2")]);
    assert_eq!(
        value("scale: 2, deploy: {}", "deploy"),
        r#"{"placement":{},"replicas":2,"resources":{}}"#
    );
    refused(&[
        (
            "cpus: 1, deploy: {resources: {limits: {memory: 1g}}}",
            "stands beside",
        ),
        ("tmpfs: /a, volumes: ['/x:/a/']", "mounted twice"),
        ("tmpfs: ['/a:rw', /a]", "mounted twice"),
        ("links: ['b:x:y']", "`b:x:y`, which is not defined"),
        (
            "gpus: [{device_ids: ['0'], count: 1}]",
            "exclude each other",
        ),
        (
            "develop: {watch: [{path: ., action: sync}]}",
            "`target` is missing",
        ),
        ("models: [m]", "is not defined"),
        (
            "build: {additional_contexts: {c: 'service:b'}}",
            "is not built",
        ),
        ("build: {ssh: [a]}", "has no path"),
        ("pull_policy: Always", "no pull policy"),
    ]);
}

#[test]
fn services_are_printed_as_composes_own_model_has_them() {
    accepted(&[(
        "extra_hosts: {h: [5.5.5.5, 1.1.1.1], a: 2.2.2.2}",
        r#"["a=2.2.2.2","h=1.1.1.1","h=5.5.5.5"]"#,
    )]);
    refused(&[("tmpfs: [/a, '/a:size=1']", "`/a` is mounted twice")]);
}

/// What the document of these files, the later ones on top, says of `a` where nothing is interpolated.
fn written(files: &[&str]) -> String {
    let texts = files
        .iter()
        .map(|body| format!("---\nservices: {{a: {{{body}}}}}\n"));
    let request = LoadRequest {
        files: vec![PathBuf::from("-")],
        stdin: Some(texts.collect()),
        project_name: Some("p".into()),
        interpolate: false,
        normalize: false,
        print_only: true,
        ..LoadRequest::default()
    };
    let env = Env {
        cwd: PathBuf::from("/w"),
        ..Env::default()
    };
    let document = document(&request, &env).unwrap_or_else(|error| panic!("{files:?}: {error}"));
    document.json["services"]["a"].to_string()
}

#[test]
fn what_is_not_interpolated_merges_to_lists_and_keeps_single_texts() {
    for (files, want) in [
        (
            ["labels: {Q: 1, A: $X}", "labels: {Z: 3, B: , Q: 5}"],
            r#"{"labels":["A=$X","Q=5","B","Z=3"]}"#,
        ),
        (
            ["extra_hosts: {z: 1.1.1.1, b: 2.2.2.2}", "dns_search: a"],
            r#"{"dns_search":"a","extra_hosts":{"b":"2.2.2.2","z":"1.1.1.1"}}"#,
        ),
        (
            ["gpus: all", "tmpfs: /a"],
            r#"{"gpus":[{"count":"all"}],"tmpfs":"/a"}"#,
        ),
    ] {
        assert_eq!(written(&files), want);
    }
}
