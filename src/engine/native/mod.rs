//! Native.
pub mod dns;
pub mod net;
