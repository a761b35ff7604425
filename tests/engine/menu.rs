//! The key menu of an attached `up`, and what containers may do to a shared screen.

use nix::sys::signal::Signal;

use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE;
    the_key_d_leaves_the_containers_running_and_ends_with_0,
    the_key_w_says_what_is_missing_and_starts_and_stops_watching,
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
