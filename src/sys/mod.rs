//! Linux, thin and typed: the only module that may use `unsafe`.
//!
//! In: descriptors, paths, numbers. Out: descriptors and kernel errors. No policy: nothing here knows what a
//! container is. Imports: `base`. Rules: the man page named at each item.

pub mod binfmt;
pub mod boot;
pub mod bpf;
pub mod bus;
pub mod caps;
pub mod clone;
pub mod datagram;
pub mod fs;
pub mod lock;
pub mod measure;
pub mod memory;
pub mod mount;
pub mod mountinfo;
pub mod netlink;
pub mod newfile;
pub mod nft;
pub mod ns;
pub mod pidfd;
pub mod process;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod stream;
pub mod tty;
