//! Images: the store, builds, and registries.

pub mod build;
pub mod project;
pub mod pull;
pub mod store;
