//! Networks of containers: bridges, addresses, isolation, published ports.
//!
//! In: [`NetworkSpec`](crate::engine::spec::NetworkSpec)s, endpoints, ports. Out: kernel objects whose names are
//! derived from what they belong to, so that leftovers are found without state, and records on disk.
//!
//! | object | name | made by | goes with |
//! |---|---|---|---|
//! | bridge | `hst<11 of network id>` | [`Networks::create`], again by [`connect`] | [`Networks::remove`] |
//! | nftables table `inet` | `hoist-<12 of network id>` | with the bridge | [`Networks::remove`] |
//! | two rules in `ip filter`, with IPv6 two in `ip6 filter` | comment `hoist-<12 of network id>` | with the bridge, where another firewall needs them ([`beside`]) | [`Networks::remove`] |
//! | veth, host end | `hsv<10 of hash of container id><nn>` | [`connect`] | the container's namespace, or [`disconnect`]; down with [`unplug`] |
//! | nftables table `inet` | `hoist-p-<12 of container id>` | [`publish`] | [`unpublish`] |
//! | nftables table `ip`, in the container | `hoist-dns` | [`dns`](super::dns) | the container's namespace |
//!
//! Tables of an older hoist are of family `ip`; they are taken away as well. `hoist doctor` tells what other firewalls do
//! to packets of containers.
//!
//! Imports: `base`, `engine`, `sys`. As Docker's `bridge` driver, but for isolation: packets into a bridge
//! must answer, or be translated.

mod beside;
mod bridge;
mod direct;
mod direct_ports;
pub mod files;
mod forwarding;
mod guard;
mod holder;
mod ipam;
mod networks;
mod outside;
mod publish;
mod record;
mod relay;
mod rules;
#[cfg(test)]
pub(in crate::engine::native) mod tests;
pub(in crate::engine::native) mod zones;

pub use bridge::{Link, connect, disconnect, new_netns, pin, unpin, unplug};
pub use direct::empty;
pub use direct_ports::{close, is_routed, open};
pub use ipam::Pool;
pub use networks::{LeaseRequest, Networks};
pub use outside::{BetweenSteps, Outside};
pub use publish::{
    PublishRequest, Published, Way, Withdrawn, forget, hold_again, publish, unpublish,
};
pub use record::{Lease, LeaseRecord, NetworkRecord};
pub(in crate::engine::native) use record::{leases_path, read_leases};
pub use relay::Doors;
