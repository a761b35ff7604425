//! Port numbers that nobody listens on.
//!
//! Imports: nothing.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Mutex;

/// A free TCP port, not given out before in this run.
pub fn free() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind(("0.0.0.0", 0)).expect("the kernel has a free port");
        let port = listener
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        if GIVEN
            .lock()
            .expect("no case panics while it holds this")
            .insert(port)
        {
            return port;
        }
    }
}
