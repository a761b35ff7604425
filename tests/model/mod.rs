//! Compose files: what they say, what is wrong with them, and how they look as a picture. Needs no root.

pub mod config;
pub mod errors;
pub mod explain;
pub mod graph;
pub mod init;
pub mod remote;
mod samples;
pub mod shells;
pub mod spec;
pub mod viz;
