//! Metrics as Prometheus' text format, with the mesh's standard names and labels; no IO.

use std::fmt::{self, Write};

use super::histogram::Histogram;
use super::metrics::{Connections, Ends, Metrics, Outcome, Protocol, Reporter, Requests, Security};
use super::{Flags, Peer, Service};

/// The content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

type Pick = fn(&Requests) -> &Histogram;
type Count = fn(&Connections) -> u64;

/// All metrics as text, series in a stable order.
pub fn prometheus(metrics: &Metrics) -> String {
    let mut requests: Vec<_> = metrics
        .request_series()
        .map(|(ends, peers, service, outcome, values)| {
            (
                request_labels(ends, &peers[0], &peers[1], &service, outcome),
                values,
            )
        })
        .collect();
    requests.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut connections: Vec<_> = metrics
        .connection_series()
        .map(|(ends, peers, service, flags, values)| {
            let mut labels = end_labels(ends, &peers[0], &peers[1], &service);
            last_labels(&mut labels, flags, ends.security);
            (labels, values)
        })
        .collect();
    connections.sort_unstable_by(|a, b| a.0.cmp(&b.0));

    let mut text = String::new();
    header(&mut text, "istio_requests_total", "counter");
    for (labels, values) in &requests {
        line(&mut text, "istio_requests_total", labels, values.total);
    }
    let histograms: [(&str, Pick); 3] = [
        ("istio_request_duration_milliseconds", |values| {
            &values.duration
        }),
        ("istio_request_bytes", |values| &values.request_bytes),
        ("istio_response_bytes", |values| &values.response_bytes),
    ];
    for (name, pick) in histograms {
        header(&mut text, name, "histogram");
        for (labels, values) in &requests {
            histogram(&mut text, name, labels, pick(values));
        }
    }
    let counters: [(&str, Count); 4] = [
        ("istio_tcp_connections_opened_total", |values| values.opened),
        ("istio_tcp_connections_closed_total", |values| values.closed),
        ("istio_tcp_sent_bytes_total", |values| values.sent),
        ("istio_tcp_received_bytes_total", |values| values.received),
    ];
    for (name, count) in counters {
        header(&mut text, name, "counter");
        for (labels, values) in &connections {
            line(&mut text, name, labels, count(values));
        }
    }
    own(&mut text, metrics);
    text
}

fn own(text: &mut String, metrics: &Metrics) {
    let version = env!("CARGO_PKG_VERSION");
    header(text, "istio_build", "gauge");
    line(
        text,
        "istio_build",
        &format!("component=\"proxy\",tag=\"{version}\""),
        1,
    );
    header(
        text,
        "fairlead_proxy_downstream_connections_active",
        "gauge",
    );
    line(
        text,
        "fairlead_proxy_downstream_connections_active",
        "",
        metrics.downstream_active,
    );
    header(
        text,
        "fairlead_proxy_access_log_dropped_lines_total",
        "counter",
    );
    line(
        text,
        "fairlead_proxy_access_log_dropped_lines_total",
        "",
        metrics.dropped_log_lines,
    );
}

fn request_labels(
    ends: Ends,
    source: &Peer,
    destination: &Peer,
    service: &Service,
    outcome: Outcome,
) -> String {
    let mut labels = end_labels(ends, source, destination, service);
    label(
        &mut labels,
        "response_code",
        format_args!("{}", outcome.code),
    );
    match outcome.grpc {
        Some(status) => label(
            &mut labels,
            "grpc_response_status",
            format_args!("{status}"),
        ),
        None => label(&mut labels, "grpc_response_status", format_args!("")),
    }
    last_labels(&mut labels, outcome.flags, ends.security);
    labels
}

fn end_labels(ends: Ends, source: &Peer, destination: &Peer, service: &Service) -> String {
    let mut labels = String::with_capacity(512);
    let reporter = match ends.reporter {
        Reporter::Source => "source",
        Reporter::Destination => "destination",
    };
    label(&mut labels, "reporter", format_args!("{reporter}"));
    peer_labels(&mut labels, "source", source);
    peer_labels(&mut labels, "destination", destination);
    text_label(&mut labels, "destination_service", &service.host);
    text_label(&mut labels, "destination_service_name", &service.name);
    text_label(
        &mut labels,
        "destination_service_namespace",
        &service.namespace,
    );
    let protocol = match ends.protocol {
        Protocol::Http => "http",
        Protocol::Grpc => "grpc",
        Protocol::Tcp => "tcp",
    };
    label(&mut labels, "request_protocol", format_args!("{protocol}"));
    labels
}

fn last_labels(labels: &mut String, flags: Flags, security: Security) {
    label(labels, "response_flags", format_args!("{flags}"));
    let security = match security {
        Security::MutualTls => "mutual_tls",
        Security::Plain => "none",
        Security::Unknown => "unknown",
    };
    label(
        labels,
        "connection_security_policy",
        format_args!("{security}"),
    );
}

fn peer_labels(labels: &mut String, end: &str, peer: &Peer) {
    let Peer {
        workload,
        namespace,
        canonical_service,
        canonical_revision,
        cluster,
        principal,
    } = peer;
    for (name, value) in [
        ("workload", workload),
        ("canonical_service", canonical_service),
        ("canonical_revision", canonical_revision),
        ("workload_namespace", namespace),
        ("principal", principal),
        ("app", canonical_service),
        ("version", canonical_revision),
        ("cluster", cluster),
    ] {
        text_label(labels, &format!("{end}_{name}"), value);
    }
}

fn text_label(labels: &mut String, name: &str, value: &str) {
    let value = if value.is_empty() { "unknown" } else { value };
    label(labels, name, format_args!("{}", Escaped(value)));
}

fn label(labels: &mut String, name: &str, value: fmt::Arguments<'_>) {
    if !labels.is_empty() {
        labels.push(',');
    }
    // Writing to a string cannot fail.
    let _infallible = write!(labels, "{name}=\"{value}\"");
}

struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

fn header(text: &mut String, name: &str, kind: &str) {
    let _infallible = writeln!(text, "# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, value: u64) {
    if labels.is_empty() {
        let _infallible = writeln!(text, "{name} {value}");
    } else {
        let _infallible = writeln!(text, "{name}{{{labels}}} {value}");
    }
}

fn histogram(text: &mut String, name: &str, labels: &str, values: &Histogram) {
    for (bound, count) in values.cumulative() {
        let _infallible = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
    }
    let _infallible = writeln!(
        text,
        "{name}_bucket{{{labels},le=\"+Inf\"}} {}",
        values.count()
    );
    let _infallible = writeln!(text, "{name}_sum{{{labels}}} {}", values.sum());
    let _infallible = writeln!(text, "{name}_count{{{labels}}} {}", values.count());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(code: u16) -> Metrics {
        let mut metrics = Metrics::default();
        let ends = Ends {
            reporter: Reporter::Source,
            source: metrics.peer(&Peer::from_endpoint("web;shop;web;v1;c")),
            destination: metrics.peer(&Peer::default()),
            service: metrics.service(&Service::unresolved("PassthroughCluster")),
            protocol: Protocol::Http,
            security: Security::Unknown,
        };
        let outcome = Outcome {
            code,
            grpc: None,
            flags: Flags::default(),
        };
        let values = metrics.requests(ends, outcome);
        values.total += 1;
        values.duration.observe(3.0);
        metrics
    }

    #[test]
    fn series_of_several_workers_add_up() {
        let mut all = counted(200);
        all.merge(&counted(200));
        all.merge(&counted(503));
        let text = prometheus(&all);
        let total = |code: &str| {
            text.lines()
                .find(|l| l.starts_with("istio_requests_total{") && l.contains(code))
                .and_then(|l| l.rsplit(' ').next())
                .map(str::to_owned)
        };
        assert_eq!(total("response_code=\"200\"").as_deref(), Some("2"));
        assert_eq!(total("response_code=\"503\"").as_deref(), Some("1"));
        assert!(text.contains("le=\"5\"} 2"));
    }

    #[test]
    fn what_is_not_known_says_so() {
        let text = prometheus(&counted(200));
        assert!(text.contains("source_workload=\"web\""));
        assert!(text.contains("destination_workload=\"unknown\""));
        assert!(text.contains("connection_security_policy=\"unknown\""));
    }

    #[test]
    fn text_from_peers_cannot_break_out_of_a_label() {
        assert_eq!(Escaped("a\"b\\c\nd").to_string(), "a\\\"b\\\\c\\nd");
    }
}
