//! What a checkout gets beside its files: submodules, modes and times that are the same wherever and whenever it is made, and
//! a `.git` that says nothing of how it came.
//!
//! In: files of a commit with the store they came from. Out: the directory as it is kept. Imports: `sys::fs`.
//! Rules: git-submodule(1); as BuildKit: submodules are fetched without their history, and not where a directory of
//! the repository alone is asked for. What git itself forbids in names of submodules is left to it
//! (CVE-2018-17456, CVE-2024-32002); their protocols are the ones a repository may have.

use std::io;
use std::path::Path;

use super::run::{LONG, SHORT};
use super::{Git, GitError, Wanted};
use crate::sys::fs::remove_tree;

/// Deepest nesting of directories that is looked through for what git left.
const DEEPEST: usize = 3000;

impl Git<'_> {
    /// Finishes a checkout whose store is still there.
    pub(super) fn finish(&self, new: &Path, store: &Path, wanted: &Wanted) -> Result<(), GitError> {
        let modules = self.options.submodules && new.join(".gitmodules").symlink_metadata().is_ok();
        if modules || self.options.keep_git_dir {
            // Submodules with relative addresses begin from here.
            self.setting(store, "core.bare", "false")?;
            self.setting(store, "remote.origin.url", &self.git.url)?;
        }
        if modules {
            self.submodules(new)?;
        }
        let time = self.time(store, wanted)?;
        if !self.options.keep_git_dir {
            remove_tree(store)?;
            if modules {
                forget(new, 0)?;
            }
            return Ok(settle(new, time, 0)?);
        }
        settle(new, time, 0)?;
        self.setting(store, "remote.origin.url", &self.git.shown_url())?;
        self.name(store, wanted)?;
        for left in ["FETCH_HEAD", "logs"] {
            match remove_tree(&store.join(left)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// When the commit was made, in seconds since 1970.
    fn time(&self, store: &Path, wanted: &Wanted) -> Result<i64, GitError> {
        let mut show = self.command_in(store);
        show.args(["show", "--no-patch", "--format=%ct", "--end-of-options"]);
        show.arg(&wanted.commit);
        let said = self.run(show, "reading the commit", SHORT)?;
        Ok(said.out.trim().parse().unwrap_or(0))
    }

    fn setting(&self, store: &Path, name: &str, value: &str) -> Result<(), GitError> {
        let mut config = self.command_in(store);
        config.args(["config", "--local", "--", name, value]);
        self.must(config, "writing the configuration", SHORT)
    }

    /// Writes the files of all submodules, however deep.
    fn submodules(&self, new: &Path) -> Result<(), GitError> {
        let update = |depth: &[&str]| {
            let mut command = self.command(new);
            command.args([
                "submodule",
                "--quiet",
                "update",
                "--init",
                "--recursive",
                "--force",
            ]);
            command.args(depth);
            self.run(command, "fetching the submodules", LONG)
        };
        if update(&["--depth=1"])?.status.success() {
            return Ok(());
        }
        // Some hosts give no single commit.
        let said = update(&[])?;
        match said.status.success() {
            true => Ok(()),
            false => Err(self.judge("fetching the submodules", &said.err)),
        }
    }

    /// Gives the commit the name it was asked for by, and takes our own away.
    fn name(&self, store: &Path, wanted: &Wanted) -> Result<(), GitError> {
        let asked = wanted.name.as_deref();
        let asked =
            asked.filter(|name| name.starts_with("refs/heads/") || name.starts_with("refs/tags/"));
        if let Some(name) = asked {
            let mut update = self.command_in(store);
            update.args(["update-ref", "--no-deref", "--", name, &wanted.commit]);
            self.must(update, "naming the commit", SHORT)?;
        }
        let mut list = self.command_in(store);
        list.args(["for-each-ref", "--format=%(refname)", "refs/hoist/"]);
        let said = self.run(list, "listing references", SHORT)?;
        for name in said
            .out
            .lines()
            .filter(|line| line.starts_with("refs/hoist/"))
        {
            let mut delete = self.command_in(store);
            delete.args(["update-ref", "-d", "--", name]);
            self.must(delete, "naming the commit", SHORT)?;
        }
        Ok(())
    }
}

/// Gives files the modes that git knows of, whatever the caller's mask is, and the time of their commit.
fn settle(dir: &Path, time: i64, depth: usize) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    too_deep(depth)?;
    for item in std::fs::read_dir(dir)? {
        let item = item?;
        let (path, kind) = (item.path(), item.file_type()?);
        if item.file_name() == ".git" {
            continue;
        }
        if kind.is_dir() {
            settle(&path, time, depth + 1)?;
        } else if kind.is_file() {
            let runs = item.metadata()?.permissions().mode() & 0o100 != 0;
            let mode = if runs { 0o755 } else { 0o644 };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        }
        stamp(&path, time)?;
    }
    if depth > 0 {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
    }
    stamp(dir, time)
}

fn stamp(path: &Path, time: i64) -> io::Result<()> {
    use nix::sys::stat::{UtimensatFlags, utimensat};
    let time = nix::sys::time::TimeSpec::new(time, 0);
    let here = nix::fcntl::AT_FDCWD;
    Ok(utimensat(
        here,
        path,
        &time,
        &time,
        UtimensatFlags::NoFollowSymlink,
    )?)
}

fn too_deep(depth: usize) -> io::Result<()> {
    match depth > DEEPEST {
        true => Err(io::Error::other("its directories are nested too deep")),
        false => Ok(()),
    }
}

/// Removes the `.git` files that lead from submodules to their stores: those are gone. No file of a repository can
/// have that name.
fn forget(dir: &Path, depth: usize) -> io::Result<()> {
    too_deep(depth)?;
    for item in std::fs::read_dir(dir)? {
        let item = item?;
        let kind = item.file_type()?;
        if item.file_name() == ".git" {
            remove_tree(&item.path())?;
        } else if kind.is_dir() {
            forget(&item.path(), depth + 1)?;
        }
    }
    Ok(())
}
