//! The commands that only look: their tables, fields, filters, templates, and what they say to what they can't answer.

use std::os::unix::process::ExitStatusExt as _;

use serde_json::Value;

use crate::harness::process::Done;
use crate::harness::{ENGINE, Sandbox, ports};

crate::cases!(ENGINE;
    ps_filters_formats_and_shows_every_field,
    projects_are_listed_by_name_state_and_template,
    images_of_containers_are_listed_as_compose_lists_them,
    top_shows_the_columns_of_ps,
    a_port_is_found_by_number_protocol_and_index,
    logs_of_one_replica_are_asked_for_by_its_number,
    a_reader_that_goes_away_and_a_full_disk_end_a_command_quietly_or_with_a_word,
);

/// The case's project: one that runs and has everything, two of a kind, one that has ended.
fn project() -> (Sandbox, u16) {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.file("bound/file", "");
    hoist.compose(&format!(
        "services:\n  web:\n    image: tiny\n    command: sh -c 'echo a >/dev/null; echo up; exec sleep 3600'\n    stop_signal: SIGKILL\n    \
         ports: ['127.0.0.1:{port}:80', '127.0.0.1:{port}:80/udp']\n    expose: ['90']\n    labels: {{a.b: 'c d'}}\n    \
         volumes: ['data:/data', './bound:/b']\n  \
         two: {{SLEEP, scale: 2}}\n  end: {{image: tiny, command: sh -c 'exit 3'}}\n  old: {{SLEEP}}\nvolumes: {{data: }}\n"
    ));
    hoist.ok("up -d");
    hoist.reaches("end", "exited");
    (hoist, port)
}

/// Requires an error with this text.
fn refused(done: Done, text: &str) {
    let done = done.code(1);
    assert!(done.err.contains(text), "no {text:?} in: {}", done.story());
    assert_eq!(done.out, "", "{}", done.story());
}

fn ps_filters_formats_and_shows_every_field() {
    let (hoist, port) = project();
    let name = &hoist.name;
    let file = std::fs::read_to_string(hoist.dir().join("compose.yaml")).expect("it is there");
    hoist.compose(&file.replace("  old: {SLEEP}\n", "").replace(
        "  old: {image: tiny, command: sleep 3600, stop_signal: SIGKILL}\n",
        "",
    ));
    hoist.ok("ps --services").prints("old\ntwo\nweb");
    hoist.ok("ps --services --orphans=false").prints("two\nweb");
    hoist
        .ok("ps --services --filter status=exited")
        .prints("end");
    hoist
        .ok("ps --services --status exited --status running web end")
        .prints("end\nweb");
    hoist.ok("ps --status paused -q").prints("");
    hoist
        .ok(r#"ps web --format 'table {{.Service}}\t{{.State}}\t{{upper .Service}}\t{{.Label "a.b"}}'"#)
        .prints("SERVICE   STATE     SERVICE   b\nweb       running   WEB       c d");
    hoist
        .ok(r#"ps -a end --format '{{.ExitCode}} {{json .Name}} {{join (split .Service "n") "+"}} {{pad .State 1 1}}|{{truncate .State 2}} {{title .State}}'"#)
        .prints(&format!("3 \"{name}-end-1\" e+d  exited |ex Exited"));
    let text = hoist.ok("ps web --format json --no-trunc").out;
    let row: Value = serde_json::from_str(&text).expect("an object");
    let keys: Vec<&str> = row
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys.join(" "),
        "Command CreatedAt ExitCode Health ID Image Labels LocalVolumes Mounts Name Names Networks Ports Project \
         Publishers RunningFor Service Size State Status"
    );
    assert_eq!(row["ID"].as_str().map(str::len), Some(64), "{row}");
    assert_eq!(
        row["Command"],
        "\"sh -c 'echo a >/dev/null; echo up; exec sleep 3600'\""
    );
    assert!(text.contains(r"echo a \u003e/dev/null"), "{text}");
    assert_eq!(
        row["Ports"],
        format!("90/tcp, 127.0.0.1:{port}->80/tcp, 127.0.0.1:{port}->80/udp")
    );
    assert_eq!(
        row["Mounts"],
        format!("{name}_data,{}", hoist.dir().join("bound").display())
    );
    let cut: Value = serde_json::from_str(&hoist.ok("ps web --format json").out).expect("JSON");
    assert_eq!(cut["ID"].as_str().map(str::len), Some(12), "{cut}");
    assert!(
        cut["Mounts"]
            .as_str()
            .is_some_and(|text| text.ends_with('…')),
        "{cut}"
    );
    assert!(
        hoist
            .ok("ps -a --no-trunc")
            .out
            .contains("exec sleep 3600'\"")
    );
    refused(hoist.run("ps --filter name=x"), "unknown filter name");
    refused(hoist.run("ps --filter status"), "should be in form KEY=VAL");
    refused(hoist.run("ps --status up"), "unknown state `up`");
    refused(
        hoist.run("ps --format '{{.Nope}}'"),
        "can't evaluate field Nope in type *formatter.ContainerContext",
    );
    refused(
        hoist.run("ps --format '{{'"),
        "template: :1: unclosed action",
    );
    refused(hoist.run("ps old"), "no such service: old");
}

fn projects_are_listed_by_name_state_and_template() {
    let (hoist, _) = project();
    let name = &hoist.name;
    let file = hoist.dir().join("compose.yaml").display().to_string();
    assert_eq!(
        hoist.ok("ls").out.lines().next(),
        Some("NAME                STATUS              CONFIG FILES")
    );
    hoist.ok("ls --format '{{.Status}}'").prints("running(4)");
    hoist.ok("ls -a --format json").prints(&format!(
        "[{{\"Name\":\"{name}\",\"Status\":\"exited(1), running(4)\",\"ConfigFiles\":\"{file}\"}}]"
    ));
    hoist.ok("ls -q --filter 'name=^t'").prints(name);
    hoist
        .ok(&format!("ls -q --filter name=nope --filter name={name}"))
        .prints(name);
    hoist.ok("ls --format json --filter name=nope").prints("[]");
    refused(hoist.run("ls --filter status=x"), "invalid filter 'status'");
    refused(
        hoist.run("ls --filter name"),
        "bad format of filter (expected name=value)",
    );
    refused(
        hoist.run("ls --format xyz"),
        "format value \"xyz\" could not be parsed",
    );
    hoist.ok("stop -t 0");
    hoist.ok("ls -q").prints("");
    hoist.ok("ls -q --all").prints(name);
}

fn images_of_containers_are_listed_as_compose_lists_them() {
    let (hoist, _) = project();
    let name = &hoist.name;
    let table = hoist.ok("images web").out;
    let mut lines = table.lines();
    assert_eq!(
        lines.next(),
        Some(
            "CONTAINER           REPOSITORY          TAG                 PLATFORM            IMAGE ID            \
              SIZE                CREATED"
        )
    );
    let cells: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(
        cells[..3],
        [&*format!("{name}-web-1"), "tiny", "latest"],
        "{table}"
    );
    let ids = hoist.ok("images -q").out;
    assert_eq!((ids.lines().count(), ids.trim().len()), (1, 64), "{ids}");
    let text = hoist.ok("images --format json end").out;
    assert!(text.ends_with("]\n\n"), "{text:?}");
    let rows: Value = serde_json::from_str(&text).expect("an array");
    let keys: Vec<&str> = rows[0]
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys.join(" "),
        "ID ContainerName Repository Tag Platform Size Created LastTagTime"
    );
    assert_eq!(rows[0]["ID"], format!("sha256:{}", ids.trim()));
    hoist
        .ok("images two --format '{{.Repository}}:{{.Tag}}'")
        .prints("tiny:latest\ntiny:latest");
    refused(
        hoist.run("images --format xyz"),
        "format value \"xyz\" could not be parsed",
    );
    refused(hoist.run("images nosuch"), "no such service: nosuch");
}

fn top_shows_the_columns_of_ps() {
    let (hoist, _) = project();
    hoist.ok("exec -d -u 77 web sleep 1234");
    let text = crate::harness::eventually("the second process", || {
        let text = hoist.ok("top web two").out;
        text.contains("sleep 1234").then_some(text)
    });
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let head = [
        "SERVICE", "#", "UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD",
    ];
    assert_eq!(rows[0], head);
    let of = |row: &[&str]| format!("{} {} {} {}", row[0], row[1], row[2], row[9..].join(" "));
    assert_eq!(
        rows[1..].iter().map(|row| of(row)).collect::<Vec<_>>(),
        [
            "two 1 root sleep 3600",
            "two 2 root sleep 3600",
            "web 1 root sleep 3600",
            "web 1 77 sleep 1234"
        ]
    );
    assert_eq!(rows[3][3], hoist.init("web").to_string());
    assert_eq!(
        (rows[3][6].len(), rows[3][7], rows[3][8].len()),
        (5, "?", 8),
        "{text}"
    );
    hoist.ok("top end").prints("");
    refused(hoist.run("top nosuch"), "no such service: nosuch");
}

fn a_port_is_found_by_number_protocol_and_index() {
    let (hoist, port) = project();
    let place = format!("127.0.0.1:{port}");
    hoist.ok("port web 80").prints(&place);
    hoist.ok("port --protocol UDP web 80").prints(&place);
    hoist.ok("port --index 0 web 80/udp").prints(&place);
    hoist.ok("port --index 1 web 80").prints(&place);
    for (line, text) in [
        ("port web 81", "no port 81/tcp for container"),
        (
            "port --protocol sctp web 80",
            "no port 80/sctp for container",
        ),
        (
            "port --index 2 web 80",
            "service \"web\" is not running container #2",
        ),
        ("port end 80", "service \"end\" is not running"),
        ("port web x", "invalid port `x`"),
        ("port web 70000", "invalid port `70000`"),
    ] {
        refused(hoist.run(line), text);
    }
    refused(hoist.run("port web"), "PRIVATE_PORT");
}

fn logs_of_one_replica_are_asked_for_by_its_number() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, scale: 2, command: sh -c 'echo line; echo more'}\n",
    );
    hoist.ok("up -d");
    hoist.logged("a", "a-2  | more");
    hoist
        .ok("logs --index 2 a")
        .prints("a-2  | line\na-2  | more");
    hoist
        .ok("logs --index 1 --tail 1 --no-log-prefix a")
        .prints("more");
    assert_eq!(hoist.ok("logs --index 0 -n -1 a").out.lines().count(), 4);
    hoist.ok("logs --tail 0").prints("");
    refused(
        hoist.run("logs --index 3 a"),
        "service \"a\" is not running container #3",
    );
    refused(
        hoist.run("logs --index 1"),
        "--index requires one service to be selected",
    );
    let all = hoist.ok("logs --tail some");
    assert_eq!(all.out.lines().count(), 4, "{}", all.story());
    assert!(all.err.contains("`some` is no number"), "{}", all.story());
    refused(
        hoist.run("logs --since whenever"),
        "invalid time `whenever`",
    );
}

fn a_reader_that_goes_away_and_a_full_disk_end_a_command_quietly_or_with_a_word() {
    let (hoist, _) = project();
    hoist.logged("web", "up");
    let shell = |line: &str| {
        let mut command = std::process::Command::new("bash");
        let binary = crate::harness::hoist().display().to_string();
        let line = line.replace("HOIST", &format!("'{binary}'"));
        command.args(["-c", &line]).current_dir(hoist.dir());
        let own = hoist.command(&[]);
        command.env_clear();
        command.envs(
            own.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        crate::harness::process::finish(command, None, std::time::Duration::from_secs(60))
    };
    hoist.set("COMPOSE_PROJECT_NAME", &hoist.name);
    for line in [
        "ps -a",
        "logs",
        "top",
        "config",
        "ls",
        "images",
        "--help",
        "ps --help",
        "version",
    ] {
        // The reader has gone before there is anything to write.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = hoist.command(&line.split(' ').collect::<Vec<_>>());
        let done = command.stdout(writer).output().expect("it runs");
        let said = String::from_utf8_lossy(&done.stderr);
        // Ended by the signal or by itself: a shell shows 141 for both.
        let code = done
            .status
            .code()
            .or(done.status.signal().map(|number| 128 + number));
        assert_eq!((code, &*said), (Some(141), ""), "{line}");
        let done = shell(&format!("HOIST {line} > /dev/full")).code(1);
        assert!(
            done.err
                .contains("cannot write the output: No space left on device")
                && !done.err.contains("prune"),
            "{line}: {}",
            done.story()
        );
        // Nothing is open: what is written goes nowhere, and nothing else is written into.
        let done = shell(&format!("HOIST {line} 0<&- 1>&- 2>&-")).ok();
        assert_eq!(done.all(), "", "{line}");
    }
    let done = shell("trap '' PIPE; { HOIST ps --help; echo $? >&2; } | true");
    assert!(["0\n", "141\n"].contains(&&*done.err), "{}", done.story());
    let lost = hoist.dir().join("lost");
    std::fs::create_dir(&lost).expect("it can be made");
    let done = shell("cd lost && rmdir ../lost && HOIST config -q").code(1);
    assert!(
        done.err.contains("directory") && !done.err.contains("panicked"),
        "{}",
        done.story()
    );
}
