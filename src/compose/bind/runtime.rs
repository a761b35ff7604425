//! How a service's containers run: restart, health, namespaces, networks, ports.
//!
//! In: canonical values. Out: their typed form. Imports: `base`, `canon` (port ranges), `model`, `tree`.

use std::net::IpAddr;
use std::time::Duration;

use indexmap::IndexMap;

use super::{Binder, duration, flag, integer, spanned, text, texts};
use crate::base::diag::Diagnostic;
use crate::base::name::ServiceName;
use crate::base::scalar;
use crate::base::span::Spanned;
use crate::base::term::{Protocol, RestartPace, RestartPolicy};
use crate::compose::canon::read_range;
use crate::compose::model::{
    Condition, Dependency, HealthcheckSpec, LogOption, Logging, NetworkModeSpec, Port, PullPolicy,
    ServiceNetwork, TimingSpec,
};
use crate::compose::tree::{Node, Value};

impl Binder<'_, '_> {
    /// `restart`; what `deploy.restart_policy` says wins over it, as in Compose.
    pub(super) fn restart(&mut self, node: &Node) -> (RestartPolicy, RestartPace) {
        let expected =
            "a restart policy; write no, always, unless-stopped, on-failure or on-failure:3";
        let own = self.parse(node, "restart", expected, restart);
        let deploy = node.get("deploy");
        let Some(policy) = deploy.and_then(|deploy| deploy.get("restart_policy")) else {
            return (own.unwrap_or_default(), RestartPace::default());
        };
        let most = integer(policy, "max_attempts").and_then(|n| u32::try_from(n).ok());
        let most = most.filter(|most| *most > 0);
        let time = |key| duration(policy, key).filter(|time| !time.is_zero());
        let mut pace = RestartPace {
            delay: time("delay"),
            window: time("window"),
            most: None,
        };
        let words = "none, on-failure, any or unless-stopped";
        let restart = match policy.text_of("condition") {
            Some("none" | "no") => RestartPolicy::No,
            Some("on-failure") => RestartPolicy::OnFailure(most),
            Some("unless-stopped") => {
                pace.most = most;
                RestartPolicy::UnlessStopped
            }
            None | Some("any" | "always") => {
                pace.most = most;
                RestartPolicy::Always
            }
            Some(other) => {
                let fault = format!("`{other}` is not a condition; write {words}");
                let place = policy.get("condition").unwrap_or(policy);
                self.under("deploy", |binder| {
                    binder.under("restart_policy", |binder| {
                        binder.under("condition", |binder| binder.fault(place, fault));
                    });
                });
                RestartPolicy::No
            }
        };
        (restart, pace)
    }

    pub(super) fn pull_policy(&mut self, node: &Node) -> Option<Spanned<PullPolicy>> {
        let span = node.get("pull_policy")?.span;
        let expected =
            "a pull policy; write always, never, missing, build, daily, weekly or every_12h";
        let age = "a time; write it like 24h";
        let refresh = self.parse(node, "pull_refresh_after", age, scalar::parse_duration);
        let policy = self.parse(node, "pull_policy", expected, |text| {
            Some(match text {
                "refresh" if refresh.is_some() => PullPolicy::Every(refresh?),
                "always" | "refresh" => PullPolicy::Always,
                "never" => PullPolicy::Never,
                "missing" | "if_not_present" => PullPolicy::Missing,
                "build" => PullPolicy::Build,
                "daily" => PullPolicy::Every(Duration::from_secs(86_400)),
                "weekly" => PullPolicy::Every(Duration::from_secs(604_800)),
                _ => PullPolicy::Every(scalar::parse_duration(text.strip_prefix("every_")?)?),
            })
        });
        policy.map(|policy| Spanned::new(policy, span))
    }

    pub(super) fn healthcheck(&mut self, node: &Node) -> Option<HealthcheckSpec> {
        let node = node.get("healthcheck")?;
        let span = |key: &str| duration(node, key);
        let test = texts(node, "test");
        let off = flag(node, "disable") || test.first().is_some_and(|word| word == "NONE");
        let retries = integer(node, "retries");
        if let Some(value) = node
            .get("retries")
            .filter(|_| retries.is_some_and(|n| n < 0))
        {
            let path = self.path.key("healthcheck").key("retries");
            let fault = Diagnostic::error("the number of retries must not be negative");
            let fault = fault.at(value.place()).path(&path);
            self.session.diags.push(fault.label("expected 0 or more"));
        }
        Some(HealthcheckSpec {
            test: if test.is_empty() { None } else { Some(test) },
            timing: TimingSpec {
                interval: span("interval"),
                timeout: span("timeout"),
                retries: retries.and_then(|n| u32::try_from(n).ok()),
                start_period: span("start_period"),
                start_interval: span("start_interval"),
            },
            disable: off,
        })
    }

    pub(super) fn logging(&mut self, node: &Node) -> Option<Logging> {
        let node = node.get("logging")?;
        Some(Logging {
            driver: spanned(node, "driver"),
            options: node
                .get("options")
                .and_then(Node::entries)
                .into_iter()
                .flatten()
                .map(|(key, node)| {
                    let option = LogOption {
                        value: node.scalar().unwrap_or_default(),
                        span: node.span.into(),
                        key_span: node.key_place().into(),
                    };
                    (key.clone(), option)
                })
                .collect(),
        })
    }

    pub(super) fn depends_on(&mut self, node: &Node) -> IndexMap<ServiceName, Dependency> {
        let entries = node.get("depends_on").and_then(Node::entries);
        let dependency = |(name, node): (&String, &Node)| {
            let condition = match node.text_of("condition") {
                Some("service_healthy") => Condition::Healthy,
                Some("service_completed_successfully") => Condition::Completed,
                _ => Condition::Started,
            };
            let required = !matches!(
                node.get("required").map(|n| &n.value),
                Some(Value::Bool(false))
            );
            let span = Some(node.key_place());
            let restart = flag(node, "restart");
            (
                ServiceName::from(name.as_str()),
                Dependency {
                    condition,
                    restart,
                    required,
                    span,
                },
            )
        };
        let mut all: IndexMap<_, _> = entries.into_iter().flatten().map(dependency).collect();
        all.sort_keys();
        all
    }

    pub(super) fn attachments(&mut self, node: &Node) -> IndexMap<String, ServiceNetwork> {
        let mut all = IndexMap::new();
        let Some(networks) = node.get("networks") else {
            return all;
        };
        self.under("networks", |binder| {
            for (name, node) in super::sorted_of(networks) {
                let network = binder.under(name, |binder| binder.attachment(node));
                all.insert(name.clone(), network);
            }
        });
        all
    }

    fn attachment(&mut self, node: &Node) -> ServiceNetwork {
        let number = |key: &str| {
            integer(node, key)
                .and_then(|n| i32::try_from(n).ok())
                .unwrap_or(0)
        };
        let place = |key: &str| node.get(key).map(|value| value.span);
        let ipv4 = self.parse(node, "ipv4_address", "an IPv4 address", |t| t.parse().ok());
        let ipv6 = self.parse(node, "ipv6_address", "an IPv6 address", |t| t.parse().ok());
        ServiceNetwork {
            span: node.key.or(Some(node.span)),
            aliases: texts(node, "aliases"),
            ipv4_address: ipv4.map(|address| Spanned::new(address, place("ipv4_address"))),
            ipv6_address: ipv6.map(|address| Spanned::new(address, place("ipv6_address"))),
            link_local_ips: self.items(node, "link_local_ips", Self::address),
            driver_opts: super::options(node, "driver_opts"),
            mac_address: spanned(node, "mac_address"),
            interface_name: spanned(node, "interface_name"),
            priority: number("priority"),
            gw_priority: number("gw_priority"),
        }
    }

    pub(super) fn network_mode(&mut self, node: &Node) -> Option<Spanned<NetworkModeSpec>> {
        let span = node.get("network_mode")?.span;
        let expected = "a network mode; write none, host, bridge, service:NAME or container:NAME";
        self.parse(node, "network_mode", expected, |text| {
            Some(match text {
                "none" => NetworkModeSpec::None,
                "host" => NetworkModeSpec::Host,
                "bridge" | "default" => NetworkModeSpec::Bridge,
                _ => match text.split_once(':')? {
                    ("service", name) => NetworkModeSpec::Service(ServiceName::from(name)),
                    ("container", name) => NetworkModeSpec::Container(name.to_owned()),
                    _ => return None,
                },
            })
        })
        .map(|mode| Spanned::new(mode, span))
    }

    /// `pid` or `ipc`.
    pub(super) fn port(&mut self, node: &Node) -> Option<Spanned<Port>> {
        let Some(target) = integer(node, "target") else {
            // One that was not given at all is reported already.
            if !self.session.diags.is_faulty(&self.path) {
                self.fault(node, "a container has no port 0");
            }
            return None;
        };
        let Ok(target) = u16::try_from(target) else {
            self.fault(
                node,
                format!("the port {target} is not between 1 and 65535"),
            );
            return None;
        };
        let address = |text: &str| text.parse::<IpAddr>().ok();
        let host_ip = self.parse(node, "host_ip", "an IP address", address);
        let expected = "a port or a range of ports";
        let published = self.parse(node, "published", expected, read_range);
        let protocol = self
            .parse(
                node,
                "protocol",
                "a protocol; write tcp, udp or sctp",
                |text| {
                    Some(match text {
                        "tcp" => Protocol::Tcp,
                        "udp" => Protocol::Udp,
                        "sctp" => Protocol::Sctp,
                        _ => return None,
                    })
                },
            )
            .unwrap_or(Protocol::Tcp);
        let published = published.filter(|range| *range != (0, 0));
        Some(Spanned::new(
            Port {
                host_ip,
                published,
                target,
                protocol,
                mode: text(node, "mode"),
                name: text(node, "name"),
                app_protocol: text(node, "app_protocol"),
            },
            node.span,
        ))
    }
}

fn restart(text: &str) -> Option<RestartPolicy> {
    Some(match text {
        "no" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => RestartPolicy::OnFailure(None),
        _ => {
            let most: u32 = text.strip_prefix("on-failure:")?.parse().ok()?;
            RestartPolicy::OnFailure((most > 0).then_some(most))
        }
    })
}
