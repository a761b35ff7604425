//! What steps of a build get beyond the ordinary: agents, rights, limits. Imports: clap. As Docker: `docker build`, with
//! the limits of its classic builder.

use clap::Args;

/// Options about steps.
#[derive(Debug, Default, Args)]
pub struct StepArgs {
    /// Lend an ssh agent or keys to RUN: `default` or `ID=SOCKET` or `ID=KEY,KEY`
    #[arg(long, value_name = "SPEC")]
    pub ssh: Vec<String>,
    /// Allow RUN more: `network.host`, `security.insecure`, `device`, `device=NAME`
    #[arg(long, value_name = "WHAT")]
    pub allow: Vec<String>,
    /// Most memory of a RUN
    #[arg(short, long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Most memory and swap of a RUN together; -1 is no limit
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory_swap: Option<String>,
    /// Share of the processors of a RUN, beside others
    #[arg(short, long, value_name = "NUMBER")]
    pub cpu_shares: Option<u64>,
    /// Microseconds over which `--cpu-quota` counts
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time of a RUN in each period
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    /// Processors a RUN may use: `0-2,4`
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes a RUN may use: `0,1`
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Most processes and threads of a RUN; -1 is no limit [default: 8192]
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
    /// A limit of each process: `NAME=SOFT[:HARD]`
    #[arg(long, value_name = "LIMIT")]
    pub ulimit: Vec<String>,
    /// Cgroup to put each RUN under
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,
    /// When a RUN fails, open a shell in it, then go on as you say
    #[arg(long)]
    pub debug: bool,
}
