//! Drivers of networks and their options, typed: read once here, for the plan that tells what is wrong and for the
//! engine that acts.
//!
//! In: a driver's name and options as texts. Out: a [`Driver`], and what was wrong or unknown. Pure.
//! Imports: `base`. Source: Docker's documentation of the bridge, macvlan and ipvlan drivers, and
//! `daemon/libnetwork/netlabel`; kernel documentation `networking/ipvlan.rst`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::base::diag::nearest;
use crate::base::scalar::parse_bool;

/// Names of the drivers there are, for messages.
pub const DRIVERS: [&str; 3] = ["bridge", "macvlan", "ipvlan"];

/// Most characters of a device's name (`IFNAMSIZ`).
const NAME: usize = 15;

/// How a network is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Driver {
    /// A bridge of the host, with address translation to the outside.
    Bridge(Bridge),
    /// Devices with hardware addresses of their own on a device of the host.
    Macvlan(Macvlan),
    /// Devices with addresses of their own behind the hardware address of a device of the host.
    Ipvlan(Ipvlan),
}

/// What a gateway does with packets of one family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GatewayMode {
    /// Sources are translated on the way out; from outside only published ports are reached.
    #[default]
    Nat,
    /// As `nat`, but containers are reached on all ports by who knows the way to their addresses.
    NatUnprotected,
    /// Nothing is translated; published ports are reached at the containers' own addresses.
    Routed,
    /// The host has no address on the network; for internal networks.
    Isolated,
}

/// Options of the driver `bridge`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The bridge's name; derived when `None`.
    pub name: Option<String>,
    /// Whether containers reach each other.
    pub between: bool,
    /// Whether sources are translated on the way out.
    pub masquerade: bool,
    /// Where ports are published that name no address.
    pub host_binding: Option<IpAddr>,
    /// Devices whose packets reach published ports at the containers' own addresses.
    pub trusted: Vec<String>,
    /// IPv4's gateway mode.
    pub mode_v4: GatewayMode,
    /// IPv6's gateway mode.
    pub mode_v6: GatewayMode,
    /// Whether the bridge gets its IPv4 address from somebody else.
    pub inhibit_v4: bool,
    /// Source of packets that leave, instead of the device's that they leave by.
    pub source_v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub source_v6: Option<Ipv6Addr>,
    /// What devices inside are called, before a number.
    pub prefix: String,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// `com.docker.network.enable_ipv4`.
    pub ipv4: Option<bool>,
    /// `com.docker.network.enable_ipv6`.
    pub ipv6: Option<bool>,
}

impl Bridge {
    /// The gateway mode of IPv4 or IPv6.
    pub fn mode(&self, ipv4: bool) -> GatewayMode {
        if ipv4 { self.mode_v4 } else { self.mode_v6 }
    }
}

impl Default for Bridge {
    fn default() -> Self {
        Self {
            name: None,
            between: true,
            masquerade: true,
            host_binding: None,
            trusted: Vec::new(),
            mode_v4: GatewayMode::Nat,
            mode_v6: GatewayMode::Nat,
            inhibit_v4: false,
            source_v4: None,
            source_v6: None,
            prefix: "eth".to_owned(),
            mtu: None,
            ipv4: None,
            ipv6: None,
        }
    }
}

/// How a macvlan device treats its neighbours on the same parent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MacvlanMode {
    /// They reach each other directly.
    #[default]
    Bridge,
    /// They reach each other by way of the switch outside.
    Vepa,
    /// They do not reach each other.
    Private,
    /// There are none: the parent is given to one container.
    Passthru,
}

/// Options of the driver `macvlan`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Macvlan {
    /// The host's device; one that leads nowhere when `None`.
    pub parent: Option<String>,
    /// How neighbours are treated.
    pub mode: MacvlanMode,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
}

/// How an ipvlan device hands packets on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IpvlanMode {
    /// As a switch: the containers answer ARP.
    #[default]
    L2,
    /// As a router: no broadcasts, no ARP, no gateway.
    L3,
    /// As `l3`, and the host's filters see the packets.
    L3s,
}

/// How an ipvlan device treats its neighbours on the same parent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IpvlanFlag {
    /// They reach each other directly.
    #[default]
    Bridge,
    /// They do not reach each other.
    Private,
    /// They reach each other by way of the switch outside.
    Vepa,
}

/// Options of the driver `ipvlan`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ipvlan {
    /// The host's device; one that leads nowhere when `None`.
    pub parent: Option<String>,
    /// How packets are handed on.
    pub mode: IpvlanMode,
    /// How neighbours are treated.
    pub flag: IpvlanFlag,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
}

/// What is wrong with an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The option; `None` when it is the driver itself.
    pub option: Option<String>,
    /// What is wrong: lower case, no final stop.
    pub text: String,
    /// What to do.
    pub hint: Option<String>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The driver, with defaults where an option was wrong.
    pub driver: Driver,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// Options that mean nothing to the driver, worded.
    pub unknown: Vec<Fault>,
}

impl Driver {
    /// Reads a driver's name and options. An empty name and `default` are `bridge`.
    pub fn read(name: &str, options: &BTreeMap<String, String>) -> Reading {
        let mut reader = Reader {
            options,
            known: Vec::new(),
            faults: Vec::new(),
        };
        let driver = match name {
            "" | "default" | "bridge" => Self::Bridge(reader.bridge()),
            "macvlan" => Self::Macvlan(reader.macvlan()),
            "ipvlan" => Self::Ipvlan(reader.ipvlan()),
            other => {
                reader.faults.push(no_driver(other));
                let driver = Self::Bridge(Bridge::default());
                return reader.done(driver);
            }
        };
        let unknown = reader.unknown(name);
        Reading {
            unknown,
            ..reader.done(driver)
        }
    }
    /// The parent of a macvlan or ipvlan network, `None` for one that leads nowhere; no parent belongs to a bridge.
    pub fn parent(&self) -> Option<&str> {
        match self {
            Self::Bridge(_) => None,
            Self::Macvlan(options) => options.parent.as_deref(),
            Self::Ipvlan(options) => options.parent.as_deref(),
        }
    }
    /// Largest packet in bytes, if said.
    pub fn mtu(&self) -> Option<u32> {
        match self {
            Self::Bridge(options) => options.mtu,
            Self::Macvlan(options) => options.mtu,
            Self::Ipvlan(options) => options.mtu,
        }
    }
    /// What devices inside are called, before a number.
    pub fn prefix(&self) -> &str {
        match self {
            Self::Bridge(options) => &options.prefix,
            Self::Macvlan(_) | Self::Ipvlan(_) => "eth",
        }
    }
    /// The bridge's options, if it is one.
    pub fn bridge(&self) -> Option<&Bridge> {
        match self {
            Self::Bridge(options) => Some(options),
            Self::Macvlan(_) | Self::Ipvlan(_) => None,
        }
    }
}

fn no_driver(name: &str) -> Fault {
    let hint = match name {
        "host" | "none" | "null" => {
            let mode = if name == "host" { "host" } else { "none" };
            format!("write `network_mode: {mode}` in the service instead of `networks`")
        }
        "overlay" => "it is for clusters; on one machine `bridge` does the same".to_owned(),
        _ => match nearest(name, DRIVERS) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", DRIVERS.join(", ")),
        },
    };
    Fault {
        option: None,
        text: format!("there is no network driver `{name}`"),
        hint: Some(hint),
    }
}

/// Whether a text may name a device: `IFNAMSIZ`, no slash, no space.
pub fn is_device_name(name: &str) -> bool {
    (1..=NAME).contains(&name.len())
        && !matches!(name, "." | "..")
        && name
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '%'))
}

struct Reader<'a> {
    options: &'a BTreeMap<String, String>,
    known: Vec<&'static str>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    fn done(self, driver: Driver) -> Reading {
        Reading {
            driver,
            faults: self.faults,
            unknown: Vec::new(),
        }
    }
    /// An option's text; from then on it is known.
    fn text(&mut self, key: &'static str) -> Option<&'a str> {
        self.known.push(key);
        self.options.get(key).map(String::as_str)
    }
    fn wrong(&mut self, key: &str, text: &str, expected: impl AsRef<str>) {
        self.faults.push(Fault {
            option: Some(key.to_owned()),
            text: format!("option `{key}` is `{text}`"),
            hint: Some(format!("write {}", expected.as_ref())),
        });
    }
    fn read<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(key)?;
        let value = read(text);
        if value.is_none() {
            self.wrong(key, text, expected);
        }
        value
    }
    fn parsed<T: FromStr>(&mut self, key: &'static str, expected: &str) -> Option<T> {
        self.read(key, expected, |text| text.parse().ok())
    }
    fn bool(&mut self, key: &'static str) -> Option<bool> {
        self.read(key, "true or false", parse_bool)
    }
    fn device(&mut self, key: &'static str) -> Option<String> {
        let expected = "the name of a device, at most 15 characters";
        self.read(key, expected, |text| {
            is_device_name(text).then(|| text.to_owned())
        })
    }
    fn mtu(&mut self) -> Option<u32> {
        let expected = "a number of bytes from 68 to 65535";
        self.read("com.docker.network.driver.mtu", expected, |text| {
            text.parse().ok().filter(|mtu| (68..=65_535).contains(mtu))
        })
    }
    fn mode(&mut self, key: &'static str) -> GatewayMode {
        let expected = "nat, nat-unprotected, routed or isolated";
        let mode = self.read(key, expected, |text| {
            Some(match text {
                "nat" => GatewayMode::Nat,
                "nat-unprotected" => GatewayMode::NatUnprotected,
                "routed" => GatewayMode::Routed,
                "isolated" => GatewayMode::Isolated,
                _ => return None,
            })
        });
        mode.unwrap_or_default()
    }
    fn bridge(&mut self) -> Bridge {
        let names = "names of devices with `:` between";
        let trusted = self.read(
            "com.docker.network.bridge.trusted_host_interfaces",
            names,
            |text| {
                let names: Vec<String> = text.split(':').map(str::to_owned).collect();
                names
                    .iter()
                    .all(|name| is_device_name(name))
                    .then_some(names)
            },
        );
        // Only Docker's own network `bridge` is one, and nothing is different there.
        self.bool("com.docker.network.bridge.default_bridge");
        let expected = "the beginning of a name of devices, at most 12 characters";
        let prefix = self.read(
            "com.docker.network.container_iface_prefix",
            expected,
            |text| {
                let fits = is_device_name(text) && text.len() <= NAME - 3;
                fits.then(|| text.to_owned())
            },
        );
        let default = Bridge::default();
        Bridge {
            name: self.device("com.docker.network.bridge.name"),
            between: self
                .bool("com.docker.network.bridge.enable_icc")
                .unwrap_or(true),
            masquerade: self
                .bool("com.docker.network.bridge.enable_ip_masquerade")
                .unwrap_or(true),
            host_binding: self.parsed(
                "com.docker.network.bridge.host_binding_ipv4",
                "an address of the host",
            ),
            trusted: trusted.unwrap_or_default(),
            mode_v4: self.mode("com.docker.network.bridge.gateway_mode_ipv4"),
            mode_v6: self.mode("com.docker.network.bridge.gateway_mode_ipv6"),
            inhibit_v4: self
                .bool("com.docker.network.bridge.inhibit_ipv4")
                .unwrap_or(false),
            source_v4: self.parsed(
                "com.docker.network.host_ipv4",
                "an IPv4 address of the host",
            ),
            source_v6: self.parsed(
                "com.docker.network.host_ipv6",
                "an IPv6 address of the host",
            ),
            prefix: prefix.unwrap_or(default.prefix),
            mtu: self.mtu(),
            ipv4: self.bool("com.docker.network.enable_ipv4"),
            ipv6: self.bool("com.docker.network.enable_ipv6"),
        }
    }
    fn macvlan(&mut self) -> Macvlan {
        let expected = "bridge, vepa, private or passthru";
        let mode = self.read("macvlan_mode", expected, |text| {
            Some(match text {
                "" | "bridge" => MacvlanMode::Bridge,
                "vepa" => MacvlanMode::Vepa,
                "private" => MacvlanMode::Private,
                "passthru" => MacvlanMode::Passthru,
                _ => return None,
            })
        });
        Macvlan {
            parent: self.device("parent"),
            mode: mode.unwrap_or_default(),
            mtu: self.mtu(),
        }
    }
    fn ipvlan(&mut self) -> Ipvlan {
        let mode = self.read("ipvlan_mode", "l2, l3 or l3s", |text| {
            Some(match text {
                "" | "l2" => IpvlanMode::L2,
                "l3" => IpvlanMode::L3,
                "l3s" => IpvlanMode::L3s,
                _ => return None,
            })
        });
        let flag = self.read("ipvlan_flag", "bridge, private or vepa", |text| {
            Some(match text {
                "" | "bridge" => IpvlanFlag::Bridge,
                "private" => IpvlanFlag::Private,
                "vepa" => IpvlanFlag::Vepa,
                _ => return None,
            })
        });
        Ipvlan {
            parent: self.device("parent"),
            mode: mode.unwrap_or_default(),
            flag: flag.unwrap_or_default(),
            mtu: self.mtu(),
        }
    }
    fn unknown(&self, driver: &str) -> Vec<Fault> {
        let unknown = self
            .options
            .keys()
            .filter(|key| !self.known.contains(&key.as_str()));
        let fault = |key: &String| Fault {
            option: Some(key.clone()),
            text: format!(
                "option `{key}` means nothing to the driver `{}`; it has no effect",
                if driver.is_empty() { "bridge" } else { driver }
            ),
            hint: Some(match nearest(key, self.known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it knows {}", self.known.join(", ")),
            }),
        };
        unknown.map(fault).collect()
    }
}

/// What an endpoint's options say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointOptions {
    /// The device's name inside.
    pub interface: Option<String>,
    /// Settings of the device: paths below `/proc/sys/net` with `IFNAME` in its place, and values.
    pub sysctls: Vec<(String, String)>,
}

/// Reads the options of an endpoint: what they say, what is wrong, and what means nothing.
pub fn endpoint(options: &BTreeMap<String, String>) -> (EndpointOptions, Vec<Fault>, Vec<Fault>) {
    const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";
    let mut reader = Reader {
        options,
        known: Vec::new(),
        faults: Vec::new(),
    };
    let interface = reader.device("com.docker.network.endpoint.ifname");
    let mut sysctls = Vec::new();
    for one in reader.text(SYSCTLS).unwrap_or_default().split(',') {
        let one = one.trim();
        if one.is_empty() {
            continue;
        }
        match sysctl(one) {
            Some(found) => sysctls.push(found),
            None => reader.wrong(
                SYSCTLS,
                one,
                "settings of the device itself, as net.ipv4.conf.IFNAME.log_martians=1, with `,` between",
            ),
        }
    }
    let mut unknown = reader.unknown("");
    for fault in &mut unknown {
        let key = fault.option.clone().unwrap_or_default();
        fault.text =
            format!("option `{key}` means nothing on a service's network; it has no effect");
    }
    let options = EndpointOptions { interface, sysctls };
    (options, reader.faults, unknown)
}

/// Reads `net.ipv4.conf.IFNAME.log_martians=1`. Only settings of one device: all else is the whole namespace's, or the
/// host's.
fn sysctl(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let mut parts = name.trim().split('.');
    let is = |part: Option<&str>, all: &[&str]| part.is_some_and(|part| all.contains(&part));
    let net = is(parts.next(), &["net"]);
    let family = parts
        .next()
        .filter(|part| is(Some(part), &["ipv4", "ipv6", "mpls"]))?;
    let kind = parts
        .next()
        .filter(|part| is(Some(part), &["conf", "neigh"]))?;
    let device = is(parts.next(), &["IFNAME"]);
    let setting = parts.next()?;
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
    };
    let value = value.trim();
    let sane = !value.is_empty() && value.len() <= 64 && !value.contains(char::is_control);
    (net && device && parts.next().is_none() && word(setting) && sane).then(|| {
        (
            format!("{family}/{kind}/IFNAME/{setting}"),
            value.to_owned(),
        )
    })
}

/// Reads a hardware address: `02:42:ac:11:00:02`; `-` may stand for `:`. Group addresses and zero are none.
pub fn mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|part| matches!(part.len(), 1 | 2))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    (parts.next().is_none() && mac[0] & 1 == 0 && mac != [0; 6]).then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, options: &[(&str, &str)]) -> Reading {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Driver::read(name, &options.iter().map(pair).collect())
    }

    fn told(faults: &[Fault]) -> Vec<String> {
        let text = |fault: &Fault| {
            format!(
                "{}; {}",
                fault.text,
                fault.hint.as_deref().unwrap_or_default()
            )
        };
        faults.iter().map(text).collect()
    }

    #[test]
    fn a_driver_that_is_not_there_is_told_with_those_that_are() {
        for (name, hint) in [
            ("bridg", "did you mean `bridge`?"),
            ("zfs", "there are bridge, macvlan, ipvlan"),
            (
                "host",
                "write `network_mode: host` in the service instead of `networks`",
            ),
            (
                "null",
                "write `network_mode: none` in the service instead of `networks`",
            ),
        ] {
            let found = read(name, &[]);
            assert_eq!(
                told(&found.faults),
                [format!("there is no network driver `{name}`; {hint}")]
            );
        }
        for name in ["", "default", "bridge"] {
            let found = read(name, &[]);
            assert_eq!(found.driver, Driver::Bridge(Bridge::default()));
            assert!(found.faults.is_empty() && found.unknown.is_empty());
        }
    }

    #[test]
    fn wrong_values_are_told_all_at_once_and_defaults_stand_in() {
        let found = read(
            "bridge",
            &[
                ("com.docker.network.bridge.enable_icc", "maybe"),
                ("com.docker.network.driver.mtu", "12"),
                ("com.docker.network.bridge.name", "a/b"),
                ("com.docker.network.bridge.gateway_mode_ipv6", "open"),
                ("com.docker.network.bridge.enable_ip_masquerade", "0"),
                (
                    "com.docker.network.bridge.trusted_host_interfaces",
                    "eth0:eth1",
                ),
            ],
        );
        assert_eq!(found.faults.len(), 4, "{:?}", found.faults);
        let told = told(&found.faults);
        let icc = "option `com.docker.network.bridge.enable_icc` is `maybe`; write true or false";
        assert!(told.iter().any(|one| one == icc), "{told:?}");
        let bridge = found.driver.bridge().unwrap();
        assert!(bridge.between && !bridge.masquerade);
        assert_eq!(bridge.trusted, ["eth0", "eth1"]);
    }

    #[test]
    fn options_of_another_driver_are_unknown_with_a_guess() {
        let found = read("macvlan", &[("parnet", "eth0"), ("macvlan_mode", "vepa")]);
        let text = "option `parnet` means nothing to the driver `macvlan`; it has no effect; did you mean `parent`?";
        assert_eq!(told(&found.unknown), [text]);
        assert!(matches!(
            found.driver,
            Driver::Macvlan(Macvlan {
                mode: MacvlanMode::Vepa,
                ..
            })
        ));
        let found = read(
            "ipvlan",
            &[
                ("ipvlan_mode", "l3"),
                ("ipvlan_flag", "vepa"),
                ("parent", "eth0.7"),
            ],
        );
        let wanted = Ipvlan {
            parent: Some("eth0.7".into()),
            mode: IpvlanMode::L3,
            flag: IpvlanFlag::Vepa,
            mtu: None,
        };
        assert_eq!(found.driver, Driver::Ipvlan(wanted));
    }

    #[test]
    fn settings_of_a_device_cannot_name_anything_else() {
        assert_eq!(
            sysctl("net.ipv4.conf.IFNAME.log_martians=1"),
            Some(("ipv4/conf/IFNAME/log_martians".into(), "1".into()))
        );
        for bad in [
            "net.ipv4.conf.all.forwarding=1",
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.IFNAME.../../x=1",
            "net.ipv4.conf.IFNAME.a/b=1",
            "net.ipv4.conf.IFNAME.x=",
            "net.core.conf.IFNAME.x=1",
            "kernel.ipv4.conf.IFNAME.x=1",
            "net.ipv4.conf.IFNAME.x",
            "net.ipv4.conf.IFNAME.x.y=1",
        ] {
            assert_eq!(sysctl(bad), None, "{bad}");
        }
    }

    #[test]
    fn hardware_addresses_are_six_bytes_of_one_station() {
        let good = Some([2, 0x42, 0xac, 0x11, 0, 2]);
        assert_eq!(mac("02:42:ac:11:00:02"), good);
        assert_eq!(mac("02-42-AC-11-0-2"), good);
        for bad in [
            "01:42:ac:11:00:02",
            "02:42:ac:11:00",
            "02:42:ac:11:00:02:03",
            "00:00:00:00:00:00",
            "",
        ] {
            assert_eq!(mac(bad), None, "{bad}");
        }
    }
}
