//! Containers: what starts, stops, is recreated, and what a process finds inside.

pub mod attached;
pub mod commands_at_once;
pub mod dependencies;
pub mod exec;
pub mod files;
pub mod hooks;
pub mod identity;
pub mod lifecycle;
pub mod networks;
pub mod supervisor;
