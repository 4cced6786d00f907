//! Asks Prometheus: instant queries over HTTP.
//!
//! A series that has gone stale is not in the answer, so that what remains is no data.

mod recorded;

use std::time::Duration;

use futures::future::BoxFuture;
use prometheus_http_query::response::Data;
use prometheus_http_query::{Client, Error};
use reqwest::header::HeaderMap;

pub use self::recorded::{Series, recorded};

use super::{Provider, QueryError};
use crate::outgoing::access::Access;
use crate::outgoing::{self, Outgoing};

/// How long a query may take; Flagger's figure.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A Prometheus.
pub struct Prometheus {
    client: Client,
    headers: HeaderMap,
}

impl std::fmt::Debug for Prometheus {
    /// Shows no address: it may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prometheus").finish_non_exhaustive()
    }
}

impl Prometheus {
    /// Sets up a client; asks nothing yet.
    pub async fn new(outgoing: &Outgoing, access: &Access) -> Result<Self, QueryError> {
        let (http, url) = outgoing
            .client(&access.address, &access.settings())
            .await
            .map_err(QueryError::from)?;
        let client = Client::from(http, url.as_str())
            .map_err(|_no_url| QueryError::Setup("its address is not a URL".to_owned()))?;
        Ok(Self {
            client,
            headers: access.headers()?,
        })
    }
}

impl Provider for Prometheus {
    fn query<'a>(&'a self, query: &'a str) -> BoxFuture<'a, Result<Vec<f64>, QueryError>> {
        Box::pin(async move {
            let mut request = self.client.query(query);
            for (name, value) in &self.headers {
                request = request.header(name.clone(), value.clone());
            }
            let result = tokio::time::timeout(TIMEOUT, request.post()).await;
            let result = result.map_err(|_elapsed| QueryError::late(TIMEOUT))?;
            match result.map_err(explain)?.data() {
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
            match inner {
                Some(inner) if inner.is_decode() => {
                    QueryError::Unreachable("its answer is not Prometheus'".to_owned())
                }
                Some(inner) => QueryError::Unreachable(outgoing::describe(inner)),
                None => QueryError::Unreachable("its answer is not Prometheus'".to_owned()),
            }
        }
        // The library's list is open; what is left concerns the address.
        _ => QueryError::Setup("its address is not a URL".to_owned()),
    }
}

#[cfg(test)]
mod tests;
