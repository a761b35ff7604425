//! What cannot work ends with an error that names it, and with nothing that the next command cannot handle.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use crate::harness::{ENGINE, Sandbox, leftovers::children, ports};

crate::cases!(ENGINE;
    an_unreachable_registry_is_named,
    a_registry_that_never_answers_does_not_hold_up_ctrl_c,
    a_program_that_is_not_in_the_image_is_named,
    a_missing_image_leaves_what_runs_alone,
    a_full_command_line_of_nonsense_is_an_error,
    records_of_a_newer_version_are_refused_not_destroyed,
    a_project_directory_that_went_away_can_be_taken_down,
);

fn an_unreachable_registry_is_named() {
    let hoist = Sandbox::new();
    let port = ports::free();
    hoist.compose(&format!(
        "services:\n  a: {{image: 'localhost:{port}/x:1'}}\n  b: {{SLEEP}}\n"
    ));
    hoist
        .run("up -d")
        .code(1)
        .says(&format!("localhost:{port}"))
        .says("refused");
    hoist
        .global(&["image", "pull", &format!("localhost:{port}/x")])
        .code(1)
        .says(&format!("localhost:{port}"));
    hoist.ok("down");
    assert_eq!(
        children(&hoist.data().join("networks"))
            .iter()
            .filter(|path| path.is_dir())
            .count(),
        0
    );
}

fn a_registry_that_never_answers_does_not_hold_up_ctrl_c() {
    let hoist = Sandbox::new();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = silent.local_addr().expect("bound").port();
    hoist.compose(&format!(
        "services:\n  a: {{image: 'localhost:{port}/x:1'}}\n"
    ));
    let up = hoist.start("up -d");
    let (stream, _) = silent.accept().expect("hoist connects");
    let begun = Instant::now();
    up.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(up.end(), 130);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "it took {:?}",
        begun.elapsed()
    );
    drop(stream);
}

fn a_program_that_is_not_in_the_image_is_named() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, command: nosuchprogram}\n  b: {SLEEP}\n");
    let done = hoist.run("up -d").says("nosuchprogram");
    assert_ne!(done.code, 0);
    hoist.compose("services:\n  a: {SLEEP}\n  b: {SLEEP}\n");
    hoist.ok("up -d");
    assert_eq!(hoist.state("a"), "running");
    hoist
        .run("run --rm -T a nosuchprogram")
        .code(127)
        .says("nosuchprogram");
    hoist.run("run --rm -T a /etc").code(126);
    assert_eq!(hoist.ps().len(), 2, "a failed run left its container");
}

fn a_missing_image_leaves_what_runs_alone() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    let process = hoist.init("a");
    hoist.compose(
        &format!(
            "services:\n  a: {{SLEEP, image: 'localhost:{}/gone'}}\n",
            ports::free()
        )
        .replace("image: tiny, ", ""),
    );
    assert_ne!(hoist.run("up -d").code, 0);
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d").says("Running");
    assert_eq!(hoist.init("a"), process);
}

fn a_full_command_line_of_nonsense_is_an_error() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    for line in [
        "up -d nosuch",
        "logs nosuch",
        "exec -T nosuch true",
        "run --rm nosuch",
        "build nosuch",
        "ps nosuch",
        "down -t soon",
    ] {
        let done = hoist.run(line);
        assert_ne!(done.code, 0, "{line}");
        assert!(
            done.err.contains("nosuch") || done.err.contains("soon"),
            "{}",
            done.story()
        );
    }
    hoist.ok("ps -a -q").prints("");
}

fn records_of_a_newer_version_are_refused_not_destroyed() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    hoist.ok("stop -t 0");
    let dir = hoist
        .data()
        .join("projects")
        .join(&hoist.name)
        .join("containers");
    let record = children(&dir)[0].join("record.json");
    let text = std::fs::read_to_string(&record).expect("a record");
    let newer = text
        .replacen("\"version\":1", "\"version\":99", 1)
        .replacen("\"version\": 1", "\"version\": 99", 1);
    assert_ne!(newer, text, "{text}");
    std::fs::write(&record, &newer).expect("writable");
    assert_ne!(hoist.run("up -d").says("99").code, 0);
    assert_eq!(
        std::fs::read_to_string(&record).expect("still there"),
        newer
    );
    std::fs::write(&record, text).expect("writable");
    hoist.ok("up -d");
}

fn a_project_directory_that_went_away_can_be_taken_down() {
    let hoist = Sandbox::new();
    hoist.file("sub/bound/file", "x");
    hoist.file("sub/compose.yaml", "services:\n  a: {image: tiny, command: sleep 3600, stop_signal: SIGKILL, volumes: ['./bound:/b']}\n");
    hoist.ok("-f sub/compose.yaml up -d");
    std::fs::remove_dir_all(hoist.dir().join("sub")).expect("it can be removed");
    hoist.ok("down -t 0");
    hoist.ok("ps -a -q").prints("");
}

/// Files that are no compose files, or large ones: each command ends soon, with what is wrong or with success.
pub mod files {
    use std::fmt::Write as _;
    use std::time::Duration;

    use crate::harness::Sandbox;

    crate::cases!(&[];
        text_that_is_no_utf8_is_shown_at_its_byte,
        what_is_no_file_is_named_with_what_it_is,
        hostile_text_ends_in_an_error_in_time,
        ten_thousand_services_are_read_in_time_and_their_errors_counted,
        a_row_of_services_that_extend_each_other_has_an_end,
    );

    /// A world whose commands must end before long, also on a busy machine without optimisation.
    fn quick() -> Sandbox {
        let mut hoist = Sandbox::empty();
        hoist.limit(Duration::from_secs(90));
        hoist
    }

    /// `config -q` of a text must fail, without a panic; gives what it says.
    fn refused(hoist: &Sandbox, text: impl AsRef<[u8]>) -> String {
        hoist.file("compose.yaml", text);
        let text = hoist.global(&["config", "-q"]).code(1).err;
        assert!(!text.contains("panicked") && !text.is_empty(), "{text}");
        text
    }

    fn text_that_is_no_utf8_is_shown_at_its_byte() {
        let hoist = quick();
        let text = refused(&hoist, b"services:\n  a: {image: x}\n# caf\xe9\n");
        assert!(text.starts_with("compose.yaml:3:6: "), "{text}");
        assert!(text.contains("0xE9") && text.contains("UTF-8"), "{text}");
        let text = refused(&hoist, b"services:\n  a: {image: \"x\0\"}\n");
        assert!(
            text.starts_with("compose.yaml:2:16: ") && text.contains("U+0000"),
            "{text}"
        );
        for (mark, bytes) in [
            ([0xff, 0xfe], u16::to_le_bytes as fn(u16) -> [u8; 2]),
            ([0xfe, 0xff], u16::to_be_bytes),
        ] {
            let units = "services: {a: {image: \"é\"}}\n".encode_utf16();
            let text: Vec<u8> = mark.into_iter().chain(units.flat_map(bytes)).collect();
            hoist.file("compose.yaml", text);
            let done = hoist.global(&["config", "--images"]).ok();
            assert_eq!(done.out.trim(), "é", "{}", done.story());
        }
    }

    fn what_is_no_file_is_named_with_what_it_is() {
        let hoist = quick();
        let dir = hoist.dir();
        std::fs::create_dir(dir.join("sub")).expect("it can be made");
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
        nix::unistd::mkfifo(&dir.join("pipe"), mode).expect("it can be made");
        let socket = std::os::unix::net::UnixListener::bind(dir.join("s")).expect("it is free");
        let large = std::fs::File::create(dir.join("large.yaml")).expect("it can be made");
        large.set_len(65 << 20).expect("there is room for a hole");
        for (name, words) in [
            ("sub", "it is a directory"),
            ("pipe", "no program writes to this named pipe"),
            ("s", "it is no file"),
            ("large.yaml", "larger than 64 MiB"),
            ("/dev/zero", "larger than 64 MiB"),
            ("nope.yaml", "no such file"),
            ("/dev/null", "empty"),
        ] {
            let done = hoist.global(&["-f", name, "config", "-q"]).code(1);
            assert!(done.err.contains(words), "{name}: {}", done.err);
        }
        drop(socket);
        let path = dir.join("pipe");
        let writer =
            std::thread::spawn(move || std::fs::write(path, "services: {a: {image: x}}\n"));
        hoist.global(&["-f", "pipe", "config", "-q"]).ok();
        writer.join().expect("no panic").expect("it was read");
    }

    fn hostile_text_ends_in_an_error_in_time() {
        let hoist = quick();
        let long = "k".repeat(1 << 20);
        for (text, words) in [
            (
                format!("services: {{a: {{image: x, {long}: 1}}}}\n"),
                "1024",
            ),
            (format!("services:\n  {long}: {{imge: x}}\n"), "1024"),
            (format!("a: {}", "[".repeat(100_000)), "nested"),
            (format!("a: {}", "{a: ".repeat(100_000)), "nested"),
            (
                (0..1000).fold(String::new(), |text, at| text + &" ".repeat(at) + "a:\n"),
                "nested",
            ),
            ("\0".repeat(1 << 20), "U+0000"),
            ("  \"a\n".repeat(100_000), "quote"),
            (
                format!(
                    "services: {{a: {{image: \"{}x{}\"}}}}",
                    "${A:-".repeat(50_000),
                    "}".repeat(50_000)
                ),
                "levels",
            ),
            (
                "services: {a: {image: x, pids_limit: 99999999999999999999999, cpus: many}}".into(),
                "2 errors",
            ),
            (
                "services: {a: &a {image: x, labels: *a}}".into(),
                "inside the value",
            ),
            (
                "services: {a: {image: x, depends_on: [a]}}".into(),
                "a -> a",
            ),
            ("services: {a: {extends: a}}".into(), "a -> a"),
            ("include: [compose.yaml]".into(), "include each other"),
        ] {
            let said = refused(&hoist, &text);
            let start: String = text.chars().take(40).collect();
            assert!(said.contains(words), "{start}: {said}");
            assert!(said.len() < 20_000, "{start}: {} bytes", said.len());
        }
    }

    fn ten_thousand_services_are_read_in_time_and_their_errors_counted() {
        let hoist = quick();
        let services = |keys: &dyn Fn(usize) -> String| {
            (0..10_000).fold(String::from("services:\n"), |mut text, at| {
                writeln!(text, "  s{at}: {{image: x{}}}", keys(at)).expect("memory");
                text
            })
        };
        let chain = |at: usize| match at {
            0 => String::new(),
            _ => format!(", depends_on: [s{}]", at - 1),
        };
        hoist.file("compose.yaml", services(&chain));
        hoist.global(&["config", "-q"]).ok();
        for keys in [
            &|_| ", imagee: y".to_owned() as String,
            &|at| format!(", depends_on: [t{at}]"),
            &|_| ", ports: [{published: 1}]".to_owned(),
        ] as [&dyn Fn(usize) -> String; 3]
        {
            let said = refused(&hoist, services(keys));
            assert!(
                said.ends_with("and 9950 errors more\n10000 errors\n"),
                "{}",
                said.len()
            );
            assert!(said.contains("compose.yaml:51:") && !said.contains("compose.yaml:52:"));
        }
        let round = |at: usize| format!(", depends_on: [s{}]", (at + 1) % 10_000);
        let said = refused(&hoist, services(&round));
        assert!(said.contains("and 9989 more places"), "{said}");
    }

    fn a_row_of_services_that_extend_each_other_has_an_end() {
        let hoist = quick();
        let row = |name: &dyn Fn(usize) -> (usize, usize)| {
            (1..3000).fold(
                String::from("services:\n  s0: {image: x}\n"),
                |mut text, at| {
                    let (this, other) = name(at);
                    writeln!(text, "  s{this}: {{extends: s{other}}}").expect("memory");
                    text
                },
            )
        };
        hoist.file("compose.yaml", row(&|at| (at, at - 1)));
        hoist.global(&["config", "-q"]).ok();
        let said = refused(&hoist, row(&|at| (3000 - at, 2999 - at)));
        assert!(
            said.contains("more than 200 services extend each other"),
            "{said}"
        );
    }
}
