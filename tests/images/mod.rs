//! Images: the store, builds, and registries.

pub mod accounts;
pub mod archives;
pub mod attest;
pub mod bake;
pub mod build;
pub mod cache;
pub mod checks;
pub mod copies;
pub mod edges;
pub mod emulated;
pub mod lock;
pub mod outputs;
pub mod platforms;
pub mod progress;
pub mod project;
pub mod publish;
pub mod pull;
pub mod reproducible;
pub mod sources;
pub mod steps;
pub mod store;
pub mod transfers;
pub mod unpacking;
