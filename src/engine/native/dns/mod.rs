//! The name server of one container.
//!
//! In: questions on 127.0.0.11 port 53 of the container. Out: addresses of its neighbours from the
//! networks' leases, and what the host's resolvers say about everything else. It has no thread: whoever owns
//! an [`Answerer`] polls its descriptor and calls [`Answerer::turn`].
//!
//! The sockets have ports of their own and are reached by translation inside the container's namespace,
//! so that a container may be a name server itself. State is bounded whatever the container sends.
//!
//! Imports: `base`, `engine::native::net`, `sys::{netlink, nft}`. Source: RFC 1035, RFC 5452 (spoofing).
//! As Docker: `libnetwork/resolver.go`.

mod exchange;
mod server;
#[cfg(test)]
mod tests;
mod zone;

pub use server::Answerer;
pub use zone::{Upstream, Zone};
