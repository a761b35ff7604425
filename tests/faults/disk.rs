//! A data directory that is full, has no inodes left, or can't be written to.

use std::path::PathBuf;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::harness::process::{Done, LIMIT, finish};
use crate::harness::{ENGINE, Sandbox};

crate::cases!(ENGINE;
    on_a_full_disk_the_error_says_so_containers_go_on_and_down_works,
    without_inodes_the_error_says_so_containers_go_on_and_down_works,
    a_read_only_data_directory_is_named_and_containers_go_on,
);

/// A file system of its own for `<data>`, for as long as this lives.
struct Disk {
    at: PathBuf,
}

impl Disk {
    fn new(hoist: &Sandbox, options: &str) -> Self {
        let at = hoist.data();
        std::fs::create_dir_all(&at).expect("the sandbox is writable");
        let none = None::<&str>;
        mount(none, &at, Some("tmpfs"), MsFlags::empty(), Some(options)).expect("root may mount");
        Self { at }
    }
    /// Writes until nothing fits any more, and gives what was written.
    fn fill(&self) -> PathBuf {
        let path = self.at.join("filler");
        let mut file = std::fs::File::create(&path).expect("there is room for a name");
        for size in [1 << 16, 4096, 1] {
            while std::io::Write::write(&mut file, &vec![0; size]).is_ok_and(|wrote| wrote > 0) {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What uses it still is in the sandbox's own report.
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
    }
}

const PROJECT: &str = "\
services:
  a:
    image: tiny
    stop_signal: SIGKILL
    command: [sh, -c, 'i=0; while :; do i=$$((i+1)); echo line $$i > /dev/shm/last; sleep 0.05; done']
    volumes: ['data:/data']
    ports: ['127.0.0.1::80']
volumes: {data: }
";

/// The container runs and works.
fn goes_on(hoist: &Sandbox) {
    assert_eq!(hoist.state("a"), "running");
    let last = || hoist.sh("a", "cat /dev/shm/last");
    let before = last();
    crate::harness::eventually("it goes on", || (last() != before).then_some(()));
}

fn is_told(hoist: &Sandbox, done: Done, why: &str) {
    assert_ne!(done.code, 0, "{}", done.story());
    let data = hoist.data().display().to_string();
    assert!(!done.err.contains("panicked"), "{}", done.story());
    done.says(why).says(&data);
    goes_on(hoist);
}

const AGAIN: &str = "up -d --force-recreate -t 0";

/// Runs a command that can't write to `<data>`, in a mount namespace of its own.
fn read_only(hoist: &Sandbox, arguments: &str) -> Done {
    let plain = hoist.command(&[]);
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\" && exec \"$@\"";
    command.args(["-m", "sh", "-c", script]).arg(hoist.data());
    command.arg(plain.get_program()).args(["-p", &hoist.name]);
    command.args(arguments.split(' ')).current_dir(hoist.dir());
    command.env_clear();
    command.envs(
        plain
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    finish(command, None, LIMIT)
}

fn on_a_full_disk_the_error_says_so_containers_go_on_and_down_works() {
    let mut hoist = Sandbox::empty();
    let disk = Disk::new(&hoist, "size=12m");
    hoist.import_tiny();
    hoist.compose(PROJECT);
    hoist.ok("up -d");
    let filler = disk.fill();
    is_told(&hoist, hoist.run(AGAIN), "No space left on device");
    hoist.ok("down -v -t 0");
    hoist.is_gone();
    std::fs::remove_file(filler).expect("it is there");
    hoist.ok("up -d");
    goes_on(&hoist);
    hoist.ok("down -v -t 0");
    hoist.is_gone();
}

fn without_inodes_the_error_says_so_containers_go_on_and_down_works() {
    let mut hoist = Sandbox::empty();
    let disk = Disk::new(&hoist, "nr_inodes=2000");
    hoist.import_tiny();
    hoist.compose(PROJECT);
    hoist.ok("up -d");
    let fillers = disk.at.join("fillers");
    std::fs::create_dir(&fillers).expect("there is room");
    let mut count = 0;
    while std::fs::File::create(fillers.join(count.to_string())).is_ok() {
        count += 1;
    }
    is_told(&hoist, hoist.run(AGAIN), "No space left on device");
    hoist.ok("down -v -t 0");
    hoist.is_gone();
    std::fs::remove_dir_all(fillers).expect("it is there");
    hoist.ok("up -d");
    hoist.ok("down -v -t 0");
    hoist.is_gone();
}

fn a_read_only_data_directory_is_named_and_containers_go_on() {
    let hoist = Sandbox::new();
    hoist.compose(PROJECT);
    hoist.ok("up -d");
    let why = "Read-only file system";
    is_told(&hoist, read_only(&hoist, AGAIN), why);
    let _ = read_only(&hoist, "ps").ok();
    let _ = read_only(&hoist, "logs").ok();
    let down = read_only(&hoist, "down -v -t 0");
    assert_ne!(down.code, 0, "{}", down.story());
    let _ = down.says(why);
    hoist.ok("down -v -t 0");
    hoist.is_gone();
}
