//! Proxies: which one a request goes through.
//!
//! In: the environment. Out: for an address, a proxy or none. The proxies' own passwords are in no text of ours.
//! Imports: `base::env`. Rules: Go `golang.org/x/net/http/httpproxy`, which Docker's users know: `HTTP_PROXY`,
//! `HTTPS_PROXY`, `NO_PROXY`, each also in lower case; never for loopback addresses. `ALL_PROXY` as curl.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::{ClientBuilder, Proxy, Url};

use crate::base::env::Env;

/// What the variables say.
#[derive(Clone, Default)]
pub(in crate::image) struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    direct: Vec<Direct>,
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proxies")
    }
}

/// Addresses that are reached without a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Direct {
    All,
    Net(IpNet),
    Host {
        /// In lower case, without a leading dot.
        name: String,
        /// Names below it only.
        below: bool,
        port: Option<u16>,
    },
}

impl Proxies {
    /// Reads the variables.
    ///
    /// # Errors
    /// A proxy's address that is none, without the address, which may have a password in it.
    pub(in crate::image) fn read(env: &Env) -> Result<Self, String> {
        let said = env
            .non_empty("no_proxy")
            .or_else(|| env.non_empty("NO_PROXY"))
            .unwrap_or_default();
        Ok(Self {
            http: one(env, "HTTP_PROXY")?,
            https: one(env, "HTTPS_PROXY")?,
            direct: said.split(',').filter_map(direct).collect(),
        })
    }
    /// The proxy for an address.
    pub(in crate::image) fn of(&self, url: &Url) -> Option<&Url> {
        let proxy = match url.scheme() {
            "https" => self.https.as_ref(),
            _ => self.http.as_ref(),
        }?;
        let host = bare(url.host_str()?).to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok();
        let loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        let port = url.port_or_known_default();
        let exempt = |entry: &Direct| match entry {
            Direct::All => true,
            Direct::Net(net) => address.is_some_and(|address| net.contains(&address)),
            Direct::Host {
                name,
                below,
                port: wanted,
            } => {
                let sub = host
                    .strip_suffix(name.as_str())
                    .is_some_and(|rest| rest.ends_with('.'));
                (sub || (!below && host == *name)) && (wanted.is_none() || *wanted == port)
            }
        };
        (!loopback && !self.direct.iter().any(exempt)).then_some(proxy)
    }
    /// Has a client go through them.
    pub(in crate::image) fn set(self, builder: ClientBuilder) -> ClientBuilder {
        let builder = builder.no_proxy();
        if self.http.is_none() && self.https.is_none() {
            return builder;
        }
        let all = Arc::new(self);
        builder.proxy(Proxy::custom(move |url| all.of(url).cloned()))
    }
}

/// One variable: an address, or `host[:port]`, which means `http://`.
fn one(env: &Env, name: &str) -> Result<Option<Url>, String> {
    let lower = name.to_ascii_lowercase();
    // A web server sets HTTP_PROXY from a request's header, but hoist is never one.
    let found = [lower.as_str(), name, "all_proxy", "ALL_PROXY"]
        .into_iter()
        .find_map(|name| Some((name, env.non_empty(name)?)));
    let Some((name, text)) = found else {
        return Ok(None);
    };
    let known = ["http", "https", "socks5", "socks5h", "socks4", "socks4a"];
    let parsed = match text.contains("://") {
        true => Url::parse(text),
        false => Url::parse(&format!("http://{text}")),
    };
    match parsed {
        Ok(url) if known.contains(&url.scheme()) && url.host_str().is_some() => Ok(Some(url)),
        _ => Err(format!(
            "{name} is no address of a proxy: write http://HOST:PORT, https:// or socks5://"
        )),
    }
}

/// One entry of `NO_PROXY`.
fn direct(text: &str) -> Option<Direct> {
    let text = text.trim().to_ascii_lowercase();
    if text.is_empty() {
        return None;
    }
    if text == "*" {
        return Some(Direct::All);
    }
    if let Ok(net) = text.parse::<IpNet>() {
        return Some(Direct::Net(net));
    }
    if let Ok(address) = bare(&text).parse::<IpAddr>() {
        return Some(Direct::Net(address.into()));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(port.parse().ok()?)),
        None => (text.as_str(), None),
    };
    let name = name.strip_prefix('*').unwrap_or(name);
    let stripped = name.strip_prefix('.');
    let name = bare(stripped.unwrap_or(name)).to_owned();
    (!name.is_empty()).then_some(Direct::Host {
        name,
        below: stripped.is_some(),
        port,
    })
}

/// An address without the brackets of IPv6.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> Env {
        let mut env = Env::default();
        for (name, value) in vars {
            env.vars.insert((*name).to_owned(), (*value).to_owned());
        }
        env
    }
    fn of(vars: &[(&str, &str)], url: &str) -> Option<String> {
        let proxies = Proxies::read(&env(vars)).unwrap();
        proxies
            .of(&Url::parse(url).unwrap())
            .map(ToString::to_string)
    }

    #[test]
    fn lower_case_wins_and_a_bare_host_is_http() {
        let vars = [
            ("HTTPS_PROXY", "https://upper:1"),
            ("https_proxy", "lower:2"),
            ("ALL_PROXY", "socks5h://all:3"),
        ];
        assert_eq!(
            of(&vars, "https://r.example/").as_deref(),
            Some("http://lower:2/")
        );
        assert_eq!(
            of(&vars, "http://r.example/").as_deref(),
            Some("socks5h://all:3")
        );
        assert_eq!(of(&[], "https://r.example/"), None);
        for local in [
            "http://localhost:5000",
            "http://127.9.9.9",
            "http://[::1]:5",
        ] {
            assert_eq!(of(&vars, local), None, "{local}");
        }
    }

    #[test]
    fn no_proxy_names_hosts_domains_networks_and_ports() {
        let exempt = |list: &str, url: &str| {
            of(&[("HTTPS_PROXY", "http://p"), ("NO_PROXY", list)], url).is_none()
        };
        for (list, url, direct) in [
            ("example.com", "https://example.com/", true),
            ("example.com", "https://a.b.example.com/", true),
            ("example.com", "https://badexample.com/", false),
            (".example.com", "https://example.com/", false),
            (".example.com", "https://a.example.com/", true),
            ("*.example.com", "https://a.example.com/", true),
            ("EXAMPLE.com", "https://Example.COM/", true),
            ("example.com:443", "https://example.com/", true),
            ("example.com:5000", "https://example.com/", false),
            ("example.com:5000", "https://example.com:5000/", true),
            ("10.0.0.0/8", "https://10.1.2.3:5000/", true),
            ("10.0.0.0/8", "https://11.1.2.3/", false),
            ("fd00::/8", "https://[fd00::1]/", true),
            ("10.1.2.3", "https://10.1.2.3/", true),
            (" a.example , b.example", "https://b.example/", true),
            ("*", "https://anything.example/", true),
            ("", "https://a.example/", false),
        ] {
            assert_eq!(exempt(list, url), direct, "{list} {url}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_told_without_its_password() {
        let error = Proxies::read(&env(&[("HTTPS_PROXY", "ftp://me:hush@p:1")])).unwrap_err();
        assert!(
            error.starts_with("HTTPS_PROXY ") && !error.contains("hush"),
            "{error}"
        );
        let proxies = Proxies::read(&env(&[("HTTPS_PROXY", "http://me:hush@p:1")])).unwrap();
        assert!(!format!("{proxies:?}").contains("hush"));
    }
}
