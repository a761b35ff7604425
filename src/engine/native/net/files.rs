//! `/etc/resolv.conf` and `/etc/hosts` of a container, as text.
//!
//! Pure: the host's own files come in as text. Imports: `engine::spec`. As Docker: `libnetwork/internal/resolvconf`
//! and `etchosts`. Source: resolv.conf(5), hosts(5).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use crate::engine::spec::{DnsConfig, HostAddr};

/// Where a container's own answerer listens.
pub const ANSWERER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Who resolves names for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolver {
    /// Its own [answerer](crate::engine::native::dns).
    Answerer,
    /// The host's resolvers: it has the host's network, or none.
    Host,
}

/// A resolver as a resolv.conf names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nameserver {
    /// Its address.
    pub address: IpAddr,
    /// The link it is on, by name or number: `eth0` of `fe80::1%eth0`.
    pub scope: Option<String>,
}

impl From<IpAddr> for Nameserver {
    fn from(address: IpAddr) -> Self {
        Self {
            address,
            scope: None,
        }
    }
}

impl Nameserver {
    fn parse(text: &str) -> Option<Self> {
        let (address, scope) = match text.split_once('%') {
            Some((address, scope)) => (address, Some(scope.to_owned())),
            None => (text, None),
        };
        let address = address.parse().ok()?;
        Some(Self { address, scope })
    }
}

impl std::fmt::Display for Nameserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.scope {
            Some(scope) => write!(f, "{}%{scope}", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

/// What a resolv.conf says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Resolvers in order.
    pub servers: Vec<Nameserver>,
    /// Search domains in order.
    pub search: Vec<String>,
    /// Options in order.
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Reads a text; lines it does not know are passed over.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    conf.servers
                        .extend(words.next().and_then(Nameserver::parse));
                }
                // The last one counts.
                Some("search" | "domain") => {
                    conf.search = words.map(str::to_owned).collect();
                }
                Some("options") => conf.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        conf
    }
    fn text(&self) -> String {
        let mut text = String::new();
        for server in &self.servers {
            let _ = writeln!(text, "nameserver {server}");
        }
        if !self.search.is_empty() {
            let _ = writeln!(text, "search {}", self.search.join(" "));
        }
        if !self.options.is_empty() {
            let _ = writeln!(text, "options {}", self.options.join(" "));
        }
        text
    }
}

/// A container's resolv.conf. `host` is the host's; what `dns` says replaces its parts.
pub fn resolv_conf(host: &str, dns: &DnsConfig, resolver: Resolver) -> String {
    let own = dns.servers.is_empty() && dns.search.is_empty() && dns.options.is_empty();
    if own && resolver == Resolver::Host {
        return host.to_owned();
    }
    let mut conf = ResolvConf::parse(host);
    if !dns.search.is_empty() {
        // As Docker: `.` alone asks for no search domain at all.
        conf.search = dns
            .search
            .iter()
            .filter(|domain| *domain != ".")
            .cloned()
            .collect();
    }
    if !dns.options.is_empty() {
        conf.options.clone_from(&dns.options);
    } else if resolver == Resolver::Answerer {
        // What speaks of the host's own resolver does not hold for ours.
        let of_host = |option: &String| matches!(option.as_str(), "trust-ad" | "edns0");
        conf.options.retain(|option| !of_host(option));
    }
    match resolver {
        Resolver::Answerer => {
            conf.servers = vec![IpAddr::V4(ANSWERER).into()];
            if !conf
                .options
                .iter()
                .any(|option| option.starts_with("ndots:"))
            {
                conf.options.push("ndots:0".to_owned());
            }
        }
        Resolver::Host if !dns.servers.is_empty() => {
            conf.servers = dns.servers.iter().copied().map(Nameserver::from).collect();
        }
        Resolver::Host => {}
    }
    conf.text()
}

/// What goes into a container's hosts file.
#[derive(Debug, Clone, Copy)]
pub struct Hosts<'a> {
    /// The host's own file, for containers on the host's network.
    pub host: Option<&'a str>,
    /// The container's host name; with the domain, if it has one.
    pub hostname: &'a str,
    /// Its domain name.
    pub domainname: Option<&'a str>,
    /// Its addresses.
    pub addresses: &'a [IpAddr],
    /// Extra names.
    pub extra: &'a [(String, HostAddr)],
    /// What `host-gateway` stands for; names that need it are left out when there is none.
    pub gateways: &'a [IpAddr],
}

/// A container's hosts file.
pub fn hosts(wanted: &Hosts<'_>) -> String {
    let mut text = match wanted.host {
        Some(host) if host.is_empty() || host.ends_with('\n') => host.to_owned(),
        Some(host) => format!("{host}\n"),
        None => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
                 ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
            .to_owned(),
    };
    for (name, address) in wanted.extra {
        let addresses = match address {
            HostAddr::Ip(address) => std::slice::from_ref(address),
            HostAddr::Gateway => wanted.gateways,
        };
        for address in addresses {
            let _ = writeln!(text, "{address}\t{name}");
        }
    }
    if wanted.host.is_none() && !wanted.hostname.is_empty() {
        let names = match wanted.domainname.filter(|domain| !domain.is_empty()) {
            Some(domain) => format!("{0}.{domain} {0}", wanted.hostname),
            None => wanted.hostname.to_owned(),
        };
        for address in wanted.addresses {
            let _ = writeln!(text, "{address}\t{names}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# made by x\nnameserver 127.0.0.53\nnameserver 1.1.1.1\nsearch a.test b.test\noptions edns0 trust-ad\n";

    #[test]
    fn a_container_on_networks_asks_its_answerer_and_searches_as_the_host_does() {
        assert_eq!(
            resolv_conf(HOST, &DnsConfig::default(), Resolver::Answerer),
            "nameserver 127.0.0.11\nsearch a.test b.test\noptions ndots:0\n"
        );
        let dns = DnsConfig {
            servers: vec![IpAddr::from([9, 9, 9, 9])],
            search: vec![".".into()],
            options: vec!["ndots:2".into(), "edns0".into()],
        };
        assert_eq!(
            resolv_conf(HOST, &dns, Resolver::Answerer),
            "nameserver 127.0.0.11\noptions ndots:2 edns0\n"
        );
    }

    #[test]
    fn resolvers_keep_their_scope_and_there_may_be_many() {
        let text = "nameserver fe80::1%eth0\n nameserver 2001:db8::1\nnameserver nonsense\nnameserver 192.0.2.1 # x\n\
                    nameserver\nsearch\ndomain a.test\nsortlist 1\noptions a b\noptions c\n";
        let conf = ResolvConf::parse(text);
        let servers: Vec<String> = conf.servers.iter().map(Nameserver::to_string).collect();
        assert_eq!(servers, ["fe80::1%eth0", "2001:db8::1", "192.0.2.1"]);
        assert_eq!((conf.search.len(), conf.options.len()), (1, 3));
        let dns = DnsConfig {
            search: vec!["b.test".into()],
            ..DnsConfig::default()
        };
        let own = resolv_conf(text, &dns, Resolver::Host);
        assert!(own.starts_with("nameserver fe80::1%eth0\n"), "{own}");
    }

    #[test]
    fn a_container_on_the_hosts_network_has_the_hosts_file_unless_told_otherwise() {
        assert_eq!(
            resolv_conf(HOST, &DnsConfig::default(), Resolver::Host),
            HOST
        );
        let dns = DnsConfig {
            servers: vec![IpAddr::from([9, 9, 9, 9])],
            ..DnsConfig::default()
        };
        assert_eq!(
            resolv_conf(HOST, &dns, Resolver::Host),
            "nameserver 9.9.9.9\nsearch a.test b.test\noptions edns0 trust-ad\n"
        );
    }

    #[test]
    fn the_hosts_file_ends_with_extra_names_and_the_containers_own() {
        let extra = [
            (
                "db.test".to_owned(),
                HostAddr::Ip(IpAddr::from([10, 0, 0, 9])),
            ),
            ("up.test".to_owned(), HostAddr::Gateway),
        ];
        let text = hosts(&Hosts {
            host: None,
            hostname: "web",
            domainname: Some("example.test"),
            addresses: &[IpAddr::from([10, 5, 0, 2])],
            extra: &extra,
            gateways: &[IpAddr::from([10, 5, 0, 1]), "fd05::1".parse().unwrap()],
        });
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(
            text.ends_with(
                "10.0.0.9\tdb.test\n10.5.0.1\tup.test\nfd05::1\tup.test\n10.5.0.2\tweb.example.test web\n"
            )
        );
    }
}
