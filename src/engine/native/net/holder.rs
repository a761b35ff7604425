//! Who has a port of the host.
//!
//! Imports: `engine::spec`. Source: proc(5), `/proc/net/tcp` and `/proc/pid/fd`.

use std::net::Ipv4Addr;
use std::path::Path;

use crate::engine::spec::Protocol;

/// First argument of a supervisor's command line.
const SUPERVISOR: &str = "hoist-supervisor";

/// Names the process that has a port: `nginx (pid 4711)`, or `container demo-web-1`. `None` when no
/// process has it (any more), or it can't be seen.
pub(super) fn of(protocol: Protocol, address: Ipv4Addr, port: u16) -> Option<String> {
    let (v4, v6) = match protocol {
        Protocol::Tcp => ("tcp", "tcp6"),
        Protocol::Udp => ("udp", "udp6"),
        Protocol::Sctp => return None,
    };
    let mut inodes = Vec::new();
    for file in [v4, v6] {
        if let Ok(text) = std::fs::read_to_string(format!("/proc/thread-self/net/{file}")) {
            inodes.extend(
                text.lines()
                    .skip(1)
                    .filter_map(|line| inode(line, address, port)),
            );
        }
    }
    if inodes.is_empty() {
        None
    } else {
        process(&inodes)
    }
}

/// The inode of a socket that has a port and is in the way of an address; a connection that is running
/// out has none.
fn inode(line: &str, address: Ipv4Addr, port: u16) -> Option<u64> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, at) = fields.get(1)?.split_once(':')?;
    if u16::from_str_radix(at, 16).ok()? != port {
        return None;
    }
    // The last 32 bits of an IPv6 address are those of the IPv4 address it stands for.
    let tail = local.get(local.len().checked_sub(8)?..)?;
    let bound = Ipv4Addr::from(u32::from_str_radix(tail, 16).ok()?.to_ne_bytes());
    let clash = bound.is_unspecified() || address.is_unspecified() || bound == address;
    let inode: u64 = fields.get(9)?.parse().ok()?;
    (clash && inode != 0).then_some(inode)
}

fn process(inodes: &[u64]) -> Option<String> {
    let wanted: Vec<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let mut pids: Vec<u32> = std::fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    for pid in pids {
        let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(target) = std::fs::read_link(entry.path()) else {
                continue;
            };
            if wanted.iter().any(|socket| Path::new(socket) == target) {
                return Some(name(pid));
            }
        }
    }
    None
}

fn name(pid: u32) -> String {
    let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    describe(pid, &read("cmdline"), &read("comm"))
}

fn describe(pid: u32, cmdline: &[u8], comm: &[u8]) -> String {
    let words: Vec<String> = cmdline
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let ours = words.iter().take(2).any(|word| word == "__supervise")
        || words
            .first()
            .is_some_and(|word| word.starts_with(SUPERVISOR));
    let container = words.last().map(|word| {
        word.strip_prefix(SUPERVISOR)
            .map_or(word.as_str(), |rest| rest.trim_start_matches([':', ' ']))
    });
    match container {
        Some(container) if ours && !container.is_empty() => format!("container {container}"),
        _ => format!("{} (pid {pid})", String::from_utf8_lossy(comm).trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENS: &str = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000 100 0 0 10 0";

    #[test]
    fn a_listener_is_in_the_way_of_its_own_and_of_all_addresses() {
        assert_eq!(inode(LISTENS, Ipv4Addr::LOCALHOST, 8080), Some(12345));
        assert_eq!(inode(LISTENS, Ipv4Addr::UNSPECIFIED, 8080), Some(12345));
        assert_eq!(inode(LISTENS, Ipv4Addr::new(10, 0, 0, 1), 8080), None);
        assert_eq!(inode(LISTENS, Ipv4Addr::LOCALHOST, 8081), None);
        assert_eq!(inode("broken", Ipv4Addr::LOCALHOST, 8081), None);
    }

    #[test]
    fn a_supervisor_is_named_by_its_container_and_others_by_program() {
        let cmdline = b"hoist-supervisor: demo-web-1\0__supervise\0/run/x\0demo-web-1\0";
        assert_eq!(describe(7, cmdline, b"hoist\n"), "container demo-web-1");
        assert_eq!(
            describe(7, b"hoist-supervisor: demo-web-1\0", b"h"),
            "container demo-web-1"
        );
        assert_eq!(
            describe(4711, b"nginx: master\0", b"nginx\n"),
            "nginx (pid 4711)"
        );
    }
}
