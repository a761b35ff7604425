//! Files into and out of containers, for `cp`.
//!
//! In: paths and archives. Out: archives, files. The command never touches a container's file by name: a fresh,
//! single-threaded process of ours ([`main`]) goes where the container's files are and speaks archives with the
//! command over a pipe. From there nothing of the host can be reached, whatever links or mounts the container makes
//! meanwhile; every mount it sees forbids devices and execution, so that nothing of the container can be opened by
//! mistake, run or loaded. Who copies often has such a process wait for its turn, outside of every container.
//! Imports: `engine`, `image::tree`, `sys`; beside it `layout`, `records`, `runtime`, `supervisor`.

mod main;
mod session;
mod view;
mod wire;

pub use main::main;
pub(super) use session::{Session, Spare};
