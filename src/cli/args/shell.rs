//! `completion`, `man`, `plugin`: what puts hoist among the tools of a machine.
//!
//! Imports: clap.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `completion`
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    pub shell: ShellArg,
}

/// A shell that completes words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ShellArg {
    /// bash, from 4.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
    /// PowerShell, from 7.
    Powershell,
}

/// `man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Directory for the pages of all commands [default: the page of hoist itself, on standard output]
    pub dir: Option<PathBuf>,
}

/// `plugin`
#[derive(Debug, Args)]
pub struct PluginArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PluginCommand,
}

/// `plugin …`
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Have `docker compose` call hoist
    Install(PluginInstallArgs),
    /// Have `docker compose` be what it was before
    Remove(PluginRemoveArgs),
}

/// `plugin install`
#[derive(Debug, Default, Args)]
pub struct PluginInstallArgs {
    /// For all users of this machine, not only for you
    #[arg(long)]
    pub system: bool,
    /// Put another plugin aside that is there
    #[arg(short, long)]
    pub force: bool,
}

/// `plugin remove`
#[derive(Debug, Default, Args)]
pub struct PluginRemoveArgs {
    /// The one for all users of this machine
    #[arg(long)]
    pub system: bool,
}
