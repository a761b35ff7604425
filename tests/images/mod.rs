//! Images: the store, builds, and registries.

pub mod build;
pub mod copies;
pub mod pull;
pub mod store;
