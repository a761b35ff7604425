//! The words every module uses: positions, diagnostics, events, names, scalars, keys, the environment.
//!
//! In: nothing. Out: plain values. No input or output happens here, and nothing of ours is imported.
//! Rules: Compose Specification, "Specifying durations" and "Specifying byte values", for [`scalar`].

pub mod authorities;
pub mod cancel;
pub mod clock;
pub mod cpus;
pub mod device;
pub mod diag;
pub mod env;
pub mod event;
pub mod gitref;
pub mod kernel;
pub mod key;
pub mod line;
pub mod name;
pub mod scalar;
pub mod secret;
pub mod span;
pub mod term;
