//! `exec` and `run`: terminals, pipes, exit codes, and what is left afterwards.

use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    exec_gives_the_commands_exit_code,
    exec_reads_a_pipe_to_its_end,
    exec_has_a_terminal_of_the_right_size_that_takes_ctrl_c,
    exec_takes_user_directory_and_variables,
    exec_passes_binary_data_and_keeps_the_streams_apart,
    exec_in_a_service_that_does_not_run_is_an_error,
    a_detached_exec_goes_on_by_itself,
    run_removes_its_container_and_gives_its_exit_code,
    run_reads_a_pipe,
    run_overrides_what_the_service_says,
    run_starts_dependencies_but_publishes_no_ports,
    run_has_a_terminal,
    ctrl_c_ends_a_run_and_removes_it,
);

fn exec_gives_the_commands_exit_code() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    hoist.run("exec -T a sh -c 'exit 42'").code(42);
    hoist.run("exec -T a true").code(0);
    hoist
        .run("exec -T a nosuchprogram")
        .code(127)
        .says("nosuchprogram");
    hoist.run("exec -T a /etc").code(126).says("/etc");
    hoist.run("exec -T a sh -c 'kill -9 $$'").code(137);
}

fn exec_reads_a_pipe_to_its_end() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    let text = "line\n".repeat(200_000);
    hoist
        .pipe("exec -T a wc -l", text.as_bytes())
        .ok()
        .prints("200000");
    hoist
        .pipe("exec -T a cat", b"as it is")
        .ok()
        .prints("as it is");
    // Input that nobody reads is no reason to wait.
    hoist.pipe("exec -T a true", text.as_bytes()).code(0);
}

fn exec_has_a_terminal_of_the_right_size_that_takes_ctrl_c() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    let mut shell = hoist.on_terminal("exec a sh");
    shell.types("stty size; test -t 0 && test -t 1 && echo is''-a-terminal\n");
    shell.says("33 101").says("is-a-terminal");
    shell.types("sleep 1000\n");
    eventually("sleep runs", || {
        (hoist.exec("a", "ps | grep -c '[s]leep 1000'").out.trim() == "1").then_some(())
    });
    shell.types("\x03");
    shell.types("echo still''-here; exit 5\n");
    shell.says("still-here");
    assert_eq!(shell.end(), 5);
}

fn exec_takes_user_directory_and_variables() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, environment: {A: service, B: service}}\n");
    hoist.ok("up -d");
    hoist
        .ok("exec -T -u app -w /tmp -e A=flag a sh -c 'echo $(id -u):$(id -g) $PWD $A $B $HOME'")
        .prints("1000:1000 /tmp flag service /home/app");
    // One without a value that this command has none for either.
    hoist
        .ok("exec -T -e A -e NEW a sh -c 'echo ${A-none} $B ${NEW-none}'")
        .prints("none service none");
    hoist
        .ok("exec -T -u 7:8 a sh -c 'echo $(id -u):$(id -g)'")
        .prints("7:8");
    hoist
        .run("exec -T -u nobodyknows a true")
        .code(1)
        .says("nobodyknows");
    let missing = "unable to start container process: chdir to cwd (\"/nodir\") set in config.json failed: \
                   no such file or directory";
    hoist
        .run("exec -T -w /nodir a true")
        .code(127)
        .says(missing);
    hoist
        .run("exec -T -w /etc/passwd a true")
        .code(127)
        .says("failed: not a directory");
    hoist
        .run("exec -T -w tmp a true")
        .code(128)
        .says("exec failed: Cwd must be an absolute path");
    // Nobody waits for its code.
    hoist.run("exec -d -w /nodir a true").code(1).says(missing);
}

fn exec_passes_binary_data_and_keeps_the_streams_apart() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    let bytes: Vec<u8> = (0..=255).collect::<Vec<u8>>().repeat(64);
    hoist
        .pipe("exec -T a sh -c 'md5sum > /tmp/sum'", &bytes)
        .ok()
        .prints("");
    hoist.file("bytes", &bytes);
    let sum = std::process::Command::new("md5sum")
        .arg(hoist.dir().join("bytes"))
        .output()
        .expect("md5sum runs")
        .stdout;
    assert_eq!(
        hoist.sh("a", "cut -c1-32 /tmp/sum"),
        String::from_utf8_lossy(&sum[..32])
    );
    let done = hoist.ok("exec -T a sh -c 'echo out; echo err >&2'");
    assert_eq!((done.out.trim(), done.err.trim()), ("out", "err"));
}

fn exec_in_a_service_that_does_not_run_is_an_error() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.run("exec -T a true").code(1).says("not running");
    hoist.run("exec -T nosuch true").code(1).says("nosuch");
}

fn a_detached_exec_goes_on_by_itself() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    hoist.ok("up -d");
    hoist.ok("exec -d a sh -c 'until [ -e /tmp/go ]; do sleep 0.05; done; echo went > /tmp/gone'");
    hoist.sh("a", "touch /tmp/go");
    eventually("it has written", || {
        (hoist.exec("a", "cat /tmp/gone").out.trim() == "went").then_some(())
    });
}

fn run_removes_its_container_and_gives_its_exit_code() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP, volumes: ['/anonymous']}\n");
    hoist
        .run("run --rm -T a sh -c 'echo hello; exit 6'")
        .code(6)
        .says("hello");
    assert_eq!(hoist.ps(), Vec::<serde_json::Value>::new());
    assert_eq!(hoist.volumes(), Vec::<std::path::PathBuf>::new());
    hoist.ok("run -T a true");
    assert_eq!(
        hoist.ok("ps -a -q").out.lines().count(),
        1,
        "without --rm it stays"
    );
}

fn run_reads_a_pipe() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    let text = "word\n".repeat(50_000);
    hoist
        .pipe("run --rm -T a wc -l", text.as_bytes())
        .ok()
        .prints("50000");
}

fn run_overrides_what_the_service_says() {
    let hoist = Sandbox::new();
    hoist.file("more.env", "F=file\nG=file\n");
    hoist.file("bound/there", "bound\n");
    hoist.compose("services:\n  a: {image: tiny, entrypoint: [echo, wrong], environment: {A: service, F: service}}\n");
    hoist
        .ok("run --rm -T -e A=flag --env-from-file more.env -u 1000 -w /tmp -v ./bound:/bound --entrypoint sh a -c \
             'echo $A $F $G $(id -u) $PWD $(cat /bound/there)'")
        .prints("flag file file 1000 /tmp bound");
    hoist
        .ok("run --rm -T -e A -e NEW --entrypoint sh a -c 'echo $A ${NEW-none}'")
        .prints("service none");
    hoist.ok("run --rm -T --name special a").prints("wrong");
}

fn run_starts_dependencies_but_publishes_no_ports() {
    let hoist = Sandbox::new();
    let port = crate::harness::ports::free();
    hoist.compose(&format!(
        "services:\n  db: {{SLEEP}}\n  a: {{SLEEP, depends_on: [db], ports: ['127.0.0.1:{port}:80']}}\n"
    ));
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    hoist
        .ok("run --rm -T a sh -c 'ping -c1 -W2 db >/dev/null && echo reached'")
        .prints("reached");
    drop(listener);
    assert_eq!(hoist.state("db"), "running");
}

fn run_has_a_terminal() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {SLEEP}\n");
    let mut shell = hoist.on_terminal("run --rm a sh");
    shell.types("stty size; echo typed''-text; exit 4\n");
    shell.says("33 101").says("typed-text");
    assert_eq!(shell.end(), 4);
    hoist.ok("ps -a -q").prints("");
}

fn ctrl_c_ends_a_run_and_removes_it() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, command: [sh, -c, \"trap 'exit 12' INT TERM; echo ready; while :; do sleep 0.1; done\"]}\n");
    let run = hoist.start("run --rm -T a");
    run.says("ready");
    run.signal(nix::sys::signal::Signal::SIGINT);
    assert_ne!(run.end(), 0);
    eventually("it is removed", || {
        hoist.ok("ps -a -q").out.trim().is_empty().then_some(())
    });
}
