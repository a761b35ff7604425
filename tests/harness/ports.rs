//! Port numbers that nobody listens on, and a server that echoes, which busybox as Debian builds it does not have.
//!
//! Imports: nothing.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
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

/// First argument that makes this program a server: see [`echo`].
pub const ECHO: &str = "__udp-echo";

/// Sends every datagram and what comes by TCP back to where it came from.
pub fn echo(port: u16) -> ! {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let socket = UdpSocket::bind(any).or_else(|_| UdpSocket::bind(("0.0.0.0", port)));
    let socket = socket.expect("the port is free");
    let listener = TcpListener::bind(any).or_else(|_| TcpListener::bind(("0.0.0.0", port)));
    // Where something else listens, datagrams are all that is wanted.
    for stream in listener.into_iter() {
        std::thread::spawn(move || {
            for stream in stream.incoming().flatten() {
                std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
            }
        });
    }
    let mut bytes = [0; 1500];
    loop {
        // A client that is gone is no reason to end.
        if let Ok((count, client)) = socket.recv_from(&mut bytes) {
            drop(socket.send_to(&bytes[..count], client));
        }
    }
}
