//! What a working tree on this machine is of: where its repository came from, and which commit it is.
//!
//! In: a directory. Out: nothing, where there is no repository or no git: it is a remark, not a need. Nothing of the repository
//! runs. Imports: `run`, `base`. As buildx: `util/gitutil`.

use std::path::Path;

use super::run::SHORT;
use super::{Git, GitOptions};
use crate::base::cancel::Cancel;
use crate::base::env::Env;
use crate::base::gitref::GitRef;

/// A working tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The repository it came from, without credentials.
    pub source: Option<String>,
    /// The commit; `-dirty` at its end where files differ from it.
    pub revision: String,
}

/// Looks at a directory.
pub fn describe(dir: &Path, env: &Env, cancel: &Cancel) -> Option<Described> {
    let options = GitOptions {
        env: env.clone(),
        cancel: cancel.clone(),
        ..GitOptions::default()
    };
    // Only asked here: no address is spoken to.
    let nowhere = GitRef {
        url: String::new(),
        password: None,
        reference: None,
        subdir: String::new(),
        checksum: None,
        submodules: None,
        keep_git_dir: None,
    };
    let git = Git {
        git: &nowhere,
        options: &options,
    };
    let ask = |words: &[&str]| {
        let mut command = git.command(dir);
        command.args(words);
        let said = git
            .run(command, "looking at the working tree", SHORT)
            .ok()?;
        said.status.success().then(|| said.out.trim().to_owned())
    };
    let mut revision = ask(&["rev-parse", "--verify", "HEAD"])?;
    // What is not followed is no change, as for buildx.
    let changes = ask(&[
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--ignore-submodules",
    ])?;
    if !changes.is_empty() {
        revision += "-dirty";
    }
    let remote = ask(&["remote", "get-url", "origin"]).filter(|text| !text.is_empty());
    Some(Described {
        source: remote.map(|text| bare(&text)),
        revision,
    })
}

/// An address without credentials.
fn bare(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_without_credentials() {
        assert_eq!(bare("https://u:p@host/a@b.git"), "https://host/a@b.git");
        assert_eq!(bare("git@host:a.git"), "git@host:a.git");
    }
}
