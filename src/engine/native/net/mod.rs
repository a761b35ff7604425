//! Networks of containers: bridges, addresses, isolation, published ports.
//!
//! In: [`NetworkSpec`](crate::engine::spec::NetworkSpec)s, endpoints, ports. Out: kernel objects whose names are
//! derived from what they belong to, so that leftovers are found without state, and records on disk.
//!
//! | object | name | made by | goes with |
//! |---|---|---|---|
//! | bridge | `hst<11 of network id>` | [`Networks::create`], again by [`connect`] | [`Networks::remove`] |
//! | nftables table `inet` | `hoist-<12 of network id>` | with the bridge | [`Networks::remove`] |
//! | two rules at the head of `DOCKER-USER` in `ip filter` and `ip6 filter` | comment `hoist-<12 of network id>` | with the bridge, when Docker is there | [`Networks::remove`] |
//! | veth, host end | `hsv<10 of hash of container id><nn>` | [`connect`] | the container's namespace, or [`disconnect`] |
//! | nftables table `ip` | `hoist-p-<12 of container id>` | [`publish`] | [`unpublish`] |
//! | nftables table `ip`, in the container | `hoist-dns` | [`dns`](super::dns) | the container's namespace |
//!
//! Tables of an older hoist are of family `ip`; they are taken away as well. A host whose firewall is spoken to through the old
//! `iptables-legacy` with a `FORWARD` policy of `DROP` needs a rule of its own for `hst+`.
//!
//! Imports: `base`, `engine`, `sys`. As Docker's `bridge` driver, but for isolation: packets into a bridge
//! must answer, or be translated.

mod bridge;
pub mod files;
mod forwarding;
mod guard;
mod holder;
mod ipam;
mod networks;
mod outside;
mod publish;
mod record;
mod rules;
#[cfg(test)]
pub(in crate::engine::native) mod tests;

pub use bridge::{Link, connect, disconnect, new_netns, pin, unpin};
pub use ipam::Pool;
pub use networks::{LeaseRequest, Networks};
pub use outside::Outside;
pub use publish::{PublishRequest, Published, Withdrawn, hold_again, publish, unpublish};
pub use record::{Lease, LeaseRecord, NetworkRecord};
pub(in crate::engine::native) use record::{leases_path, read_leases};
