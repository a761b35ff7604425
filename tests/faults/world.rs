//! The project that faults happen to, and what must be true of it and of the host afterwards.
//!
//! Imports: `harness`, `trace`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use super::trace::{self, Fault, Traced};
use crate::harness::leftovers::children;
use crate::harness::{Sandbox, http};

/// Everything a birth can have that leaves something on the host: volumes of all kinds, a port, a network of its own, files, a neighbour.
const PROJECT: &str = "\
services:
  a:
    image: tiny
    stop_signal: SIGKILL
    command: [sh, -c, 'for i in 0 1 2 3 4 5 6 7 8 9; do echo line $$i; done; exec httpd -f -p 80 -h /seed']
    volumes: ['seed:/seed', /anonymous, './host:/host']
    ports: ['127.0.0.1::80']
    configs: [{source: c, target: /etc/c}]
    networks: [n]
  b: {SLEEP, network_mode: 'service:a'}
volumes: {seed: }
networks: {n: }
configs: {c: {content: from the config}}
";

/// A project whose commands meet faults.
#[derive(Debug)]
pub struct World {
    /// Where it lives.
    pub hoist: Sandbox,
    /// Files of both roots when the project is down.
    quiet: RefCell<BTreeSet<String>>,
}

impl World {
    /// A world in which the project was up once.
    pub fn new() -> Self {
        Self::of(PROJECT)
    }

    /// The same for another project.
    pub fn of(project: &str) -> Self {
        let hoist = Sandbox::new();
        hoist.compose(project);
        hoist.ok("up -d");
        hoist.ok("down -v -t 0");
        let quiet = files(&hoist);
        let quiet = RefCell::new(quiet);
        Self { hoist, quiet }
    }

    /// Runs a command of which something may be killed or fail, with the supervisors that are there.
    pub fn trace(&self, arguments: &str, at: Option<(usize, Fault)>) -> Traced {
        let mut words = vec!["-p".to_owned(), self.hoist.name.clone()];
        words.extend(shell_words::split(arguments).expect("quotes in pairs"));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let scratch = self.hoist.data();
        let scratch = scratch.parent().expect("it is below the sandbox");
        let others = self.hoist.supervisors();
        let traced = trace::run(&self.hoist.command(&words), at, &others, scratch);
        self.hoist.notice();
        assert!(
            !traced.text.contains("panicked"),
            "`{arguments}`: {}",
            traced.story()
        );
        traced
    }

    /// The project is up and all of it works.
    pub fn works(&self) -> Result<(), String> {
        let up = self.hoist.run("up -d -t 0");
        if up.code != 0 {
            return Err(format!("the next `up` fails: {}", up.story()));
        }
        self.is_up()
    }

    /// The project is up, as it should be, without another `up`.
    pub fn is_up(&self) -> Result<(), String> {
        let ps = self.hoist.run("ps --all --format json");
        if ps.code != 0 {
            return Err(format!("`ps` fails: {}", ps.story()));
        }
        let mut rows = self.hoist.ps();
        // A container of a killed `run` stays until `down --remove-orphans`, as the reference's does.
        rows.retain(|row| {
            !row["Labels"]
                .as_str()
                .unwrap_or_default()
                .contains("oneoff=True")
        });
        if rows.len() != 2 || rows.iter().any(|row| row["State"] != "running") {
            return Err(format!("not both run: {rows:?}"));
        }
        let inside = "cat /seed/grain /etc/c; stat -c %u:%a /seed /seed/grain; touch /anonymous/x /host/x /seed/y";
        let seen = self.hoist.exec("a", inside);
        let want = "from the image\nfrom the config1000:750\n1000:640\n";
        if seen.code != 0 || seen.out != want {
            return Err(format!("not whole inside: {}", seen.story()));
        }
        let port = self.hoist.run("port a 80").out;
        let address = port
            .trim()
            .parse()
            .map_err(|_| format!("no port: {port:?}"))?;
        let mut answer = Err(std::io::ErrorKind::NotConnected.into());
        for _ in 0..50 {
            answer = http::get(address, "/grain");
            if answer.is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        match answer {
            Ok(answer) if answer.text() == "from the image\n" => Ok(()),
            other => Err(format!("the published port does not answer: {other:?}")),
        }
    }

    /// After `down` nothing is there.
    pub fn ends(&self) -> Result<(), String> {
        let down = self.hoist.run("down -v -t 0 --remove-orphans");
        if down.code != 0 {
            return Err(format!("`down` fails: {}", down.story()));
        }
        let left = self.hoist.leftovers();
        if !left.is_empty() {
            return Err(format!("left behind:\n  {}", left.join("\n  ")));
        }
        let now = files(&self.hoist);
        // Told once: what one point leaves is not counted against the next.
        let before = self.quiet.replace(now.clone());
        let strange: Vec<&String> = now.symmetric_difference(&before).collect();
        if strange.is_empty() {
            Ok(())
        } else {
            Err(format!("files differ after `down`: {strange:?}"))
        }
    }
}

/// Files and directories of both roots.
fn files(hoist: &Sandbox) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![hoist.data(), hoist.run_root()];
    let root = hoist.data();
    let root = root.parent().unwrap_or(Path::new("/"));
    while let Some(dir) = open.pop() {
        for path in children(&dir) {
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .display()
                .to_string();
            // What an image consists of is no concern of a project's.
            let is_dir = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
            if is_dir && !name.starts_with("d/layers/") {
                open.push(path);
            }
            // What a killed command held goes with the next that holds something; what has happened is told after a project's
            // end, too.
            if !name.starts_with("d/images/held/") && !name.starts_with("r/events") {
                found.insert(name);
            }
        }
    }
    found
}

/// The points at which a fault happens, out of `count`: `some` of them, evenly spread, or all with
/// `HOIST_TEST_FAULTS=all`; `HOIST_TEST_FAULTS=A-B` is a range for a closer look.
pub fn points(count: usize, some: usize) -> Vec<usize> {
    let wish = std::env::var("HOIST_TEST_FAULTS").unwrap_or_default();
    if wish == "all" {
        return (0..count).collect();
    }
    if let Some((from, to)) = wish.split_once('-')
        && let (Ok(from), Ok(to)) = (from.parse::<usize>(), to.parse::<usize>())
    {
        return (from..=to).filter(|at| *at < count).collect();
    }
    let some = some.min(count).max(1);
    (0..some)
        .map(|at| (2 * at + 1) * count / (2 * some))
        .collect()
}

/// What a look at the world tells; a panic becomes its message, so that it is told at which point it came.
pub fn caught(look: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(look));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "a panic without words".to_owned()))
    })
}

/// Collects what goes wrong at single points, so that one run tells all of it.
#[derive(Debug, Default)]
pub struct Report {
    wrong: Vec<String>,
    points: usize,
}

impl Report {
    /// Notes the outcome of one point.
    pub fn add(&mut self, what: &str, traced: &Traced, outcome: Result<(), String>) {
        self.points += 1;
        let outcome = match outcome {
            Ok(()) if traced.hung => Err("it hung".to_owned()),
            other => other,
        };
        if let Err(wrong) = outcome {
            self.wrong
                .push(format!("{what}, {}{wrong}", traced.story()));
        }
    }

    /// Fails when anything was wrong.
    pub fn end(self) {
        assert!(self.points > 0, "no point was tried");
        assert!(
            self.wrong.is_empty(),
            "{} of {} points:\n\n{}",
            self.wrong.len(),
            self.points,
            self.wrong.join("\n\n")
        );
    }
}
