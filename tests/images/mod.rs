//! Images: the store, builds, and registries.

pub mod build;
pub mod progress;
pub mod pull;
pub mod store;
