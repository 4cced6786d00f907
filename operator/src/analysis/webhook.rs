//! Calls webhooks: gates and hooks of a rollout, with Flagger's payload.
//!
//! Any 2xx is a success, redirects are not followed, bodies of answers are shown but not obeyed.

use std::collections::BTreeMap;
use std::time::Duration;

use fairlead_rollout::Verdict;
use serde::Serialize;

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

/// The two clients of webhooks.
#[derive(Clone, Debug)]
pub struct Webhooks {
    strict: reqwest::Client,
    lax: reqwest::Client,
}

/// The first pause between two attempts, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The most of an answer's body that is repeated to people.
const EXCERPT: usize = 200;

impl Webhooks {
    /// Sets up the clients.
    pub fn new() -> Result<Self, reqwest::Error> {
        let build = |insecure| {
            reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(Duration::from_secs(5))
                .user_agent(concat!("fairlead-operator/", env!("CARGO_PKG_VERSION")))
                .tls_danger_accept_invalid_certs(insecure)
                .build()
        };
        Ok(Self {
            strict: build(false)?,
            lax: build(true)?,
        })
    }

    /// Calls a hook until it answers or its retries are used up.
    ///
    /// `key` is the same for every attempt, so that the hook can tell a repetition.
    pub async fn call(&self, endpoint: &Endpoint, payload: &Payload, key: &str) -> Verdict {
        let mut pause = FIRST_PAUSE;
        let mut left = endpoint.retries;
        loop {
            let (verdict, again) = self.attempt(endpoint, payload, key).await;
            if !again || left == 0 {
                return verdict;
            }
            left -= 1;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One attempt, and whether another one could help.
    async fn attempt(&self, endpoint: &Endpoint, payload: &Payload, key: &str) -> (Verdict, bool) {
        let client = if endpoint.insecure {
            &self.lax
        } else {
            &self.strict
        };
        let sent = client
            .post(&endpoint.url)
            .timeout(endpoint.timeout)
            .header("idempotency-key", key)
            .json(payload)
            .send()
            .await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => return (Verdict::Error(unreachable(&error, endpoint.timeout)), true),
        };
        let status = answer.status();
        if status.is_success() {
            return (Verdict::Passed, false);
        }
        let again = status.is_server_error() || status.as_u16() == 429;
        let body = answer.text().await.unwrap_or_default();
        let mut why = format!("it answered {}", status.as_u16());
        if status.is_redirection() {
            why.push_str(", and redirects are not followed");
        }
        let excerpt: String = body.trim().chars().take(EXCERPT).collect();
        if !excerpt.is_empty() {
            why.push_str(": ");
            why.push_str(&excerpt);
        }
        (Verdict::Failed(why), again)
    }
}

fn unreachable(error: &reqwest::Error, timeout: Duration) -> String {
    if error.is_timeout() {
        format!("it did not answer within {timeout:?}")
    } else if error.is_connect() {
        "it does not accept connections".to_owned()
    } else if error.is_builder() {
        "its URL is not valid".to_owned()
    } else {
        "the request failed".to_owned()
    }
}
