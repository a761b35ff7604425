//! Containers: what starts, stops, is recreated, and what a process finds inside.

pub mod attached;
pub mod commands_at_once;
pub mod dependencies;
pub mod devices;
pub mod exec;
pub mod files;
pub mod hooks;
pub mod identity;
pub mod isolation;
pub mod lifecycle;
pub mod log_targets;
pub mod logging;
pub mod networks;
pub mod process;
pub mod provided;
pub mod resources;
pub mod supervisor;
