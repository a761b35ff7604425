//! Who has a port of the host.
//!
//! Imports: `engine::spec`. Sources: proc(5), `/proc/net/tcp` and `/proc/pid/fd`; Docker's API, `GET /containers/json`.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::engine::spec::Protocol;

/// First argument of a supervisor's command line.
const SUPERVISOR: &str = "hoist-supervisor";
/// How long Docker may take to say which of its containers it is.
const DOCKER_LIMIT: Duration = Duration::from_secs(1);

/// Names the process that has a port: `nginx (pid 4711)`, `container demo-web-1 of project demo`, `Docker's container
/// web-1`. `None` when no process has it (any more), or it can't be seen.
pub(super) fn of(protocol: Protocol, address: IpAddr, port: u16) -> Option<String> {
    let (v4, v6) = match protocol {
        Protocol::Tcp => ("tcp", "tcp6"),
        Protocol::Udp => ("udp", "udp6"),
        Protocol::Sctp => return None,
    };
    // One of the other version of IP is in the way only where it takes both, which can't be seen: it comes last.
    let files = match address {
        IpAddr::V4(_) => [v4, v6],
        IpAddr::V6(_) => [v6, v4],
    };
    files.iter().find_map(|file| {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).ok()?;
        let lines = text.lines().skip(1);
        let inodes: Vec<u64> = lines
            .filter_map(|line| inode(line, address, port))
            .collect();
        let pid = process(&inodes)?;
        Some(name(pid, protocol, port))
    })
}

/// Reads an address as the kernel prints it: words of 32 bits, each in the machine's order of bytes.
fn bound(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    if text.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut bytes = [0; 16];
    for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
        chunk.copy_from_slice(&word(at)?);
    }
    Some(Ipv6Addr::from(bytes).to_canonical())
}

/// The inode of a socket that has a port and is in the way of an address; a connection that is running
/// out has none.
fn inode(line: &str, address: IpAddr, port: u16) -> Option<u64> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, at) = fields.get(1)?.split_once(':')?;
    if u16::from_str_radix(at, 16).ok()? != port {
        return None;
    }
    let bound = bound(local)?;
    let clash = match (bound, address) {
        // All addresses of IPv6 may be those of IPv4, too.
        (IpAddr::V6(bound), IpAddr::V4(_)) => bound.is_unspecified(),
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
        (bound, address) => bound.is_unspecified() || address.is_unspecified() || bound == address,
    };
    let inode: u64 = fields.get(9)?.parse().ok()?;
    (clash && inode != 0).then_some(inode)
}

/// The process that has one of the sockets open.
fn process(inodes: &[u64]) -> Option<u32> {
    if inodes.is_empty() {
        return None;
    }
    let wanted: Vec<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let mut pids: Vec<u32> = std::fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    let has = |pid: &u32| {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd"));
        let mut targets = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        targets.any(|target| wanted.iter().any(|socket| Path::new(socket) == target))
    };
    pids.into_iter().find(has)
}

fn name(pid: u32, protocol: Protocol, port: u16) -> String {
    let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let comm = read("comm");
    let of_docker = match comm.trim_ascii_end() {
        b"docker-proxy" => parent(pid).and_then(|engine| docker(engine, protocol, port)),
        b"dockerd" => docker(pid, protocol, port),
        _ => None,
    };
    match of_docker {
        Some(container) => format!("Docker's container {container}"),
        None => describe(pid, &read("cmdline"), &comm),
    }
}

fn words(cmdline: &[u8]) -> Vec<String> {
    cmdline
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

fn describe(pid: u32, cmdline: &[u8], comm: &[u8]) -> String {
    let words = words(cmdline);
    let mark = words.iter().take(2).position(|word| word == "__supervise");
    let ours = mark.is_some()
        || words
            .first()
            .is_some_and(|word| word.starts_with(SUPERVISOR));
    let container = words.last().map(|word| {
        word.strip_prefix(SUPERVISOR)
            .map_or(word.as_str(), |rest| rest.trim_start_matches([':', ' ']))
    });
    // Behind the mark: two directories, the project, the container's id.
    let project = mark.and_then(|mark| words.get(mark + 3));
    match (container, project) {
        (Some(container), Some(project)) if ours && words.len() > 6 => {
            format!("container {container} of project {project}")
        }
        (Some(container), _) if ours && !container.is_empty() => format!("container {container}"),
        _ => format!("{} (pid {pid})", String::from_utf8_lossy(comm).trim_end()),
    }
}

fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

/// The name of the container for which a Docker engine has a port.
fn docker(engine: u32, protocol: Protocol, port: u16) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Container {
        names: Vec<String>,
        #[serde(default)]
        ports: Vec<Published>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Published {
        public_port: Option<u16>,
        r#type: String,
    }
    let mut socket = UnixStream::connect(docker_socket(engine)).ok()?;
    socket.set_read_timeout(Some(DOCKER_LIMIT)).ok()?;
    socket.set_write_timeout(Some(DOCKER_LIMIT)).ok()?;
    let ask = b"GET /containers/json HTTP/1.0\r\nHost: docker\r\n\r\n";
    socket.write_all(ask).ok()?;
    let mut answer = Vec::new();
    socket.take(4 << 20).read_to_end(&mut answer).ok()?;
    let body = answer.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let containers: Vec<Container> = serde_json::from_slice(answer.get(body..)?).ok()?;
    let has = |published: &Published| {
        published.public_port == Some(port) && published.r#type == protocol.as_str()
    };
    let found = containers
        .into_iter()
        .find(|container| container.ports.iter().any(has))?;
    let name = found.names.first()?;
    Some(name.trim_start_matches('/').to_owned())
}

/// Where an engine listens, seen from here: it may have a root of its own.
fn docker_socket(engine: u32) -> PathBuf {
    let cmdline = std::fs::read(format!("/proc/{engine}/cmdline")).unwrap_or_default();
    let words = words(&cmdline);
    let said = words.iter().find_map(|word| {
        let (_, path) = word.split_once("unix://")?;
        Some(path.to_owned())
    });
    let path = said.unwrap_or_else(|| "/run/docker.sock".to_owned());
    PathBuf::from(format!(
        "/proc/{engine}/root/{}",
        path.trim_start_matches('/')
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENS: &str = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000 100 0 0 10 0";
    const LISTENS_6: &str = "   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 777 1 0000000000000000 100 0 0 10 0";
    const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const ANY_6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

    #[test]
    fn a_listener_is_in_the_way_of_its_own_and_of_all_addresses() {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(inode(LISTENS, local, 8080), Some(12345));
        assert_eq!(inode(LISTENS, ANY, 8080), Some(12345));
        assert_eq!(inode(LISTENS, [10, 0, 0, 1].into(), 8080), None);
        assert_eq!(inode(LISTENS, local, 8081), None);
        assert_eq!(inode("broken", local, 8081), None);
        assert_eq!(inode(LISTENS, ANY_6, 8080), None);
    }

    #[test]
    fn a_listener_of_ipv6_may_be_in_the_way_of_both() {
        assert_eq!(inode(LISTENS_6, ANY_6, 8080), Some(777));
        assert_eq!(
            inode(LISTENS_6, Ipv6Addr::LOCALHOST.into(), 8080),
            Some(777)
        );
        assert_eq!(inode(LISTENS_6, ANY, 8080), Some(777));
        let local = LISTENS_6.replacen("00000000:1F90", "01000000:1F90", 1);
        assert_eq!(inode(&local, Ipv6Addr::LOCALHOST.into(), 8080), Some(777));
        assert_eq!(inode(&local, ANY, 8080), None);
    }

    #[test]
    fn a_supervisor_is_named_by_its_container_and_others_by_program() {
        let cmdline =
            b"hoist-supervisor: demo-web-1\0__supervise\0/d\0/r\0demo\0id\0start\0demo-web-1\0";
        assert_eq!(
            describe(7, cmdline, b"hoist\n"),
            "container demo-web-1 of project demo"
        );
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
