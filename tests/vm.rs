//! The core on a machine with cgroup v2: one script in a throw-away guest, because each start of it is slow.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use crate::harness::process::finish;
use crate::harness::{Need, Sandbox, guest, hoist, image, program};

crate::cases!(&[Need::Root, Need::Busybox, Need::Guest, Need::Program("qemu-system-x86_64")];
    the_core_works_on_cgroup_v2,
);

/// The guest is emulated: everything takes ten to thirty times as long.
const LIMIT: Duration = Duration::from_secs(1500);

fn the_core_works_on_cgroup_v2() {
    let sandbox = Sandbox::empty();
    let share = sandbox.dir().join("share");
    std::fs::create_dir(&share).expect("the project is writable");
    let binary = share.join("hoist");
    std::fs::copy(hoist(), &binary).expect("the binary can be copied");
    if let Some(strip) = program("strip") {
        // Debug symbols only make the copy into the guest slower.
        drop(Command::new(strip).arg(&binary).output());
    }
    std::fs::copy(image::archive(), share.join("tiny.tar")).expect("the image can be copied");
    std::fs::write(share.join("core.sh"), include_str!("vm/core.sh")).expect("writable");
    for dir in [&share, &sandbox.dir()] {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))
            .expect("the owner may");
    }
    let mut command = Command::new(guest());
    command
        .args(["run", "--timeout", "1200", "--share"])
        .arg(&share)
        .args(["--", "sh", "/share/core.sh"]);
    let done = finish(command, None, LIMIT);
    let results: Vec<&str> = done
        .out
        .lines()
        .filter(|line| line.starts_with("ok ") || line.starts_with("not ok "))
        .collect();
    assert!(
        done.code == 0 && results.iter().all(|line| line.starts_with("ok ")),
        "{}",
        done.story()
    );
    assert_eq!(
        done.out
            .lines()
            .filter(|line| *line == "end of checks")
            .count(),
        1,
        "{}",
        done.story()
    );
    assert!(
        results.len() >= 20,
        "only {} checks ran: {}",
        results.len(),
        done.story()
    );
}
