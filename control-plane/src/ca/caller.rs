//! Who calls: a certificate of the mesh, or a token of a service account that the API server knows.

use std::fmt;
use std::time::Duration;

use fairlead_identity::SpiffeId;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use tonic::{Request, Status};

use super::TOKEN_AUDIENCE;
use crate::tls::Peer;

/// How long the API server may take over a token.
const REVIEW_DEADLINE: Duration = Duration::from_secs(5);

/// Namespace and service account of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// Why a token proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server could not be asked.
    #[error("failed to review the token")]
    Review(#[source] Box<kube::Error>),
    /// The API server says no.
    #[error("the token was not accepted: {reason}")]
    Refused {
        /// What the API server said.
        reason: String,
    },
    /// The token is for somebody else.
    #[error("the token is not for audience `{TOKEN_AUDIENCE}`")]
    Audience,
    /// The token belongs to a user or a node.
    #[error("`{user}` is not a service account")]
    NotAServiceAccount {
        /// The user.
        user: String,
    },
}

/// Tells who calls.
#[derive(Clone)]
pub struct Callers {
    client: Client,
    trust_domain: String,
}

impl fmt::Debug for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callers")
            .field("trust_domain", &self.trust_domain)
            .finish_non_exhaustive()
    }
}

impl Callers {
    /// Callers of one trust domain.
    pub fn new(client: Client, trust_domain: &str) -> Self {
        Self {
            client,
            trust_domain: trust_domain.to_owned(),
        }
    }

    /// The identity that the connection's certificate proves, or else the token of the request.
    ///
    /// # Errors
    /// Nothing is proven. The caller learns no more than that; the log tells the reason.
    pub async fn identify<T>(&self, request: &Request<T>) -> Result<SpiffeId, Status> {
        let peer = request.extensions().get::<Peer>();
        if let Some(certificate) = peer.and_then(|peer| peer.certificate.as_ref()) {
            let identity = SpiffeId::of_certificate(certificate);
            return match identity {
                Ok(identity) if identity.trust_domain() == self.trust_domain => Ok(identity),
                Ok(identity) => {
                    tracing::warn!(%identity, "caller of another trust domain");
                    Err(Status::permission_denied(
                        "the certificate is of another trust domain",
                    ))
                }
                Err(error) => {
                    tracing::warn!(%error, "caller with a certificate of no workload");
                    Err(Status::unauthenticated("the certificate names no workload"))
                }
            };
        }
        let header = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer "));
        let token = token.ok_or_else(|| {
            Status::unauthenticated("neither a certificate of the mesh nor a bearer token")
        })?;
        match tokio::time::timeout(REVIEW_DEADLINE, review(&self.client, token)).await {
            Ok(Ok(ServiceAccount { namespace, name })) => {
                SpiffeId::new(&self.trust_domain, &namespace, &name).map_err(|error| {
                    tracing::warn!(%error, "service account that cannot have an identity");
                    Status::permission_denied("the service account cannot have an identity")
                })
            }
            Ok(Err(error)) => {
                tracing::warn!(error = %fairlead_runtime::report(&error), "token not accepted");
                Err(match error {
                    Error::Review(_) => Status::unavailable("the token could not be reviewed"),
                    Error::Refused { .. } | Error::Audience | Error::NotAServiceAccount { .. } => {
                        Status::unauthenticated("the token was not accepted")
                    }
                })
            }
            Err(_) => Err(Status::unavailable(
                "the API server did not review the token in time",
            )),
        }
    }
}

/// Asks the API server whose token this is.
async fn review(client: &Client, token: &str) -> Result<ServiceAccount, Error> {
    let request = TokenReview {
        spec: TokenReviewSpec {
            token: token.to_owned(),
            audiences: Some(vec![TOKEN_AUDIENCE.to_owned()]),
        },
        ..TokenReview::default()
    };
    let api: Api<TokenReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &request).await;
    let answer = answer.map_err(|source| Error::Review(Box::new(source)))?;
    judge(&answer.status.unwrap_or_default())
}

fn judge(status: &TokenReviewStatus) -> Result<ServiceAccount, Error> {
    if status.authenticated != Some(true) {
        let reason = status
            .error
            .clone()
            .unwrap_or_else(|| "not authenticated".to_owned());
        return Err(Error::Refused { reason });
    }
    // An API server that does not know audiences would accept any token of its own.
    if !status
        .audiences
        .iter()
        .flatten()
        .any(|audience| audience == TOKEN_AUDIENCE)
    {
        return Err(Error::Audience);
    }
    let user = status
        .user
        .as_ref()
        .and_then(|user| user.username.clone())
        .unwrap_or_default();
    let account = user
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
        .map(|(namespace, name)| ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        });
    account.ok_or(Error::NotAServiceAccount { user })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    fn status(user: &str, audience: &str) -> TokenReviewStatus {
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(vec![audience.to_owned()]),
            user: Some(UserInfo {
                username: Some(user.to_owned()),
                ..UserInfo::default()
            }),
            ..TokenReviewStatus::default()
        }
    }

    #[test]
    fn a_service_account_is_its_namespace_and_name() {
        let account = judge(&status("system:serviceaccount:shop:web", TOKEN_AUDIENCE)).unwrap();
        assert_eq!(
            (account.namespace.as_str(), account.name.as_str()),
            ("shop", "web")
        );
    }

    #[test]
    fn tokens_for_another_audience_prove_nothing() {
        let status = status("system:serviceaccount:shop:web", "vault");
        assert!(matches!(judge(&status), Err(Error::Audience)));
    }

    #[test]
    fn nodes_and_users_are_no_workloads() {
        let status = status("system:node:worker-1", TOKEN_AUDIENCE);
        assert!(matches!(
            judge(&status),
            Err(Error::NotAServiceAccount { .. })
        ));
    }

    #[test]
    fn what_the_api_server_does_not_authenticate_is_refused() {
        let refused = judge(&TokenReviewStatus::default());
        assert!(matches!(refused, Err(Error::Refused { .. })));
    }
}
