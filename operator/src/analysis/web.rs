//! Asks any server that answers with JSON, and finds numbers in the answer by a path.
//!
//! Only GET, since asking must not change anything.

use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::header::{ACCEPT, HeaderMap};
use reqwest::{Client, Url};
use serde_json::Value;

use super::json_path::Path;
use super::{Provider, QueryError};
use crate::outgoing::access::Access;
use crate::outgoing::{self, Outgoing};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const MOST_BODY: usize = 1 << 20;

/// A server that answers with JSON.
pub struct Web {
    client: Client,
    base: Url,
    headers: HeaderMap,
    path: Path,
}

impl std::fmt::Debug for Web {
    /// Shows no address: it may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Web").finish_non_exhaustive()
    }
}

impl Web {
    /// Sets up a client; asks nothing yet.
    pub async fn new(outgoing: &Outgoing, access: &Access, path: &str) -> Result<Self, QueryError> {
        let path = path
            .parse()
            .map_err(|error| QueryError::Setup(format!("jsonPath: {error}")))?;
        let (client, base) = outgoing
            .client(&access.address, &access.settings())
            .await
            .map_err(QueryError::from)?;
        Ok(Self {
            client,
            base,
            headers: access.headers()?,
            path,
        })
    }

    /// The address with the query after it.
    ///
    /// Values of a Canary get into the query; they must not lead credentials to another server.
    fn url(&self, query: &str) -> Result<Url, QueryError> {
        let base = self.base.as_str();
        let base = if query.starts_with('/') {
            base.trim_end_matches('/')
        } else {
            base
        };
        let wrong = |why: &str| QueryError::Setup(format!("its address and the query are {why}"));
        let url: Url = format!("{base}{query}")
            .parse()
            .map_err(|_no_url| wrong("no URL together"))?;
        let is_same = url.origin() == self.base.origin()
            && url.username() == self.base.username()
            && url.password() == self.base.password();
        if is_same {
            Ok(url)
        } else {
            Err(wrong("together on another server"))
        }
    }

    async fn ask(&self, query: &str) -> Result<Vec<f64>, QueryError> {
        let answer = self
            .client
            .get(self.url(query)?)
            .timeout(TIMEOUT)
            .headers(self.headers.clone())
            .header(ACCEPT, "application/json")
            .send()
            .await;
        let mut answer =
            answer.map_err(|error| QueryError::Unreachable(outgoing::describe(&error)))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(QueryError::Refused(format!(
                "it answered {}",
                status.as_u16()
            )));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| QueryError::Unreachable(outgoing::describe(&error)))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_BODY {
                return Err(QueryError::Shape("an answer of more than 1 MiB"));
            }
        }
        let answer: Value =
            serde_json::from_slice(&body).map_err(|_no_json| QueryError::Shape("no JSON"))?;
        self.path
            .find(&answer)
            .into_iter()
            .filter_map(number)
            .collect()
    }
}

/// A JSON value as a number: texts that hold one and truth count; nothing is nothing.
fn number(value: &Value) -> Option<Result<f64, QueryError>> {
    let number = match value {
        Value::Null => return None,
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Array(_) | Value::Object(_) => None,
    };
    Some(number.ok_or(QueryError::Shape("a list, an object or a text")))
}

impl Provider for Web {
    fn query<'a>(&'a self, query: &'a str) -> BoxFuture<'a, Result<Vec<f64>, QueryError>> {
        Box::pin(self.ask(query))
    }
}

#[cfg(test)]
mod tests;
