//! What a port speaks: by `appProtocol`, else by the port's name, else to be found out.

/// What a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Protocol {
    /// HTTP/1.1, and WebSocket over it.
    Http,
    /// HTTP/2 without TLS.
    Http2,
    /// gRPC, which is HTTP/2.
    Grpc,
    /// TLS of the application's own; only its server name is seen.
    Tls,
    /// Bytes.
    Tcp,
    /// Datagrams, which the mesh leaves alone.
    Udp,
    /// Nothing is said: each connection is looked at.
    Auto,
}

impl Protocol {
    /// Reads a protocol as port names, `appProtocol` and manifests write it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "http" | "kubernetes.io/ws" => Self::Http,
            "http2" | "kubernetes.io/h2c" => Self::Http2,
            "grpc" => Self::Grpc,
            // Browsers speak it over HTTP/1.1 too.
            "grpc-web" => Self::Http,
            "https" | "tls" | "kubernetes.io/wss" => Self::Tls,
            "tcp" | "mongo" | "redis" | "mysql" => Self::Tcp,
            "udp" => Self::Udp,
            _ => return None,
        })
    }

    /// What the port of a Service speaks.
    pub(crate) fn of_port(
        app_protocol: Option<&str>,
        name: &str,
        number: u16,
        transport: Option<&str>,
    ) -> Self {
        if transport == Some("UDP") {
            return Self::Udp;
        }
        let by_name = || {
            if name == "grpc-web" || name.starts_with("grpc-web-") {
                return Self::parse("grpc-web");
            }
            Self::parse(name.split('-').next().unwrap_or(name))
        };
        // Servers that speak first would wait for ever for the first bytes of their clients.
        let by_number = || matches!(number, 25 | 53 | 3306 | 27017).then_some(Self::Tcp);
        app_protocol
            .and_then(Self::parse)
            .or_else(by_name)
            .or_else(by_number)
            .unwrap_or(Self::Auto)
    }

    /// Whether requests are understood and routed.
    pub(crate) const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(app_protocol: Option<&str>, name: &str, number: u16, expected: Protocol) {
        assert_eq!(
            Protocol::of_port(app_protocol, name, number, Some("TCP")),
            expected,
            "{name}"
        );
    }

    #[test]
    fn the_protocol_is_declared_or_named_or_known_or_sniffed() {
        check(Some("grpc"), "http", 80, Protocol::Grpc);
        check(Some("kubernetes.io/h2c"), "web", 80, Protocol::Http2);
        check(Some("example.com/own"), "http-web", 80, Protocol::Http);
        check(None, "http-web", 80, Protocol::Http);
        check(None, "grpc-web", 80, Protocol::Http);
        check(None, "grpc-api", 80, Protocol::Grpc);
        check(None, "HTTP2", 80, Protocol::Http2);
        check(None, "https-web", 443, Protocol::Tls);
        check(None, "", 3306, Protocol::Tcp);
        check(None, "httpweb", 80, Protocol::Auto);
        check(None, "", 80, Protocol::Auto);
    }
}
