//! Calls webhooks: gates and hooks of a rollout, with Flagger's payload.
//!
//! Any 2xx is a success, redirects are not followed, bodies of answers are shown but not obeyed,
//! unless the hook asks for it.

use std::collections::BTreeMap;
use std::time::Duration;

use fairlead_rollout::Verdict;
use fairlead_runtime::{clock, report};
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Serialize;

use crate::outgoing::access::Access;
use crate::outgoing::retry::{Backoff, is_passing, retry_after};
use crate::outgoing::{self, IDEMPOTENCY_KEY, Outgoing, Trust, secret, signature};

mod directive;

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
    /// The Secret with what proves who we are.
    pub secret: Option<SecretPlace>,
    /// What its answers mean beside yes and no.
    pub answers: Answers,
}

/// Where a Secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretPlace {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What the answers of a hook mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answers {
    /// Yes or no, by their status; Flagger's rule.
    #[default]
    Agree,
    /// Also "give it up" and "ask again later".
    Direct,
}

impl std::fmt::Debug for Endpoint {
    /// Shows no address: it may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("timeout", &self.timeout)
            .field("secret", &self.secret)
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
#[derive(Clone)]
pub struct Webhooks {
    client: kube::Client,
    outgoing: Outgoing,
}

impl std::fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhooks").finish_non_exhaustive()
    }
}

/// The longest pause between two attempts; Flagger's.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The most of an answer's body that is repeated to people, in characters.
const EXCERPT: usize = 200;
/// The most of an answer's body that is read, in bytes.
const MOST_BODY: usize = 4096;

/// What an attempt led to.
enum Attempt {
    /// Trying again would change nothing.
    Final(Verdict),
    /// Another attempt may help, after a pause when one is asked for.
    Passing(Verdict, Option<Duration>),
}

impl Webhooks {
    /// Webhooks are called as `outgoing` allows; `client` reads their Secrets.
    pub const fn new(client: kube::Client, outgoing: Outgoing) -> Self {
        Self { client, outgoing }
    }

    /// Calls a hook until it answers or its retries are used up.
    ///
    /// `key` is the same for every attempt, so that the hook can tell a repetition.
    pub async fn call(&self, endpoint: &Endpoint, payload: &Payload, key: &str) -> Verdict {
        match self.prepare(endpoint, payload, key).await {
            Ok(call) => call.run(endpoint.retries).await,
            Err(why) => Verdict::Error(why),
        }
    }

    /// Everything that all attempts have in common, or why there can be none.
    async fn prepare(
        &self,
        endpoint: &Endpoint,
        payload: &Payload,
        key: &str,
    ) -> Result<Call, String> {
        let (access, hmac_key) = self.access(endpoint).await?;
        let settings = access.settings();
        let client = self.outgoing.client(&access.address, &settings).await;
        let (client, url) = client.map_err(|error| report(&error).to_string())?;
        let mut headers = access.headers().map_err(|error| error.to_string())?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let key = HeaderValue::try_from(key).map_err(|_no_value| {
            "its name cannot be part of a header: use printable ASCII".to_owned()
        })?;
        headers.insert(IDEMPOTENCY_KEY, key);
        let body = serde_json::to_vec(payload);
        Ok(Call {
            client,
            url,
            headers,
            body: body.map_err(|error| error.to_string())?,
            hmac_key,
            access,
            timeout: endpoint.timeout,
            answers: endpoint.answers,
        })
    }

    /// How the hook is reached, with what its Secret holds now.
    async fn access(&self, endpoint: &Endpoint) -> Result<(Access, Option<Vec<u8>>), String> {
        let mut access = Access {
            address: endpoint.url.clone(),
            trust: if endpoint.insecure {
                Trust::Anything
            } else {
                Trust::System
            },
            ..Access::default()
        };
        let Some(SecretPlace { namespace, name }) = &endpoint.secret else {
            return Ok((access, None));
        };
        let held = secret::fetch(&self.client, namespace, name).await;
        let held = held.map_err(|error| error.to_string())?;
        let hmac_key = held.get(signature::KEY).map(|key| key.0.clone());
        let used = match (&hmac_key, access.add_secret(&held)) {
            (_, Err(why)) => Err(why),
            (Some(key), _) if key.is_empty() => Err("holds an empty `hmacKey`"),
            (None, Ok(0)) => Err(
                "holds none of `token`, `username` and `password`, `ca.crt`, `headers` and \
                 `hmacKey`",
            ),
            (Some(_) | None, Ok(_)) => Ok(()),
        };
        used.map_err(|why| format!("Secret `{namespace}/{name}` {why}"))?;
        Ok((access, hmac_key))
    }
}

/// One question, ready to be asked.
struct Call {
    client: reqwest::Client,
    url: Url,
    headers: HeaderMap,
    body: Vec<u8>,
    hmac_key: Option<Vec<u8>>,
    access: Access,
    timeout: Duration,
    answers: Answers,
}

impl Call {
    async fn run(self, retries: u32) -> Verdict {
        let mut backoff = Backoff::new(retries, LONGEST_PAUSE);
        loop {
            let (verdict, asked) = match self.attempt().await {
                Attempt::Final(verdict) => return verdict,
                Attempt::Passing(verdict, asked) => (verdict, asked),
            };
            let Some(pause) = backoff.pause(asked) else {
                return verdict;
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self) -> Attempt {
        let mut request = self
            .client
            .post(self.url.clone())
            .timeout(self.timeout)
            .headers(self.headers.clone())
            .body(self.body.clone());
        if let Some(key) = &self.hmac_key {
            let signed = signature::sign(key, &self.body, clock::now());
            request = request.header(signature::HEADER, signed);
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if outgoing::refusal(&error).is_some() || error.is_builder() => {
                return Attempt::Final(Verdict::Error(outgoing::describe(&error)));
            }
            Err(error) if error.is_timeout() => {
                let why = format!("it did not answer within {:?}", self.timeout);
                return Attempt::Passing(Verdict::Error(why), None);
            }
            Err(error) => {
                return Attempt::Passing(Verdict::Error(outgoing::describe(&error)), None);
            }
        };
        self.read(answer).await
    }

    async fn read(&self, answer: reqwest::Response) -> Attempt {
        let status = answer.status();
        if status.is_success() && self.answers == Answers::Agree {
            return Attempt::Final(Verdict::Passed);
        }
        let asked = retry_after(answer.headers(), clock::now());
        let body = beginning(answer).await;
        if self.answers == Answers::Direct
            && let Some(verdict) = directive::read(status, asked, &body)
        {
            return Attempt::Final(self.repeatable(verdict));
        }
        if status.is_success() {
            return Attempt::Final(Verdict::Passed);
        }
        let mut why = format!("it answered {}", status.as_u16());
        if status.is_redirection() {
            why.push_str(", and redirects are not followed");
        }
        let excerpt = self.excerpt(&String::from_utf8_lossy(&body));
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

    /// What a hook said, as it may be told to people.
    fn repeatable(&self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Passed => Verdict::Passed,
            Verdict::Failed(why) => Verdict::Failed(self.excerpt(&why)),
            Verdict::Error(why) => Verdict::Error(self.excerpt(&why)),
            Verdict::NoData(why) => Verdict::NoData(self.excerpt(&why)),
            Verdict::Abort(why) => Verdict::Abort(self.excerpt(&why)),
            Verdict::Later { why, pause } => Verdict::Later {
                why: self.excerpt(&why),
                pause,
            },
        }
    }

    /// The start of a text, without our secrets.
    fn excerpt(&self, text: &str) -> String {
        let text = self.access.redact(text);
        text.trim().chars().take(EXCERPT).collect()
    }
}

/// The start of a body; what follows is not read.
async fn beginning(mut answer: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    // A body that breaks off is shown as far as it came.
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= MOST_BODY {
            break;
        }
    }
    body
}

#[cfg(test)]
mod tests;
