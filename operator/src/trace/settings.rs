//! Where spans go, by the standard variables. Pure.
//!
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/> and
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>

use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// How long the collector may take, unless said otherwise; the specification's figure.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// The name in traces, unless said otherwise.
const DEFAULT_SERVICE: &str = "fairlead-operator";

/// Why spans cannot be sent as the variables ask for; the texts hold no value that may be secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("`{0}` is not a URL that starts with http:// or https://")]
    Endpoint(&'static str),
    /// A protocol that is not spoken here.
    #[error("`{0}` asks for `{1}`; only http/protobuf is spoken, which collectors take on 4318")]
    Protocol(&'static str, String),
    /// Headers that cannot be sent.
    #[error("`{0}` is not a list such as `name=value,name=value`")]
    Headers(&'static str),
    /// No number.
    #[error("`{0}` is not a number of milliseconds")]
    Timeout(&'static str),
    /// The authority's certificate cannot be used.
    #[error("failed to read the certificate authority of the collector")]
    Authority(#[source] std::io::Error),
    /// The client could not be made.
    #[error("the client for the collector cannot be set up")]
    Client(#[source] reqwest::Error),
}

/// Where spans go, and how.
#[derive(Clone)]
pub struct Settings {
    pub(super) endpoint: Url,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    /// A file with an authority to trust.
    pub(super) authority: Option<String>,
    /// What the spans are of: `service.name` and whatever people add.
    pub(super) resource: Vec<(String, String)>,
}

impl std::fmt::Debug for Settings {
    /// Shows no header: those hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("timeout", &self.timeout)
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

/// The base address of the collector, for all signals.
pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The variables about traces alone win over those about all signals.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ENDPOINT];
const HEADERS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_HEADERS",
];
const PROTOCOL: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
const TIMEOUT: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
];
const CERTIFICATE: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
];

impl Settings {
    /// Reads the variables; `None` when they ask for nothing.
    ///
    /// # Errors
    /// When they ask for what cannot be done.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Error> {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let first = |names: [&'static str; 2]| {
            let mut names = names.into_iter();
            names.find_map(|name| set(name).map(|value| (name, value.trim().to_owned())))
        };
        let is_off = set("OTEL_SDK_DISABLED").is_some_and(|is| is.eq_ignore_ascii_case("true"))
            || set("OTEL_TRACES_EXPORTER").is_some_and(|exporter| exporter == "none");
        let Some((name, address)) = first(ENDPOINTS).filter(|_| !is_off) else {
            return Ok(None);
        };
        let parsed = address.parse::<Url>().ok();
        let mut endpoint = parsed
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or(Error::Endpoint(name))?;
        // The one about traces is used as it is; the common one is a base.
        if name == ENDPOINT {
            let path = format!("{}/v1/traces", endpoint.path().trim_end_matches('/'));
            endpoint.set_path(&path);
        }
        if let Some((name, protocol)) = first(PROTOCOL).filter(|(_, it)| it != "http/protobuf") {
            return Err(Error::Protocol(name, protocol));
        }
        let headers = match first(HEADERS) {
            Some((name, list)) => headers(&list).ok_or(Error::Headers(name))?,
            None => HeaderMap::new(),
        };
        let timeout = match first(TIMEOUT) {
            Some((name, text)) => {
                Duration::from_millis(text.parse().map_err(|_no_number| Error::Timeout(name))?)
            }
            None => DEFAULT_TIMEOUT,
        };
        let attributes = set("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let mut resource: Vec<(String, String)> = pairs(&attributes).collect();
        let service = set("OTEL_SERVICE_NAME").or_else(|| {
            let given = resource.iter().find(|(key, _)| key == "service.name");
            given.map(|(_, value)| value.clone())
        });
        resource.retain(|(key, _)| key != "service.name");
        let service = service.unwrap_or_else(|| DEFAULT_SERVICE.to_owned());
        resource.insert(0, ("service.name".to_owned(), service));
        Ok(Some(Self {
            endpoint,
            headers,
            timeout,
            authority: first(CERTIFICATE).map(|(_, path)| path),
            resource,
        }))
    }
}

fn headers(list: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let entries = list.split(',').filter(|entry| !entry.trim().is_empty());
    if entries.count() != pairs(list).count() {
        return None;
    }
    for (name, value) in pairs(list) {
        let name: HeaderName = name.parse().ok()?;
        let mut value: HeaderValue = value.parse().ok()?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Some(headers)
}

/// `key=value,key=value`, with the values percent-encoded, as in W3C Baggage.
fn pairs(list: &str) -> impl Iterator<Item = (String, String)> {
    list.split(',').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let (key, value) = (key.trim().to_owned(), decoded(value.trim()));
        (!key.is_empty()).then_some((key, value))
    })
}

/// Without percent-encoding; what is none is as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hexadecimal = after.get(..2).filter(|_| *first == b'%');
        let byte = hexadecimal.and_then(|pair| hex::decode(pair).ok());
        if let Some(byte) = byte {
            bytes.extend(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Settings::read(variable).map_err(|error| error.to_string())
    }

    fn endpoint(variables: &[(&str, &str)]) -> Option<String> {
        let settings = read(variables).unwrap();
        settings.map(|settings| settings.endpoint.to_string())
    }

    #[test]
    fn without_an_address_and_when_switched_off_there_is_nothing() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(endpoint(&[]), None);
        assert_eq!(endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), None);
        assert_eq!(endpoint(&[base, ("OTEL_SDK_DISABLED", "true")]), None);
        assert_eq!(endpoint(&[base, ("OTEL_TRACES_EXPORTER", "none")]), None);
        let found = endpoint(&[base, ("OTEL_TRACES_EXPORTER", "otlp")]);
        assert_eq!(found.as_deref(), Some("http://collector:4318/v1/traces"));
    }

    #[test]
    fn the_address_of_traces_is_used_as_it_is() {
        let found = endpoint(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base/"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/in"),
        ]);
        assert_eq!(found.as_deref(), Some("https://traces/in"));
        let base = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base/")];
        let found = endpoint(&base);
        assert_eq!(
            found.as_deref(),
            Some("http://collector:4318/base/v1/traces")
        );
    }

    #[test]
    fn headers_and_attributes_are_lists_and_no_header_is_shown() {
        let settings = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=Bearer%20hush, x-team = shop",
            ),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "k8s.cluster.name=west,service.name=other",
            ),
            ("OTEL_SERVICE_NAME", "rollouts"),
        ]);
        let settings = settings.unwrap().unwrap();
        assert_eq!(settings.headers["authorization"], "Bearer hush");
        assert_eq!(settings.headers["x-team"], "shop");
        let resource: Vec<(&str, &str)> = settings
            .resource
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let expected = [("service.name", "rollouts"), ("k8s.cluster.name", "west")];
        assert_eq!(resource, expected);
        assert!(!format!("{settings:?}").contains("hush"));
    }

    #[test]
    fn what_cannot_be_done_names_the_variable() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        for (variables, part) in [
            (
                [base, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
                "PROTOCOL` asks for `grpc`",
            ),
            (
                [base, ("OTEL_EXPORTER_OTLP_HEADERS", "no pair")],
                "OTLP_HEADERS`",
            ),
            (
                [base, ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")],
                "OTLP_TIMEOUT`",
            ),
            (
                [
                    base,
                    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317"),
                ],
                "TRACES_ENDPOINT`",
            ),
        ] {
            let error = read(&variables).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
