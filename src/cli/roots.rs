//! Where hoist keeps things: from the environment, else the usual places.
//!
//! Imports: `base`, `engine`. Rules: `lib.rs`, "On disk"; XDG Base Directory Specification.

use std::path::PathBuf;

use super::exit::Failure;
use crate::base::env::Env;
use crate::engine::Roots;

/// The two directories for a user: `HOIST_DATA_ROOT` and `HOIST_RUN_ROOT` move them.
pub fn roots(env: &Env, root: bool) -> Roots {
    let dir = |name: &str, system: &str, user: &dyn Fn() -> PathBuf| match env.non_empty(name) {
        Some(path) => env.cwd.join(path),
        None if root => PathBuf::from(system),
        None => user(),
    };
    let home = env.home.clone().unwrap_or_else(|| PathBuf::from("/"));
    let data_home = || {
        let base = env.non_empty("XDG_DATA_HOME").map(PathBuf::from);
        base.unwrap_or_else(|| home.join(".local/share"))
            .join("hoist")
    };
    let data = dir("HOIST_DATA_ROOT", "/var/lib/hoist", &data_home);
    let below_data = data.join("run");
    let run_home = || {
        let base = env.non_empty("XDG_RUNTIME_DIR").map(PathBuf::from);
        base.map_or_else(|| below_data.clone(), |base| base.join("hoist"))
    };
    let run = dir("HOIST_RUN_ROOT", "/run/hoist", &run_home);
    Roots { data, run }
}

/// The directories, if this user may use them.
///
/// # Errors
/// Without root: containers of ordinary users are not there yet.
pub fn usable(env: &Env) -> Result<Roots, Failure> {
    if !nix::unistd::geteuid().is_root() {
        let text = "hoist needs root for now: containers of ordinary users are not supported yet";
        return Err(Failure::new(text).hint("run the same command with sudo"));
    }
    Ok(roots(env, true))
}

/// Where devices are described (Container Device Interface): `HOIST_CDI_DIRS`, with colons between, else the usual places.
pub fn device_dirs(env: &Env) -> Vec<PathBuf> {
    let dirs = env
        .non_empty("HOIST_CDI_DIRS")
        .unwrap_or("/etc/cdi:/var/run/cdi");
    let dirs = dirs.split(':').filter(|dir| !dir.is_empty());
    dirs.map(|dir| env.cwd.join(dir)).collect()
}

/// The bundle of CA certificates the host trusts.
///
/// # Errors
/// When none of the usual places has one.
pub fn host_ca(env: &Env) -> Result<PathBuf, Failure> {
    let usual = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/cert.pem",
    ];
    if let Some(named) = env.non_empty("SSL_CERT_FILE") {
        let path = env.cwd.join(named);
        if path.is_file() {
            return Ok(path);
        }
        return Err(Failure::new(format!(
            "cannot find the host's CA certificates: SSL_CERT_FILE names {named}"
        )));
    }
    usual
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Failure::new("cannot find the host's CA certificates for --trust-host-ca")
                .hint("install ca-certificates, or name a bundle in SSL_CERT_FILE")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> Env {
        Env {
            vars: vars
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            cwd: "/w".into(),
            home: Some("/home/u".into()),
            ..Env::default()
        }
    }

    #[test]
    fn variables_win_over_the_usual_places() {
        let none = roots(&env(&[]), true);
        assert_eq!(
            (none.data, none.run),
            ("/var/lib/hoist".into(), "/run/hoist".into())
        );
        let set = roots(
            &env(&[("HOIST_DATA_ROOT", "d"), ("HOIST_RUN_ROOT", "/r")]),
            true,
        );
        assert_eq!((set.data, set.run), ("/w/d".into(), "/r".into()));
        let user = roots(&env(&[("XDG_RUNTIME_DIR", "/run/user/1")]), false);
        assert_eq!(user.data, PathBuf::from("/home/u/.local/share/hoist"));
        assert_eq!(user.run, PathBuf::from("/run/user/1/hoist"));
    }
}
