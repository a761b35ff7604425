//! Compresses segments that are full: by a process of its own, one at a time, so that no output waits for it.
//!
//! Imports: `files`, `sys`. Source: moby `daemon/logger/loggerutils/logfile.go`, `compressFile`.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::files;

/// The first argument of such a process.
const WORD: &str = "__pack";

/// Compresses one segment: `DIRECTORY NUMBER`.
pub fn main(args: &[OsString]) -> i32 {
    let [dir, number] = args else { return 2 };
    let (dir, number) = (PathBuf::from(dir), number.to_str().map(str::parse::<u64>));
    let Some(Ok(number)) = number else { return 2 };
    let draft = files::draft(&dir, number);
    match pack(&dir, number, &draft) {
        Ok(()) => 0,
        Err(_) => {
            // The plain file is still there; the draft is of no use.
            let _ = std::fs::remove_file(draft);
            1
        }
    }
}

fn pack(dir: &Path, number: u64, draft: &Path) -> io::Result<()> {
    let plain = files::plain(dir, number);
    let mut from = BufReader::with_capacity(64 * 1024, File::open(&plain)?);
    let mut how = File::options();
    how.write(true).create(true).truncate(true).mode(0o600);
    let mut to = GzEncoder::new(BufWriter::new(how.open(draft)?), Compression::fast());
    io::copy(&mut from, &mut to)?;
    let mut file = to.finish()?;
    file.flush()?;
    file.get_ref().sync_all()?;
    drop(file);
    if !plain.exists() {
        // It was the oldest and fell off meanwhile.
        return Err(io::ErrorKind::NotFound.into());
    }
    std::fs::rename(draft, files::packed(dir, number))?;
    std::fs::remove_file(plain)
}

/// Segments that wait for it, and the one that is compressed now.
#[derive(Debug, Default)]
pub(super) struct Packer {
    waiting: VecDeque<u64>,
    process: Option<i32>,
}

impl Packer {
    /// Takes a segment that is full.
    pub(super) fn add(&mut self, number: u64) {
        self.waiting.push_back(number);
    }

    /// Looks whether the process has ended, and starts the next one.
    pub(super) fn turn(&mut self, dir: &Path) {
        if let Some(pid) = self.process {
            match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return,
                _ => self.process = None,
            }
        }
        while let Some(number) = self.waiting.pop_front() {
            if !files::plain(dir, number).exists() {
                continue;
            }
            let (dir, number) = (dir.to_string_lossy(), number.to_string());
            let args = [WORD, &*dir, &number];
            // A segment that can't be compressed now stays plain and readable.
            if let Ok(born) = crate::sys::process::spawn_self("hoist", &args, [None; 3], &[], false)
            {
                self.process = Some(born.pid);
            }
            return;
        }
    }
}
