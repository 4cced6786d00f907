//! The access log in Istio's text format: formatted by workers, written by a thread of its own.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use jiff::Timestamp;

use super::Flags;

/// Buffers that may wait for the writer. When they do, lines are dropped and counted: a slow
/// terminal must not hold up traffic.
const QUEUE: usize = 64;
/// A buffer is handed over when it is this long, or when the worker's clock ticks.
const BUFFER: usize = 16 * 1024;

/// The writing end, one for each worker.
#[derive(Debug)]
pub struct Log {
    sender: Option<SyncSender<String>>,
    buffer: RefCell<String>,
    dropped: Cell<u64>,
}

/// Starts the writer and gives a function that makes logs for workers.
///
/// The writer ends when all logs are gone and everything is written.
pub fn start(
    mut out: impl io::Write + Send + 'static,
) -> io::Result<(SyncSender<String>, thread::JoinHandle<()>)> {
    let (sender, receiver) = sync_channel::<String>(QUEUE);
    let writer = thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || {
            write_all(&receiver, &mut out);
        })?;
    Ok((sender, writer))
}

fn write_all(receiver: &Receiver<String>, out: &mut impl io::Write) {
    for text in receiver {
        // Nothing can be done about a closed standard output but to go on serving.
        let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

impl Log {
    /// A log that hands its lines to `sender`, or one that is off.
    pub fn new(sender: Option<SyncSender<String>>) -> Self {
        Self {
            sender,
            buffer: RefCell::default(),
            dropped: Cell::new(0),
        }
    }

    /// Whether lines go anywhere.
    pub fn is_on(&self) -> bool {
        self.sender.is_some()
    }

    /// Adds a line.
    pub fn write(&self, line: &Line<'_>) {
        if self.sender.is_none() {
            return;
        }
        let mut buffer = self.buffer.borrow_mut();
        // Writing to a string cannot fail.
        let _infallible = writeln!(buffer, "{line}");
        let full = buffer.len() >= BUFFER;
        drop(buffer);
        if full {
            self.flush();
        }
    }

    /// Hands over what is there.
    pub fn flush(&self) {
        let Some(sender) = &self.sender else { return };
        let text = self.buffer.take();
        if text.is_empty() {
            return;
        }
        if let Err(TrySendError::Full(text) | TrySendError::Disconnected(text)) =
            sender.try_send(text)
        {
            let lines = text.bytes().filter(|byte| *byte == b'\n').count() as u64;
            self.dropped.set(self.dropped.get() + lines);
        }
    }

    /// How many lines were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

/// One exchange or connection. `None` and empty text print as `-`.
#[derive(Debug)]
#[expect(
    missing_docs,
    reason = "the fields are the format's operators in its order"
)]
pub struct Line<'a> {
    pub start: Timestamp,
    /// Method, path and protocol; a connection of bytes has none.
    pub request: Option<(&'a str, &'a str, &'a str)>,
    pub code: u16,
    pub flags: Flags,
    pub details: &'a str,
    pub transport_failure: &'a str,
    pub received: u64,
    pub sent: u64,
    pub duration_ms: u128,
    pub service_time: Option<u128>,
    pub forwarded_for: Option<&'a str>,
    pub user_agent: Option<&'a str>,
    pub request_id: Option<&'a str>,
    pub authority: Option<&'a str>,
    pub upstream_host: Option<SocketAddr>,
    pub upstream_cluster: &'a str,
    pub upstream_local: Option<SocketAddr>,
    pub downstream_local: SocketAddr,
    pub downstream_remote: SocketAddr,
    pub server_name: Option<&'a str>,
    pub route: &'a str,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:.3}] ", self.start)?;
        match self.request {
            Some((method, path, protocol)) => {
                write!(f, "\"{method} {} {protocol}\" ", Quoted(Some(path)))?;
            }
            None => f.write_str("\"- - -\" ")?,
        }
        write!(
            f,
            "{} {} {} - \"{}\" {} {} {} {} ",
            self.code,
            self.flags,
            Plain(self.details),
            Plain(self.transport_failure),
            self.received,
            self.sent,
            self.duration_ms,
            Maybe(self.service_time),
        )?;
        write!(
            f,
            "\"{}\" \"{}\" \"{}\" \"{}\" \"{}\" ",
            Quoted(self.forwarded_for),
            Quoted(self.user_agent),
            Quoted(self.request_id),
            Quoted(self.authority),
            Maybe(self.upstream_host),
        )?;
        write!(
            f,
            "{} {} {} {} {} {}",
            Plain(self.upstream_cluster),
            Maybe(self.upstream_local),
            self.downstream_local,
            self.downstream_remote,
            Quoted(self.server_name),
            Plain(self.route),
        )
    }
}

struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "-" } else { self.0 })
    }
}

struct Maybe<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Maybe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// Text from outside: it cannot end its quotes or its line.
struct Quoted<'a>(Option<&'a str>);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(text) = self.0.filter(|text| !text.is_empty()) else {
            return f.write_str("-");
        };
        if text
            .bytes()
            .all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\')
        {
            return f.write_str(text);
        }
        text.chars().try_for_each(|c| match c {
            '"' => f.write_str("\\\""),
            '\\' => f.write_str("\\\\"),
            c if c.is_control() => write!(f, "\\x{:02x}", u32::from(c)),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line<'static> {
        Line {
            start: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
            request: Some(("GET", "/a", "HTTP/1.1")),
            code: 200,
            flags: Flags::default(),
            details: "via_upstream",
            transport_failure: "",
            received: 0,
            sent: 5,
            duration_ms: 7,
            service_time: Some(6),
            forwarded_for: None,
            user_agent: Some("curl"),
            request_id: Some("id"),
            authority: Some("web"),
            upstream_host: Some("10.0.0.1:80".parse().unwrap()),
            upstream_cluster: "outbound|80||web",
            upstream_local: None,
            downstream_local: "10.0.0.2:80".parse().unwrap(),
            downstream_remote: "10.0.0.3:4000".parse().unwrap(),
            server_name: None,
            route: "default",
        }
    }

    #[test]
    fn a_line_has_the_mesh_format() {
        assert_eq!(
            line().to_string(),
            "[2023-11-14T22:13:20.123Z] \"GET /a HTTP/1.1\" 200 - via_upstream - \"-\" 0 5 7 6 \
             \"-\" \"curl\" \"id\" \"web\" \"10.0.0.1:80\" outbound|80||web - 10.0.0.2:80 \
             10.0.0.3:4000 - default"
        );
    }

    #[test]
    fn a_client_cannot_forge_a_line() {
        let forged = Line {
            user_agent: Some("x\"\n[2023"),
            ..line()
        };
        let text = forged.to_string();
        assert!(!text.contains('\n'));
        assert!(text.contains("\"x\\\"\\x0a[2023\""));
    }
}
