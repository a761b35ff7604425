//! `enable`, `disable`: a systemd unit, so that a project comes back after a boot.
//!
//! The unit has everything that the project was named by: its name, directory, files, profiles. What `enable` writes `disable`
//! removes: the unit, known by its first line, and the link by which systemd starts it. Where systemd does not run the files are
//! all there is to do.
//! Imports: `compose::model`, `sys::fs`. Source: systemd.unit(5), systemd.service(5), systemd.syntax(7).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::base::env::Env;
use crate::base::name::ProjectName;
use crate::cli::app::App;
use crate::cli::args::{DisableArgs, EnableArgs};
use crate::cli::exit::{Failure, Outcome};
use crate::compose::model::Project;
use crate::compose::remote::RemoteRef;
use crate::sys::fs::{Durability, write_atomic};
use crate::sys::process;
use crate::ui::{write_err, write_out};

/// The first line of each unit: what does not begin so was written by somebody else.
const MARK: &str = "# Written by `hoist enable`; `hoist disable` removes it.\n";

/// Which systemd a unit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    System,
    User,
}

impl Manager {
    fn chosen(system: bool, user: bool) -> Self {
        let root = nix::unistd::geteuid().is_root();
        match system || (root && !user) {
            true => Self::System,
            false => Self::User,
        }
    }
    /// The target whose start is a boot, or a session.
    fn target(self) -> &'static str {
        match self {
            Self::System => "multi-user.target",
            Self::User => "default.target",
        }
    }
    /// Where its units are; the first directory of `SYSTEMD_UNIT_PATH` moves that, as it does for systemd.
    fn dir(self, env: &Env) -> Result<PathBuf, Failure> {
        let moved = env
            .non_empty("SYSTEMD_UNIT_PATH")
            .and_then(|path| path.split(':').next());
        if let Some(dir) = moved.filter(|dir| !dir.is_empty()) {
            return Ok(env.cwd.join(dir));
        }
        if self == Self::System {
            return Ok("/etc/systemd/system".into());
        }
        let config = env.non_empty("XDG_CONFIG_HOME").map(PathBuf::from);
        let config = config.or_else(|| Some(env.home.clone()?.join(".config")));
        config
            .map(|config| config.join("systemd/user"))
            .ok_or_else(|| Failure::new("the home directory is not known"))
    }
    fn flag(self) -> &'static str {
        match self {
            Self::System => "--system",
            Self::User => "--user",
        }
    }
    /// Whether it runs, and looks at the usual directories.
    fn runs(self, env: &Env) -> bool {
        env.non_empty("SYSTEMD_UNIT_PATH").is_none() && Path::new("/run/systemd/system").is_dir()
    }
    /// Tells it something.
    fn tell(self, words: &[&str]) -> Result<(), Failure> {
        let line = format!("systemctl {} {}", self.flag(), words.join(" "));
        let mut command = Command::new("systemctl");
        command.arg(self.flag()).args(words).stdin(Stdio::null());
        process::unblock(&mut command);
        let status = command
            .status()
            .map_err(|error| Failure::new(format!("cannot run `{line}`: {error}")))?;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::new(format!("`{line}` failed"))
                .hint("`systemctl status` and `journalctl -xe` tell why")),
        }
    }
}

/// The name of a project's unit.
fn unit_name(project: &ProjectName) -> String {
    format!("hoist-{project}.service")
}

/// A word of a command line. Source: systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers".
fn word(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '$' => quoted.push_str("$$"),
            '%' => quoted.push_str("%%"),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    quoted.push_str(&format!("\\x{byte:02x}"));
                }
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// A path of `RequiresMountsFor`, where escapes are not known; `None` for one that can't be written there.
fn mount_path(path: &Path) -> Option<String> {
    let text = path.to_str()?.replace('%', "%%");
    if text.contains(|c: char| c.is_control() || c == '\\') {
        return None;
    }
    match (text.contains('"'), text.contains('\'')) {
        (false, _) => Some(format!("\"{text}\"")),
        (true, false) => Some(format!("'{text}'")),
        (true, true) => None,
    }
}

fn text_of(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        Failure::new(format!(
            "{} is not UTF-8: systemd has no word for it",
            path.display()
        ))
    })
}

/// Everything that names the project, as arguments before a command.
fn arguments(app: &App, project: &Project) -> Result<Vec<String>, Failure> {
    let mut words = vec!["-p".to_owned(), project.name.to_string()];
    let at = |path: &Path| app.env.cwd.join(path);
    words.extend(["--project-directory".to_owned(), text_of(&project.dir)?]);
    let given = &app.globals.file;
    let remote = given.iter().any(|file| RemoteRef::is_one(file));
    if project.files.iter().any(|file| file == Path::new("-")) {
        return Err(
            Failure::new("a project from standard input can't come back after a boot")
                .hint("write it into a file"),
        );
    }
    for file in &project.files {
        if !remote {
            words.extend(["-f".to_owned(), text_of(file)?]);
        }
    }
    for file in given.iter().filter(|_| remote) {
        let file = match RemoteRef::is_one(file) {
            true => file.clone(),
            false => text_of(&at(Path::new(file)))?,
        };
        words.extend(["-f".to_owned(), file]);
    }
    // The usual `.env` is found by the directory, and need not be there.
    if !app.globals.env_file.is_empty() || app.env.non_empty("COMPOSE_ENV_FILES").is_some() {
        for file in &project.env_files {
            words.extend(["--env-file".to_owned(), text_of(file)?]);
        }
    }
    for profile in project
        .profiles
        .iter()
        .filter(|profile| !profile.is_empty())
    {
        words.extend(["--profile".to_owned(), profile.clone()]);
    }
    let flags = [
        (app.globals.trust, "--trust"),
        (app.globals.trust_host_ca, "--trust-host-ca"),
        (app.globals.locked, "--locked"),
    ];
    let set = flags.into_iter().filter(|(on, _)| *on);
    words.extend(set.map(|(_, flag)| flag.to_owned()));
    Ok(words)
}

/// The text of the unit.
fn unit(app: &App, project: &Project, manager: Manager) -> Result<String, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(format!("cannot tell where hoist is: {error}")))?;
    let program = text_of(&program)?;
    let before = arguments(app, project)?;
    let line = |after: &[&str]| {
        let words = before
            .iter()
            .map(String::as_str)
            .chain(after.iter().copied());
        let words: Vec<String> = std::iter::once(program.as_str())
            .chain(words)
            .map(word)
            .collect();
        words.join(" ")
    };
    let data = super::super::roots::roots(&app.env, nix::unistd::geteuid().is_root());
    let mounts = [Some(project.dir.as_path()), Some(data.data.as_path())];
    let mounts: Vec<String> = mounts
        .into_iter()
        .flatten()
        .filter_map(mount_path)
        .collect();
    let mounts = match mounts.is_empty() {
        true => String::new(),
        false => format!("RequiresMountsFor={}\n", mounts.join(" ")),
    };
    let roots = ["HOIST_DATA_ROOT", "HOIST_RUN_ROOT"]
        .into_iter()
        .filter_map(|name| {
            let value = app.env.cwd.join(app.env.non_empty(name)?);
            // Here a dollar stands for itself.
            let entry = word(&format!("{name}={}", value.to_str()?)).replace("$$", "$");
            Some(format!("Environment={entry}\n"))
        });
    let roots: String = roots.collect();
    let network = match manager {
        Manager::System => "After=network-online.target\nWants=network-online.target\n",
        Manager::User => "",
    };
    Ok(format!(
        "{MARK}[Unit]\nDescription=hoist project {}\n{network}{mounts}\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
         WorkingDirectory=/\n{roots}ExecStart={}\nExecStop={}\n\
         # Images may have to be built; containers have times of their own to stop\nTimeoutStartSec=infinity\nTimeoutStopSec=infinity\n\
         # What looks after the containers ends with them, not with this command\nKillMode=process\n\n[Install]\nWantedBy={}\n",
        project.name,
        line(&["up", "-d"]),
        line(&["stop"]),
        manager.target(),
    ))
}

/// The unit's file and the link by which it is started.
fn places(
    manager: Manager,
    env: &Env,
    project: &ProjectName,
) -> Result<(PathBuf, PathBuf), Failure> {
    let (dir, name) = (manager.dir(env)?, unit_name(project));
    let link = dir.join(format!("{}.wants", manager.target())).join(&name);
    Ok((dir.join(name), link))
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new(format!("cannot {verb} {}: {error}", path.display()));
    match error.kind() {
        io::ErrorKind::PermissionDenied => failure.hint("run the same command with sudo"),
        _ => failure,
    }
}

/// Whether the file there is one that `enable` has written; `None` when there is none.
fn ours(path: &Path) -> Result<Option<bool>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.starts_with(MARK))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(path.symlink_metadata().is_ok().then_some(false))
        }
        Err(error) => Err(cannot("read", path, &error)),
    }
}

fn foreign(path: &Path) -> Failure {
    Failure::new(format!(
        "{} was not written by `hoist enable`",
        path.display()
    ))
    .hint("look at it, and remove it if it is not needed")
}

pub(super) fn enable(app: &App, args: &EnableArgs) -> Outcome {
    let manager = Manager::chosen(args.system, args.user);
    let project = app.load()?;
    let text = unit(app, &project, manager)?;
    if args.print {
        write_out(text)?;
        return Ok(0);
    }
    // A unit of somebody who can't start containers would only fail.
    app.roots()?;
    let (path, link) = places(manager, &app.env, &project.name)?;
    if ours(&path)? == Some(false) {
        return Err(foreign(&path));
    }
    if app.globals.dry_run {
        write_out(format!(
            "write {}\nlink {}\n",
            path.display(),
            link.display()
        ))?;
        return Ok(0);
    }
    let wants = link.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(wants).map_err(|error| cannot("make", wants, &error))?;
    write_atomic(&path, text.as_bytes(), 0o644, Durability::Synced)
        .map_err(|error| cannot("write", &path, &error))?;
    let name = unit_name(&project.name);
    match std::os::unix::fs::symlink(Path::new("..").join(&name), &link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(cannot("make", &link, &error));
        }
        _ => {}
    }
    write_err(format!(
        "project {} is enabled: {}\n",
        project.name,
        path.display()
    ));
    if !manager.runs(&app.env) {
        let now = if args.now { ", and not now" } else { "" };
        app.warn(&format!(
            "systemd does not run here: the project comes up when it does{now}; until then: hoist up -d"
        ));
        return Ok(i32::from(args.now));
    }
    manager.tell(&["daemon-reload"])?;
    if args.now {
        manager.tell(&["start", &name])?;
    }
    Ok(0)
}

pub(super) fn disable(app: &App, args: &DisableArgs) -> Outcome {
    let manager = Manager::chosen(args.system, args.user);
    let (project, _) = app.project_or_name()?;
    let (path, link) = places(manager, &app.env, &project)?;
    match ours(&path)? {
        Some(true) => {}
        Some(false) => return Err(foreign(&path)),
        None if link.symlink_metadata().is_err() => {
            write_err(format!("project {project} is not enabled\n"));
            return Ok(0);
        }
        None => {}
    }
    if app.globals.dry_run {
        write_out(format!(
            "remove {}\nremove {}\n",
            link.display(),
            path.display()
        ))?;
        return Ok(0);
    }
    let runs = manager.runs(&app.env);
    let name = unit_name(&project);
    if args.now && runs {
        manager.tell(&["stop", &name])?;
    }
    for path in [&link, &path] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(cannot("remove", path, &error));
            }
            _ => {}
        }
    }
    // The directory of links goes when it was ours alone.
    let _ = link.parent().map(fs::remove_dir);
    write_err(format!("project {project} is disabled\n"));
    if runs {
        manager.tell(&["daemon-reload"])?;
    } else if args.now {
        app.warn("systemd does not run here, so nothing was stopped: hoist stop");
    }
    Ok(0)
}

/// Whether a project comes back after a boot.
pub(super) fn is_enabled(app: &App, project: &ProjectName) -> bool {
    let manager = Manager::chosen(false, false);
    let found = places(manager, &app.env, project);
    found.is_ok_and(|(path, link)| {
        link.symlink_metadata().is_ok() && matches!(ours(&path), Ok(Some(true)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_to_systemd_what_they_are() {
        for (text, want) in [
            ("plain", "\"plain\""),
            ("with space", "\"with space\""),
            ("100%", "\"100%%\""),
            ("$HOME", "\"$$HOME\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("a\nb", "\"a\\x0ab\""),
        ] {
            assert_eq!(word(text), want);
        }
        let path = |text: &str| mount_path(Path::new(text));
        assert_eq!(path("/a b").as_deref(), Some("\"/a b\""));
        assert_eq!(path("/a\"b").as_deref(), Some("'/a\"b'"));
        assert_eq!(path("/a%b").as_deref(), Some("\"/a%%b\""));
        assert_eq!(path("/a\\b"), None);
    }
}
