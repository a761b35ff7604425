//! Logs: what is kept, what survives kills, full disks and hostile containers, and what is shown.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::log_targets::port_of;
use crate::harness::leftovers::children;
use crate::harness::process::{Done, finish, kill_and_wait};
use crate::harness::{ENGINE, Sandbox, eventually, hoist, image, within};

crate::cases!(ENGINE;
    lines_stand_in_the_file_with_labels_variables_and_tag,
    full_files_are_compressed_and_read_as_one_also_while_followed,
    the_local_driver_compresses_of_itself,
    no_line_is_lost_or_written_twice_however_often_the_supervisor_is_killed,
    a_full_disk_loses_no_line_that_the_pipe_can_hold,
    a_full_disk_makes_no_container_wait_for_ever_and_the_log_tells_what_is_missing,
    what_is_not_kept_is_shown_to_who_is_attached_and_to_nobody_later,
    faults_of_all_logging_options_are_told_at_once_and_nothing_starts,
    a_service_that_is_not_attached_runs_unseen,
    bytes_come_back_as_they_were_written,
    a_terminal_is_not_steered_by_what_containers_print,
    times_stand_behind_the_prefix_and_without_it_in_front,
    no_link_in_a_container_leads_its_log_elsewhere,
    a_flood_of_lines_costs_the_supervisor_no_memory,
    a_silent_container_costs_its_follower_next_to_nothing,
);

/// The log directory of a service's container.
fn log_dir(hoist: &Sandbox, service: &str) -> PathBuf {
    let (id, project) = (
        hoist.id(service),
        hoist.data().join("projects").join(&hoist.name),
    );
    let all = children(&project.join("containers"));
    let mut fitting = all.iter().filter(|dir| dir.to_string_lossy().contains(&id));
    fitting
        .next()
        .expect("the container's directory")
        .join("log")
}

/// Numbers printed a line each; every line must be one.
pub(super) fn numbers(text: &str) -> Vec<u64> {
    let number = |line: &str| {
        line.parse()
            .unwrap_or_else(|_| panic!("broken line {line:?}"))
    };
    text.lines().map(number).collect()
}

pub(super) fn in_order(found: &[u64], first: u64, last: u64) {
    assert_eq!((found.first(), found.last()), (Some(&first), Some(&last)));
    let gap = found.windows(2).find(|pair| pair[0] + 1 != pair[1]);
    assert_eq!(gap, None, "lines are missing or repeated");
}

fn lines_stand_in_the_file_with_labels_variables_and_tag() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a:\n    image: tiny\n    command: [sh, -c, 'echo out; echo err >&2; exec sleep 3600']\n    stop_signal: SIGKILL\n    labels: {app.tier: web, other: no}\n    \
         environment: {MODE: test, MODEM: x}\n    logging:\n      driver: json-file\n      options: {labels: 'app.tier,nope', env-regex: '^MODE$$', \
         tag: '{{.Name}}/{{.ImageName}}'}\n",
    );
    hoist.ok("up -d");
    hoist.logged("a", "err");
    let text = std::fs::read_to_string(log_dir(&hoist, "a").join("container.1.log"))
        .expect("the log's file");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let name = format!("{}-a-1/tiny", hoist.name);
    for (line, stream) in [("out\n", "stdout"), ("err\n", "stderr")] {
        let found = lines
            .iter()
            .find(|found| found["log"] == line)
            .expect("the line");
        assert_eq!(found["stream"], stream);
        let want = serde_json::json!({"app.tier": "web", "MODE": "test", "tag": name});
        assert_eq!(found["attrs"], want);
        assert!(
            found["time"]
                .as_str()
                .is_some_and(|time| time.ends_with('Z'))
        );
    }
}

fn full_files_are_compressed_and_read_as_one_also_while_followed() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, command: [sh, -c, 'for i in 0 1 2 3 4 5 6 7 8 9; do seq $$((i*1000+1)) $$((i*1000+1000)); sleep 0.1; done'], \
         logging: {options: {max-size: 20k, max-file: '1000', compress: 'true'}}}\n",
    );
    hoist.ok("up -d");
    let followed = hoist.ok("logs -f --no-log-prefix a").out;
    let followed = followed.strip_suffix("a-1 exited with code 0\n");
    in_order(&numbers(followed.expect("the end is told")), 1, 10_000);
    let dir = log_dir(&hoist, "a");
    let packed = || {
        let names = children(&dir);
        let names = names.iter().filter_map(|path| path.file_name()?.to_str());
        names.filter(|name| name.ends_with(".log.gz")).count()
    };
    eventually("most files are compressed", || {
        (packed() > 20).then_some(())
    });
    in_order(&numbers(&hoist.ok("logs --no-log-prefix a").out), 1, 10_000);
    in_order(
        &numbers(&hoist.ok("logs --no-log-prefix --tail 7000 a").out),
        3001,
        10_000,
    );
    for file in children(&dir) {
        let size = file.metadata().map_or(0, |meta| meta.len());
        assert!(size <= 20_000, "{}: {size} bytes", file.display());
    }
}

fn the_local_driver_compresses_of_itself() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, command: seq 1 20000, logging: {driver: local, options: {max-size: 100k}}}\n");
    hoist.ok("up -d");
    hoist.reaches("a", "exited");
    let found = numbers(&hoist.ok("logs --no-log-prefix a").out);
    in_order(&found, found[0], 20_000);
    assert!(found.len() < 20_000, "five files are kept, not all");
    let dir = log_dir(&hoist, "a");
    eventually("a compressed file", || {
        let names = children(&dir);
        names
            .iter()
            .any(|path| path.to_string_lossy().ends_with(".gz"))
            .then_some(())
    });
    assert!(children(&dir).len() <= 6, "{:?}", children(&dir));
}

fn no_line_is_lost_or_written_twice_however_often_the_supervisor_is_killed() {
    const LINES: u64 = 400_000;
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, stop_signal: SIGKILL, logging: {{options: {{max-size: 900k, max-file: '1000', compress: 'true'}}}}, \
         command: [sh, -c, 'seq 1 {LINES}; sleep 3600']}}\n"
    ));
    hoist.ok("up -d");
    let mut kills = 0;
    let text = within(Duration::from_secs(120), "all lines", || {
        let text = hoist.ok("logs --no-log-prefix a").out;
        if text.ends_with(&format!("\n{LINES}\n")) {
            return Some(text);
        }
        kill_and_wait(hoist.supervisor("a"));
        kills += 1;
        // Whoever asks starts another one.
        assert_eq!(hoist.state("a"), "running");
        None
    });
    assert!(kills > 0, "it was over before anything could be killed");
    in_order(&numbers(&text), 1, LINES);
}

/// Runs a shell script in a mount namespace of its own, with `$HOIST` in this world.
pub(super) fn apart(world: &Sandbox, script: &str) -> Done {
    let shell = format!(
        "set -eu\nHOIST=\"{} -p {}\"\nD=\"$HOIST_DATA_ROOT\"\nARCHIVE={}\n{script}",
        hoist().display(),
        world.name,
        image::archive().display()
    );
    let inner = world.command(&[]);
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", &shell]);
    command.current_dir(world.dir()).env_clear();
    command.envs(
        inner
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    finish(command, None, Duration::from_secs(120))
}

/// The head of a script that has a small disk for all that is kept, and its end.
const SMALL_DISK: &str = "
mkdir -p $D
mount -t tmpfs -o size=16m small $D
trap '$HOIST down -t 0 >/dev/null 2>&1; umount $D' EXIT
$HOIST image import -c 'ENV PATH=/bin' $ARCHIVE tiny >/dev/null
$HOIST up -d 2>/dev/null
fill() { dd if=/dev/zero of=$D/fill bs=64k 2>/dev/null || true; dd if=/dev/zero of=$D/fill2 bs=1 count=65536 2>/dev/null || true; }
free() { rm -f $D/fill $D/fill2; }
until_true() { n=0; until eval \"$1\"; do n=$((n+1)); [ $n -lt 600 ] || { echo \"never: $1\"; exit 1; }; sleep 0.05; done; }
";

fn a_full_disk_loses_no_line_that_the_pipe_can_hold() {
    let hoist = Sandbox::empty();
    hoist.compose(
        "services:\n  a: {image: tiny, stop_signal: SIGKILL, command: [sh, -c, 'i=0; until [ -e /dev/shm/stop ]; do i=$$((i+1)); echo $$i; echo $$i > /dev/shm/at; \
         sleep 0.02; done; sleep 3600']}\n",
    );
    let script = format!(
        "{SMALL_DISK}
at() {{ $HOIST exec -T a cat /dev/shm/at; }}
until_true '[ \"$(at)\" -gt 5 ]'
fill
full=$(at)
until_true \"[ \\\"\\$(at)\\\" -gt $((full + 60)) ]\"
free
$HOIST exec -T a touch /dev/shm/stop
until_true '[ \"$($HOIST logs --no-log-prefix --tail 1 a)\" = \"$(at)\" ]'
$HOIST logs --no-log-prefix a
"
    );
    let found = numbers(&apart(&hoist, &script).ok().out);
    in_order(&found, 1, found.len() as u64);
    assert!(found.len() > 60);
}

fn a_full_disk_makes_no_container_wait_for_ever_and_the_log_tells_what_is_missing() {
    let hoist = Sandbox::empty();
    hoist.compose(
        "services:\n  a: {image: tiny, stop_signal: SIGKILL, command: [sh, -c, 'echo begin; until [ -e /dev/shm/go ]; do sleep 0.05; done; \
         seq 1 600000; touch /dev/shm/done; sleep 3600']}\n",
    );
    let script = format!(
        "{SMALL_DISK}
until_true '$HOIST logs a | grep -q begin'
fill
$HOIST exec -T a touch /dev/shm/go
until_true '$HOIST exec -T a test -e /dev/shm/done'
free
until_true '$HOIST logs --no-log-prefix --tail 1 a | grep -q 600000'
$HOIST logs --no-log-prefix a 2>&1
"
    );
    let text = apart(&hoist, &script).ok().out;
    let missing: usize = text
        .lines()
        .filter_map(|line| {
            line.split_once(" bytes (")?
                .1
                .split_once(" lines) of output are missing here")
        })
        .map(|(lines, _)| lines.parse::<usize>().expect("a number"))
        .sum();
    let notes = text
        .lines()
        .filter(|line| line.contains("are missing here"))
        .count();
    assert!(
        missing > 0 && notes > 0,
        "nothing was lost, so nothing was tried"
    );
    // All but the first line, which is of the beginning.
    assert_eq!(text.lines().count() - notes - 1 + missing, 600_000);
}

fn what_is_not_kept_is_shown_to_who_is_attached_and_to_nobody_later() {
    let hoist = Sandbox::new();
    let server = UdpSocket::bind("127.0.0.1:0").expect("loopback is up");
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, command: echo of a, logging: {{driver: none}}}}\n  b: {{image: tiny, command: echo of b, \
         logging: {{driver: syslog, options: {{syslog-address: 'udp://127.0.0.1:{}', cache-disabled: 'true'}}}}}}\n  c: {{image: tiny, command: echo of c}}\n",
        port_of(&server)
    ));
    hoist
        .ok("up")
        .says("a-1  | of a")
        .says("b-1  | of b")
        .says("c-1  | of c");
    let logs = hoist
        .ok("logs")
        .says("c-1  | of c")
        .says_nothing_of("of a")
        .says_nothing_of("of b");
    for name in ["a-1", "b-1"] {
        let warned = logs
            .err
            .lines()
            .any(|line| line.starts_with("warning") && line.contains(name));
        assert!(warned, "{}", logs.err);
    }
    hoist
        .ok("logs -f")
        .says("c-1  | of c")
        .says_nothing_of("of a");
}

fn faults_of_all_logging_options_are_told_at_once_and_nothing_starts() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:
  a:
    image: tiny
    logging:
      options: {max-size: much, max-file: '0', compress: maybe, foo: '1', mode: never, tag: '{{.Nope}}', env-regex: '('}
  b: {image: tiny, logging: {driver: fluentd}}
  c: {image: tiny, logging: {driver: nonesuch}}
  d: {image: tiny, logging: {driver: syslog, options: {syslog-address: 'foo://x', syslog-format: x, syslog-facility: x, max-size: 1m}}}
  e: {image: tiny, logging: {driver: syslog, options: {syslog-address: 'tcp+tls://x:1'}}}
  f: {image: tiny, logging: {driver: none, options: {max-size: 1m}}}
  g: {image: tiny, logging: {driver: local, options: {max-file: '1'}}}
  h: {image: tiny, logging: {options: {compress: 'true'}}}
  i: {image: tiny, logging: {options: {max-buffer-size: 1m}}}
",
    );
    let done = hoist.run("up -d").code(1);
    for text in [
        "`a`: logging option max-size: `much`",
        "`a`: logging option max-file: `0`",
        "`a`: logging option compress: `maybe`",
        "`a`: unknown log opt `foo` for the json-file log driver",
        "`a`: logging option mode: `never`",
        "`a`: logging option tag: `{{.Nope}}`",
        "`a`: logging option env-regex: `(`",
        "compose.yaml:5:",
        "`b`: logging driver `fluentd` is not part of hoist",
        "`c`: unknown logging driver `nonesuch`",
        "the drivers are json-file, local, journald, syslog and none",
        "`d`: logging option syslog-address: `foo://x`",
        "`d`: logging option syslog-format: `x`",
        "`d`: logging option syslog-facility: `x`",
        "`d`: unknown log opt `max-size` for the syslog log driver",
        "`e`: logging option syslog-address: `tcp+tls://x:1` asks for TLS",
        "`f`: logging option max-size: driver none has no options",
        "`g`: logging option max-file: `1`",
        "`h`: logging option compress: `true`",
        "`i`: logging option max-buffer-size: `1m`",
    ] {
        assert!(
            done.err.contains(text),
            "nothing of {text:?} in\n{}",
            done.err
        );
    }
    hoist.ok("ps -a -q").prints("");
}

fn a_service_that_is_not_attached_runs_unseen() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, command: echo of a}\n  b: {image: tiny, command: echo of b, attach: false}\n  \
         c: {image: tiny, command: echo of c, attach: true}\n",
    );
    let done = hoist
        .ok("up")
        .says("of a")
        .says("of c")
        .says_nothing_of("of b");
    assert!(
        done.out.lines().any(|line| line == "Attaching to a-1, c-1"),
        "{}",
        done.out
    );
    // Its output is kept, and a flag overrules the file.
    hoist.ok("logs b").says("of b");
    hoist.ok("down");
    hoist
        .ok("up --attach b")
        .says("of b")
        .says_nothing_of("of a");
}

fn bytes_come_back_as_they_were_written() {
    let hoist = Sandbox::new();
    // Every byte but the line end, a CRLF, a progress bar, an empty line, a line of 50,000 bytes, and no end.
    let all: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
    let mut bytes = [&all[..], b"\nwindows\r\n10%\r20%\r30%\n\n"].concat();
    bytes.extend("ä".repeat(25_000).as_bytes());
    bytes.extend(b"\nno end");
    hoist.file("bytes", &bytes);
    hoist.compose(
        "services:\n  a: {image: tiny, command: cat /bytes, volumes: ['./bytes:/bytes:ro']}\n",
    );
    hoist.ok("up -d");
    hoist.reaches("a", "exited");
    bytes.push(b'\n');
    let read = |words: &[&str]| {
        let arguments = [&["-p", &hoist.name, "logs"], words].concat();
        let output = hoist.command(&arguments).output().expect("the binary runs");
        output.stdout
    };
    assert!(read(&["--no-log-prefix", "a"]) == bytes, "bytes differ");
    let prefixed = read(&["a"]);
    let mut want: Vec<u8> = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        want.extend(b"a-1  | ");
        want.extend(line);
    }
    assert!(prefixed == want, "bytes differ");
}

fn a_terminal_is_not_steered_by_what_containers_print() {
    let hoist = Sandbox::new();
    let attack = r"\033]0;title\007\033]52;c;aGk=\033\\\033[2J\033[31mred\033[0m\033[5A\033[?1049h\033P+q\033\\\302\2332Jend\n";
    hoist.compose(&format!(
        "services:\n  a: {{image: tiny, command: [sh, -c, \"printf '{}'\"]}}\n",
        attack.replace('\\', "\\\\")
    ));
    let check = |text: &str| {
        assert!(
            text.contains("\u{1b}[31mred\u{1b}[0m"),
            "colours are gone: {text:?}"
        );
        let line = text
            .lines()
            .find(|line| line.contains("red"))
            .expect("the line");
        let line = line.trim_end_matches('\r');
        let body = line.split_once("| ").expect("a prefix").1;
        let body = body.trim_start_matches("\u{1b}[0m");
        assert_eq!(body, "\u{1b}[31mred\u{1b}[0m2Jend\u{1b}[0m");
    };
    let mut up = hoist.on_terminal("up");
    up.wait();
    check(&up.text());
    let mut logs = hoist.on_terminal("logs");
    logs.wait();
    check(&logs.text());
    let piped = hoist.ok("logs --no-log-prefix").out;
    assert!(
        piped.starts_with("\u{1b}]0;title\u{7}"),
        "a pipe gets the bytes: {piped:?}"
    );
}

fn times_stand_behind_the_prefix_and_without_it_in_front() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, command: echo hello}\n");
    let is_time = |text: &str| {
        let shape: String = text
            .chars()
            .map(|c| if c.is_ascii_digit() { '9' } else { c })
            .collect();
        shape == "9999-99-99T99:99:99.999999999Z"
    };
    let prefixed = |text: &str| {
        let line = text
            .lines()
            .find(|line| line.ends_with(" hello"))
            .expect("the line");
        let rest = line.strip_prefix("a-1  | ").expect("the prefix");
        assert!(
            is_time(rest.split(' ').next().unwrap_or_default()),
            "{line}"
        );
    };
    prefixed(&hoist.ok("up --timestamps").out);
    prefixed(&hoist.ok("logs -t").out);
    let bare = |text: &str| {
        let line = text
            .lines()
            .find(|line| line.ends_with(" hello"))
            .expect("the line");
        assert!(
            is_time(line.split(' ').next().unwrap_or_default()),
            "{line}"
        );
    };
    bare(&hoist.ok("logs -t --no-log-prefix").out);
    hoist.ok("down");
    bare(&hoist.ok("up --timestamps --no-log-prefix").out);
    let time = hoist.ok("logs -t --no-log-prefix").out;
    let time = time.split(' ').next().unwrap_or_default();
    // Both ends are part of what is asked for.
    hoist
        .ok(&format!(
            "logs --no-log-prefix --since {time} --until {time}"
        ))
        .prints("hello");
}

fn no_link_in_a_container_leads_its_log_elsewhere() {
    let hoist = Sandbox::new();
    let canary = hoist.file("canary", "untouched");
    hoist.compose(&format!(
        "services:\n  a:
    image: tiny
    privileged: true
    stop_signal: SIGKILL
    logging: {{options: {{max-size: 10k, max-file: '3', compress: 'true'}}}}
    command:
      - sh
      - -c
      - |
        for d in / /log /var/log /run /tmp /dev /etc; do
          mkdir -p $$d
          for n in container.log container.1.log container.2.log container.3.log .container.1.log.gz container.1.log.gz spool0 spool1 forwarded stdout stderr; do
            rm -f $$d/$$n; ln -s {canary} $$d/$$n
          done
        done
        seq 1 3000 2>/dev/null
        echo ready; sleep 3600
",
        canary = canary.display()
    ));
    hoist.ok("up -d");
    hoist.logged("a", "ready");
    assert_eq!(
        std::fs::read_to_string(&canary).expect("it is there"),
        "untouched"
    );
    let dir = log_dir(&hoist, "a");
    for file in children(&dir) {
        assert!(!file.is_symlink(), "{}", file.display());
    }
    let upper = dir
        .parent()
        .expect("it lies in the container's")
        .join("upper");
    let grep = std::process::Command::new("grep")
        .args(["-r", "-l", "\"stream\"", "--devices=skip"])
        .arg(upper)
        .output()
        .expect("grep runs");
    assert_eq!(
        String::from_utf8_lossy(&grep.stdout),
        "",
        "log lines in the container's files"
    );
}

fn private_kib(pid: i32) -> u64 {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("root may read it");
    let lines = text
        .lines()
        .filter(|line| line.starts_with("Private_Dirty:"));
    lines
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}

fn a_flood_of_lines_costs_the_supervisor_no_memory() {
    let hoist = Sandbox::new();
    // Many short lines, and one without end: both could be held whole.
    hoist.compose(
        "services:\n  a: {image: tiny, stop_signal: SIGKILL, logging: {options: {max-size: 1m, max-file: '2'}}, \
         command: [sh, -c, 'echo begin; until [ -e /go ]; do sleep 0.05; done; yes | head -n 1000000; head -c 30000000 /dev/zero; echo; yes \"\" | head -n 300000; echo over; sleep 3600']}\n",
    );
    hoist.ok("up -d");
    hoist.logged("a", "begin");
    let supervisor = hoist.supervisor("a");
    let before = private_kib(supervisor);
    hoist.sh("a", "touch /go");
    let mut most = 0;
    within(Duration::from_secs(120), "the end of the flood", || {
        most = most.max(private_kib(supervisor));
        let last = hoist.ok("logs --no-log-prefix --tail 1 a").out;
        (last == "over\n").then_some(())
    });
    assert!(
        most <= before + 1024,
        "{before} KiB before, {most} KiB in the flood"
    );
    // A single byte kept of each line would be more than 1,200 KiB; the allocator's own pages vary by less.
    let after = private_kib(supervisor);
    assert!(
        after <= before + 640,
        "{before} KiB before, {after} KiB after the flood"
    );
}

/// How often a process gave up the processor, in all its threads.
fn switches(pid: i32) -> u64 {
    let threads = children(Path::new(&format!("/proc/{pid}/task")));
    let statuses = threads
        .iter()
        .filter_map(|dir| std::fs::read_to_string(dir.join("status")).ok());
    let count = |text: String| -> u64 {
        let lines = text.lines().filter(|line| line.contains("ctxt_switches:"));
        lines
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum()
    };
    statuses.map(count).sum()
}

fn a_silent_container_costs_its_follower_next_to_nothing() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, stop_signal: SIGKILL, command: [sh, -c, 'echo hello; sleep 3600']}\n");
    hoist.ok("up -d");
    let logs = hoist.start("logs -f");
    logs.says("hello");
    let supervisor = hoist.supervisor("a");
    let look = || (switches(logs.pid()), switches(supervisor));
    let before = look();
    // Nothing can be waited for where nothing is to happen.
    std::thread::sleep(Duration::from_secs(2));
    let after = look();
    assert!(
        after.1 - before.1 <= 1,
        "the supervisor woke up {} times",
        after.1 - before.1
    );
    assert!(
        after.0 - before.0 <= 30,
        "the follower woke up {} times",
        after.0 - before.0
    );
    logs.signal(Signal::SIGINT);
    logs.end();
}
