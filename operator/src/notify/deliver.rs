//! Delivers one alert: a few attempts, with the pauses that the receiver asks for.

use std::time::Duration;

use fairlead_runtime::{clock, report};
use reqwest::header::CONTENT_TYPE;

use super::{Alert, Destination, Kind, Loss, body};
use crate::outgoing::retry::{Backoff, is_passing, retry_after};
use crate::outgoing::{self, IDEMPOTENCY_KEY, Outgoing, Settings, Trust, signature};

/// How long a receiver may take to answer; Flagger's figure.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts after the first one.
const RETRIES: u32 = 3;
/// The longest pause that a receiver can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Sends `alert`; an error means that it did not arrive and will not.
pub async fn deliver(
    outgoing: &Outgoing,
    alert: &Alert,
    destination: &Destination,
) -> Result<(), Loss> {
    let settings = Settings {
        trust: Trust::System,
        proxy: destination.proxy.clone(),
    };
    let client = outgoing.client(&destination.address, &settings).await;
    let (client, url) = client.map_err(|error| Loss::Setup(report(&error).to_string()))?;
    let body = body(alert, destination).to_string();
    let mut backoff = Backoff::new(RETRIES, LONGEST_PAUSE);
    loop {
        let mut request = client
            .post(url.clone())
            .timeout(TIMEOUT)
            .header(CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, &alert.key);
        if let Some(token) = &destination.token {
            request = request.bearer_auth(token.trim());
        }
        if let (Kind::Webhook, Some(key)) = (destination.kind, &destination.hmac_key) {
            let signed = signature::sign(key, body.as_bytes(), clock::now());
            request = request.header(signature::HEADER, signed);
        }
        let (loss, asked) = match request.body(body.clone()).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let status = answer.status();
                let loss = Loss::Refused(format!("answered {}", status.as_u16()));
                if !is_passing(status) {
                    return Err(loss);
                }
                (loss, retry_after(answer.headers(), clock::now()))
            }
            Err(error) if outgoing::refusal(&error).is_some() || error.is_builder() => {
                return Err(Loss::Setup(outgoing::describe(&error)));
            }
            Err(error) => (Loss::Unreachable(outgoing::describe(&error)), None),
        };
        match backoff.pause(asked) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(loss),
        }
    }
}
