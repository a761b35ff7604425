//! Linux, thin and typed: the only module that may use `unsafe`.
//!
//! In: descriptors, paths, numbers. Out: descriptors and kernel errors. No policy: nothing here knows what a
//! container is. Imports: `base`. Rules: the man page named at each item.

pub mod fs;
pub mod lock;
pub mod mount;
pub mod signal;
