//! `login` and `logout`.
//!
//! Imports: clap. Names, letters and words are docker's.

use clap::Args;

use crate::image::registry::Secret;

/// `login`.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Username
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// Password or Personal Access Token (PAT); others may see it in the list of processes
    #[arg(short, long, value_name = "PASSWORD", value_parser = secret)]
    pub password: Option<Secret>,
    /// Take the Password or Personal Access Token (PAT) from stdin
    #[arg(long)]
    pub password_stdin: bool,
    /// The registry, HOST or HOST:PORT [default: Docker Hub]
    pub server: Option<String>,
}

/// `logout`.
#[derive(Debug, Args)]
pub struct LogoutArgs {
    /// The registry, HOST or HOST:PORT [default: Docker Hub]
    pub server: Option<String>,
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}
