//! Faults: killed processes, full disks, broken state. Nothing acknowledged is lost, the next command goes on, `down` leaves nothing.

pub mod disk;
pub mod errors;
pub mod kill;
pub mod state;
pub mod store;
mod trace;
mod world;
