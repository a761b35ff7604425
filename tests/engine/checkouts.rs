//! Checkouts of one repository side by side: `--isolate`, `port --env`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::process::{Done, LIMIT, finish};
use crate::harness::{ENGINE, Sandbox, eventually, http, ports};

crate::cases!(ENGINE;
    two_checkouts_answer_on_the_same_port_at_addresses_of_their_own,
    an_isolated_checkout_is_found_again_by_every_command_and_left_on_demand,
    what_is_fixed_in_the_file_is_no_conflict_and_what_is_shared_is_told,
    a_killed_command_leaves_no_half_record_of_checkouts,
);

/// Two directories with the same project.
fn checkouts(text: &str) -> (Sandbox, [PathBuf; 2]) {
    let hoist = Sandbox::new();
    let dirs = ["one", "two"].map(|name| {
        let file = hoist.file(&format!("{name}/compose.yaml"), text);
        file.parent().expect("a directory").to_owned()
    });
    (hoist, dirs)
}

/// Runs a command in a directory, without naming the project.
fn at(hoist: &Sandbox, dir: &Path, arguments: &str) -> Done {
    let words = shell_words::split(arguments).expect("quotes in pairs");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut command = hoist.command(&words);
    command.current_dir(dir);
    let done = finish(command, None, LIMIT);
    hoist.notice();
    done
}

/// The value of a line `NAME=VALUE`.
fn value(text: &str, name: &str) -> String {
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name}=")));
    found
        .unwrap_or_else(|| panic!("no {name} in {text}"))
        .to_owned()
}

/// A web server on a fixed port of the host.
fn web(port: u16) -> String {
    format!(
        "name: shop\nservices:\n  my-web:\n    image: tiny\n    stop_signal: SIGKILL\n    ports: ['{port}:80']\n    \
                   volumes: ['./page:/page:ro']\n    command: httpd -f -p 80 -h /page\n"
    )
}

fn two_checkouts_answer_on_the_same_port_at_addresses_of_their_own() {
    let port = ports::free();
    let (hoist, dirs) = checkouts(&web(port));
    let mut seen = Vec::new();
    for dir in &dirs {
        let name = dir
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        std::fs::create_dir(dir.join("page")).expect("the checkout is writable");
        std::fs::write(dir.join("page/index.html"), &name).expect("the checkout is writable");
        at(&hoist, dir, "up -d --isolate")
            .ok()
            .says("isolated: project shop-");
        let address = value(&at(&hoist, dir, "port --env").ok().out, "MY_WEB_PORT_80");
        assert!(
            address.starts_with("127.") && address.ends_with(&format!(":{port}")),
            "{address}"
        );
        assert!(!address.starts_with("127.0."), "{address}");
        seen.push((name, address));
    }
    assert_ne!(seen[0].1, seen[1].1);
    let answers = || {
        for (name, address) in &seen {
            let page = eventually(&format!("{address} answers"), || {
                http::get(address.parse().expect("an address"), "/").ok()
            });
            assert_eq!(page.text(), *name);
        }
    };
    answers();
    // Again changes nothing.
    let again = at(&hoist, &dirs[0], "up -d --isolate").ok();
    assert!(again.err.contains("Running"), "{}", again.story());
    answers();
    let list = hoist.global(&["ls", "--format", "json"]).ok().out;
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let mut listed: Vec<&str> = list
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|row| row["Address"].as_str())
        .collect();
    listed.sort_unstable();
    let mut want: Vec<&str> = seen
        .iter()
        .filter_map(|(_, a)| a.split(':').next())
        .collect();
    want.sort_unstable();
    assert_eq!(listed, want);
    hoist.global(&["ls"]).ok().says("ADDRESS").says(want[0]);

    at(&hoist, &dirs[0], "down").ok();
    let (gone, left) = (&seen[0].1, &seen[1].1);
    assert!(http::get(gone.parse().expect("an address"), "/").is_err());
    assert_eq!(
        http::get(left.parse().expect("an address"), "/")
            .expect("an answer")
            .text(),
        "two"
    );
    at(&hoist, &dirs[1], "down").ok();
    // The address is kept for the next time.
    at(&hoist, &dirs[0], "up -d").ok();
    let address = value(
        &at(&hoist, &dirs[0], "port --env").ok().out,
        "MY_WEB_PORT_80",
    );
    assert_eq!(&address, gone);
}

fn an_isolated_checkout_is_found_again_by_every_command_and_left_on_demand() {
    let (hoist, dirs) = checkouts(
        "services:\n  a: {image: tiny, command: sleep 1000, stop_signal: SIGKILL, ports: ['80', '53/udp']}\n",
    );
    let dir = &dirs[0];
    at(&hoist, dir, "port --env")
        .code(1)
        .says("publishes no port");
    at(&hoist, dir, "--isolate up -d").ok();
    let name = at(&hoist, dir, "config --format json").ok().out;
    let name: Value = serde_json::from_str(&name).expect("JSON");
    let name = name["name"].as_str().expect("a name").to_owned();
    assert!(name.starts_with("one-"), "{name}");
    at(&hoist, dir, "ps").ok().says(&format!("{name}-a-1"));
    at(&hoist, dir, "exec -T a true").ok();
    let json = at(&hoist, dir, "port --env --format json").ok().out;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let variables: Vec<&str> = json
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|row| row["Variable"].as_str())
        .collect();
    assert_eq!(variables, ["A_PORT_53_UDP", "A_PORT_80"]);
    // Beside it, the same directory is the usual project.
    let usual = at(&hoist, dir, "--isolate=false ps -q").ok().out;
    assert_eq!(usual, "");
    at(&hoist, dir, "up -d --isolate=false")
        .code(1)
        .says("hoist down");
    at(&hoist, dir, "down").ok();
    at(&hoist, dir, "up -d --isolate=false").ok();
    at(&hoist, dir, "ps").ok().says("one-a-1");
    at(&hoist, dir, "down").ok();
}

fn what_is_fixed_in_the_file_is_no_conflict_and_what_is_shared_is_told() {
    let port = ports::free();
    let text = format!(
        "name: shop\nservices:\n  a:\n    image: tiny\n    command: sleep 1000\n    stop_signal: SIGKILL\n    \
                container_name: fixed\n    volumes: ['data:/data']\n    ports: ['127.0.0.1:{port}:80', '127.0.0.1:{port}:80/udp']\n  \
                b: {{image: tiny, command: sleep 1000, stop_signal: SIGKILL}}\n\
                volumes: {{data: {{name: data}}}}\nnetworks: {{default: {{name: lan}}}}\n"
    );
    let (hoist, dirs) = checkouts(&text);
    for dir in &dirs {
        at(&hoist, dir, "up -d --isolate").ok();
    }
    let names = at(&hoist, &dirs[0], "ps --format json").ok().out;
    assert!(names.contains("\"fixed-"), "{names}");
    // Inside, it has its name.
    at(&hoist, &dirs[1], "exec -T b nslookup fixed").ok();
    at(&hoist, &dirs[0], "exec -T a sh -c 'echo one > /data/x'").ok();
    at(&hoist, &dirs[1], "exec -T a test ! -e /data/x").ok();
    for dir in &dirs {
        at(&hoist, dir, "down -v").ok();
    }
    let shared = "services: {a: {image: tiny, command: sleep 1000, stop_signal: SIGKILL, network_mode: host}}\n";
    std::fs::write(dirs[0].join("compose.yaml"), shared).expect("writable");
    at(&hoist, &dirs[0], "up -d --isolate")
        .ok()
        .says("shared with other checkouts: service `a` uses the host's network");
    at(&hoist, &dirs[0], "down").ok();
}

fn a_killed_command_leaves_no_half_record_of_checkouts() {
    let (hoist, dirs) =
        checkouts("services: {a: {image: tiny, command: sleep 1000, stop_signal: SIGKILL}}\n");
    std::fs::create_dir_all(hoist.data()).expect("writable");
    let file = hoist.data().join("isolated.json");
    std::fs::write(hoist.data().join(".isolated.json.1.0"), "{\"vers").expect("writable");
    at(&hoist, &dirs[0], "up -d --isolate").ok();
    let text = std::fs::read_to_string(&file).expect("a record");
    serde_json::from_str::<Value>(&text).expect("whole JSON");
    at(&hoist, &dirs[0], "down").ok();
    std::fs::write(&file, &text[..text.len() / 2]).expect("writable");
    at(&hoist, &dirs[0], "ps")
        .code(1)
        .says("isolated.json")
        .says("rm ");
    std::fs::remove_file(&file).expect("it is there");
    at(&hoist, &dirs[0], "ps").ok();
}
