//! The embedded engine.
pub mod cgroup;
pub mod runtime;
pub mod sandbox;
