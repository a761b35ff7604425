//! What users see: screens of 80 and of 200 columns, written down beside this file.
//!
//! `NAME-80.txt` and `NAME-200.txt` hold what a terminal of that width shows in the end, as [`screen`] makes text of it;
//! `HOIST_TEST_BLESS=1` writes them anew.

use std::path::PathBuf;

use crate::harness::process::Running;
use crate::harness::{ENGINE, Sandbox, eventually, repository, screen};

crate::cases!(ENGINE;
    a_project_comes_up_and_goes,
    logs_of_an_attached_project_stand_beside_its_menu,
    what_stops_too_late_is_told_with_a_hint,
    faults_of_a_file_are_shown_with_their_places,
    a_step_that_fails_shows_its_end_and_its_line,
    help_says_what_there_is,
    a_project_is_drawn_and_planned,
);

/// Rows of all screens: more than anything here prints.
const ROWS: u16 = 120;
const WIDTHS: [u16; 2] = [80, 200];

/// A project that is called the same each time.
fn shop(compose: &str) -> Sandbox {
    let mut hoist = Sandbox::new();
    hoist.name = "shop".to_owned();
    // One thing after the other, in the order of the plan.
    hoist.set("COMPOSE_PARALLEL_LIMIT", "1");
    hoist.compose(compose);
    hoist
}

/// A database with a probe, and what stands on it.
const SHOP: &str = "\
services:
  db:
    image: tiny
    command: [sh, -c, 'echo database is ready; exec sleep 1000']
    stop_signal: SIGKILL
    healthcheck: {test: [CMD, 'true'], interval: 100ms}
    volumes: [data:/data]
  api:
    build: .
    command: [sh, -c, 'echo listening; exec sleep 1000']
    stop_signal: SIGKILL
    depends_on: {db: {condition: service_healthy}}
  a-worker-with-a-rather-long-name:
    image: tiny
    command: [sh, -c, 'exec sleep 1000']
    stop_signal: SIGKILL
    networks: [back]
volumes: {data: }
networks: {back: }
";

/// Screens that are not as written down.
#[derive(Default)]
struct Gallery {
    wrong: Vec<String>,
}

impl Gallery {
    /// What a command shows when it has ended.
    fn ended(&mut self, name: &str, hoist: &Sandbox, width: u16, arguments: &str) -> i32 {
        let mut running = hoist.on_terminal_of(ROWS, width, arguments);
        let code = running.wait();
        self.hang(name, width, &running);
        code
    }
    /// What a command shows now.
    fn hang(&mut self, name: &str, width: u16, running: &Running) {
        let text = shown(running, width);
        let file = file(name, width);
        let bless = std::env::var_os("HOIST_TEST_BLESS").is_some_and(|value| value == "1");
        if bless {
            std::fs::write(&file, &text).expect("the repository is writable");
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if text != expected {
            let file = file.display();
            self.wrong
                .push(format!("{file}\n--- expected\n{expected}--- got\n{text}"));
        }
    }
    fn close(self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}

fn file(name: &str, width: u16) -> PathBuf {
    repository().join(format!("tests/screens/{name}-{width}.txt"))
}

/// The screen of a command, each line ended.
fn shown(running: &Running, width: u16) -> String {
    let lines = screen::lines(running.text().as_bytes(), ROWS, width);
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

fn a_project_comes_up_and_goes() {
    let mut gallery = Gallery::default();
    for width in WIDTHS {
        let hoist = shop(SHOP);
        hoist.file("Dockerfile", "FROM tiny\nRUN echo made > /made\nENV A=b\n");
        assert_eq!(gallery.ended("up", &hoist, width, "up -d"), 0);
        assert_eq!(gallery.ended("up-again", &hoist, width, "up -d"), 0);
        let seconds = || {
            let status = hoist.ok("ps --format '{{.Status}}'").out;
            let young = |line: &str| line.starts_with("Up Less") || line.starts_with("Up 1 ");
            (!status.lines().any(young)).then_some(())
        };
        eventually("all run for some seconds", seconds);
        assert_eq!(gallery.ended("ps", &hoist, width, "ps"), 0);
        assert_eq!(gallery.ended("logs", &hoist, width, "logs"), 0);
        assert_eq!(gallery.ended("graph-up", &hoist, width, "graph"), 0);
        assert_eq!(gallery.ended("down", &hoist, width, "down -v"), 0);
    }
    gallery.close();
}

fn logs_of_an_attached_project_stand_beside_its_menu() {
    let long = "a line of a log that is longer than a narrow terminal, so that it goes on below, and says so to whoever reads";
    let mut gallery = Gallery::default();
    for width in WIDTHS {
        let hoist = shop(&format!(
            "services:\n  api:\n    image: tiny\n    stop_signal: SIGKILL\n    \
             command: [sh, -c, 'until [ -e /go ]; do sleep 0.05; done; echo first; echo {long}; printf \"\\\\033[31mred\\\\033[0m \\\\303\\\\274\\\\n\"; echo last; exec sleep 1000']\n"
        ));
        hoist.ok("create");
        let mut up = hoist.on_terminal_of(ROWS, width, "up");
        up.says("Started").says("detach");
        hoist.exec("api", "touch /go").ok();
        up.says("last");
        gallery.hang("attached", width, &up);
        up.types("d");
        assert_eq!(up.wait(), 0, "{}", up.text());
        hoist.ok("down");
    }
    gallery.close();
}

fn what_stops_too_late_is_told_with_a_hint() {
    let mut gallery = Gallery::default();
    for width in WIDTHS {
        let hoist = shop(
            "services:\n  deaf:\n    image: tiny\n    stop_grace_period: 300ms\n    \
             command: ['sh', '-c', 'trap \"\" TERM; echo ready; while :; do sleep 1000; done']\n",
        );
        hoist.ok("up -d");
        hoist.logged("deaf", "ready");
        assert_eq!(gallery.ended("stop", &hoist, width, "stop"), 0);
        hoist.ok("down");
    }
    gallery.close();
}

fn faults_of_a_file_are_shown_with_their_places() {
    let mut gallery = Gallery::default();
    let hoist = shop(
        "services:\n  api:\n    imagee: tiny\n    ports: ['80:http', '8080:80']\n    depends_on: [bd]\n  db:\n    image: tiny\n    \
         environment: {A_RATHER_LONG_NAME_OF_A_VARIABLE: [this, is, no, text, but, a, list, and, a, long, line, in, the, file, that, is, shown]}\n",
    );
    for width in WIDTHS {
        assert_ne!(gallery.ended("faults", &hoist, width, "up"), 0);
        assert_ne!(gallery.ended("typo", &hoist, width, "upp"), 0);
    }
    gallery.close();
}

fn a_step_that_fails_shows_its_end_and_its_line() {
    let mut gallery = Gallery::default();
    for width in WIDTHS {
        let hoist = shop("services:\n  api: {build: .}\n");
        let text = "FROM tiny\nRUN echo one && echo two && echo three && exit 3\n";
        hoist.file("Dockerfile", text);
        assert_ne!(gallery.ended("build-fails", &hoist, width, "build"), 0);
        hoist.file("Dockerfile", text.replace("exit 3", "true"));
        assert_eq!(gallery.ended("build", &hoist, width, "build"), 0);
    }
    gallery.close();
}

fn help_says_what_there_is() {
    let mut gallery = Gallery::default();
    let hoist = shop("services: {}\n");
    for width in WIDTHS {
        assert_eq!(gallery.ended("help", &hoist, width, "--help"), 0);
        assert_eq!(gallery.ended("help-up", &hoist, width, "up --help"), 0);
    }
    gallery.close();
}

fn a_project_is_drawn_and_planned() {
    let mut gallery = Gallery::default();
    let hoist = shop(SHOP);
    hoist.file("Dockerfile", "FROM tiny\nRUN echo made > /made\nENV A=b\n");
    for width in WIDTHS {
        assert_eq!(gallery.ended("graph", &hoist, width, "graph"), 0);
        assert_eq!(gallery.ended("plan", &hoist, width, "plan"), 2);
    }
    gallery.close();
}
