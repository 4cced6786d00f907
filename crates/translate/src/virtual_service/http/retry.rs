//! When and how often a request is tried again.

use fairlead_crds::networking as crd;
use fairlead_xds::resource::route::{Backoff, RETRY_CONDITIONS, RetryPolicy};

use crate::diagnostic::Findings;

/// Two retries of what the upstream certainly, or by its own word, did not process.
pub(crate) fn default_retry() -> RetryPolicy {
    let conditions = [
        "connect-failure",
        "refused-stream",
        "unavailable",
        "cancelled",
        "retriable-status-codes",
    ];
    RetryPolicy {
        retry_on: conditions.map(str::to_owned).to_vec(),
        retries: 2,
        statuses: vec![503],
        avoid_previous_hosts: true,
        host_selection_attempts: 5,
        ..RetryPolicy::default()
    }
}

pub(super) fn read_retry(
    field: &str,
    retries: Option<&crd::HttpRetry>,
    findings: &mut Findings<'_>,
) -> Option<RetryPolicy> {
    let mut policy = default_retry();
    let Some(retries) = retries else {
        return Some(policy);
    };
    let field = format!("{field}.retries");
    findings.not_acted_on(
        &field,
        &[(
            "retryRemoteLocalities",
            retries.retry_remote_localities.is_some(),
        )],
    );
    if let Some(attempts) = retries.attempts {
        policy.retries = u32::try_from(attempts)
            .ok()
            .filter(|attempts| *attempts > 0)?;
    }
    policy.per_try_timeout = findings
        .duration(
            &format!("{field}.perTryTimeout"),
            retries.per_try_timeout.as_ref(),
        )
        .filter(|timeout| !timeout.is_zero());
    policy.backoff = findings
        .duration(&format!("{field}.backoff"), retries.backoff.as_ref())
        .filter(|base| !base.is_zero())
        .map(|base| Backoff { base, max: None });
    if let Some(conditions) = retries
        .retry_on
        .as_ref()
        .filter(|list| !list.trim().is_empty())
    {
        policy.retry_on.clear();
        policy.statuses.clear();
        for condition in conditions
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            if let Ok(status) = condition.parse() {
                policy.statuses.push(status);
                continue;
            }
            if !RETRY_CONDITIONS.contains(&condition) {
                let message = format!("`{condition}` is not known and has no effect");
                findings.error(format!("{field}.retryOn"), message);
            }
            policy.retry_on.push(condition.to_owned());
        }
        let by_status = "retriable-status-codes";
        if !policy.statuses.is_empty() && !policy.retry_on.iter().any(|on| on == by_status) {
            policy.retry_on.push(by_status.to_owned());
        }
    }
    if retries.retry_ignore_previous_hosts == Some(false) {
        policy.avoid_previous_hosts = false;
        policy.host_selection_attempts = 0;
    }
    Some(policy)
}
