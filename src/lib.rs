//! hoist: `compose up` without Docker.
pub mod base;
pub mod image { pub mod digest; pub mod config; }
pub mod compose;
