//! The process environment and working directory as values, read once in `cli`.
//!
//! Imports: nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Variables and directories a command was started with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Env {
    /// Variables; values that are not UTF-8 are left out.
    pub vars: BTreeMap<String, String>,
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// The user's home directory, if known.
    pub home: Option<PathBuf>,
    /// Where the system's settings of registries lie, `/etc`; nowhere for tests, which must not read the machine's.
    pub etc: Option<PathBuf>,
}

impl Env {
    /// Reads this process's environment.
    pub fn of_process() -> Self {
        let mut vars: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        // No shell stands between a service manager and this process; files name `${PWD}` all the same.
        if let (false, Some(cwd)) = (vars.contains_key("PWD"), cwd.to_str()) {
            vars.insert("PWD".to_owned(), cwd.to_owned());
        }
        let home = vars
            .get("HOME")
            .filter(|h| !h.is_empty())
            .map(PathBuf::from);
        Self {
            cwd,
            home,
            vars,
            etc: Some(PathBuf::from("/etc")),
        }
    }
    /// A variable's value; an empty one counts as set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str)
    }
    /// A variable's value unless it is empty.
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }
    /// Whether a switch such as `COMPOSE_IGNORE_ORPHANS` is on (`1`, `true`, `yes`, `on`, `y`, `t`).
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| {
            matches!(
                v.to_ascii_lowercase().as_str(),
                "1" | "true" | "t" | "yes" | "y" | "on"
            )
        })
    }
}
