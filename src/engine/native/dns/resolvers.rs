//! Who is asked about names that are not in the zone, and in which order.
//!
//! In: a file or addresses, and who has been silent. Out: addresses in the order of asking. The file is
//! followed: it may be replaced, rewritten, linked elsewhere, or come later. Imports: `net::files`.
//! Source: resolv.conf(5).

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::engine::native::net::files::{Nameserver, ResolvConf};

const PORT: u16 = 53;
/// Most resolvers that are asked about a name.
const MOST: usize = 4;
/// How long one that was silent is asked last.
const SHUNNED: Duration = Duration::from_secs(30);

/// Who is asked about names that are not in the zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// The resolvers of this file, as it is at the time, from the host's namespace.
    File(PathBuf),
    /// These, from the container's namespace.
    Servers {
        /// Their addresses, in order.
        addresses: Vec<IpAddr>,
        /// Whether each question begins with another one.
        rotate: bool,
    },
    /// Nobody: all its networks are internal.
    Nobody,
}

/// Tells whether a file is another one than before.
pub(super) type Stamp = (u64, u64, i64, i64, u64);

pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    let (device, inode) = (found.dev(), found.ino());
    Some((
        device,
        inode,
        found.mtime(),
        found.mtime_nsec(),
        found.len(),
    ))
}

/// The resolvers of a container.
#[derive(Debug)]
pub(super) struct Resolvers {
    upstream: Upstream,
    stamp: Option<Stamp>,
    servers: Vec<Nameserver>,
    rotate: bool,
    turn: usize,
    /// Who has not answered, and since when it is shunned.
    silent: Vec<(SocketAddr, Instant)>,
}

impl Resolvers {
    pub(super) fn new(upstream: Upstream) -> Self {
        let (servers, rotate) = match &upstream {
            Upstream::Servers { addresses, rotate } => (
                addresses.iter().copied().map(Nameserver::from).collect(),
                *rotate,
            ),
            Upstream::File(_) | Upstream::Nobody => (Vec::new(), false),
        };
        Self {
            upstream,
            stamp: None,
            servers,
            rotate,
            turn: 0,
            silent: Vec::new(),
        }
    }
    /// Reads the file again when it is another one.
    fn follow(&mut self) {
        let Upstream::File(path) = &self.upstream else {
            return;
        };
        let now = stamp(path);
        if now.is_some() && now == self.stamp {
            return;
        }
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let conf = ResolvConf::parse(&text);
        self.rotate = conf.options.iter().any(|option| option == "rotate");
        self.servers = conf.servers;
        if self.servers.is_empty() {
            // As the C library, where the file names nobody or is not there.
            self.servers.push(IpAddr::from([127, 0, 0, 1]).into());
        }
        self.stamp = now;
        self.silent.clear();
    }
    /// Whom to ask now, in order: those that were silent last.
    pub(super) fn order(&mut self, now: Instant) -> Vec<SocketAddr> {
        self.follow();
        let mut servers: Vec<SocketAddr> = self.servers.iter().filter_map(address).collect();
        if self.rotate && !servers.is_empty() {
            self.turn = self.turn.wrapping_add(1);
            let by = self.turn % servers.len();
            servers.rotate_left(by);
        }
        let mut first = true;
        servers.sort_by_cached_key(|server| {
            let Some((_, since)) = self.silent.iter_mut().find(|(who, _)| who == server) else {
                return false;
            };
            if std::mem::take(&mut first) && now.duration_since(*since) >= SHUNNED {
                // This question tries it; the others go elsewhere until it has answered.
                *since = now;
                return false;
            }
            true
        });
        servers.truncate(MOST);
        servers
    }
    /// Notes that a resolver has answered.
    pub(super) fn heard(&mut self, server: SocketAddr) {
        self.silent.retain(|(who, _)| *who != server);
    }
    /// Notes that a resolver has not answered for long.
    pub(super) fn silent(&mut self, server: SocketAddr, now: Instant) {
        self.heard(server);
        let known = self.servers.iter().filter_map(address);
        if known.into_iter().any(|known| known == server) {
            self.silent.push((server, now));
        }
    }
}

/// Where a resolver is asked; `None` while there is no such link.
fn address(server: &Nameserver) -> Option<SocketAddr> {
    let scope = match &server.scope {
        Some(scope) => scope
            .parse()
            .or_else(|_| nix::net::if_::if_nametoindex(scope.as_str()))
            .ok()?,
        None => 0,
    };
    Some(match server.address {
        IpAddr::V4(address) => (address, PORT).into(),
        IpAddr::V6(address) => SocketAddrV6::new(address, PORT, 0, scope).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(last: &[u8], rotate: bool) -> Resolvers {
        let addresses = last.iter().map(|last| IpAddr::from([192, 0, 2, *last]));
        Resolvers::new(Upstream::Servers {
            addresses: addresses.collect(),
            rotate,
        })
    }

    fn order(resolvers: &mut Resolvers, now: Instant) -> Vec<u8> {
        let last = |server: SocketAddr| match server.ip() {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(_) => 0,
        };
        resolvers.order(now).into_iter().map(last).collect()
    }

    fn at(last: u8) -> SocketAddr {
        ([192, 0, 2, last], PORT).into()
    }

    #[test]
    fn who_was_silent_is_asked_last_until_it_is_tried_again_and_answers() {
        let mut some = servers(&[1, 2, 3], false);
        let start = Instant::now();
        assert_eq!(order(&mut some, start), [1, 2, 3]);
        some.silent(at(1), start);
        assert_eq!(order(&mut some, start), [2, 3, 1]);
        let later = start + SHUNNED;
        assert_eq!(order(&mut some, later), [1, 2, 3], "one question tries it");
        assert_eq!(order(&mut some, later), [2, 3, 1], "and one only");
        some.heard(at(1));
        assert_eq!(order(&mut some, later), [1, 2, 3]);
        some.silent(at(9), start);
        assert!(some.silent.is_empty(), "nobody else is kept in mind");
    }

    #[test]
    fn rotation_begins_with_another_one_each_time() {
        let mut some = servers(&[1, 2], true);
        let now = Instant::now();
        let (first, second) = (order(&mut some, now), order(&mut some, now));
        assert_eq!(first, second.into_iter().rev().collect::<Vec<_>>());
    }

    #[test]
    fn a_link_local_resolver_is_asked_on_its_link() {
        let conf = ResolvConf::parse("nameserver fe80::1%lo\nnameserver fe80::2%no-such-link\n");
        let found: Vec<SocketAddr> = conf.servers.iter().filter_map(address).collect();
        let [SocketAddr::V6(one)] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_ne!(one.scope_id(), 0);
    }
}
