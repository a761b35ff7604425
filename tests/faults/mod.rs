//! Faults: killed processes, full disks, broken state. Nothing acknowledged is lost, the next command goes on, `down` leaves nothing.

pub mod disk;
pub mod errors;
pub mod kill;
pub mod state;
mod trace;
mod world;
