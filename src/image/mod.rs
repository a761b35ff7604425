//! OCI images: names, content, layers, registries.
//!
//! In: references, archives, registries. Out: images in a content-addressed store, with layers unpacked.
//! It knows no compose file and no container. Imports: `base`, `sys`.
//! Rules: OCI image spec 1.1 and distribution spec 1.1.

pub mod archive;
pub mod attest;
pub mod config;
pub mod digest;
pub mod git;
pub mod kept;
mod lanes;
pub mod layer;
mod listing;
pub mod manifest;
pub mod reference;
pub mod registry;
pub mod store;
pub mod tree;
pub mod url;
