//! Layers of any size: what unpacking them costs.

use std::io::Write as _;
use std::process::{Child, Stdio};

use crate::harness::{ENGINE, Sandbox, eventually};

crate::cases!(ENGINE; a_layer_of_many_entries_needs_no_more_memory_than_one_of_few);

/// A command that is ended with the case.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The header of an empty file whose path has more than 230 bytes.
fn header(number: usize) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put =
        |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, &format!("{number:090}"));
    put(
        100,
        "0000644\x000000000\x000000000\x0000000000000\x0000000000000\0        0",
    );
    put(257, "ustar\x0000");
    put(345, &format!("{:0140}", number / 1000));
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// The most memory in KiB that an import of so many files had at a time, all of them but the last few unpacked.
fn peak(entries: usize) -> u64 {
    let hoist = Sandbox::empty();
    let mut command = hoist.command(&["image", "import", "-"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = Ended(command.spawn().expect("hoist runs"));
    let mut archive = child.0.stdin.take().expect("a pipe");
    for first in (0..entries).step_by(512) {
        let some: Vec<u8> = (first..entries.min(first + 512)).flat_map(header).collect();
        archive.write_all(&some).expect("hoist reads on");
    }
    let status = format!("/proc/{}/status", child.0.id());
    let status = std::fs::read_to_string(status).expect("it waits for the end of the archive");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    archive.write_all(&[0; 1024]).expect("hoist reads on");
    drop(archive);
    let done = eventually("the import ends", || {
        child.0.try_wait().expect("it is ours")
    });
    assert!(done.success());
    peak.expect("a number of KiB")
}

fn a_layer_of_many_entries_needs_no_more_memory_than_one_of_few() {
    let (few, many) = (peak(1_000), peak(24_000));
    // Paths alone of what comes on top have more than 5 MiB; how many blocks wait for their turn varies.
    assert!(
        many < few + 4 * 1024,
        "{few} KiB for few entries, {many} KiB for many"
    );
}
