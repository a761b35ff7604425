//! `login`, `logout`: credentials of registries, kept where docker keeps them.
//!
//! Imports: `image::registry`. Words and exit codes as docker's; Docker Hub's login in a browser is not offered.

use std::io::{self, IsTerminal as _, Read as _};

use crate::base::cancel::Cancel;
use crate::cli::app::App;
use crate::cli::args::{LoginArgs, LogoutArgs};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::interrupts::{Interrupts, ends};
use crate::cli::prompt::{Echo, ask};
use crate::image::reference::DEFAULT_REGISTRY;
use crate::image::registry::{LoginError, Secret, login};
use crate::ui::{write_err, write_out};

/// Longest password from standard input in bytes.
const LONGEST: u64 = 1 << 20;

pub(super) fn run(app: &App, args: &LoginArgs) -> Outcome {
    let registry = login::server(args.server.as_deref())?;
    let given = given(args)?;
    if app.globals.dry_run {
        write_out(format!("would log in to {}\n", login::shown(&registry)))?;
        return Ok(0);
    }
    let cancel = Cancel::default();
    let token = cancel.clone();
    let _interrupts = Interrupts::catch(move |signal| {
        if ends(signal) {
            token.cancel();
        }
    })?;
    if args.username.is_none()
        && given.is_none()
        && let Some(user) = login::again(&registry, &app.env, &cancel)?
    {
        let user = user.map_or_else(String::new, |user| format!(" [Username: {user}]"));
        write_out(format!(
            "Authenticating with existing credentials...{user}\n\n Info -> To login with a different account, run \
             'hoist logout' followed by 'hoist login'\n\n\nLogin Succeeded\n"
        ))?;
        return Ok(0);
    }
    let user = args.username.clone().filter(|user| !user.is_empty());
    let password = given.filter(|password| !password.expose().is_empty());
    let (user, password) = match (user, password) {
        (Some(user), Some(password)) => (user, password),
        (user, password) => match asked(&registry, user, password, &cancel)? {
            Some(both) => both,
            None => return Ok(130),
        },
    };
    let done = login::login(&registry, &user, password, &app.env, &cancel)?;
    if let Some(path) = done.open_in {
        write_err(format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this \
             warning. See\nhttps://docs.docker.com/go/credential-store/\n\n",
            path.display()
        ));
    }
    write_out("Login Succeeded\n")?;
    Ok(0)
}

/// The password of a flag or of standard input.
fn given(args: &LoginArgs) -> Result<Option<Secret>, Failure> {
    if args.password.is_some() {
        write_err("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
        if args.password_stdin {
            let text = "conflicting options: cannot specify both --password and --password-stdin";
            return Err(Failure::new(text));
        }
        return Ok(args.password.clone());
    }
    if !args.password_stdin {
        return Ok(None);
    }
    if args.username.as_deref().unwrap_or_default().is_empty() {
        let text = "the --password-stdin option requires --username to be set";
        return Err(Failure::new(text));
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    let read = io::stdin().lock().take(LONGEST).read_to_string(&mut text);
    read.map_err(|error| Failure::new(format!("cannot read the password: {error}")))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Some(Secret::new(text.strip_suffix('\r').unwrap_or(text))))
}

/// Asks for what is missing; `None` when the user ends the command.
fn asked(
    registry: &str,
    user: Option<String>,
    password: Option<Secret>,
    cancel: &Cancel,
) -> Result<Option<(String, Secret)>, Failure> {
    if !io::stdin().is_terminal() {
        let text = "cannot perform an interactive login from a non TTY device";
        return Err(Failure::new(text).hint("give -u NAME and --password-stdin"));
    }
    let failed = |error: io::Error| Failure::new(format!("cannot ask on the terminal: {error}"));
    let user = match user {
        Some(user) => user,
        None => {
            if registry == DEFAULT_REGISTRY {
                write_out(
                    "Log in with your Docker ID, and your password or a Personal Access Token (PAT);\nto create a PAT, \
                     visit https://app.docker.com/settings\n",
                )?;
            }
            match ask("Username: ", Echo::Seen, cancel).map_err(failed)? {
                Some(user) => user.expose().trim().to_owned(),
                None => return Ok(None),
            }
        }
    };
    if user.is_empty() {
        return Err(Failure::new("username is required"));
    }
    let password = match password {
        Some(password) => password,
        None => match ask("Password: ", Echo::Hidden, cancel).map_err(failed)? {
            Some(password) => password,
            None => return Ok(None),
        },
    };
    if password.expose().is_empty() {
        return Err(Failure::new("password is required"));
    }
    Ok(Some((user, password)))
}

pub(super) fn logout(app: &App, args: &LogoutArgs) -> Outcome {
    let registry = login::server(args.server.as_deref())?;
    write_out(format!(
        "Removing login credentials for {}\n",
        login::shown(&registry)
    ))?;
    if !app.globals.dry_run {
        let done = login::logout(&registry, &app.env, &Cancel::default());
        done.map_err(|error| Failure::new(error.to_string()))?;
    }
    Ok(0)
}

impl From<LoginError> for Failure {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Cancelled => Self::said(130),
            error => Self::new(error.to_string()),
        }
    }
}
