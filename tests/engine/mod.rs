//! Containers: what starts, stops, is recreated, and what a process finds inside.

pub mod apparmor;
pub mod attached;
pub mod commands_at_once;
pub mod cp;
pub mod dependencies;
pub mod devices;
pub mod doctor;
pub mod dossier;
pub mod exec;
pub mod files;
pub mod health;
pub mod hooks;
pub mod identity;
pub mod isolation;
pub mod lifecycle;
pub mod log_targets;
pub mod logging;
pub mod networks;
pub mod ports;
pub mod process;
pub mod provided;
pub mod replace;
pub mod resources;
pub mod restart;
pub mod secrets;
pub mod supervisor;
