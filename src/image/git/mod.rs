//! Git repositories: what a reference names, checked out into a directory named by its commit.
//!
//! In: a [`GitRef`], the environment. Out: a directory without `.git` unless asked for, or a typed error without credentials. It runs
//! the `git` program, as everybody's credentials, proxies and keys are set up for it, and trusts nothing of the
//! repository: no hooks, no submodules unless asked for, no filters, no protocol but four, no option in the place of an address.
//! Imports: `base`, `kept`. Rules: git(1), git-fetch(1), gitattributes(5); CVE-2022-39253 (local clones),
//! GHSA-hw3h-2gp9-cxpv (words taken for options).

mod describe;
mod run;
mod whole;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::describe::{Described, describe};
use super::kept::Kept;
use crate::base::cancel::Cancel;
use crate::base::diag::nearest;
use crate::base::env::Env;
use crate::base::gitref::GitRef;
use run::{LONG as FETCH, SHORT as ASK, Said};

/// Why content of a repository could not be had.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no `git` in `PATH`.
    #[error("git is not installed, and repositories can't be read without it")]
    Missing,
    /// The caller's token was used.
    #[error("it was cancelled")]
    Cancelled,
    /// No answer in time.
    #[error("{step} took longer than {} s", limit.as_secs())]
    Slow {
        /// `asking the repository`.
        step: &'static str,
        /// What it may take.
        limit: Duration,
    },
    /// No connection to the host.
    #[error("the host is not in reach: {0}")]
    Unreachable(String),
    /// The host wants credentials, or has no such repository and does not say so.
    #[error("the host refuses access: {0}")]
    Unauthorized(String),
    /// The host has no such repository.
    #[error("there is no such repository: {0}")]
    NoRepository(String),
    /// The repository has no such branch, tag or commit.
    #[error("the repository has no branch or tag `{name}`")]
    NoReference {
        /// The name.
        name: String,
        /// One that may be meant.
        near: Option<String>,
    },
    /// The repository has no such commit.
    #[error("the repository has no commit {0}")]
    NoCommit(String),
    /// The commit is another than the checksum says.
    #[error("the commit is {found}, which does not begin with the checksum {wanted}")]
    Checksum {
        /// The commit.
        found: String,
        /// The checksum.
        wanted: String,
    },
    /// Another failure of git.
    #[error("{step} failed: {cause}")]
    Failed {
        /// What was done.
        step: &'static str,
        /// Git's words.
        cause: String,
    },
    /// The system's.
    #[error("it can't be kept: {0}")]
    Io(#[from] io::Error),
}

impl GitError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing => "install it: `apt-get install git`, `dnf install git`, `apk add git`".to_owned(),
            Self::Unreachable(_) | Self::Slow { .. } => {
                "check the address, the network and the proxy settings; with a commit of 40 digits as reference a \
                 second run needs no network"
                    .to_owned()
            }
            Self::Unauthorized(_) => {
                "check the address, and that `git ls-remote` with it works without a question: with a credential \
                 helper, an SSH agent, or a key without a passphrase"
                    .to_owned()
            }
            Self::NoReference { near: Some(near), .. } => format!("did you mean `{near}`?"),
            Self::NoReference { name, .. }
                if name.len() >= 7 && name.bytes().all(|b| b.is_ascii_hexdigit()) =>
            {
                "write a commit in full, with all its digits".to_owned()
            }
            _ => return None,
        })
    }
}

/// What is needed beside the reference.
#[derive(Clone, Default)]
pub struct GitOptions {
    /// The process environment: `PATH`, the home directory, proxies, SSH agent.
    pub env: Env,
    /// Ends the work when used.
    pub cancel: Cancel,
    /// Files of submodules are written too.
    pub submodules: bool,
    /// `.git` stays, with the one commit in it and nothing of how it was fetched.
    pub keep_git_dir: bool,
    /// Credentials for the host, beside what git finds itself.
    pub credentials: Option<Credentials>,
}

impl std::fmt::Debug for GitOptions {
    /// Never shows credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitOptions")
            .field("submodules", &self.submodules)
            .field("keep_git_dir", &self.keep_git_dir)
            .finish_non_exhaustive()
    }
}

/// What a host is shown to be let in.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A token in the place of a password.
    Token(String),
    /// A whole `Authorization` header's value.
    Header(String),
}

impl std::fmt::Debug for Credentials {
    /// Never shows them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token",
            Self::Header(_) => "Header",
        })
    }
}

/// A commit on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// Its files.
    pub dir: PathBuf,
    /// Its name.
    pub commit: String,
}

/// Brings the commit that a reference names into `kept`. A commit that is there is not fetched again; where the
/// reference is a commit, the repository is not even asked.
///
/// # Errors
/// [`GitError`].
pub fn checkout(kept: &Kept, git: &GitRef, options: &GitOptions) -> Result<Checkout, GitError> {
    let git = Git { git, options };
    let wanted = git.resolve(kept)?;
    git.check(&wanted.commit)?;
    let fill = |new: &Path| git.fill(new, &wanted);
    let dir = kept.make(&git.place(&wanted.commit), &options.cancel, fill)?;
    Ok(Checkout {
        dir,
        commit: wanted.commit,
    })
}

/// What is to be fetched.
struct Wanted {
    commit: String,
    /// The full name of its branch or tag; `None` when only the commit is known.
    name: Option<String>,
}

/// One reference being worked on.
struct Git<'a> {
    git: &'a GitRef,
    options: &'a GitOptions,
}

/// Whether a text is the full name of a commit.
fn is_commit(text: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (text.len() == 40 || text.len() == 64) && text.bytes().all(digit)
}

impl Git<'_> {
    /// What the files of a commit are kept as.
    fn place(&self, commit: &str) -> String {
        let submodules = if self.options.submodules {
            "-submodules"
        } else {
            ""
        };
        let git = if self.options.keep_git_dir {
            "-git"
        } else {
            ""
        };
        format!("{commit}{submodules}{git}")
    }

    /// Finds the commit.
    fn resolve(&self, kept: &Kept) -> Result<Wanted, GitError> {
        let name = self.git.reference.as_deref().unwrap_or("HEAD");
        if is_commit(name) {
            return Ok(Wanted {
                commit: name.to_owned(),
                name: None,
            });
        }
        if let Some(sum) = self.git.checksum.as_deref()
            && is_commit(sum)
            && kept.get(&self.place(sum)).is_some()
        {
            return Ok(Wanted {
                commit: sum.to_owned(),
                name: None,
            });
        }
        // The second pattern gives the commit behind a tag that is an object of its own.
        let peeled = format!("{name}^{{}}");
        let said = self.ask(&["--exit-code", "--", &self.git.url, name, &peeled])?;
        match said.status.code() {
            Some(0) => {}
            Some(2) => return Err(self.no_reference(name)),
            _ => return Err(self.judge("asking the repository", &said.err)),
        }
        match choose(&said.out, name) {
            Some(wanted) => Ok(wanted),
            None => Err(self.no_reference(name)),
        }
    }

    /// Asks for references.
    fn ask(&self, arguments: &[&str]) -> Result<Said, GitError> {
        let mut command = self.command(Path::new("/"));
        command.arg("ls-remote").arg("--quiet").args(arguments);
        self.run(command, "asking the repository", ASK)
    }

    /// No such reference, and which one may be meant.
    fn no_reference(&self, name: &str) -> GitError {
        let all = self.ask(&["--heads", "--tags", "--", &self.git.url]);
        let all = all.map(|said| said.out).unwrap_or_default();
        let names = all.lines().filter_map(|line| {
            let full = line.split_once('\t')?.1;
            let short = full.strip_prefix("refs/")?.split_once('/')?.1;
            (!short.ends_with("^{}")).then_some(short)
        });
        GitError::NoReference {
            name: name.to_owned(),
            near: nearest(name, names).map(str::to_owned),
        }
    }

    /// Requires the commit that the checksum promises.
    fn check(&self, commit: &str) -> Result<(), GitError> {
        match &self.git.checksum {
            Some(sum) if !commit.starts_with(sum) => Err(GitError::Checksum {
                found: commit.to_owned(),
                wanted: sum.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Fetches the commit and writes its files into an empty directory.
    fn fill(&self, new: &Path, wanted: &Wanted) -> Result<(), GitError> {
        let store = new.join(".git");
        let format = match wanted.commit.len() {
            64 => "--object-format=sha256",
            _ => "--object-format=sha1",
        };
        let mut init = self.command(new);
        init.args(["init", "--quiet", "--bare", "--template=", format, "--"]);
        init.arg(&store);
        self.must(init, "making a repository", ASK)?;
        self.fetch(&store, wanted)?;
        let mut write = self.command_in(&store);
        write.env("GIT_WORK_TREE", new).current_dir(new);
        write.args(["-c", "core.bare=false", "checkout", "--quiet", "--force"]);
        write.args(["--no-recurse-submodules", "--detach", &wanted.commit]);
        self.must(write, "writing the files", FETCH)?;
        self.finish(new, &store, wanted)
    }

    /// Fetches one commit without its history where the host allows that, else all of the repository.
    fn fetch(&self, store: &Path, wanted: &Wanted) -> Result<(), GitError> {
        let has = || -> Result<bool, GitError> {
            let mut look = self.command_in(store);
            let object = format!("{}^{{commit}}", wanted.commit);
            look.args(["cat-file", "-e", &object]);
            Ok(self
                .run(look, "looking at the commit", ASK)?
                .status
                .success())
        };
        let from = wanted.name.as_deref().unwrap_or(&wanted.commit);
        let one = format!("+{from}:refs/hoist/wanted");
        let said = self.fetch_refs(store, &["--depth=1"], &[&one])?;
        if said.status.success() && has()? {
            return Ok(());
        }
        let error = self.judge("fetching the commit", &said.err);
        if !said.status.success() && !matches!(error, GitError::Failed { .. }) {
            return Err(error);
        }
        let all = [
            "+refs/heads/*:refs/hoist/heads/*",
            "+refs/tags/*:refs/hoist/tags/*",
        ];
        let said = self.fetch_refs(store, &[], &all)?;
        if !said.status.success() {
            return Err(self.judge("fetching the repository", &said.err));
        }
        match has()? {
            true => Ok(()),
            false => Err(GitError::NoCommit(wanted.commit.clone())),
        }
    }

    fn fetch_refs(&self, store: &Path, flags: &[&str], refs: &[&str]) -> Result<Said, GitError> {
        let mut fetch = self.command_in(store);
        fetch.args(["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"]);
        fetch.args(flags).arg("--").arg(&self.git.url).args(refs);
        self.run(fetch, "fetching the commit", FETCH)
    }
}

/// The line of `git ls-remote` that is meant: the name itself, then as a tag, then as a branch. Git lists every
/// reference whose last parts are the name: `feature/main` too where `main` is asked for.
fn choose(listed: &str, name: &str) -> Option<Wanted> {
    let lines = listed.lines().filter_map(|line| line.split_once('\t'));
    let find = |full: &str| {
        let found = lines.clone().find(|(_, listed)| *listed == full);
        found
            .map(|(commit, _)| commit.trim().to_owned())
            .filter(|commit| is_commit(commit))
    };
    let names = [
        name.to_owned(),
        format!("refs/{name}"),
        format!("refs/tags/{name}"),
        format!("refs/heads/{name}"),
    ];
    names.into_iter().find_map(|full| {
        let commit = find(&full)?;
        Some(Wanted {
            commit: find(&format!("{full}^{{}}")).unwrap_or(commit),
            name: Some(full),
        })
    })
}

#[cfg(test)]
mod tests;
