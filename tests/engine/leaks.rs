//! Whether the check that nothing is left finds what is left: one of each kind is leaked on purpose.

use std::path::Path;
use std::process::Command;

use crate::harness::host::Host;
use crate::harness::leftovers::{self, Names};
use crate::harness::{Need, Sandbox};

/// These leak by the host's own tools.
const TOOLS: &[Need] = &[Need::Root, Need::Program("ip"), Need::Program("nft")];

crate::cases!(TOOLS;
    each_kind_of_leak_is_found_by_its_names,
    what_others_have_on_the_host_is_no_leak,
    the_whole_host_is_compared_when_nothing_else_runs,
);

/// One that leaks: what is run to make it and to take it away, and a text of the report.
struct Leak {
    made: Vec<String>,
    undone: Vec<String>,
    seen: String,
}

fn leaks(number: u32, dir: &Path) -> Vec<Leak> {
    let (id, link, net) = own(number);
    let (short, dir) = (&id[..12], dir.display());
    let table = format!("foreign{}x{number}", std::process::id());
    let leak = |made: &[String], undone: &[String], seen: &str| Leak {
        made: made.to_vec(),
        undone: undone.to_vec(),
        seen: seen.to_owned(),
    };
    let group = format!("/sys/fs/cgroup/{id}");
    let mut all = vec![
        leak(
            &[
                (format!("ip link add {link} type bridge")),
                (format!("ip address add {net}.1/24 dev {link}")),
                (format!("ip link set {link} up")),
            ],
            &[(format!("ip link delete {link}"))],
            &format!("address {link} inet {net}.1/24"),
        ),
        leak(
            &[format!(
                "ip route add blackhole {net}.128/25 table 777{number}"
            )],
            &[format!(
                "ip route delete blackhole {net}.128/25 table 777{number}"
            )],
            &format!("route blackhole {net}.128/25"),
        ),
        leak(
            &[format!("ip rule add from {net}.9 lookup 777{number}")],
            &[format!("ip rule delete from {net}.9 lookup 777{number}")],
            &format!("from {net}.9 lookup 777{number}"),
        ),
        leak(
            &[(format!("nft add table ip hoist-p-{short}"))],
            &[(format!("nft delete table ip hoist-p-{short}"))],
            &format!("firewall table ip hoist-p-{short}"),
        ),
        leak(
            // A rule of ours in somebody else's table, as in DOCKER-USER.
            &[
                (format!("nft add table ip {table}")),
                (format!("nft add chain ip {table} c")),
                (format!("nft add rule ip {table} c accept comment \\\"hoist {short}\\\"")),
            ],
            &[(format!("nft delete table ip {table}"))],
            &format!("comment \"hoist {short}\""),
        ),
        leak(
            &[
                (format!("mkdir -p {dir}/held")),
                (format!("mount -t tmpfs tmpfs {dir}/held")),
            ],
            &[(format!("umount {dir}/held"))],
            &format!("mount / on {dir}/held"),
        ),
        leak(
            &[(format!("touch /tmp/hoist-{short}"))],
            &[(format!("rm /tmp/hoist-{short}"))],
            &format!("file /tmp/hoist-{short}"),
        ),
        leak(
            &[(format!("ip netns add hoist-{short}"))],
            &[(format!("ip netns delete hoist-{short}"))],
            &format!("file /run/netns/hoist-{short}"),
        ),
    ];
    // Where there is no one hierarchy, a group can be made in any of them.
    let hierarchies = leftovers::children(Path::new("/sys/fs/cgroup"));
    let group = match Path::new("/sys/fs/cgroup/cgroup.procs").exists() {
        true => group,
        false => hierarchies
            .first()
            .map_or(group, |dir| dir.join(id).display().to_string()),
    };
    all.push(leak(
        &[(format!("mkdir {group}"))],
        &[(format!("rmdir {group}"))],
        &format!("cgroup {group}"),
    ));
    all
}

fn sh(lines: &[String]) -> bool {
    let done = |line: &str| {
        Command::new("sh")
            .args(["-c", line])
            .status()
            .is_ok_and(|status| status.success())
    };
    // All of them, also after one that fails.
    lines.iter().filter(|line| !done(line)).count() == 0
}

fn names(number: u32) -> Names {
    let (id, link, net) = own(number);
    let mut names = Names::default();
    names.containers.insert(id);
    names.links.insert(link);
    names.subnets.insert(format!("{net}.0/24"));
    names
}

/// An id, a link and the beginning of a subnet that only one case can have.
fn own(number: u32) -> (String, String, String) {
    let id = format!(
        "{:012x}{}",
        u64::from(std::process::id()) << 8 | u64::from(number),
        "e".repeat(52)
    );
    let link = format!("hst{}x{number}", std::process::id());
    // Benchmarks have this range, and nobody at home (RFC 2544).
    (id, link, format!("198.18.{}", 70 + number))
}

fn each_kind_of_leak_is_found_by_its_names() {
    let hoist = Sandbox::empty();
    let names = names(1);
    let found = || leftovers::of_host(&hoist.dir(), &names, &Host::named());
    assert_eq!(found(), Vec::<String>::new());
    for leak in leaks(1, &hoist.dir()) {
        let made = sh(&leak.made);
        let seen = found();
        let undone = sh(&leak.undone);
        assert!(
            made && undone,
            "{:?} or {:?} failed",
            leak.made,
            leak.undone
        );
        assert!(
            seen.iter().any(|line| line.contains(&leak.seen)),
            "{:?}: {} is not in {seen:?}",
            leak.made,
            leak.seen
        );
        assert_eq!(found(), Vec::<String>::new(), "after {:?}", leak.undone);
    }
}

fn what_others_have_on_the_host_is_no_leak() {
    let hoist = Sandbox::empty();
    let (_, _, net) = own(2);
    let (other, foreign, _) = own(3);
    let names = names(2);
    // Another's network has our addresses by now.
    let made = sh(&[
        format!("ip link add {foreign} type bridge"),
        format!("ip address add {net}.1/24 dev {foreign}"),
        format!("ip link set {foreign} up"),
        format!("nft add table ip hoist-p-{}", &other[..12]),
    ]);
    let seen = leftovers::of_host(&hoist.dir(), &names, &Host::named());
    let undone = sh(&[
        format!("ip link delete {foreign}"),
        format!("nft delete table ip hoist-p-{}", &other[..12]),
    ]);
    assert!(made && undone);
    assert_eq!(seen, Vec::<String>::new());
}

fn the_whole_host_is_compared_when_nothing_else_runs() {
    let hoist = Sandbox::empty();
    for leak in leaks(4, &hoist.dir()) {
        let before = Host::now();
        let made = sh(&leak.made);
        let differs = before.differs(&Host::now());
        let undone = sh(&leak.undone);
        assert!(made && undone, "{:?}", leak.made);
        let new = |line: &String| line.starts_with("+ ") && line.contains(&leak.seen);
        assert!(differs.iter().any(new), "{:?}: {differs:?}", leak.made);
    }
    let before = Host::now();
    let mut child = Command::new("sleep")
        .arg("600")
        .spawn()
        .expect("there is a sleep");
    let differs = before.differs(&Host::now());
    child
        .kill()
        .and_then(|()| child.wait().map(drop))
        .expect("it runs");
    let line = format!("+ process {} sleep 600", child.id());
    assert!(
        differs.iter().any(|seen| seen.trim() == line),
        "{differs:?}"
    );
}
