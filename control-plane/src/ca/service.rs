//! The certificate service that proxies call: proves the caller, then signs for that caller alone.

use std::sync::Arc;
use std::time::Duration;

use fairlead_identity::VerifiedRequest;
use fairlead_identity::issuer::{Authority, DEFAULT_LIFETIME};
use fairlead_runtime::clock;
use fairlead_xds::ca::{CertificateRequest, CertificateResponse, CertificateService};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::caller::Callers;
use crate::metrics::{ByOutcome, Metrics};

/// A certificate that lives shorter would be renewed all the time.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// Signs for proven callers.
#[derive(Debug)]
pub struct Signer {
    /// The authority in force.
    pub authority: watch::Receiver<Arc<Authority>>,
    /// Proves callers.
    pub callers: Callers,
    /// Counts what was answered.
    pub metrics: Metrics,
}

impl CertificateService for Signer {
    async fn create_certificate(
        &self,
        request: Request<CertificateRequest>,
    ) -> Result<Response<CertificateResponse>, Status> {
        let answer = self.sign(&request).await;
        let outcome = if answer.is_ok() { "signed" } else { "refused" };
        self.metrics
            .certificates
            .get_or_create(&ByOutcome { outcome })
            .inc();
        answer.map(|cert_chain| Response::new(CertificateResponse { cert_chain }))
    }
}

impl Signer {
    async fn sign(&self, request: &Request<CertificateRequest>) -> Result<Vec<String>, Status> {
        let caller = self.callers.identify(request).await?;
        let CertificateRequest {
            csr,
            validity_duration,
            ..
        } = request.get_ref();
        let verified = VerifiedRequest::verify(csr).map_err(|error| {
            let error = fairlead_runtime::report(&error).to_string();
            tracing::warn!(identity = %caller, error, "certificate not signed");
            Status::invalid_argument("not a valid certificate signing request")
        })?;
        let lifetime = lifetime(*validity_duration);
        let authority = Arc::clone(&self.authority.borrow());
        let issued = authority.issue(&verified, &caller, lifetime, clock::now());
        let issued = issued.map_err(|error| {
            let error = fairlead_runtime::report(&error).to_string();
            tracing::error!(identity = %caller, error, "certificate not signed");
            Status::internal("the authority could not sign")
        })?;
        tracing::info!(identity = %caller, not_after = %issued.not_after, "certificate signed");
        Ok(issued.chain)
    }
}

/// What is asked for, within bounds; zero and nonsense mean the default.
fn lifetime(seconds: i64) -> Duration {
    match u64::try_from(seconds) {
        Ok(seconds) if seconds > 0 => {
            Duration::from_secs(seconds).clamp(SHORTEST_LIFETIME, DEFAULT_LIFETIME)
        }
        _ => DEFAULT_LIFETIME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_day_unless_a_shorter_one_is_asked_for() {
        assert_eq!(lifetime(0), DEFAULT_LIFETIME);
        assert_eq!(lifetime(-5), DEFAULT_LIFETIME);
        assert_eq!(lifetime(3600), Duration::from_secs(3600));
        assert_eq!(lifetime(1), SHORTEST_LIFETIME);
        assert_eq!(lifetime(i64::MAX), DEFAULT_LIFETIME);
    }
}
