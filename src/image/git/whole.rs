//! What a checkout gets beside its files: submodules, and a `.git` that says nothing of how it came.
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
const DEEPEST: usize = 200;

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
        if !self.options.keep_git_dir {
            remove_tree(store)?;
            if modules {
                forget(new, 0)?;
            }
            return Ok(());
        }
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

/// Removes the `.git` files that lead from submodules to their stores: those are gone. No file of a repository can
/// have that name.
fn forget(dir: &Path, depth: usize) -> io::Result<()> {
    if depth > DEEPEST {
        return Err(io::Error::other("its directories are nested too deep"));
    }
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
