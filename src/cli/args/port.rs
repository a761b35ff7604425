//! `port`: one port of a service, or all of a project.
//!
//! Imports: clap. As docker compose; `--env` is hoist's own.

use clap::Args;

/// `port`
#[derive(Debug, Default, Args)]
pub struct PortArgs {
    /// Which of the service's containers, from 1
    #[arg(long, value_name = "N")]
    pub index: Option<u32>,
    /// `tcp` or `udp`
    #[arg(long, default_value = "tcp")]
    pub protocol: String,
    /// Print where all published ports are, as NAME=ADDRESS lines for a shell
    #[arg(long, conflicts_with_all = ["index", "protocol", "private_port"])]
    pub env: bool,
    /// With --env: env, dotenv or json
    #[arg(long, value_name = "FORMAT", default_value = "env", requires = "env")]
    pub format: String,
    /// The service
    #[arg(
        required_unless_present = "env",
        default_value = "",
        hide_default_value = true
    )]
    pub service: String,
    /// The container's port
    #[arg(
        required_unless_present = "env",
        default_value = "",
        hide_default_value = true
    )]
    pub private_port: String,
}
