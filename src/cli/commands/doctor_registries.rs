//! What `doctor` says of registries: which files of settings count, who is logged in where, which helpers are missing.
//!
//! No secret is read into these rows. Imports: `image::registry::login`, `engine::host`.

use std::path::PathBuf;

use crate::base::env::Env;
use crate::engine::host::{Row, Standing};
use crate::image::registry::login;

/// The rows about registries.
pub(super) fn rows(env: &Env) -> Vec<Row> {
    vec![settings(env), logins(env)]
}

fn listed(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    shown.join(", ")
}

fn settings(env: &Env) -> Row {
    const NAME: &str = "registry settings";
    match login::settings(env) {
        Ok(files) if files.is_empty() => Row::ok(
            NAME,
            "no files",
            "registries are asked over TLS, without mirrors",
        ),
        Ok(files) => Row::ok(
            NAME,
            listed(&files),
            "mirrors and registries without TLS are as they say",
        ),
        Err(error) => {
            let means = "no image is pulled or pushed until it is mended";
            let path = error.split(':').next().unwrap_or_default().to_owned();
            Row::ok(NAME, error, means)
                .stands(Standing::Degraded)
                .mend(format!("${{EDITOR:-vi}} {path}"))
        }
    }
}

fn logins(env: &Env) -> Row {
    const NAME: &str = "registry logins";
    let (mut found, mut faults, mut mend) = (Vec::new(), Vec::new(), None);
    for file in login::known(env) {
        let file = match file {
            Ok(file) => file,
            Err(error) => {
                let path = error.split(':').next().unwrap_or_default();
                mend.get_or_insert(format!("${{EDITOR:-vi}} {path}"));
                faults.push(error);
                continue;
            }
        };
        let path = file.path.display();
        for (registry, user) in file.logins {
            let user = user.map_or_else(|| "a token".to_owned(), |user| format!("`{user}`"));
            found.push(format!("{registry} as {user} ({path})"));
        }
        for (name, there) in file.helpers {
            match there {
                true => found.push(format!("docker-credential-{name} is asked ({path})")),
                false => {
                    faults.push(format!(
                        "docker-credential-{name}, which {path} names, is not in PATH"
                    ));
                    mend.get_or_insert(format!("command -v docker-credential-{name}"));
                }
            }
        }
    }
    let standing = match faults.is_empty() {
        true => Standing::Ok,
        false => Standing::Degraded,
    };
    let means = match (faults.is_empty(), found.is_empty()) {
        (false, _) => "registries that need a login refuse what they would give",
        (true, true) => "registries give only what they give to everyone",
        (true, false) => "these are used, each for its own registry",
    };
    faults.extend(found);
    let found = match faults.is_empty() {
        true => "none".to_owned(),
        false => faults.join("; "),
    };
    let row = Row::ok(NAME, found, means).stands(standing);
    match mend {
        Some(mend) => row.mend(mend),
        None => row,
    }
}
