//! Images: the store, builds, and registries.

pub mod build;
pub mod cache;
pub mod pull;
pub mod store;
