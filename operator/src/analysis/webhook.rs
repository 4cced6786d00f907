//! Calls webhooks: gates and hooks of a rollout, with Flagger's payload.
//!
//! Any 2xx is a success, redirects are not followed, bodies of answers are shown but not obeyed.

use std::collections::BTreeMap;
use std::time::Duration;

use fairlead_rollout::Verdict;
use fairlead_runtime::{clock, report};
use serde::Serialize;

use crate::outgoing::retry::{Backoff, is_passing, retry_after};
use crate::outgoing::{self, Outgoing, Settings, Trust};

/// A hook's address and patience.
#[derive(Clone)]
pub struct Endpoint {
    /// Where it listens; may hold a secret.
    pub url: String,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How many more attempts after the first one.
    pub retries: u32,
    /// Whether any certificate will do.
    pub insecure: bool,
}

impl std::fmt::Debug for Endpoint {
    /// Shows no address: it may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// What a hook is told; Flagger's fields.
#[derive(Clone, Debug, Serialize)]
pub struct Payload {
    /// The Canary's name.
    pub name: String,
    /// The Canary's namespace.
    pub namespace: String,
    /// The phase that the hook is about.
    pub phase: String,
    /// Tells one revision from another.
    pub checksum: String,
    /// The hook's own settings, and those of an event.
    pub metadata: BTreeMap<String, String>,
}

/// Calls webhooks.
#[derive(Clone, Debug)]
pub struct Webhooks {
    outgoing: Outgoing,
}

/// The longest pause between two attempts; Flagger's.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The most of an answer's body that is repeated to people, in characters.
const EXCERPT: usize = 200;
/// The most of an answer's body that is read, in bytes.
const MOST_BODY: usize = 4 * EXCERPT;

/// What an attempt led to.
enum Attempt {
    /// Trying again would change nothing.
    Final(Verdict),
    /// Another attempt may help, after a pause when one is asked for.
    Passing(Verdict, Option<Duration>),
}

impl Webhooks {
    /// Webhooks are called as `outgoing` allows.
    pub const fn new(outgoing: Outgoing) -> Self {
        Self { outgoing }
    }

    /// Calls a hook until it answers or its retries are used up.
    ///
    /// `key` is the same for every attempt, so that the hook can tell a repetition.
    pub async fn call(&self, endpoint: &Endpoint, payload: &Payload, key: &str) -> Verdict {
        let settings = Settings {
            trust: if endpoint.insecure {
                Trust::Anything
            } else {
                Trust::System
            },
            proxy: None,
        };
        let (client, url) = match self.outgoing.client(&endpoint.url, &settings).await {
            Ok(found) => found,
            Err(error) => return Verdict::Error(report(&error).to_string()),
        };
        let mut backoff = Backoff::new(endpoint.retries, LONGEST_PAUSE);
        loop {
            let request = client
                .post(url.clone())
                .timeout(endpoint.timeout)
                .header("idempotency-key", key)
                .json(payload);
            let (verdict, asked) = match attempt(request, endpoint.timeout).await {
                Attempt::Final(verdict) => return verdict,
                Attempt::Passing(verdict, asked) => (verdict, asked),
            };
            let Some(pause) = backoff.pause(asked) else {
                return verdict;
            };
            tokio::time::sleep(pause).await;
        }
    }
}

async fn attempt(request: reqwest::RequestBuilder, timeout: Duration) -> Attempt {
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if outgoing::refusal(&error).is_some() || error.is_builder() => {
            return Attempt::Final(Verdict::Error(outgoing::describe(&error)));
        }
        Err(error) if error.is_timeout() => {
            let why = format!("it did not answer within {timeout:?}");
            return Attempt::Passing(Verdict::Error(why), None);
        }
        Err(error) => return Attempt::Passing(Verdict::Error(outgoing::describe(&error)), None),
    };
    let status = answer.status();
    if status.is_success() {
        return Attempt::Final(Verdict::Passed);
    }
    let asked = retry_after(answer.headers(), clock::now());
    let mut why = format!("it answered {}", status.as_u16());
    if status.is_redirection() {
        why.push_str(", and redirects are not followed");
    }
    let excerpt = excerpt(answer).await;
    if !excerpt.is_empty() {
        why.push_str(": ");
        why.push_str(&excerpt);
    }
    if is_passing(status) {
        Attempt::Passing(Verdict::Failed(why), asked)
    } else {
        Attempt::Final(Verdict::Failed(why))
    }
}

/// The start of a body; what follows is not read.
async fn excerpt(mut answer: reqwest::Response) -> String {
    let mut body = Vec::new();
    // A body that breaks off is shown as far as it came.
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= MOST_BODY {
            break;
        }
    }
    let text = String::from_utf8_lossy(&body);
    text.trim().chars().take(EXCERPT).collect()
}

#[cfg(test)]
mod tests;
