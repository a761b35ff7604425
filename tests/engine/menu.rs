//! The key menu of an attached `up`, and what containers may do to a shared screen.

use nix::sys::signal::Signal;

use nix::unistd::Pid;

use crate::harness::process::eventually_or;
use crate::harness::{ENGINE, Running, Sandbox, eventually, screen};

crate::cases!(ENGINE;
    the_key_d_leaves_the_containers_running_and_ends_with_0,
    the_key_w_says_what_is_missing_and_starts_and_stops_watching,
    keys_that_are_pressed_during_a_restart_are_done_after_it,
    a_focused_service_has_the_screen_and_gets_what_is_typed,
    what_failed_stands_above_the_menu,
    a_shell_gets_its_terminal_back_from_signals_that_end_the_command,
    ctrl_z_gives_the_terminal_back_until_the_command_goes_on,
    no_menu_where_it_is_not_wanted_or_nobody_could_press_keys,
    what_containers_print_can_not_steer_a_shared_terminal,
);

const SERVICE: &str = "image: tiny, stop_signal: SIGKILL, command: [sh, -c, 'echo ready; while :; do echo tick; sleep 0.2; done']";

fn the_key_d_leaves_the_containers_running_and_ends_with_0() {
    let hoist = Sandbox::new();
    hoist.compose(&format!("services:\n  a: {{{SERVICE}}}\n"));
    let mut up = hoist.on_terminal("up");
    up.says("ready").says("detach");
    up.types("d");
    assert_eq!(up.wait(), 0, "{}", up.text());
    assert_eq!(hoist.state("a"), "running");
}

fn the_key_w_says_what_is_missing_and_starts_and_stops_watching() {
    let hoist = Sandbox::new();
    hoist.compose(&format!("services:\n  a: {{{SERVICE}}}\n"));
    let mut up = hoist.on_terminal("up");
    up.says("detach");
    up.types("w");
    up.says("consider setting a 'develop' section");
    up.types("d");
    assert_eq!(up.wait(), 0);
    hoist.file("src/one", "1");
    hoist.compose(&format!(
        "services:\n  a: {{{SERVICE}, develop: {{watch: [{{action: sync, path: src, target: /src}}]}}}}\n"
    ));
    let mut up = hoist.on_terminal("up");
    up.says("detach");
    up.types("w");
    up.says("stop watching");
    up.says("Watch enabled");
    hoist.file("src/two", "2");
    eventually("the file is in the container", || {
        (hoist.exec("a", "cat /src/two").out.trim() == "2").then_some(())
    });
    let held = hoist.run_root().join(format!("watch-{}.lock", hoist.name));
    assert!(held.exists());
    up.types("w");
    eventually("nobody watches any more", || (!held.exists()).then_some(()));
    up.signal(Signal::SIGTERM);
    assert_eq!(up.wait(), 130);
}

fn keys_that_are_pressed_during_a_restart_are_done_after_it() {
    let hoist = Sandbox::new();
    hoist.compose(
        "services:\n  a: {image: tiny, stop_grace_period: 1s, command: [sh, -c, 'trap \"\" TERM; echo ready; while :; do sleep 1000; done']}\n",
    );
    let mut up = hoist.on_terminal("up");
    up.says("ready").says("detach");
    let before = hoist.id("a");
    up.types("r");
    up.says("Stopping");
    up.types("/rea\rd");
    assert_eq!(up.wait(), 0, "{}", up.text());
    let text = up.text();
    assert!(text.contains("filter (rea)"), "{text}");
    let (_, restarted) = text.split_once("Stopped").expect("it was stopped");
    assert!(restarted.contains("Started"), "{text}");
    assert_eq!(hoist.id("a"), before);
    assert_eq!(hoist.state("a"), "running");
}

fn a_focused_service_has_the_screen_and_gets_what_is_typed() {
    let hoist = Sandbox::new();
    hoist.compose(&format!(
        "services:\n  clock: {{{SERVICE}}}\n  \
         talk: {{image: tiny, stop_signal: SIGKILL, stdin_open: true, command: [sh, -c, 'echo listening; while read line; do echo \"got <$$line>\"; done; exec sleep 1000']}}\n  \
         term: {{image: tiny, stop_signal: SIGKILL, tty: true, command: [sh, -c, 'read line; echo \"had <$$line>\"; exec sleep 1000']}}\n"
    ));
    let mut up = hoist.on_terminal("up");
    up.says("tick").says("listening").says("detach");
    let ticks = |up: &Running| up.text().matches("tick").count();
    up.types("ftalk\r");
    up.says("talk\x1b[0m> ");
    let before = ticks(&up);
    up.types("hello w/d\r");
    up.says("got <hello w/d>");
    up.types("\r");
    up.says("got <>");
    assert_eq!(ticks(&up), before, "{}", up.text());
    up.types("\x1b");
    eventually_or(
        "all lines are shown again",
        || up.text(),
        || ticks(&up) > before,
    );
    up.types("fterm\r");
    up.says("term\x1b[0m> ");
    up.types("yes\r");
    up.says("had <yes>");
    let menus = |up: &Running| up.text().matches("\x1b[1mf\x1b[0m focus").count();
    let before = menus(&up);
    up.types("\x1b");
    eventually_or("the menu is back", || up.text(), || menus(&up) > before);
    up.types("fclock\r");
    up.says("all services (only clock)");
    up.types("fd");
    assert_eq!(up.wait(), 0, "{}", up.text());
    assert_eq!(hoist.state("talk"), "running");
}

fn what_failed_stands_above_the_menu() {
    let hoist = Sandbox::new();
    hoist.file("src/one", "1");
    hoist.compose(
        "services:\n  a: {image: tiny, stop_signal: SIGKILL, command: [sh, -c, 'echo ready; exec sleep 1000'], develop: {watch: [\
         {action: sync+exec, path: src, target: /src, exec: {command: sh -c 'exit 3'}}]}}\n",
    );
    let mut up = hoist.on_terminal("up");
    up.says("ready").says("detach");
    up.types("w");
    up.says("Watch enabled").says("stop watching");
    hoist.file("src/one", "2");
    let shown = || screen::lines(up.text().as_bytes(), 33, 101);
    eventually("the error is above the menu", || {
        let lines = shown();
        let told = lines
            .iter()
            .any(|line| line.starts_with("error: ") && line.ends_with("exited with status 3"));
        let menu = lines
            .last()
            .is_some_and(|line| line.starts_with("w stop watching"));
        (told && menu).then_some(())
    });
    up.types("d");
    assert_eq!(up.wait(), 0);
}

/// How a terminal takes what is typed, as a shell sees it.
pub const SETTINGS: &str =
    "stty -a | tr ' ;' '\\n\\n' | grep -x -e -*icanon -e -*echo | tr '\\n' ' '";

/// The process that a shell runs.
pub fn child_of(shell: &Running) -> Pid {
    let shell = shell.pid();
    let path = format!("/proc/{shell}/task/{shell}/children");
    let children = std::fs::read_to_string(path).expect("the shell runs");
    let first = children.split_whitespace().next().expect("a child");
    Pid::from_raw(first.parse().expect("a process id"))
}

fn a_shell_gets_its_terminal_back_from_signals_that_end_the_command() {
    let hoist = Sandbox::new();
    hoist.compose(&format!("services:\n  a: {{{SERVICE}}}\n"));
    let script =
        format!("ulimit -c 0; trap : HUP QUIT; \"$@\"; echo \"[$?]\"; {SETTINGS}; echo end");
    for (signal, code) in [(Signal::SIGHUP, 129), (Signal::SIGQUIT, 131)] {
        let mut shell = hoist.on_terminal_of_shell(&script, "up");
        shell.says("tick").says("detach");
        if signal == Signal::SIGQUIT {
            shell.types("\x1c");
        } else {
            nix::sys::signal::kill(child_of(&shell), signal).expect("the command runs");
        }
        shell.says(&format!("[{code}]")).says("end");
        let settings = shell.text();
        let (_, settings) = settings.split_once(&format!("[{code}]")).expect("the code");
        assert!(
            settings.contains(" echo ") || settings.contains("\necho "),
            "{settings:?}"
        );
        assert!(!settings.contains("-icanon"), "{settings:?}");
        shell.wait();
        assert_eq!(hoist.state("a"), "running");
    }
}

fn ctrl_z_gives_the_terminal_back_until_the_command_goes_on() {
    let hoist = Sandbox::new();
    hoist.compose(&format!("services:\n  a: {{{SERVICE}}}\n"));
    let script = format!(
        "set -m; \"$@\"; echo \"[$?]\"; {SETTINGS}; echo behind; bg; read -r word; echo \"<$word>\"; fg; echo \"[$?]\""
    );
    let mut shell = hoist.on_terminal_of_shell(&script, "up");
    shell.says("ready").says("detach");
    shell.types("\x1a");
    // 128 + SIGTSTP
    shell.says("[148]").says("behind");
    assert!(!shell.text().contains("-icanon"), "{}", shell.text());
    // While it goes on behind the shell, lines are the shell's.
    shell.types("word\n");
    shell.says("<word>");
    let before = shell.text().matches("detach").count();
    eventually("the menu is drawn once more", || {
        (shell.text().matches("detach").count() > before).then_some(())
    });
    shell.types("d");
    shell.says("[0]");
    shell.wait();
}

fn no_menu_where_it_is_not_wanted_or_nobody_could_press_keys() {
    let hoist = Sandbox::new();
    hoist.compose("services:\n  a: {image: tiny, command: echo hello}\n");
    for flags in ["up --menu=false", "--ansi never up", "--progress plain up"] {
        let mut up = hoist.on_terminal(flags);
        up.says("hello");
        assert_eq!(up.wait(), 0);
        assert!(!up.text().contains("detach"), "{flags}: {}", up.text());
    }
    hoist.ok("up --menu").says_nothing_of("detach");
    hoist.set("COMPOSE_MENU", "false");
    let mut up = hoist.on_terminal("up");
    assert_eq!(up.wait(), 0);
    assert!(!up.text().contains("detach"), "{}", up.text());
}

fn what_containers_print_can_not_steer_a_shared_terminal() {
    let hoist = Sandbox::new();
    let hostile = r"\033[2Ja\302\007\2332Jb\033]0;title\007c\033]52;c;QQ==\033\\d\2338e\n\033\303\274 half \342\202\n";
    hoist.file("hostile", hostile);
    hoist.compose(
        "services:\n  a: {image: tiny, command: [sh, -c, 'printf \"$$(cat /hostile)\"; echo; echo end'], \
         volumes: ['./hostile:/hostile:ro']}\n  b: {image: tiny, command: echo beside}\n",
    );
    for flags in ["up", "up --no-log-prefix"] {
        let mut up = hoist.on_terminal(&format!("--progress plain {flags}"));
        assert_eq!(up.wait(), 0, "{}", up.text());
        let text = up.text();
        assert!(text.contains("end") && text.contains("half"), "{text:?}");
        for bad in ["\x1b[2J", "title\x07", "\x1b]", "\u{9b}"] {
            assert!(!text.contains(bad), "{flags}: {bad:?} in {text:?}");
        }
    }
}
