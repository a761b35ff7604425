//! What other files bring in, and how often they are read for it.

use crate::base::diag::Diagnostic;
use crate::compose::LoadError;
use crate::compose::tests::Dir;

/// How often the texts of a file were read, by the end of its name.
fn readings(sources: &crate::base::span::SourceMap, name: &str) -> usize {
    let ids = (0..).map(crate::base::span::SourceId);
    let texts = ids.map_while(|id| sources.get(id));
    texts.filter(|source| source.name.ends_with(name)).count()
}

/// The headline of the first error and the other places it shows, each as `file:line:column what`.
fn first(error: &LoadError) -> Vec<String> {
    let all = error.diagnostics.clone().sorted();
    let found: &Diagnostic = all.first().unwrap();
    let related = found.related.iter().map(|(span, what)| {
        let place = error.sources.place(*span);
        format!("{place} {what}")
    });
    [found.headline(&error.sources)]
        .into_iter()
        .chain(related)
        .collect()
}

#[test]
fn a_file_is_read_once_for_all_services_that_extend_it_with_the_same_variables() {
    let mut text = "include: [sub/compose.yaml]\nservices:\n".to_owned();
    for at in 0..5 {
        text.push_str(&format!(
            "  s{at}: {{extends: {{file: ./base.yaml, service: b}}}}\n"
        ));
    }
    let dir = Dir::new(&[
        ("compose.yaml", &text),
        (
            "sub/compose.yaml",
            "services: {t: {extends: {file: ../base.yaml, service: b}}}",
        ),
        ("sub/.env", "TAG=inner\n"),
        (
            "base.yaml",
            "services: {b: {extends: c}, c: {image: 'x:${TAG-outer}'}}",
        ),
    ]);
    let project = dir.load().unwrap();
    let image = |name: &str| project.services[name].image.as_ref().unwrap().value.clone();
    assert_eq!(image("s4"), "x:outer");
    assert_eq!(image("t"), "x:inner");
    assert_eq!(readings(&project.sources, "base.yaml"), 2);
}

#[test]
fn files_that_include_the_same_files_level_by_level_are_not_read_for_each_way_to_them() {
    let mut files = vec![(
        "compose.yaml".to_owned(),
        "include: [0a.yaml, 0b.yaml]\n".to_owned(),
    )];
    for level in 0..24 {
        for side in ["a", "b"] {
            let next = level + 1;
            let include = match next {
                24 => String::new(),
                _ => format!("include: [{next}a.yaml, {next}b.yaml]\n"),
            };
            let text = format!("{include}services: {{s{level}{side}: {{image: \"x:$TAG\"}}}}\n");
            files.push((format!("{level}{side}.yaml"), text));
        }
    }
    files.push((".env".to_owned(), "TAG=7\n".to_owned()));
    let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (&**n, &**t)).collect();
    let project = Dir::new(&files).load().unwrap();
    assert_eq!(project.services.len(), 48);
    let image = project.services["s23b"].image.as_ref().unwrap();
    assert_eq!(image.value, "x:7");
    assert!(readings(&project.sources, "23b.yaml") <= 4);
}

#[test]
fn a_row_of_included_files_without_an_end_is_refused() {
    let files: Vec<(String, String)> = (0..400)
        .map(|at| {
            (
                format!("f{at}.yaml"),
                format!("include: [f{}.yaml]\n", at + 1),
            )
        })
        .collect();
    let mut files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (&**n, &**t)).collect();
    files.push(("compose.yaml", "include: [f0.yaml]\n"));
    let error = Dir::new(&files).load().unwrap_err();
    let found = &first(&error)[0];
    assert!(
        found.contains("more than 100 files include each other in a row"),
        "{found}"
    );
}

#[test]
fn a_cycle_shows_the_place_of_each_step() {
    let dir = Dir::new(&[
        (
            "compose.yaml",
            "services:\n  a: {extends: b}\n  b:\n    extends: {file: o.yaml, service: c}\n",
        ),
        (
            "o.yaml",
            "services:\n  c: {extends: d}\n  d: {extends: c}\n",
        ),
    ]);
    assert_eq!(
        first(&dir.load().unwrap_err()),
        [
            "o.yaml:2:16: services.c.extends: services extend each other: c -> d -> c",
            "o.yaml:3:16 `d` extends the next",
        ]
    );
    let dir = Dir::new(&[
        ("compose.yaml", "include: [b.yaml]\n"),
        ("b.yaml", "name: b\ninclude: [c.yaml]\n"),
        ("c.yaml", "include:\n  - d.yaml\n"),
        ("d.yaml", "include:\n  - path: b.yaml\n"),
    ]);
    assert_eq!(
        first(&dir.load().unwrap_err()),
        [
            "d.yaml:2:5: include: files include each other: compose.yaml -> b.yaml -> c.yaml -> d.yaml -> b.yaml",
            "b.yaml:2:11 `c.yaml` is included here",
            "c.yaml:2:5 `d.yaml` is included here",
        ]
    );
    let dir = Dir::new(&[(
        "compose.yaml",
        "x-a: &a\n  b: [*a]\nservices: {s: {image: x}}\n",
    )]);
    assert_eq!(
        first(&dir.load().unwrap_err()),
        [
            "compose.yaml:2:7: x-a.b[0]: the alias stands inside the value it refers to",
            "compose.yaml:1:1 the value it refers to begins here",
        ]
    );
}

/// The headlines of all findings, in file order.
fn findings(dir: &Dir) -> Vec<String> {
    let (diags, sources) = match dir.load() {
        Ok(project) => (project.warnings, project.sources),
        Err(error) => (error.diagnostics, error.sources),
    };
    let all = diags.sorted();
    all.iter().map(|found| found.headline(&sources)).collect()
}

#[test]
fn two_included_definitions_of_a_name_must_mean_the_same_paths_too() {
    let main = ("compose.yaml", "include: [a/c.yaml, b/c.yaml]\n");
    let with = |text: &str| findings(&Dir::new(&[main, ("a/c.yaml", text), ("b/c.yaml", text)]));
    let same = "services: {s: {image: x, environment: {A: ./a}, volumes: ['/a:/b']}}\n";
    assert_eq!(
        with(same),
        ["a/c.yaml:1:12: `services.s` conflicts with an included definition"]
    );
    assert_eq!(with(&same.replace("./a", "a")), Vec::<String>::new());
    assert_eq!(with("services: {s: {image: x, build: .}}\n").len(), 1);
    assert_eq!(
        with("services: {s: {image: x, build: 'https://h/r.git'}}\n"),
        Vec::<String>::new()
    );
}

#[test]
fn unknown_keys_of_an_include_are_warned_about_and_empty_services_refused() {
    let main = "include:\n  - path: o.yaml\n    x-a: 1\n    pth: o.yaml\n";
    let other = ("o.yaml", "services: {s: {image: x}}\n");
    assert_eq!(
        findings(&Dir::new(&[("compose.yaml", main), other])),
        ["compose.yaml:4:5: unknown key `pth` in `include` is ignored"]
    );
    let dir = Dir::new(&[("compose.yaml", "include: [o.yaml]\nservices:\n"), other]);
    assert_eq!(
        findings(&dir),
        ["compose.yaml:2:1: services: expected a mapping, but this is empty"]
    );
}

#[test]
fn a_service_of_another_file_has_its_device_requests_in_their_long_form() {
    let base = ("base.yaml", "services: {b: {image: x, gpus: all}}\n");
    let with = |file: &str, gpus: &str| {
        let text = format!(
            "services: {{a: {{extends: {{service: b{file}}}, gpus: {gpus}}}, b: {{image: x, gpus: all}}}}\n"
        );
        let dir = Dir::new(&[("compose.yaml", &text), base]);
        let loaded = dir.load();
        loaded.map(|project| project.document["services"]["a"]["gpus"].to_string())
    };
    let one = "[{count: 1}]";
    assert_eq!(with("", one).unwrap(), r#"[{"count":1}]"#);
    let other = ", file: base.yaml";
    assert_eq!(with(other, one).unwrap(), r#"[{"count":-1},{"count":1}]"#);
    assert!(with("", "all").is_ok() && with(other, "all").is_err());
}

#[test]
fn a_build_without_a_context_starts_from_the_file_of_the_extending_service() {
    let dir = Dir::new(&[
        (
            "compose.yaml",
            "services: {a: {extends: {file: sub/base.yaml, service: b}}}\n",
        ),
        ("sub/base.yaml", "services: {b: {build: {target: t}}}\n"),
    ]);
    let project = dir.load().unwrap();
    let context = &project.document["services"]["a"]["build"]["context"];
    assert_eq!(context.as_str(), dir.path.to_str());
}
