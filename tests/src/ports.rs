//! Ports for programs that are told where to listen.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the kernel takes ports: whoever connects somewhere between the choice
/// of a port and the start of the program would get it.
const FIRST: u16 = 10_000;
/// Ports of one process.
const SHARE: u16 = 500;
/// Processes whose shares differ.
const SHARES: u16 = 20;

/// A port that nobody listens on, with loopback's address. A process is given the same one again
/// after 500 others only.
pub fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let share = u16::try_from(std::process::id() % u32::from(SHARES)).unwrap_or_default();
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) % SHARE;
        let port = FIRST + share * SHARE + number;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        }
    }
}
