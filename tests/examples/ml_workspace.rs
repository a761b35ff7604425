//! The example that everything else is for: built, used, disturbed, taken down, with nothing left.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::{DEBIAN, Example, NEEDS, PYTHON, json};
use crate::harness::process::kill_and_wait;
use crate::harness::{Sandbox, eventually, http, leftovers::children, within};

crate::cases!(NEEDS;
    the_ml_workspace_is_built_predicts_survives_and_leaves_nothing,
);

/// The project on ports of its own.
struct Workspace {
    example: Example,
    api: SocketAddr,
    notebook: SocketAddr,
}

impl Workspace {
    fn new() -> Self {
        let example = Example::new("ml-workspace", &[DEBIAN, PYTHON]);
        Self {
            api: example.port("API_PORT"),
            notebook: example.port("NOTEBOOK_PORT"),
            example,
        }
    }

    /// Posts an unseen image of a digit and gives the answer.
    fn predict(&self, digit: u8) -> Value {
        let image = within(Duration::from_secs(60), "the API gives a sample", || {
            http::get(self.api, &format!("/sample/{digit}.png"))
                .ok()
                .filter(|answer| answer.status == 200)
        });
        assert!(image.body.starts_with(b"\x89PNG"), "no PNG");
        let answer =
            http::post(self.api, "/predict", "image/png", &image.body).expect("the API answers");
        json(&answer, 200)
    }

    /// What the database answers, over TCP and with the password from the secret.
    fn sql(&self, query: &str) -> String {
        self.example
            .sandbox
            .ok(&format!("run --rm -T psql -At -c \"{query}\""))
            .out
            .trim()
            .to_owned()
    }
}

fn the_ml_workspace_is_built_predicts_survives_and_leaves_nothing() {
    let workspace = Workspace::new();
    let hoist = &workspace.example.sandbox;
    workspace.example.up();
    for service in ["db", "api", "notebook"] {
        assert_eq!(hoist.field(service, "Health"), "healthy", "{service}");
    }
    assert_eq!(
        (hoist.state("trainer"), hoist.exit_code("trainer")),
        ("exited".into(), 0)
    );

    predictions_are_rows(&workspace);
    limits_hold(hoist);
    the_notebook_runs(&workspace);
    a_killed_api_comes_back(&workspace);
    nothing_to_do_touches_nothing(&workspace);
    edits_are_followed(&workspace);

    let namespaces = namespaces(hoist);
    let seen = ticks_of_the_machine();
    let rows = workspace.sql("SELECT count(*) FROM predictions");
    hoist.ok("down");
    workspace.example.up();
    assert_eq!(
        workspace.sql("SELECT count(*) FROM predictions"),
        rows,
        "down lost rows"
    );
    assert_eq!(hoist.volumes().len(), 2);
    workspace.example.end();
    let left = namespaces_of_all(seen);
    assert_eq!(
        namespaces.intersection(&left).collect::<Vec<_>>(),
        Vec::<&PathBuf>::new()
    );
}

fn predictions_are_rows(workspace: &Workspace) {
    for digit in [3, 7] {
        let answer = workspace.predict(digit);
        assert_eq!(answer["digit"], digit, "{answer}");
        assert!(
            answer["confidence"]
                .as_f64()
                .is_some_and(|share| share > 0.5),
            "{answer}"
        );
        let id = answer["id"]
            .as_i64()
            .unwrap_or_else(|| panic!("no id in {answer}"));
        assert_eq!(
            workspace.sql(&format!("SELECT digit FROM predictions WHERE id = {id}")),
            digit.to_string()
        );
    }
    let address = http::post(workspace.api, "/predict", "image/png", b"this is no image")
        .expect("the API answers");
    assert_eq!(address.status, 400, "{}", address.text());
}

fn limits_hold(hoist: &Sandbox) {
    let read = |service: &str, names: &[&str]| -> String {
        let dirs = hoist.cgroups(service);
        let mut files = dirs
            .iter()
            .flat_map(|dir| names.iter().map(|name| dir.join(name)));
        let text = files.find_map(|file| std::fs::read_to_string(file).ok());
        text.unwrap_or_else(|| panic!("none of {names:?} in {dirs:?}"))
            .trim()
            .to_owned()
    };
    for (service, memory, cpus) in [("db", 512_u64 << 20, 1.0), ("api", 768 << 20, 1.5)] {
        assert_eq!(
            read(service, &["memory.max", "memory.limit_in_bytes"]),
            memory.to_string(),
            "{service}"
        );
        let line = if hoist
            .cgroups(service)
            .iter()
            .any(|dir| dir.join("cpu.max").exists())
        {
            read(service, &["cpu.max"])
        } else {
            format!(
                "{} {}",
                read(service, &["cpu.cfs_quota_us"]),
                read(service, &["cpu.cfs_period_us"])
            )
        };
        let numbers: Vec<f64> = line
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        assert!(
            matches!(numbers[..], [quota, period] if (quota / period - cpus).abs() < 1e-9),
            "{service}: {line}"
        );
    }
    assert_eq!(read("api", &["pids.max"]), "100");
}

fn the_notebook_runs(workspace: &Workspace) {
    let hoist = &workspace.example.sandbox;
    let answer = http::get(workspace.notebook, "/api").expect("the notebook answers");
    assert_eq!(answer.status, 200);
    hoist.ok(
        "exec -T notebook jupyter nbconvert --to notebook --execute digits.ipynb --output-dir /tmp --output executed.ipynb",
    );
    let text = hoist.ok("exec -T notebook cat /tmp/executed.ipynb").out;
    for want in [
        "10 of 10 predictions right",
        "10 of 10 predictions found in the database",
    ] {
        assert!(text.contains(want), "no {want:?} in the executed notebook");
    }
    let notebook: Value = serde_json::from_str(&text).expect("a notebook is JSON");
    let cells = notebook["cells"].as_array().expect("cells").iter();
    let outputs = cells.flat_map(|cell| cell["outputs"].as_array().cloned().unwrap_or_default());
    assert_eq!(
        outputs
            .filter(|output| output["data"].get("image/png").is_some())
            .count(),
        1
    );
}

fn a_killed_api_comes_back(workspace: &Workspace) {
    let hoist = &workspace.example.sandbox;
    let first = hoist.init("api");
    kill_and_wait(first);
    eventually("the API is started again", || {
        (hoist.state("api") == "running").then_some(())
    });
    assert_ne!(hoist.init("api"), first);
    assert_eq!(workspace.predict(5)["digit"], 5);
}

fn nothing_to_do_touches_nothing(workspace: &Workspace) {
    let hoist = &workspace.example.sandbox;
    let before = hoist.ps();
    let processes: Vec<i32> = ["db", "api", "notebook"]
        .map(|service| hoist.init(service))
        .to_vec();
    workspace.example.up();
    let ids = |rows: &[Value]| rows.iter().map(|row| row["ID"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&hoist.ps()), ids(&before));
    assert_eq!(
        ["db", "api", "notebook"]
            .map(|service| hoist.init(service))
            .to_vec(),
        processes
    );
}

/// An edit of the API's source answers in the next request; another list of packages replaces the API alone.
fn edits_are_followed(workspace: &Workspace) {
    let hoist = &workspace.example.sandbox;
    let watch = hoist.start(&format!("{} watch --no-up api", workspace.example.trust));
    watch.says("Watch enabled");
    let edit = |path: &str, was: &str, now: &str| {
        let text = std::fs::read_to_string(hoist.dir().join(path)).expect("the example's");
        assert!(text.contains(was), "no {was:?} in {path}");
        hoist.file(path, text.replace(was, now));
    };
    let minute = Duration::from_secs(60);
    edit("api/app.py", "the newest predictions", "the newest rows");
    within(minute, "the edit answers", || {
        let answer = http::get(workspace.api, "/").ok()?;
        answer.text().contains("the newest rows").then_some(())
    });
    let api = hoist.id("api");
    let others = || ["db", "notebook", "trainer"].map(|service| hoist.one(service)["ID"].clone());
    let processes = || ["db", "notebook"].map(|service| hoist.init(service));
    let before = (others(), processes());
    edit("api/requirements.txt", "\n", "\n# looked at once more\n");
    within(minute * 10, "the API is replaced", || {
        let mut rows = hoist.ps();
        rows.retain(|row| row["Service"] == "api");
        // Both are there while one takes the other's place.
        let [row] = rows.as_slice() else { return None };
        (row["ID"] != *api && row["Health"] == "healthy").then_some(())
    });
    assert_eq!((others(), processes()), before, "{}", watch.text());
    // The edit is in the new image as well.
    let answer = http::get(workspace.api, "/").expect("the API answers");
    assert!(answer.text().contains("the newest rows"));
    assert_eq!(workspace.predict(8)["digit"], 8);
    watch.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(watch.end(), 130);
}

/// Namespaces of the running containers that the host does not share.
fn namespaces(hoist: &Sandbox) -> BTreeSet<PathBuf> {
    let own = of_process("self");
    let found = ["db", "api", "notebook"]
        .iter()
        .flat_map(|service| of_process(&hoist.init(service).to_string()));
    found.filter(|link| !own.contains(link)).collect()
}

/// Namespaces that some process is in that was there already by then. A namespace that is gone leaves its number to
/// another, which processes that came later may have.
fn namespaces_of_all(then: u64) -> BTreeSet<PathBuf> {
    let numbers = children(Path::new("/proc"))
        .into_iter()
        .filter_map(|dir| dir.file_name()?.to_str()?.parse::<i32>().ok())
        .filter(|pid| begun(*pid).is_some_and(|begun| begun <= then));
    numbers
        .flat_map(|pid| of_process(&pid.to_string()))
        .collect()
}

/// When a process was started, in clock ticks since the machine was: proc_pid_stat(5), field 22.
fn begun(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// How long the machine has been running, in clock ticks.
fn ticks_of_the_machine() -> u64 {
    let uptime = std::fs::read_to_string("/proc/uptime").expect("Linux tells it");
    let seconds = uptime
        .split(' ')
        .next()
        .and_then(|word| word.parse::<f64>().ok());
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    let ticks = ticks.ok().flatten().expect("the system knows its clock");
    (seconds.expect("a number") * ticks as f64) as u64
}

fn of_process(pid: &str) -> BTreeSet<PathBuf> {
    children(&Path::new("/proc").join(pid).join("ns"))
        .iter()
        .filter_map(|file| std::fs::read_link(file).ok())
        .collect()
}
