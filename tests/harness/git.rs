//! Repositories made by the tests, and a server for them on this machine.
//!
//! In: files. Out: a repository, an address. Imports: `harness`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::server::{Reply, Request};
use super::{Sandbox, eventually, ports};

/// Runs git with nothing of the user's own.
pub fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(arguments)
        .current_dir(dir)
        .env_remove("GIT_DIR")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .expect("git runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {text}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A repository with one commit, below the sandbox and outside of its project.
pub fn repository(hoist: &Sandbox, files: &[(&str, &str)]) -> PathBuf {
    let dir = hoist.data().with_file_name("repo");
    std::fs::create_dir_all(&dir).expect("the sandbox is writable");
    git(&dir, &["init", "--quiet", "."]);
    for (name, text) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().expect("below the repository"))
            .expect("directories can be made");
        std::fs::write(path, text).expect("files can be written");
    }
    commit(&dir);
    dir
}

/// Commits everything; gives the commit.
pub fn commit(dir: &Path) -> String {
    git(dir, &["add", "--all"]);
    git(dir, &["commit", "--quiet", "-m", "c"]);
    git(dir, &["rev-parse", "HEAD"])
}

/// `git daemon` for one repository; killed by its id when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// The repository's address.
    pub url: String,
}

impl Daemon {
    /// Starts it on a free port of the loopback address.
    pub fn start(repository: &Path) -> Self {
        let port = ports::free();
        let exec = PathBuf::from(git(repository, &["--exec-path"]));
        let child = Command::new(exec.join("git-daemon"))
            .args(["--reuseaddr", "--export-all", "--listen=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", repository.display()))
            .arg(repository)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the daemon runs");
        let url = format!("git://127.0.0.1:{port}/.git");
        eventually("the daemon answers", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { child, url }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers a request for `/repo.git/…` with the files of a repository, as any web server would. `git update-server-info` has
/// to have run in it.
pub fn files_of(root: &Path, request: &Request) -> Reply {
    let path = request.path.split('?').next().unwrap_or_default();
    let read = |path: &str| std::fs::read(root.join(path));
    match path.strip_prefix("/repo.git/").map(read) {
        Some(Ok(bytes)) => Reply::ok("application/octet-stream", bytes),
        _ => Reply::status(404),
    }
}
