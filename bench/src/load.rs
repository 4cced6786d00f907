//! A closed loop of HTTP/1.1 requests over kept connections, and an upstream that answers them.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

const BODY: &[u8] = b"0123456789012345678901234567890123456789012345678901234567890123\n";
const REQUEST: &[u8] =
    b"GET /bench HTTP/1.1\r\nhost: bench.local\r\nuser-agent: fairlead-bench\r\n\r\n";

/// Answers every request on every connection with a small body, until the process is killed.
pub(crate) fn upstream(address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)?;
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            // The other side may end a connection at any time.
            let _ended = answer(stream);
        });
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", BODY.len());
    let response = [head.as_bytes(), BODY].concat();
    let mut buffer = vec![0; 16 * 1024];
    let mut length = 0;
    loop {
        let Some(room) = buffer.get_mut(length..) else {
            return Ok(());
        };
        let read = stream.read(room)?;
        if read == 0 {
            return Ok(());
        }
        length += read;
        let seen = buffer.get(..length).unwrap_or_default();
        if seen.ends_with(b"\r\n\r\n") {
            stream.write_all(&response)?;
            length = 0;
        }
    }
}

/// What a round of load saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// Requests that were answered with 200.
    pub(crate) requests: u64,
    /// Requests that were not.
    pub(crate) errors: u64,
    /// Middle of the latencies, in microseconds.
    pub(crate) median_us: f64,
}

/// Sends requests over `connections` connections for `time`.
pub(crate) fn run(address: SocketAddr, connections: usize, time: Duration) -> Round {
    let stop = Arc::new(AtomicBool::new(false));
    let errors = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let (stop, errors) = (Arc::clone(&stop), Arc::clone(&errors));
            thread::spawn(move || {
                let mut latencies = Vec::with_capacity(100_000);
                while !stop.load(Ordering::Relaxed) {
                    if client(address, &stop, &mut latencies).is_err() {
                        errors.fetch_add(1, Ordering::Relaxed);
                    }
                }
                latencies
            })
        })
        .collect();
    thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    let mut latencies: Vec<f64> = clients
        .into_iter()
        .filter_map(|client| client.join().ok())
        .flatten()
        .collect();
    latencies.sort_by(f64::total_cmp);
    Round {
        requests: latencies.len() as u64,
        errors: errors.load(Ordering::Relaxed),
        median_us: latencies
            .get(latencies.len() / 2)
            .copied()
            .unwrap_or(f64::NAN),
    }
}

fn client(address: SocketAddr, stop: &AtomicBool, latencies: &mut Vec<f64>) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut buffer = vec![0; 16 * 1024];
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        stream.write_all(REQUEST)?;
        let mut length = 0;
        loop {
            let Some(room) = buffer.get_mut(length..) else {
                return Err(io::Error::other("the response is too long"));
            };
            let read = stream.read(room)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            length += read;
            let seen = buffer.get(..length).unwrap_or_default();
            if seen.ends_with(BODY) {
                if !seen.starts_with(b"HTTP/1.1 200") {
                    return Err(io::Error::other("the response is an error"));
                }
                break;
            }
        }
        latencies.push((Instant::now() - begin).as_secs_f64() * 1e6);
    }
    Ok(())
}
