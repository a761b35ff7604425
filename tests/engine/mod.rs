//! Containers: what starts, stops, is recreated, and what a process finds inside.

pub mod attached;
pub mod dependencies;
pub mod devices;
pub mod exec;
pub mod files;
pub mod identity;
pub mod lifecycle;
pub mod networks;
pub mod process;
pub mod provided;
pub mod supervisor;
