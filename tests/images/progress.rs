//! What a user sees of a build: on a terminal, in a file, as JSON, as a timeline.

use std::collections::BTreeMap;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::process::Running;
use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    a_terminal_shows_steps_with_the_last_lines_of_those_that_run,
    ctrl_c_leaves_a_terminal_whole_and_says_what_was_cancelled,
    the_last_picture_has_every_step_once_and_no_output,
    a_build_in_a_narrow_terminal_breaks_no_line,
    plain_lines_of_two_services_have_stable_numbers_and_are_not_torn_apart,
    raw_progress_has_the_fields_of_buildkit,
    raw_progress_of_a_failure_names_the_step_and_ends_in_an_error_object,
    a_failure_ends_with_the_error_below_the_instruction_and_its_output,
    a_quiet_build_prints_nothing_and_a_variable_chooses_the_form,
    a_timeline_has_a_row_a_service_and_spans_that_nest,
    a_timeline_is_whole_after_a_failure_and_after_ctrl_c,
    what_a_step_prints_steers_no_terminal,
);

/// What stands on a terminal that was sent a text: enough of one for what hoist sends.
fn screen(text: &str) -> Vec<String> {
    let mut rows: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0, 0);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' => {
                row += 1;
                if row == rows.len() {
                    rows.push(Vec::new());
                }
            }
            '\r' => column = 0,
            '\x1b' => {
                assert_eq!(chars.next(), Some('['), "only control sequences are sent");
                let mut number = String::new();
                let end = loop {
                    match chars.next() {
                        Some(c) if c.is_ascii_digit() || c == ';' => number.push(c),
                        Some(c) => break c,
                        None => return Vec::new(),
                    }
                };
                match end {
                    'A' => row -= number.parse::<usize>().unwrap_or(1),
                    'B' => {
                        row += number.parse::<usize>().unwrap_or(1);
                        rows.resize(rows.len().max(row + 1), Vec::new());
                    }
                    'J' => {
                        rows.truncate(row + 1);
                        rows[row].truncate(column);
                    }
                    'K' if number == "2" => rows[row].clear(),
                    'm' => {}
                    other => panic!("an unexpected sequence: {number}{other}"),
                }
            }
            c => {
                let line = &mut rows[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
    }
    rows.iter()
        .map(|row| row.iter().collect::<String>().trim_end().to_owned())
        .collect()
}

fn a_terminal_shows_steps_with_the_last_lines_of_those_that_run() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done; printf 'Continue? '; exec sleep 3600\n",
    );
    hoist.compose("services:\n  a: {build: .}\n");
    let build = hoist.on_terminal("build");
    build.says("# Continue?");
    let shown = screen(&build.text());
    let has = |text: &str| shown.iter().any(|line| line.starts_with(text));
    assert!(
        has("[+] Building ") && has(" => [2/2] RUN for i in"),
        "{shown:?}"
    );
    assert!(
        has(" => => # line 9") && has(" => => # Continue?"),
        "{shown:?}"
    );
    assert!(!has(" => => # line 1"), "{shown:?}");
    build.signal(Signal::SIGINT);
    assert_eq!(build.end(), 130);
}

/// The screen after a build, when it shows a text.
fn last_screen(build: &mut Running, code: i32, text: &str) -> Vec<String> {
    assert_eq!(build.wait(), code);
    // What was printed last may still be on its way.
    build.says(text);
    screen(&build.text())
}

fn ctrl_c_leaves_a_terminal_whole_and_says_what_was_cancelled() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nRUN echo ready; exec sleep 3600\n");
    hoist.compose("services:\n  a: {build: .}\n");
    let mut build = hoist.on_terminal("build");
    build.says("# ready");
    build.types("\x03");
    let shown = last_screen(&mut build, 130, "CANCELED");
    let text = build.text();
    let cancelled = shown
        .iter()
        .filter(|line| line.starts_with(" => CANCELED [2/2] RUN"));
    assert_eq!(cancelled.count(), 1, "{shown:?}");
    // Neither is the cursor hidden nor another screen shown: nothing has to be brought back.
    assert!(!text.contains("\x1b[?"), "{text:?}");
    assert_eq!(shown.last().map(String::as_str), Some(""), "{shown:?}");
}

fn the_last_picture_has_every_step_once_and_no_output() {
    let hoist = Sandbox::new();
    let steps: String = (0..60)
        .map(|n| format!("RUN echo output of step {n}\n"))
        .collect();
    hoist.file("Dockerfile", format!("FROM tiny\n{steps}"));
    hoist.compose("services:\n  a: {build: .}\n");
    // More steps than the terminal has rows.
    let mut build = hoist.on_terminal("build");
    let shown = last_screen(&mut build, 0, "Built");
    for n in 0..60 {
        let tail = format!("RUN echo output of step {n} ");
        let times = shown.iter().filter(|line| line.contains(&tail));
        assert_eq!(times.count(), 1, "{n}: {shown:?}");
    }
    assert!(
        !shown.iter().any(|line| line.contains("# output")),
        "{shown:?}"
    );
    assert!(
        shown.iter().any(|line| line.ends_with(") FINISHED")),
        "{shown:?}"
    );
    assert!(
        shown.iter().any(|line| line.starts_with(" ✔ Image ")),
        "{shown:?}"
    );
    let again = last_screen(&mut hoist.on_terminal("build"), 0, "Built");
    let cached = again.iter().filter(|line| line.starts_with(" => CACHED ["));
    assert_eq!(cached.count(), 60, "{again:?}");
}

fn a_build_in_a_narrow_terminal_breaks_no_line() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN echo a line of output that is longer than the terminal is wide; : and so is the command\n",
    );
    hoist.compose("services:\n  a: {build: .}\n");
    let command = hoist.command(&["build"]);
    let mut build = Running::on_terminal(&command, 10, 30);
    assert_eq!(build.wait(), 0);
    let text = build.text();
    for line in screen(&text) {
        assert!(line.chars().count() <= 30, "{line:?} in {text:?}");
    }
}

/// Titles of steps by their number, of plain lines; a number has one title, and an end.
fn numbered(text: &str) -> BTreeMap<u32, String> {
    let mut titles = BTreeMap::new();
    let mut ended = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix('#')) {
        let (number, rest) = line.split_once(' ').expect("a number and a text");
        let number: u32 = number.parse().expect("a number");
        assert!(
            !ended.contains(&number),
            "#{number} goes on after its end:\n{text}"
        );
        let known = titles.entry(number).or_insert_with(|| rest.to_owned());
        if rest.starts_with('[') {
            assert_eq!(known, rest, "#{number} has two titles:\n{text}");
        }
        if ["DONE ", "CACHED", "ERROR: ", "CANCELED"]
            .iter()
            .any(|end| rest.starts_with(end))
        {
            ended.push(number);
        }
    }
    assert_eq!(ended.len(), titles.len(), "{text}");
    titles
}

fn plain_lines_of_two_services_have_stable_numbers_and_are_not_torn_apart() {
    let hoist = Sandbox::new();
    let lines = "for i in 1 2 3 4 5; do echo line $i; done";
    for name in ["one", "two"] {
        hoist.file(
            &format!("{name}/Dockerfile"),
            format!("FROM tiny AS base\nRUN : {name}; {lines}\nFROM base\nRUN {lines}\n"),
        );
    }
    hoist.compose("services:\n  one: {build: one}\n  two: {build: two}\n");
    let text = hoist.ok("--progress plain build").all();
    let titles = numbered(&text);
    let has = |title: &str| titles.values().any(|known| known.starts_with(title));
    for name in ["one", "two"] {
        assert!(
            has(&format!("[{name} base 2/2] RUN : {name}; for i")),
            "{text}"
        );
        assert!(has(&format!("[{name} stage-1 1/1] RUN for i")), "{text}");
        assert!(has(&format!("[{name}] exporting to image")), "{text}");
    }
    // From the first number, all are there.
    let count = u32::try_from(titles.len()).expect("few");
    assert!(titles.keys().copied().eq(1..=count), "{text}");
    // A step that prints at once is not interrupted.
    let (number, _) = titles
        .iter()
        .find(|(_, title)| title.contains("RUN : one;"))
        .expect("it");
    let prefix = format!("#{number} ");
    let printed = |line: &str| line.starts_with(&prefix) && line.split(' ').nth(2) == Some("line");
    let mut block = text.lines().skip_while(|line| !printed(line));
    assert_eq!(
        block.by_ref().take_while(|line| printed(line)).count(),
        5,
        "{text}"
    );
}

/// The lines of standard error, each a JSON object.
fn objects(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The last object of the vertex with a name.
fn vertex<'a>(objects: &'a [Value], name: &str) -> &'a Value {
    let all = objects
        .iter()
        .filter_map(|object| object["vertexes"].as_array());
    let found = all.flatten().rfind(|vertex| vertex["name"] == name);
    found.unwrap_or_else(|| panic!("no vertex {name} in {objects:?}"))
}

fn raw_progress_has_the_fields_of_buildkit() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nRUN echo one1\nRUN true\n");
    hoist.compose("services:\n  a: {build: ., image: made}\n");
    let told = objects(&hoist.ok("build --progress json").err);
    let base = vertex(&told, "[1/3] FROM tiny");
    let step = vertex(&told, "[2/3] RUN echo one1");
    assert_eq!(step["inputs"][0], base["digest"]);
    let digest = step["digest"].as_str().unwrap_or_default();
    assert!(
        digest.starts_with("sha256:") && digest.len() == 71,
        "{digest}"
    );
    let time = |name: &str| {
        step[name]
            .as_str()
            .and_then(|text| text.parse::<jiff::Timestamp>().ok())
    };
    assert!(
        time("started").is_some() && time("started") <= time("completed"),
        "{step}"
    );
    assert!(
        step["cached"].is_null() && step["error"].is_null(),
        "{step}"
    );
    let logs = told
        .iter()
        .filter_map(|object| object["logs"].as_array())
        .flatten();
    let log = logs.last().expect("a line of output");
    assert_eq!(
        (&log["vertex"], &log["stream"], &log["data"]),
        (&step["digest"], &1.into(), &"b25lMQo=".into())
    );
    let statuses = told
        .iter()
        .filter_map(|object| object["statuses"].as_array())
        .flatten();
    let named = statuses.filter(|status| status["id"] == "naming to made:latest");
    assert_eq!(
        named
            .filter(|status| status["completed"].is_string())
            .count(),
        1
    );
    let (last, result) = (&told[told.len() - 2], &told[told.len() - 1]);
    assert_eq!(
        (&result["event"], &result["code"]),
        (&"result".into(), &0.into())
    );
    assert_eq!(
        (&last["id"], &last["status"]),
        (&"Image made".into(), &"Built".into())
    );
    let again = objects(
        &hoist
            .global(&["image", "build", "--progress", "rawjson", "-t", "made", "."])
            .ok()
            .err,
    );
    assert_eq!(vertex(&again, "[2/3] RUN echo one1")["cached"], true);
}

fn raw_progress_of_a_failure_names_the_step_and_ends_in_an_error_object() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nRUN exit 3\n");
    hoist.compose("services:\n  a: {build: .}\n");
    let why = "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3";
    let both = [
        hoist.run("build --progress json"),
        hoist.global(&["image", "build", "--progress", "rawjson", "."]),
    ];
    for done in both {
        let done = done.code(1);
        let told = objects(&done.err);
        assert_eq!(
            vertex(&told, "[2/2] RUN exit 3")["error"],
            why,
            "{}",
            done.story()
        );
        // Of a stream of events the last line is the exit code.
        let ended = |told: &&Value| told["event"] != "result";
        let last = told.iter().rfind(ended).expect("an object");
        assert_eq!(last["error"], true, "{}", done.story());
        let message = last["message"].as_str().unwrap_or_default();
        assert!(
            message.contains(why) && message.contains("Dockerfile:2"),
            "{message}"
        );
    }
}

fn a_failure_ends_with_the_error_below_the_instruction_and_its_output() {
    let hoist = Sandbox::new();
    hoist.file(
        "Dockerfile",
        "FROM tiny\nRUN true\nRUN echo \"compiling\" \\\n  && exit 7\nCMD x\n",
    );
    hoist.compose("services:\n  web: {build: .}\n");
    let end = "------\n > [3/3] RUN echo \"compiling\" && exit 7:\ncompiling\n------\nDockerfile:3:1\n   1 |     FROM tiny\n   \
               2 |     RUN true\n   3 | >>> RUN echo \"compiling\" \\\n   4 | >>>   && exit 7\n   5 |     CMD x\nerror: ";
    for arguments in [
        "--progress plain build",
        "build -q",
        "--progress plain up -d",
    ] {
        let done = hoist.run(arguments).code(1).says(end);
        let last = done.err.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("error: ")
                && last.ends_with("did not complete successfully: exit code: 7"),
            "{}",
            done.story()
        );
    }
}

fn a_quiet_build_prints_nothing_and_a_variable_chooses_the_form() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nRUN echo hello\n");
    hoist.compose("services:\n  a: {build: .}\n");
    let quiet = hoist.ok("build -q");
    assert_eq!(quiet.all(), "");
    assert_eq!(hoist.ok("--progress quiet build --no-cache").all(), "");
    let id = hoist.global(&["image", "build", "-q", "."]).ok();
    assert_eq!((id.err.as_str(), id.out.starts_with("sha256:")), ("", true));
    hoist.set("BUILDKIT_PROGRESS", "rawjson");
    objects(&hoist.ok("build --no-cache").err);
    hoist.set("BUILDKIT_PROGRESS", "bogus");
    let wrong = "invalid BUILDKIT_PROGRESS `bogus`";
    for builds in ["build", "up -d --build", "up --build", "--dry-run build"] {
        hoist.run(builds).code(1).says(wrong);
    }
    hoist.global(&["image", "build", "."]).code(1).says(wrong);
    // What goes before it, and what builds nothing.
    for fine in [
        "build -q",
        "build --progress plain",
        "--progress plain build",
        "config",
        "up -d",
        "down",
    ] {
        hoist.ok(fine).says_nothing_of(wrong);
    }
    hoist.set("COMPOSE_PROGRESS", "plain");
    hoist.ok("build").says_nothing_of(wrong);
    hoist.set("COMPOSE_PROGRESS", "");
    hoist.set("BUILDKIT_PROGRESS", "");
}

/// The spans of a timeline by row, `process/thread`, after a look at whether those of a row nest.
fn spans(path: &Path) -> BTreeMap<String, Vec<Value>> {
    let text = std::fs::read_to_string(path).expect("the timeline was written");
    let whole: Value = serde_json::from_str(&text).expect("JSON");
    let events = whole["traceEvents"].as_array().expect("events");
    let label = |what: &str, event: &Value| {
        let found = events.iter().find(|label| {
            let same = what == "process_name" || label["tid"] == event["tid"];
            label["name"] == what && label["pid"] == event["pid"] && same
        });
        let name = found.and_then(|label| label["args"]["name"].as_str());
        name.unwrap_or_else(|| panic!("no {what} of {event}"))
            .to_owned()
    };
    let mut rows: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let row = format!(
            "{}/{}",
            label("process_name", event),
            label("thread_name", event)
        );
        rows.entry(row).or_default().push(event.clone());
    }
    let number = |span: &Value, name: &str| span[name].as_u64().expect("a whole number");
    for (row, spans) in &rows {
        let mut open: Vec<u64> = Vec::new();
        let mut last = 0;
        for span in spans {
            let (begun, ended) = (number(span, "ts"), number(span, "ts") + number(span, "dur"));
            assert!(begun >= last, "{row} is not in order: {span}");
            last = begun;
            open.retain(|end| *end > begun);
            assert!(
                open.iter().all(|end| ended <= *end),
                "{row} overlaps: {span}"
            );
            open.push(ended);
        }
    }
    rows
}

fn a_timeline_has_a_row_a_service_and_spans_that_nest() {
    let hoist = Sandbox::new();
    let secret = "correct-horse-battery-staple";
    hoist.file("key", secret);
    hoist.file("file", "x");
    hoist.file(
        "Dockerfile",
        "FROM tiny AS base\nCOPY file /file\nRUN --mount=type=secret,id=key cat /run/secrets/key\nFROM base\nARG N\nRUN echo $N\n",
    );
    hoist.compose(
        "services:\n  a: {build: {context: ., secrets: [key], args: [N=1]}, image: one, command: 'true'}\n  \
         b: {build: {context: ., secrets: [key], args: [N=2]}, image: two, command: 'true'}\nsecrets: {key: {file: key}}\n",
    );
    hoist.ok("build --trace build.json");
    let rows = spans(&hoist.dir().join("build.json"));
    let names = |row: &str| -> Vec<String> {
        let spans = rows
            .get(row)
            .unwrap_or_else(|| panic!("no {row} in {rows:?}"));
        spans
            .iter()
            .filter_map(|span| span["name"].as_str().map(str::to_owned))
            .collect()
    };
    for (image, service) in [("one", "a"), ("two", "b")] {
        let last = format!("[{service} stage-1 1/1] RUN echo ");
        let all = names(&format!("{image}/stage-1"));
        assert!(all.iter().any(|name| name.starts_with(&last)), "{all:?}");
        assert!(!names(&format!("{image}/internal")).is_empty());
    }
    let all = std::fs::read_to_string(hoist.dir().join("build.json")).expect("the timeline");
    assert!(!all.contains(secret), "{all}");
    hoist.ok("up -d --trace up.json");
    let rows = spans(&hoist.dir().join("up.json"));
    let starts = rows
        .keys()
        .filter(|row| row.starts_with("hoist/Container "));
    assert_eq!(starts.count(), 2, "{rows:?}");
    hoist
        .run("build --trace none/here.json")
        .code(1)
        .says("none/here.json");
}

fn a_timeline_is_whole_after_a_failure_and_after_ctrl_c() {
    let hoist = Sandbox::new();
    hoist.file("Dockerfile", "FROM tiny\nRUN exit 3\n");
    let path = hoist.dir().join("t.json");
    hoist
        .global(&["image", "build", "--trace", "t.json", "."])
        .code(1);
    let find = |title: &str| -> Value {
        let rows = spans(&path);
        let mut all = rows.values().flatten();
        let found = all.find(|span| span["name"] == title);
        found
            .cloned()
            .unwrap_or_else(|| panic!("no {title} in {rows:?}"))
    };
    let why = find("[2/2] RUN exit 3")["args"]["error"].to_string();
    assert!(why.contains("exit code: 3"), "{why}");
    hoist.file("Dockerfile", "FROM tiny\nRUN echo ready; exec sleep 3600\n");
    hoist.compose("services:\n  a: {build: .}\n");
    let build = hoist.start("build --trace t.json");
    build.says("ready");
    build.signal(Signal::SIGINT);
    assert_eq!(build.end(), 130);
    let span = eventually("the timeline is there", || {
        Some(find("[2/2] RUN echo ready; exec sleep 3600"))
    });
    assert_eq!(span["args"]["cancelled"], true, "{span}");
}

fn what_a_step_prints_steers_no_terminal() {
    let hoist = Sandbox::new();
    let evil =
        "\\033]0;title\\007\\033[2J\\033[1;1Hforged\\033[?1049h\\033[8mhidden\\302\\2332J\\rover";
    hoist.file(
        "Dockerfile",
        format!("FROM tiny\nRUN printf '{evil}\\n{evil}'; exec sleep 3600\n"),
    );
    hoist.compose("services:\n  a: {build: .}\n");
    for arguments in ["build", "--progress plain build"] {
        let mut build = hoist.on_terminal(arguments);
        build.says("over");
        build.signal(Signal::SIGINT);
        assert_eq!(build.wait(), 130);
        let text = build.text();
        for bad in ["\x1b]", "\x1b[2J", "\x1b[1;1H", "\x1b[?", "\u{9b}", "\x07"] {
            assert!(!text.contains(bad), "{bad:?} in {text:?}");
        }
    }
    hoist.file(
        "Dockerfile",
        format!("FROM tiny\nRUN printf '{evil}\\n'; exit 1\n"),
    );
    let done = hoist.run("build").code(1);
    assert!(!done.all().contains('\x1b'), "{}", done.story());
}
