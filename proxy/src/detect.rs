//! What a connection speaks, told by its first bytes without taking them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use fairlead_xds::resource::listener::{Codec, ListenerFilter};
use rustls::server::Acceptor;
use tokio::net::TcpStream;

use crate::config::listener::{Listener, Seen};
use crate::http::connection::Version;
use crate::stream::Stream;

/// A client hello beyond this is not looked at any further.
const LONGEST_HELLO: usize = 16 * 1024;
/// Between two looks at a client that sends its first bytes one by one, doubled from the first to
/// the last: one that stalls half-way must not keep a worker busy.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// Envoy's limit where the configuration has none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
/// Where the configuration says to wait without end, and only TLS or bytes can follow, a client
/// that sends nothing for so long is one that waits for the server to speak first.
const PATIENCE: Duration = Duration::from_secs(3);

/// No method in use is longer.
const LONGEST_METHOD: usize = 24;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Looks at a connection to `destination` as the listener's filters ask.
///
/// A client may open a connection long before its first request: where HTTP may follow, guessing
/// something else would send that request past all routes.
pub async fn inspect(
    stream: &TcpStream,
    listener: &Listener,
    destination: SocketAddr,
) -> io::Result<Seen> {
    let tls = listener.inspects(ListenerFilter::TlsInspector);
    let http = listener.inspects(ListenerFilter::HttpInspector);
    if !tls && !http {
        return Ok(Seen::default());
    }
    let limit = match listener.spec.filters_timeout {
        None => DEFAULT_TIMEOUT,
        Some(Duration::ZERO) if listener.may_be_http(destination) => {
            return look(stream, tls, http).await;
        }
        Some(Duration::ZERO) => PATIENCE,
        Some(limit) => limit,
    };
    match tokio::time::timeout(limit, look(stream, tls, http)).await {
        Ok(seen) => seen,
        Err(_elapsed) => Ok(Seen::default()),
    }
}

async fn look(stream: &TcpStream, tls: bool, http: bool) -> io::Result<Seen> {
    let mut buffer = vec![0; 1024];
    let mut known = 0;
    let mut pauses = pauses();
    loop {
        let length = stream.peek(&mut buffer).await?;
        let first = buffer.get(..length).unwrap_or_default();
        if length == 0 {
            return Ok(Seen::default());
        }
        if let Some(seen) = judge(first, tls, http, length >= LONGEST_HELLO) {
            return Ok(seen);
        }
        if length == buffer.len() {
            buffer.resize((length * 2).min(LONGEST_HELLO), 0);
        } else if length == known {
            // The socket stays readable while nothing is taken, so readiness cannot be awaited.
            tokio::time::sleep(pauses.next().unwrap_or(LAST_PAUSE)).await;
        } else {
            pauses = self::pauses();
        }
        known = length;
    }
}

/// The pauses between looks at a client from which nothing new comes.
fn pauses() -> impl Iterator<Item = Duration> {
    std::iter::successors(Some(FIRST_PAUSE), |pause| {
        Some((*pause * 2).min(LAST_PAUSE))
    })
}

/// What the first bytes say; `None` asks for more of them, unless this is the `last` look.
fn judge(first: &[u8], tls: bool, http: bool, last: bool) -> Option<Seen> {
    if tls && first.first() == Some(&0x16) {
        return match client_hello(first) {
            Hello::Complete(seen) => Some(seen),
            Hello::Partial if !last => None,
            Hello::Partial | Hello::Malformed => Some(Seen {
                tls: true,
                ..Seen::default()
            }),
        };
    }
    if !http {
        return Some(Seen::default());
    }
    let protocols = match classify(first) {
        Class::Http1 => vec!["http/1.1".to_owned()],
        Class::Http2 => vec!["h2c".to_owned()],
        Class::Other => vec![],
        Class::Unclear if last => vec![],
        Class::Unclear => return None,
    };
    Some(Seen {
        protocols,
        ..Seen::default()
    })
}

enum Hello {
    Complete(Seen),
    Partial,
    Malformed,
}

fn client_hello(mut bytes: &[u8]) -> Hello {
    let mut acceptor = Acceptor::default();
    while !bytes.is_empty() {
        if acceptor.read_tls(&mut bytes).is_err() {
            return Hello::Malformed;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Err(_alert) => return Hello::Malformed,
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let protocols = hello.alpn().into_iter().flatten();
                return Hello::Complete(Seen {
                    tls: true,
                    server_name: hello.server_name().map(str::to_owned),
                    protocols: protocols
                        .map(|name| String::from_utf8_lossy(name).into_owned())
                        .collect(),
                });
            }
        }
    }
    Hello::Partial
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Http1,
    Http2,
    Other,
    Unclear,
}

/// A request line begins with a method, which is a token (RFC 9110, section 9.1), a space, and a
/// target that begins with a slash, an asterisk or a letter.
fn classify(first: &[u8]) -> Class {
    if first.starts_with(PREFACE) {
        return Class::Http2;
    }
    if PREFACE.starts_with(first) {
        return Class::Unclear;
    }
    match first
        .iter()
        .position(|byte| !byte.is_ascii_uppercase() && !matches!(byte, b'-' | b'_'))
    {
        None if first.len() > LONGEST_METHOD => Class::Other,
        None => Class::Unclear,
        Some(0) => Class::Other,
        Some(end) => match (first.get(end), first.get(end + 1)) {
            (Some(b' '), None) => Class::Unclear,
            (Some(b' '), Some(next))
                if matches!(next, b'/' | b'*') || next.is_ascii_alphanumeric() =>
            {
                Class::Http1
            }
            _ => Class::Other,
        },
    }
}

/// Which HTTP to serve on a connection.
pub async fn http_version(stream: &mut Stream, codec: Codec) -> io::Result<Version> {
    match codec {
        Codec::Http1 => return Ok(Version::Http1),
        Codec::Http2 => return Ok(Version::Http2),
        Codec::Auto => {}
    }
    let agreed = stream.session().and_then(|session| session.alpn_protocol());
    match agreed {
        Some(b"h2" | b"istio-h2") => return Ok(Version::Http2),
        Some(b"http/1.1" | b"istio-http/1.1") => return Ok(Version::Http1),
        _ => {}
    }
    let mut buffer = [0; PREFACE.len()];
    let mut known = 0;
    let mut pauses = pauses();
    loop {
        let first = stream.peek(&mut buffer).await?;
        if first.starts_with(PREFACE) {
            return Ok(Version::Http2);
        }
        if first.is_empty() || !PREFACE.starts_with(first) {
            return Ok(Version::Http1);
        }
        let length = first.len();
        if length == known {
            tokio::time::sleep(pauses.next().unwrap_or(LAST_PAUSE)).await;
        } else {
            pauses = self::pauses();
        }
        known = length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_told_from_other_first_bytes() {
        let check = |bytes: &[u8], expected| assert_eq!(classify(bytes), expected, "{bytes:?}");
        check(b"GET / HTTP/1.1\r\n", Class::Http1);
        check(b"M-SEARCH * HTTP/1.1\r\n", Class::Http1);
        check(b"GE", Class::Unclear);
        check(b"GET ", Class::Unclear);
        check(PREFACE, Class::Http2);
        check(b"PRI * HT", Class::Unclear);
        check(b"SSH-2.0-OpenSSH", Class::Other);
        check(b"*1\r\n$4\r\nPING\r\n", Class::Other);
        check(&[0x16, 0x03, 0x01], Class::Other);
    }

    #[test]
    fn a_client_that_stalls_is_looked_at_less_and_less() {
        let minute = Duration::from_mins(1);
        let within = pauses().scan(Duration::ZERO, |since, pause| {
            *since += pause;
            Some(*since)
        });
        assert!(within.take_while(|since| *since < minute).count() < 80);
        assert_eq!(pauses().next(), Some(FIRST_PAUSE));
    }

    #[test]
    fn a_partial_hello_asks_for_more() {
        assert_eq!(
            judge(&[0x16, 0x03, 0x01, 0x02, 0x00], true, true, false),
            None
        );
        let tls = judge(&[0x16, 0x03, 0x01, 0x02, 0x00], true, true, true).unwrap();
        assert!(tls.tls);
        assert_eq!(judge(b"hello", true, false, false), Some(Seen::default()));
    }
}
