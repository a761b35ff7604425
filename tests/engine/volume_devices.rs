//! Volumes whose files are on a device of their own.

use std::path::PathBuf;
use std::process::Command;

use super::volumes::mounts_below;
use crate::harness::{Need, Sandbox};

crate::cases!(NEEDS;
    a_volume_on_a_device_is_mounted_and_taken_off_again,
);

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Busybox,
    Need::Program("losetup"),
    Need::Program("mkfs.ext4"),
];

/// A file as a device, as long as this lives.
struct Loop(PathBuf);

impl Loop {
    fn new(file: &PathBuf) -> Self {
        let done = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(file)
            .output();
        let done = done.expect("losetup runs");
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        Self(String::from_utf8_lossy(&done.stdout).trim().into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // A device that is still used is told by the check for mounts.
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.0)
            .output();
    }
}

fn a_volume_on_a_device_is_mounted_and_taken_off_again() {
    let hoist = Sandbox::new();
    let file = hoist.file("disk.img", "");
    let disk = std::fs::File::options()
        .write(true)
        .open(&file)
        .expect("just made");
    disk.set_len(16 << 20).expect("the file may grow");
    let volume = |device: &str, kind: &str| {
        hoist.compose(&format!(
            "services:\n  a: {{SLEEP, volumes: ['vv:/v']}}\nvolumes: {{vv: {{driver_opts: {{type: {kind}, device: '{device}', o: 'noatime'}}}}}}\n"
        ));
    };
    let image = file.to_string_lossy().into_owned();
    volume(&image, "ext4");
    hoist.run("up -d").code(1).says("losetup --find --show");
    hoist.ok("down -v");
    let device = Loop::new(&file);
    let path = device.0.to_string_lossy().into_owned();
    volume(&path, "ext4");
    hoist.run("up -d").code(1).says("cannot mount").says(&path);
    assert_eq!(mounts_below(&hoist.data()), Vec::<String>::new());
    hoist.ok("down -v");
    volume(&path, "nosuchfs");
    hoist
        .run("up -d")
        .code(1)
        .says("this kernel has no file system `nosuchfs`");
    hoist.ok("down -v");
    let made = Command::new("mkfs.ext4").arg("-q").arg(&device.0).status();
    assert!(made.expect("mkfs runs").success());
    volume(&path, "ext4");
    hoist.ok("up -d");
    let line = hoist.sh("a", "grep ' /v ' /proc/mounts");
    assert!(
        line.contains(" ext4 ") && line.contains("noatime"),
        "{line}"
    );
    hoist.sh("a", "echo on disk > /v/f; sync");
    hoist.ok("down -v -t 0");
    assert_eq!(mounts_below(&hoist.data()), Vec::<String>::new());
    // The volume is gone, and what it showed is still on the disk.
    hoist.ok("up -d");
    assert_eq!(hoist.sh("a", "cat /v/f"), "on disk");
    hoist.ok("down -v -t 0");
}
