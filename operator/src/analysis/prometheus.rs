//! Asks Prometheus: instant queries over HTTP.

use std::time::Duration;

use futures::future::BoxFuture;
use prometheus_http_query::response::Data;
use prometheus_http_query::{Client, Error};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::{Provider, QueryError};

/// How long a query may take; Flagger's figure.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How to prove who we are.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Not at all.
    #[default]
    None,
    /// By a bearer token.
    Token(String),
    /// By name and password.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
}

impl std::fmt::Debug for Credentials {
    /// Shows no secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token",
            Self::Basic { .. } => "Basic",
        })
    }
}

/// Where a Prometheus is and how to ask it.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Its base address.
    pub address: String,
    /// How to prove who we are.
    pub credentials: Credentials,
    /// More headers.
    pub headers: Vec<(String, String)>,
    /// Whether any certificate will do.
    pub insecure_skip_verify: bool,
}

/// A Prometheus.
pub struct Prometheus {
    client: Client,
}

impl std::fmt::Debug for Prometheus {
    /// Shows no address: it may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prometheus").finish_non_exhaustive()
    }
}

impl Prometheus {
    /// Sets up a client; asks nothing yet.
    pub fn new(config: &Config) -> Result<Self, QueryError> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .tls_danger_accept_invalid_certs(config.insecure_skip_verify)
            .default_headers(headers(config)?)
            .build()
            .map_err(|error| QueryError::Setup(error.without_url().to_string()))?;
        let client = Client::from(http, &config.address)
            .map_err(|_no_url| QueryError::Setup("its address is not a URL".to_owned()))?;
        Ok(Self { client })
    }
}

fn headers(config: &Config) -> Result<HeaderMap, QueryError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let wrong = || QueryError::Setup(format!("header `{name}` is not valid"));
        let key: HeaderName = name.parse().map_err(|_no_name| wrong())?;
        let value: HeaderValue = value.parse().map_err(|_no_value| wrong())?;
        headers.append(key, value);
    }
    let authorization = match &config.credentials {
        Credentials::None => return Ok(headers),
        Credentials::Token(token) => format!("Bearer {}", token.trim()),
        Credentials::Basic { username, password } => {
            use base64::Engine as _;
            let pair = format!("{username}:{password}");
            format!(
                "Basic {}",
                base64::engine::general_purpose::STANDARD.encode(pair)
            )
        }
    };
    let mut value = HeaderValue::try_from(authorization)
        .map_err(|_no_value| QueryError::Setup("the credentials hold a line break".to_owned()))?;
    value.set_sensitive(true);
    headers.insert(reqwest::header::AUTHORIZATION, value);
    Ok(headers)
}

impl Provider for Prometheus {
    fn query<'a>(&'a self, query: &'a str) -> BoxFuture<'a, Result<Vec<f64>, QueryError>> {
        Box::pin(async move {
            let result = self.client.query(query).post().await.map_err(explain)?;
            match result.data() {
                Data::Scalar(sample) => Ok(vec![sample.value()]),
                Data::Vector(series) => Ok(series.iter().map(|one| one.sample().value()).collect()),
                Data::Matrix(_) => Err(QueryError::Shape("a range of samples")),
            }
        })
    }
}

/// An error without the address, which may hold a secret.
fn explain(error: Error) -> QueryError {
    match error {
        Error::Prometheus(refusal) => {
            QueryError::Refused(format!("{:?}: {}", refusal.error_type(), refusal.message()))
        }
        Error::Client(error) => {
            let inner = std::error::Error::source(&error)
                .and_then(|source| source.downcast_ref::<reqwest::Error>());
            QueryError::Unreachable(match inner {
                Some(inner) if inner.is_timeout() => "it did not answer in time".to_owned(),
                Some(inner) if inner.is_connect() => "it does not accept connections".to_owned(),
                Some(inner) if inner.is_decode() => "its answer is not Prometheus'".to_owned(),
                Some(_) | None => "the request failed".to_owned(),
            })
        }
        // The library's list is open; what is left concerns the address.
        _ => QueryError::Setup("its address is not a URL".to_owned()),
    }
}
