//! Proxies that users want in their containers and builds: `proxies` of Docker's `config.json`.
//!
//! In: the environment. Out: variables in upper case with their values, which may hold a password and are in no text of
//! ours. hoist itself goes through none of them. Imports: `file`, `base::env`. Source: docker CLI `configfile`
//! (`ParseProxyConfig`): the entry of the daemon's address counts, else `default`.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::file::{File, FileError};
use crate::base::env::Env;

/// The address that stands for this machine in Docker's settings.
const HERE: &str = "unix:///var/run/docker.sock";
/// Keys of an entry and the variables that they set, in Docker's order.
const KEYS: [(&str, &str); 5] = [
    ("httpProxy", "HTTP_PROXY"),
    ("httpsProxy", "HTTPS_PROXY"),
    ("noProxy", "NO_PROXY"),
    ("ftpProxy", "FTP_PROXY"),
    ("allProxy", "ALL_PROXY"),
];

/// The variables that `proxies` sets, in upper case; what is not set, or empty, is left out.
///
/// # Errors
/// A file that can't be read, or in which they are malformed.
pub fn of_containers(env: &Env) -> Result<Vec<(String, String)>, FileError> {
    let Some(path) = place(env) else {
        return Ok(Vec::new());
    };
    let Some(file) = File::read(&path)? else {
        return Ok(Vec::new());
    };
    let host = env.non_empty("DOCKER_HOST").unwrap_or(HERE);
    let malformed = |what: String| FileError::Value {
        path: path.display().to_string(),
        what,
    };
    let Some(all) = file.value("proxies").filter(|all| !all.is_null()) else {
        return Ok(Vec::new());
    };
    let all = object(all).ok_or_else(|| malformed("proxies: expected an object".to_owned()))?;
    let key = if all.contains_key(host) {
        host
    } else {
        "default"
    };
    let Some(entry) = all.get(key) else {
        return Ok(Vec::new());
    };
    let entry =
        object(entry).ok_or_else(|| malformed(format!("proxies.{key}: expected an object")))?;
    let mut found = Vec::new();
    for (name, variable) in KEYS {
        match entry.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(value)) if value.is_empty() => {}
            Some(Value::String(value)) => found.push((variable.to_owned(), value.clone())),
            Some(_) => {
                return Err(malformed(format!(
                    "proxies.{key}.{name}: expected a string"
                )));
            }
        }
    }
    Ok(found)
}

fn object(value: &Value) -> Option<&Map<String, Value>> {
    value.as_object()
}

fn place(env: &Env) -> Option<PathBuf> {
    match env.non_empty("DOCKER_CONFIG") {
        Some(dir) => Some(env.cwd.join(dir).join("config.json")),
        None => Some(env.home.as_ref()?.join(".docker/config.json")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(case: &str, text: &str, host: Option<&str>) -> Result<Vec<(String, String)>, String> {
        let dir = std::env::temp_dir().join(format!("hoist-proxies-{}-{case}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("config.json"), text).unwrap();
        let mut env = Env {
            cwd: PathBuf::from("/"),
            ..Env::default()
        };
        let shown = dir.display().to_string();
        env.vars.insert("DOCKER_CONFIG".into(), shown.clone());
        if let Some(host) = host {
            env.vars.insert("DOCKER_HOST".into(), host.into());
        }
        let found = of_containers(&env);
        std::fs::remove_dir_all(&dir).unwrap();
        found.map_err(|error| error.to_string().replace(&shown, "DIR"))
    }

    #[test]
    fn the_entry_of_the_daemon_counts_else_the_default() {
        let text = r#"{"proxies": {"default": {"httpProxy": "http://d", "noProxy": "a,b", "ftpProxy": ""},
            "tcp://other": {"allProxy": "socks5://o"}}}"#;
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let default = vec![pair("HTTP_PROXY", "http://d"), pair("NO_PROXY", "a,b")];
        assert_eq!(said("default", text, None).unwrap(), default);
        assert_eq!(said("unknown", text, Some("tcp://x")).unwrap(), default);
        let other = said("other", text, Some("tcp://other")).unwrap();
        assert_eq!(other, [pair("ALL_PROXY", "socks5://o")]);
        for none in ["", "{}", r#"{"proxies": null}"#, r#"{"proxies": {}}"#] {
            assert_eq!(said("none", none, None).unwrap(), []);
        }
    }

    #[test]
    fn what_is_malformed_is_named_without_its_value() {
        let text = r#"{"proxies": {"default": {"httpProxy": ["http://u:hunter2@p"]}}}"#;
        assert_eq!(
            said("list", text, None).unwrap_err(),
            "DIR/config.json: proxies.default.httpProxy: expected a string"
        );
        let error = said("word", r#"{"proxies": 7}"#, None).unwrap_err();
        assert_eq!(error, "DIR/config.json: proxies: expected an object");
    }
}
