//! `plan`: what `up` would do and why, and how `graph` shows what is there.

use serde_json::Value;

use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    a_plan_names_what_changed_key_by_key,
    a_plan_with_nothing_to_do_ends_with_0_and_a_broken_one_with_1,
    a_plan_tells_each_thing_that_comes_changes_or_goes,
    a_plan_in_json_has_a_version_and_words_for_programs,
    a_plan_is_a_picture_in_three_languages,
    a_plan_keeps_secrets_and_control_sequences_to_itself,
    the_flags_of_up_change_the_plan_as_they_change_up,
    the_graph_shows_what_containers_do,
    the_graph_in_colour_and_as_a_picture_has_tones,
);

fn json(hoist: &Sandbox, arguments: &str) -> Value {
    let done = hoist.run(&format!("plan --format json {arguments}"));
    serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {}", done.story()))
}

fn a_plan_names_what_changed_key_by_key() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, environment: {DEBUG: a}, hostname: h}\n");
    hoist.ok("up -d");
    hoist.compose("services:\n  a: {SLEEP, environment: {DEBUG: b, NEW: x}}\n");
    let want = format!(
        "Project {name}: 1 to change\n\nContainers\n  ~ replace  {name}-a-1  configuration changed\n      ~ environment.DEBUG: a → b\n      \
         + environment.NEW: x\n      - hostname: h\n",
        name = hoist.name
    );
    let done = hoist.run("plan").code(2);
    assert_eq!((done.out, done.err.as_str()), (want, ""));
    hoist.ok("up -d");
    hoist.run("plan").code(0).says("nothing to do");
}

fn a_plan_with_nothing_to_do_ends_with_0_and_a_broken_one_with_1() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n  b: {SLEEP}\n");
    hoist.ok("up -d");
    let done = hoist.run("plan").code(0);
    let name = &hoist.name;
    let want = format!("Project {name}: nothing to do\n\nUnchanged: {name}-a-1, {name}-b-1\n");
    assert_eq!(done.out, want);
    assert_eq!(json(&hoist, "")["changes"], false);
    hoist
        .run("plan --force-recreate b")
        .code(2)
        .says("asked for anew")
        .says_nothing_of("a-1");
    hoist
        .run("plan nobody")
        .code(1)
        .says("no such service: nobody");
    hoist
        .run("plan --format jpeg")
        .code(1)
        .says("write text, json, mermaid, dot or svg");
    hoist.compose("services:\n  a: {imag: x}\n");
    let broken = hoist.run("plan --format json").code(1);
    let told: Value = serde_json::from_str(&broken.err).expect("findings in JSON");
    assert_eq!(told["diagnostics"][0]["line"], 2);
}

fn a_plan_tells_each_thing_that_comes_changes_or_goes() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {SLEEP, networks: [n]}\n  ended: {image: tiny, command: 'true', networks: [n]}\n  old: {SLEEP, networks: [n]}\n\
         networks: {n: {labels: {l: '1'}}}\n",
    );
    hoist.ok("up -d");
    hoist.reaches("ended", "exited");
    hoist.compose(
        "services:\n  a: {SLEEP, networks: [n]}\n  ended: {image: tiny, command: 'true', networks: [n]}\n  new: {SLEEP, volumes: ['vol:/v']}\n  \
         far: {image: 'registry.invalid/far:1'}\nnetworks: {n: {labels: {l: '1'}}}\nvolumes: {vol: }\n",
    );
    let (done, name) = (
        hoist.run("plan --remove-orphans --scale a=2").code(2),
        &hoist.name,
    );
    done.says("+ pull    registry.invalid/far:1")
        .says("what it holds is known once it is pulled")
        .says(&format!("+ create  {name}_vol"))
        .says(&format!("~ start   {name}-ended-1"))
        .says("it is exited (0)")
        .says(&format!("- remove  {name}-old-1"))
        .says("orphan")
        .says(&format!("+ create  {name}-a-2"))
        .says("one more is wanted")
        .says(&format!("+ create  {name}-new-1"))
        .says("new service")
        .says(&format!("Unchanged: {name}-a-1"));
    hoist.compose("services:\n  a: {SLEEP, networks: [n]}\nnetworks: {n: {labels: {l: '1'}}}\n");
    hoist.ok("up -d --remove-orphans");
    hoist.compose("services:\n  a: {SLEEP, networks: [n]}\nnetworks: {n: {labels: {l: '2'}}}\n");
    hoist
        .run("plan")
        .code(2)
        .says(&format!("~ replace  {name}_n"))
        .says(&format!("~ replace  {name}-a-1"))
        .says(&format!("`{name}_n` changed"));
}

fn a_plan_in_json_has_a_version_and_words_for_programs() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, environment: {V: '1'}}\n");
    hoist.ok("up -d");
    hoist
        .compose("services:\n  a: {SLEEP, environment: {V: '2'}}\n  b: {SLEEP, depends_on: [a]}\n");
    let plan = json(&hoist, "");
    assert_eq!(
        (&plan["version"], &plan["changes"]),
        (&1.into(), &true.into())
    );
    assert_eq!(
        plan["counts"],
        serde_json::json!({"add": 1, "change": 1, "remove": 0})
    );
    let item = |service: &str| {
        let mut all = plan["items"].as_array().expect("items").iter();
        all.find(|item| item["service"] == service)
            .expect("an item")
    };
    assert_eq!(
        (&item("a")["sign"], &item("a")["action"]),
        (&"change".into(), &"replace".into())
    );
    let reason = &item("a")["reasons"][0];
    assert_eq!(reason["code"], "configuration_changed");
    assert_eq!(
        reason["changes"][0],
        serde_json::json!({"path": "environment.V", "was": "1", "now": "2"})
    );
    assert_eq!(item("b")["reasons"][0]["code"], "missing");
    let steps = plan["steps"].as_array().expect("steps");
    for number in item("b")["steps"].as_array().expect("numbers") {
        assert!(steps.iter().any(|step| step["id"] == *number), "{plan}");
    }
    assert_eq!(json(&hoist, ""), plan, "the same twice");
}

fn a_plan_is_a_picture_in_three_languages() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n  gone: {SLEEP}\n");
    hoist.ok("up -d");
    hoist.compose(
        "services:\n  a: {SLEEP, environment: {V: '<1>'}}\n  b: {SLEEP, depends_on: [a]}\n",
    );
    let draw = |format: &str| {
        hoist
            .run(&format!("plan --remove-orphans --format {format}"))
            .code(2)
            .out
    };
    let mermaid = draw("mermaid");
    assert!(
        mermaid.contains("~ replace: environment.V") && mermaid.contains("classDef bad"),
        "{mermaid}"
    );
    assert!(draw("dot").contains("+ create: new service"));
    let svg = draw("svg");
    assert!(
        svg.contains("- remove: orphan") && svg.contains("changes (~)"),
        "{svg}"
    );
    hoist
        .run("plan --format svg -o plan.svg")
        .code(2)
        .prints("");
    assert!(hoist.dir().join("plan.svg").exists());
}

fn a_plan_keeps_secrets_and_control_sequences_to_itself() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, environment: {DB_PASSWORD: first1}}\n");
    hoist.ok("up -d");
    hoist.compose("services:\n  a: {SLEEP, environment: {DB_PASSWORD: second2, X: \"\\e[2J\"}}\n");
    for format in ["text", "json", "svg", "mermaid", "dot"] {
        let done = hoist.run(&format!("plan --format {format}")).code(2);
        let all = done.all();
        assert!(
            !all.contains("first1") && !all.contains("second2") && !all.contains('\u{1b}'),
            "{all}"
        );
    }
    hoist
        .run("plan")
        .code(2)
        .says("~ environment.DB_PASSWORD\n");
}

fn the_flags_of_up_change_the_plan_as_they_change_up() {
    let hoist = Sandbox::new();
    let project = "services:\n  a: {SLEEP, environment: {V: '1'}, depends_on: [d]}\n  d: {SLEEP, environment: {V: '1'}}\n";
    hoist.compose(project);
    hoist.ok("up -d");
    hoist.compose(&project.replace("'1'", "'2'"));
    let name = &hoist.name;
    hoist
        .run("plan a")
        .code(2)
        .says(&format!("~ replace  {name}-d-1"));
    hoist
        .run("plan --no-deps a")
        .code(2)
        .says_nothing_of(&format!("{name}-d-1"));
    hoist
        .run("plan --no-recreate")
        .code(0)
        .says("nothing to do");
    for flags in [
        "--build --quiet-pull --yes",
        "--no-build --pull never",
        "--no-start --renew-anon-volumes",
        "--always-recreate-deps a",
        "--force-recreate --remove-orphans --scale a=1",
    ] {
        hoist
            .run(&format!("plan {flags}"))
            .code(2)
            .says(&format!("~ replace  {name}-a-1"));
    }
}

const STATES: &str = "services:\n  web: {SLEEP, depends_on: [db], scale: 2}\n  db: {SLEEP, healthcheck: {test: ['CMD', 'true'], interval: 1s, \
                      start_interval: 100ms, start_period: 5s}}\n  sick: {SLEEP, healthcheck: {test: ['CMD', 'false'], interval: 50ms, retries: 1}}\n  \
                      job: {image: tiny, command: 'true'}\n  failed: {image: tiny, command: sh -c 'exit 3'}\n";

/// The project with each service in its state.
fn states() -> Sandbox {
    let hoist = Sandbox::new();
    hoist.compose(&format!("{STATES}  off: {{SLEEP, profiles: [p]}}\n"));
    hoist.ok("up -d");
    for (service, state) in [("job", "exited"), ("failed", "exited")] {
        hoist.reaches(service, state);
    }
    for (service, health) in [("db", "healthy"), ("sick", "unhealthy")] {
        crate::harness::eventually(&format!("{service} is {health}"), || {
            (hoist.field(service, "Health") == health).then_some(())
        });
    }
    hoist
}

fn the_graph_shows_what_containers_do() {
    let hoist = states();
    let text = hoist.ok("--profile p graph").out;
    for line in [
        "web ×2  2 of 2 running  tiny\n",
        "├─ db  running (healthy)  tiny  started\n",
        "sick  running (unhealthy)  tiny\n",
        "job  exited (0)  tiny\n",
        "failed  exited (3)  tiny\n",
        "off  missing  tiny\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    hoist
        .ok("graph --no-state")
        .says_nothing_of("running")
        .says("web ×2  tiny");
    hoist.ok("down");
    hoist
        .ok("graph")
        .says_nothing_of("missing")
        .says("web ×2  tiny");
}

fn the_graph_in_colour_and_as_a_picture_has_tones() {
    let hoist = states();
    let text = hoist.ok("--ansi always graph").out;
    assert!(
        text.contains("\u{1b}[31msick\u{1b}[0m  \u{1b}[31mrunning (unhealthy)\u{1b}[0m"),
        "{text}"
    );
    assert!(text.contains("\u{1b}[32mdb\u{1b}[0m"), "{text}");
    assert!(!hoist.ok("graph").out.contains('\u{1b}'));
    let svg = hoist.ok("graph --format svg").out;
    for part in [
        "class=\"good\"",
        "class=\"bad\"",
        "prefers-color-scheme:dark",
        "running, healthy",
    ] {
        assert!(svg.contains(part), "{part}: {svg}");
    }
    assert!(
        hoist
            .ok("graph --format mermaid")
            .out
            .contains("classDef bad")
    );
    assert!(hoist.ok("graph --format dot").out.contains("fillcolor"));
    // Below 80 columns nothing is lost: it goes on below.
    let narrow = hoist.on_terminal("graph");
    narrow.says("running (healthy)");
    assert_eq!(narrow.end(), 0);
}
