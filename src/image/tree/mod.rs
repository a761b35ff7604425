//! Trees of files moved as archives, the way `docker cp` moves them: [`pack`] writes one, [`unpack`] makes the files,
//! in the place of others by [`swap`].
//!
//! Unlike layers, a tree comes from, or goes to, a place that somebody else may change at the same time. So every
//! name is looked up by descriptor, no last link is ever followed, and no file that is no regular one is opened.
//! It knows no container and no service. Imports: `archive`, `layer`, `sys::fs`.
//! Rules: docker's reference of `docker cp`; moby `pkg/archive` where it is silent.

pub mod pack;
pub mod swap;
pub mod unpack;

#[cfg(test)]
mod tests;

/// The only attribute that travels: file capabilities. As Docker.
const CAPABILITIES: &std::ffi::CStr = c"security.capability";
