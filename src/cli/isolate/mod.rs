//! Checkouts of one repository side by side: each has a project name and a loopback address of its own.
//!
//! In: a project's directory. Out: [`Checkout`], which every command for that directory finds again: names follow from the
//! directory alone, so that a branch that changes changes nothing. All of 127.0.0.0/8 is local on Linux, so nothing has to be
//! configured for an address.
//! Imports: `base`, `sys::{fs, lock}`, `image::digest`; `rewrite` changes what a project publishes and names.
//! Source: RFC 1122 3.2.1.3 (g); Linux, `net/ipv4/fib_frontend.c` (the local table has 127/8).

mod rewrite;

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::app::App;
use super::exit::Failure;
use super::roots;
use crate::base::env::Env;
use crate::base::name::ProjectName;
use crate::compose::{self, LoadRequest};
use crate::image::digest::Digest;
use crate::sys::fs::{Durability, make_dirs, write_atomic};
use crate::sys::lock::{Hold, Lock};
use crate::ui::write_err;

pub use rewrite::rewrite;

/// The version of the file.
const VERSION: u32 = 1;
/// Digits of the directory's digest in a name.
const DIGITS: usize = 6;

/// A directory with a project name and an address of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    /// The project's directory, without links in it.
    pub dir: PathBuf,
    /// The project's name.
    pub project: String,
    /// Where its ports are published.
    pub address: Ipv4Addr,
    /// What stands behind names that would be the same in another checkout.
    pub suffix: String,
}

/// All of them, as they are kept in `<data>/isolated.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    version: u32,
    checkouts: Vec<Checkout>,
}

fn place(data: &Path) -> PathBuf {
    data.join("isolated.json")
}

/// All checkouts, by directory; none where nobody has asked for one.
///
/// # Errors
/// When the file is there and can't be read.
pub fn all(data: &Path) -> Result<Vec<Checkout>, Failure> {
    let path = place(data);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(cannot("read", &path, &error)),
    };
    let file: File = serde_json::from_slice(&text).map_err(|error| {
        cannot("read", &path, &error).hint(format!(
            "without it projects have their usual names and addresses again: rm {}",
            path.display()
        ))
    })?;
    match file.version {
        VERSION => Ok(file.checkouts),
        other => Err(Failure::new(format!(
            "{} is of version {other}, and this hoist knows {VERSION}",
            path.display()
        ))),
    }
}

fn cannot(verb: &str, path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("cannot {verb} {}: {error}", path.display()))
}

/// Changes the file under its lock; `change` says whether there is anything to write.
fn change<T>(
    data: &Path,
    change: impl FnOnce(&mut Vec<Checkout>) -> Result<(T, bool), Failure>,
) -> Result<T, Failure> {
    let path = place(data);
    make_dirs(data, 0o700).map_err(|error| cannot("make", data, &error))?;
    let lock = data.join("isolated.lock");
    let _lock =
        Lock::acquire(&lock, Hold::Exclusive).map_err(|error| cannot("lock", &lock, &error))?;
    let mut checkouts = all(data)?;
    let (value, changed) = change(&mut checkouts)?;
    if changed {
        checkouts.sort_by(|a, b| a.dir.cmp(&b.dir));
        let file = File {
            version: VERSION,
            checkouts,
        };
        let text = serde_json::to_vec_pretty(&file).unwrap_or_default();
        write_atomic(&path, &text, 0o600, Durability::Synced)
            .map_err(|error| Failure::new(format!("cannot write {error}")))?;
    }
    Ok(value)
}

/// The address that the n-th look gives for a directory: neither in 127.0.0.0/16, where resolvers and hosts' own names are, nor
/// the last one of a range.
fn address(digest: &str, n: u32) -> Ipv4Addr {
    let digest = Digest::of(format!("{digest} {n}").as_bytes()).hex();
    let byte = |at: usize| {
        let text = digest.get(at..at + 2).unwrap_or_default();
        u8::from_str_radix(text, 16).unwrap_or(1)
    };
    Ipv4Addr::new(127, 16 + byte(0) % 224, byte(2), 1 + byte(4) % 254)
}

/// Makes the record of a directory, or gives the one that is there.
///
/// `own` is the name that the user gave, which is not changed; `natural` the one that the files give.
fn enter(
    checkouts: &mut Vec<Checkout>,
    dir: &Path,
    own: Option<&str>,
    natural: &str,
) -> Result<(Checkout, bool), Failure> {
    let meant = |c: &Checkout| c.dir == dir && own.is_none_or(|own| own == c.project);
    if let Some(found) = checkouts.iter().find(|checkout| meant(checkout)) {
        return Ok((found.clone(), false));
    }
    checkouts.retain(|checkout| checkout.dir != dir);
    let digest = Digest::of(dir.as_os_str().as_encoded_bytes()).hex();
    let free = |name: &str, all: &[Checkout]| all.iter().all(|other| other.project != name);
    let lengths = [DIGITS, 2 * DIGITS, digest.len()];
    let suffixes = lengths.iter().filter_map(|length| digest.get(..*length));
    let (project, suffix) = match own {
        Some(own) => {
            if let Some(other) = checkouts.iter().find(|other| other.project == own) {
                let text = format!(
                    "the project name `{own}` belongs to the isolated checkout {}",
                    other.dir.display()
                );
                return Err(
                    Failure::new(text).hint("leave -p away, and each checkout has its own name")
                );
            }
            let suffix = digest.get(..DIGITS).unwrap_or_default();
            (own.to_owned(), suffix.to_owned())
        }
        None => suffixes
            .map(|suffix| (format!("{natural}-{suffix}"), suffix.to_owned()))
            .find(|(name, _)| free(name, checkouts))
            .ok_or_else(|| Failure::new("there is no free project name for this directory"))?,
    };
    let taken = |address: &Ipv4Addr| checkouts.iter().any(|other| other.address == *address);
    let address = (0..10_000)
        .map(|n| address(&digest, n))
        .find(|address| !taken(address))
        .ok_or_else(|| Failure::new("there is no free loopback address for this directory"))?;
    let made = Checkout {
        dir: dir.to_owned(),
        project,
        address,
        suffix,
    };
    checkouts.push(made.clone());
    Ok((made, true))
}

/// What the command line and `HOIST_ISOLATE` say: to isolate, not to, or nothing.
fn wish(app: &App) -> Option<bool> {
    app.globals
        .isolate
        .or_else(|| match app.env.non_empty("HOIST_ISOLATE") {
            None => None,
            Some("0" | "false" | "no") => Some(false),
            Some(_) => Some(true),
        })
}

/// The name that the user gave for this command alone.
fn own_name<'a>(request: &'a LoadRequest, env: &'a Env) -> Option<&'a str> {
    let flag = request.project_name.as_deref();
    flag.filter(|name| !name.is_empty())
        .or_else(|| env.non_empty("COMPOSE_PROJECT_NAME"))
}

/// The checkout that a command is about, if it is isolated or is to be.
///
/// # Errors
/// A broken file; faults in the project's files, where its name is needed.
pub(super) fn find(app: &App, request: &LoadRequest) -> Result<Option<Checkout>, Failure> {
    let wish = wish(app);
    if wish == Some(false) {
        return Ok(None);
    }
    let root = nix::unistd::geteuid().is_root();
    let data = roots::roots(&app.env, root).data;
    let known = all(&data)?;
    if known.is_empty() && wish.is_none() {
        return Ok(None);
    }
    let Some(home) = compose::home(request, &app.env) else {
        return Ok(None);
    };
    let dir = home.canonicalize().unwrap_or(home);
    let own = own_name(request, &app.env);
    if wish.is_none() {
        let meant = |c: &Checkout| c.dir == dir && own.is_none_or(|own| own == c.project);
        return Ok(known.into_iter().find(meant));
    }
    app.roots()?;
    let project = compose::load(request, &app.env).map_err(super::app::load_failure)?;
    if app.globals.dry_run {
        let mut known = known;
        return enter(&mut known, &dir, own, project.name.as_str()).map(|(made, _)| Some(made));
    }
    change(&data, |checkouts| {
        let before = checkouts.len();
        // Directories that are gone give their addresses back, unless something of theirs is there still.
        checkouts.retain(|c| c.dir == dir || c.dir.exists() || has_records(&data, &c.project));
        let swept = checkouts.len() != before;
        let (made, new) = enter(checkouts, &dir, own, project.name.as_str())?;
        Ok((Some(made), new || swept))
    })
}

fn has_records(data: &Path, project: &str) -> bool {
    data.join("projects").join(project).exists()
}

/// Ends the isolation of a checkout for good: `up --isolate=false`.
///
/// # Errors
/// When its containers are there still.
pub(super) fn leave(app: &App) -> Result<(), Failure> {
    if wish(app) != Some(false) || app.globals.isolate.is_none() || app.globals.dry_run {
        return Ok(());
    }
    let data = app.roots()?.data;
    let request = app.request()?;
    let Some(home) = compose::home(&request, &app.env) else {
        return Ok(());
    };
    let dir = home.canonicalize().unwrap_or(home);
    let Some(found) = all(&data)?.into_iter().find(|c| c.dir == dir) else {
        return Ok(());
    };
    if let Ok(name) = ProjectName::new(&found.project)
        && !app.engine()?.observe(&name)?.containers.is_empty()
    {
        let text = format!("this checkout is up as the isolated project {name}");
        return Err(Failure::new(text).hint("take that down first: hoist down"));
    }
    change(&data, |checkouts| {
        checkouts.retain(|c| c.dir != dir);
        Ok(((), true))
    })
}

/// Tells what is different in an isolated checkout.
pub(super) fn announce(app: &App) -> Result<(), Failure> {
    let Some(checkout) = app.checkout()? else {
        return Ok(());
    };
    if app.json_progress() {
        return Ok(());
    }
    write_err(format!(
        "isolated: project {} on {}; `hoist port --env` shows its ports\n",
        checkout.project, checkout.address
    ));
    for line in app.shared() {
        app.warn(&format!("shared with other checkouts: {line}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(checkouts: &mut Vec<Checkout>, dir: &str, own: Option<&str>) -> Option<Checkout> {
        let entered = enter(checkouts, Path::new(dir), own, "shop");
        entered.ok().map(|(made, _)| made)
    }

    #[test]
    fn a_directory_keeps_its_name_and_address_and_two_never_share_them() {
        let mut all = Vec::new();
        let first = made(&mut all, "/a/shop", None).expect("a checkout");
        assert!(first.project.starts_with("shop-") && first.project.len() == 11);
        assert_eq!(first.address.octets()[0], 127);
        assert_ne!(first.address.octets()[1], 0);
        for number in 0..500 {
            made(&mut all, &format!("/b/{number}"), None);
        }
        assert_eq!(made(&mut all, "/a/shop", None), Some(first.clone()));
        let mut addresses: Vec<_> = all.iter().map(|c| c.address).collect();
        let mut names: Vec<_> = all.iter().map(|c| c.project.clone()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        names.sort_unstable();
        names.dedup();
        assert_eq!((addresses.len(), names.len()), (501, 501));
        // In another order the first one is what it was.
        let mut others = Vec::new();
        made(&mut others, "/b/7", None);
        assert_eq!(made(&mut others, "/a/shop", None), Some(first));
    }

    #[test]
    fn an_address_that_is_taken_is_not_given_again() {
        let digest = Digest::of(b"/a").hex();
        let mut all = vec![Checkout {
            dir: "/x".into(),
            project: "x".into(),
            address: address(&digest, 0),
            suffix: "0".into(),
        }];
        let made = made(&mut all, "/a", None).expect("a checkout");
        assert_eq!(made.address, address(&digest, 1));
    }

    #[test]
    fn a_name_of_ones_own_is_kept_and_belongs_to_one() {
        let mut all = Vec::new();
        let mine = made(&mut all, "/a", Some("mine")).expect("a checkout");
        assert_eq!(mine.project, "mine");
        assert_eq!(made(&mut all, "/a", Some("mine")), Some(mine.clone()));
        assert_eq!(made(&mut all, "/a", None), Some(mine));
        assert_eq!(made(&mut all, "/b", Some("mine")), None);
    }
}
