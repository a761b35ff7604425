//! The cases about containers on a machine with cgroup v2, AppArmor and another kernel: this very program, run once more
//! in a throw-away guest.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::process::finish;
use crate::harness::{Need, Sandbox, guest, hoist, image, program};

crate::cases!(&[Need::Root, Need::Busybox, Need::Guest, Need::Program("qemu-system-x86_64")];
    the_cases_about_containers_pass_on_cgroup_v2,
);

/// The guest is emulated: everything takes ten to thirty times as long.
const LIMIT: Duration = Duration::from_secs(2400);

/// The image of the guest, made once, and what the cases need beside the system's own programs.
const IMAGE: [&str; 4] = [
    "--image",
    "hoist-cases",
    "--include",
    "strace,curl,gcc,libc6-dev,apparmor,nftables,iproute2,util-linux",
];

/// Modules that are left out: the first line's say nothing about containers; those of the others depend on the kernel
/// in nothing that the rest does not see, and the guest is slow.
const LEFT_OUT: &[&str] = &[
    "repo::",
    "effects::",
    "model::",
    "images::",
    "bad_input::",
    "fuzz::",
    "ml_workspace::",
    "vm::",
    "engine::attached",
    "engine::commands_at_once",
    "engine::cp",
    "engine::dependencies",
    "engine::dossier",
    "engine::exec",
    "engine::files",
    "engine::health",
    "engine::hooks",
    "engine::lifecycle",
    "engine::log",
    "engine::networks",
    "engine::process",
    "engine::provided",
    "engine::replace",
    "engine::restart",
    "attacks::copy",
    "faults::",
];

/// Runs in the guest: the program under test lies on a disk that can hold overlays.
const SCRIPT: &str = r#"
set -u
cp /share/hoist /share/cases /share/busybox /root/
sync
export PATH=/root:$PATH:/usr/sbin:/sbin HOME=/root HOIST_TEST_BINARY=/root/hoist HOIST_TEST_PATIENCE=8
exec /root/cases --test-threads 2 "$@"
"#;

fn the_cases_about_containers_pass_on_cgroup_v2() {
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
    build.arg("build").args(IMAGE);
    finish(build, None, LIMIT).ok();
    let mut command = Command::new(guest());
    command
        .args(["run", IMAGE[0], IMAGE[1], "--timeout"])
        .arg((LIMIT.as_secs() - 60).to_string())
        .arg("--share")
        .arg(&share)
        .args(["--", "sh", "/share/run.sh"]);
    for module in LEFT_OUT {
        command.args(["--skip", module]);
    }
    let done = finish(command, None, LIMIT);
    let result = done
        .out
        .lines()
        .find(|line| line.starts_with("test result: "));
    let passed = result
        .and_then(|line| {
            line.strip_prefix("test result: ok. ")?
                .split(' ')
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0u32);
    assert!(done.code == 0 && passed >= 90, "{}", done.story());
}

/// Copies a program without its debug symbols, which only make the copy into the guest slower.
fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("the binary can be copied");
    if let Some(strip) = program("strip") {
        drop(Command::new(strip).arg(to).output());
    }
}
