//! The name server of one container.
//!
//! In: questions on 127.0.0.11 port 53 of the container. Out: addresses of its neighbours from the
//! networks' leases, and what resolvers say about everything else. It has no thread: whoever owns
//! an [`Answerer`] polls its descriptor and calls [`Answerer::turn`].
//!
//! The sockets have ports of their own and are reached by translation inside the container's namespace,
//! so that a container may be a name server itself. State is bounded whatever the container sends.
//!
//! Names of neighbours and of the host are never asked for elsewhere, whatever their type: no resolver can
//! overrule them. What a resolver says of a name that is not known here is passed on as it is, private
//! addresses too, as any resolver would: networks with an inside of their own live by that.
//!
//! The host's resolvers are asked from the host's namespace, the address in its `resolv.conf` itself, also a
//! stub like 127.0.0.53: it knows which domain belongs to which link. Those a service names (`dns:`) are asked
//! from the container's, so that they may be neighbours, itself, or at the other end of its tunnel.
//!
//! Imports: `base`, `engine::native::net`, `sys::{netlink, nft}`. Source: RFC 1035, RFC 5452 (spoofing),
//! RFC 6891 (EDNS). As Docker: `libnetwork/resolver.go`.

mod exchange;
mod link;
mod resolvers;
mod server;
#[cfg(test)]
mod tests;
mod zone;

pub use resolvers::Upstream;
pub use server::Answerer;
pub use zone::Zone;
