//! The cases about containers on a machine with cgroup v2, AppArmor and another kernel: this very program, run once more
//! in a throw-away guest.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::process::{Done, finish};
use crate::harness::{Need, Sandbox, guest, hoist, image, program};

crate::cases!(&[Need::Root, Need::Busybox, Need::Guest, Need::Program("qemu-system-x86_64")];
    the_cases_about_containers_pass_on_cgroup_v2,
    published_ports_are_as_said_beside_ufw_and_firewalld,
);

/// The guest is emulated: everything takes ten to thirty times as long.
const LIMIT: Duration = Duration::from_secs(3300);

/// A guest: the name of its image, made once, and what it needs beside the system's own programs.
type Guest = [&'static str; 4];

const GUEST: Guest = [
    "--image",
    "hoist-cases",
    "--include",
    "strace,curl,gcc,libc6-dev,apparmor,nftables,iproute2,util-linux",
];

/// One with firewalls.
const WALLS: Guest = [
    "--image",
    "hoist-walls",
    "--include",
    "ufw,firewalld,dbus,python3-dbus,curl,nftables,iptables,iproute2,util-linux",
];

/// Modules that are left out: the first line's say nothing about containers; those of the others depend on the kernel
/// in nothing that the rest does not see, and the guest is slow.
const LEFT_OUT: &[&str] = &[
    "repo::",
    "effects::",
    "commands::",
    "variables::",
    "trouble::",
    "dockerfile::",
    "model::",
    "images::",
    "bad_input::",
    "screens::",
    "fuzz::",
    "ml_workspace::",
    "text_classifier::",
    "image_classifier::",
    "drafted::",
    "vm::",
    "engine::addresses",
    "engine::attached",
    "engine::binds",
    "engine::boot",
    "engine::bridge",
    "engine::checkouts",
    "engine::commit",
    "engine::commands_at_once",
    "engine::control",
    "engine::copy_up",
    "engine::cp",
    "engine::damage",
    "engine::dependencies",
    "engine::dossier",
    "engine::dry_run",
    "engine::events",
    "engine::exec",
    "engine::files",
    "engine::flags",
    "engine::firewalls",
    "engine::health",
    "engine::hooks",
    "engine::leaks",
    "engine::lifecycle",
    "engine::live",
    "engine::menu",
    "engine::log",
    "engine::names",
    "engine::networks",
    "engine::ports",
    "engine::plan",
    "engine::process",
    "engine::provided",
    "engine::read",
    "engine::replace",
    "engine::resolvers",
    "engine::restart",
    "engine::secrets",
    "engine::snapshots",
    "engine::stops",
    "engine::volume",
    "engine::walls",
    "engine::watch",
    "attacks::artifacts",
    "attacks::builds",
    "attacks::contexts",
    "attacks::copy",
    "attacks::layers",
    "attacks::logs",
    "attacks::sources",
    "faults::",
];

/// Runs in the guest: the program under test lies on a disk that can hold overlays.
const SCRIPT: &str = r#"
set -u
cp /share/hoist /share/cases /share/busybox /root/
sync
export PATH=/root:$PATH:/usr/sbin:/sbin HOME=/root HOIST_TEST_BINARY=/root/hoist HOIST_TEST_PATIENCE=8 HOIST_TEST_THROWAWAY=1
exec /root/cases --test-threads 2 "$@"
"#;

fn the_cases_about_containers_pass_on_cgroup_v2() {
    let skip = LEFT_OUT.iter().flat_map(|module| ["--skip", module]);
    assert!(passed(&GUEST, &skip.collect::<Vec<_>>()) >= 90);
}

fn published_ports_are_as_said_beside_ufw_and_firewalld() {
    assert_eq!(passed(&WALLS, &["engine::walls"]), 1);
}

/// Runs cases in a guest; gives how many have passed, when none has failed.
fn passed(image: &Guest, arguments: &[&str]) -> u32 {
    let sandbox = Sandbox::empty();
    let share = sandbox.dir().join("share");
    std::fs::create_dir(&share).expect("the project is writable");
    let cases = std::env::current_exe().expect("a program knows itself");
    let busybox = image::busybox().expect("it was looked for");
    for (from, name) in [(hoist(), "hoist"), (&cases, "cases"), (&busybox, "busybox")] {
        copy(from, &share.join(name));
    }
    std::fs::write(share.join("run.sh"), SCRIPT).expect("writable");
    for dir in [&share, &sandbox.dir()] {
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir, mode).expect("the owner may");
    }
    let mut build = Command::new(guest());
    build.arg("build").args(image);
    finish(build, None, LIMIT).ok();
    let done = run(image, &share, arguments);
    assert_eq!(done.code, 0, "{}", done.story());
    let result = done
        .out
        .lines()
        .find_map(|line| line.strip_prefix("test result: ok. "));
    let passed = result.and_then(|line| line.split(' ').next()?.parse().ok());
    passed.unwrap_or_else(|| panic!("{}", done.story()))
}

/// Runs the guest to its end, once more where the emulator has broken it: its 16-byte compare and exchange leaves
/// garbage in the flags register, and an interrupt that comes right behind it kills the kernel.
fn run(image: &Guest, share: &Path, arguments: &[&str]) -> Done {
    let begun = Instant::now();
    let once = || {
        let left = LIMIT.saturating_sub(begun.elapsed());
        let mut command = Command::new(guest());
        command
            .args(["run", image[0], image[1], "--timeout"])
            .arg(left.as_secs().saturating_sub(60).max(1).to_string())
            .arg("--share")
            .arg(share)
            .args(["--", "sh", "/share/run.sh"])
            .args(arguments);
        finish(command, None, left)
    };
    let done = once();
    if done.code != 125 || !impossible_flags(&done.err) {
        return done;
    }
    let told = "the emulator broke the guest's kernel; it is started once more";
    drop(writeln!(std::io::stderr(), "{told}: {}", done.story()));
    once()
}

/// Whether a kernel's last words show flags that no processor has: bits 22 to 31 are always 0 (Intel SDM 1, 3.4.3).
fn impossible_flags(words: &str) -> bool {
    let shown = words.split("EFLAGS: ").skip(1);
    shown
        .filter_map(|rest| u32::from_str_radix(rest.get(..8)?, 16).ok())
        .any(|flags| flags >> 22 != 0)
}

/// Copies a program without its debug symbols, which only make the copy into the guest slower.
fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("the binary can be copied");
    if let Some(strip) = program("strip") {
        drop(Command::new(strip).arg(to).output());
    }
}
