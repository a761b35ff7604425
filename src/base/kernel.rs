//! Names that Linux gives to what a container may have: capabilities, resource limits, parameters of a namespace.
//!
//! The compose file and the engine use them word for word. Imports: nothing.
//! Sources: linux/capability.h (Linux 6.12), getrlimit(2); which parameters belong to a namespace as runc
//! (`libcontainer/configs/validate`).

/// Capabilities in the order of their numbers, without `CAP_`.
pub const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Resource limits as `ulimits` names them.
pub const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Reads a capability in any of its spellings: `CAP_NET_ADMIN`, `net_admin`, `ALL` → `NET_ADMIN`, `ALL`.
pub fn capability(text: &str) -> Option<&'static str> {
    let upper = text.trim().to_ascii_uppercase();
    let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let mut known = ["ALL"].into_iter().chain(CAPABILITIES);
    known.find(|name| *name == plain)
}

/// The namespace that a kernel parameter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The network's: `net.*`.
    Network,
    /// Message queues, semaphores, shared memory.
    Ipc,
    /// Host and domain name.
    Uts,
}

/// The path below `/proc/sys` of a parameter: the first separator met is the separator, as sysctl(8).
pub fn parameter_path(name: &str) -> String {
    let dots = name.find('.').unwrap_or(usize::MAX) < name.find('/').unwrap_or(usize::MAX);
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    if dots {
        name.chars().map(swap).collect()
    } else {
        name.to_owned()
    }
}

/// Whose parameter the file at a path below `/proc/sys` is; `None` for the whole machine's, and for what is no
/// plain path.
pub fn parameter_scope(path: &str) -> Option<Scope> {
    const IPC: [&str; 8] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    ];
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    if !path.split('/').all(plain) {
        None
    } else if path.starts_with("net/") {
        Some(Scope::Network)
    } else if path.starts_with("fs/mqueue/") || IPC.contains(&path) {
        Some(Scope::Ipc)
    } else if path == "kernel/domainname" {
        Some(Scope::Uts)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_is_known_in_each_spelling() {
        for (text, want) in [
            ("CAP_NET_ADMIN", Some("NET_ADMIN")),
            ("net_admin", Some("NET_ADMIN")),
            ("cap_all", Some("ALL")),
            ("FLY", None),
            ("", None),
        ] {
            assert_eq!(capability(text), want, "{text}");
        }
    }

    #[test]
    fn a_parameter_name_has_dots_or_slashes() {
        assert_eq!(parameter_path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(
            parameter_path("net/ipv4/conf/eth0.1/x"),
            "net/ipv4/conf/eth0.1/x"
        );
        assert_eq!(
            parameter_path("net.ipv4.conf.eth0/1.x"),
            "net/ipv4/conf/eth0.1/x"
        );
    }

    #[test]
    fn parameters_of_the_whole_machine_have_no_scope() {
        for (path, want) in [
            ("net/core/somaxconn", Some(Scope::Network)),
            ("kernel/shmmax", Some(Scope::Ipc)),
            ("fs/mqueue/msg_max", Some(Scope::Ipc)),
            ("kernel/domainname", Some(Scope::Uts)),
            ("kernel/hostname", None),
            ("kernel/core_pattern", None),
            ("kernel/shmmax/x", None),
            ("net/../kernel/core_pattern", None),
            ("net//x", None),
            ("net", None),
            ("vm/swappiness", None),
        ] {
            assert_eq!(parameter_scope(path), want, "{path}");
        }
    }
}
