//! `watch`: files change on the host, and what runs follows.
//!
//! In: a project with `develop.watch`. Out: files in running containers, commands run in them, restarts, images built
//! and containers replaced; each told in a line. The kernel's events are only hints: what has changed is found by
//! comparing the tree with what was seen of it last, so that nothing is missed when events are lost.
//!
//! hint ([`events`]) → quiet for a moment ([`debounce`]) → compare ([`files`]) → which rules it means ([`rules`]) →
//! files into containers ([`deliver`], [`sync`]); the rest re-enters at `apply` ([`react`]).
//!
//! It knows no terminal, no arguments and no backend of the engine.
//! Imports: `base`, `compose::model`, `engine`, `image::tree`, `build::context::ignore`, `apply`.
//! Source: compose-spec, `develop.md`; Docker Compose 2.40, `pkg/compose/watch.go`; inotify(7).

mod debounce;
mod deliver;
mod events;
mod files;
mod react;
mod rules;
#[cfg(test)]
mod scratch;
mod session;
mod sync;

pub use rules::{Rule, rules};
pub use session::{Busy, Options, Report, Session, Stop, World};
