//! `plugin`: makes hoist the `compose` of docker's command line, and takes that back.
//!
//! A link to this program among docker's plugins is all there is to it. What another plugin has there is never lost: it
//! is put aside when the user says so, and comes back with `remove`.
//! Imports: `cli`. Rules: docker/cli, `cli-plugins/manager`: which directories, and which one wins.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::env::Env;
use crate::cli::app::App;
use crate::cli::args::{PluginCommand, PluginInstallArgs};
use crate::cli::called::COMPOSE;
use crate::cli::exit::{Failure, Outcome};
use crate::ui::write_out;

/// Where `docker` looks for plugins of the machine, the first one first.
const SYSTEM: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];
/// The name of a plugin that was put aside; it does not begin as plugins do, so that `docker` does not see it.
const ASIDE: &str = "before-hoist.docker-compose";

pub(super) fn run(app: &App, command: &PluginCommand) -> Outcome {
    let text = match command {
        PluginCommand::Install(args) => install(app, args)?,
        PluginCommand::Remove(args) => remove(&dir(&app.env, args.system)?)?,
    };
    write_out(text)?;
    Ok(0)
}

/// Directories that `docker` looks at, the one that wins first.
fn dirs(env: &Env) -> Vec<PathBuf> {
    let own = match env.non_empty("DOCKER_CONFIG") {
        Some(dir) => Some(env.cwd.join(dir)),
        None => env.home.as_ref().map(|home| home.join(".docker")),
    };
    let own = own.map(|dir| dir.join("cli-plugins"));
    own.into_iter()
        .chain(SYSTEM.iter().map(PathBuf::from))
        .collect()
}

fn dir(env: &Env, system: bool) -> Result<PathBuf, Failure> {
    if system {
        return Ok(PathBuf::from(SYSTEM[0]));
    }
    let first = dirs(env).into_iter().next();
    let own = first.filter(|dir| SYSTEM.iter().all(|system| Path::new(system) != dir));
    own.ok_or_else(|| {
        Failure::new("the home directory is not known").hint("set DOCKER_CONFIG, or use --system")
    })
}

/// Whether what is at a path is a link to some hoist.
fn is_ours(path: &Path) -> bool {
    let target = fs::read_link(path).unwrap_or_default();
    target.file_name().is_some_and(|name| name == "hoist")
}

fn install(app: &App, args: &PluginInstallArgs) -> Result<String, Failure> {
    let dir = dir(&app.env, args.system)?;
    let path = dir.join(COMPOSE);
    let cannot =
        |error: io::Error| Failure::new(format!("cannot make {}: {error}", path.display()));
    let own = std::env::current_exe().map_err(cannot)?;
    fs::create_dir_all(&dir).map_err(cannot)?;
    let mut text = String::new();
    if fs::symlink_metadata(&path).is_ok() && !is_ours(&path) {
        let aside = dir.join(ASIDE);
        if !args.force {
            let text = format!("{} is another plugin", path.display());
            return Err(Failure::new(text).hint(format!(
                "`hoist plugin install --force` puts it aside as {}; `hoist plugin remove` puts it back",
                aside.display()
            )));
        }
        if fs::symlink_metadata(&aside).is_ok() {
            let text = format!("{} is there already", aside.display());
            return Err(Failure::new(text).hint("it was put aside before: move it away first"));
        }
        fs::rename(&path, &aside).map_err(cannot)?;
        text = format!("{} is now {}\n", path.display(), aside.display());
    }
    link(&own, &path).map_err(cannot)?;
    text.push_str(&format!(
        "{} is {}: `docker compose` calls hoist\n",
        path.display(),
        own.display()
    ));
    for other in dirs(&app.env) {
        if other == dir {
            break;
        }
        let other = other.join(COMPOSE);
        if other.exists() && !is_ours(&other) {
            let other = other.display();
            app.warn(&format!("{other} comes before it: docker uses that one"));
        }
    }
    Ok(text)
}

/// Makes a link whatever is there, at once.
fn link(target: &Path, path: &Path) -> io::Result<()> {
    let beside = path.with_file_name(format!(".hoist-{}", std::process::id()));
    std::os::unix::fs::symlink(target, &beside)?;
    let renamed = fs::rename(&beside, path);
    if renamed.is_err() {
        // The failure itself is told.
        let _ = fs::remove_file(&beside);
    }
    renamed
}

fn remove(dir: &Path) -> Result<String, Failure> {
    let path = dir.join(COMPOSE);
    let shown = path.display();
    let cannot = |error: io::Error| Failure::new(format!("cannot remove {shown}: {error}"));
    if fs::symlink_metadata(&path).is_err() {
        return Err(Failure::new(format!("there is no {shown}")));
    }
    if !is_ours(&path) {
        return Err(Failure::new(format!(
            "{shown} is another plugin, and stays"
        )));
    }
    let aside = dir.join(ASIDE);
    if fs::symlink_metadata(&aside).is_ok() {
        fs::rename(&aside, &path).map_err(cannot)?;
        return Ok(format!("{shown} is what it was before\n"));
    }
    fs::remove_file(&path).map_err(cannot)?;
    Ok(format!("{shown} is gone\n"))
}
