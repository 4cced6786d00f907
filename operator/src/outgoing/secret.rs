//! Reads the Secret that a call needs, afresh for each call, so that a new one is used at once.
//!
//! The texts here name the object, never what it holds.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;

/// Why a Secret is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not answer.
    #[error("Secret `{namespace}/{name}` cannot be read: {why}")]
    Read {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// What the API server says.
        why: String,
    },
    /// There is none.
    #[error("Secret `{namespace}/{name}` does not exist")]
    Missing {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// Fetches what the Secret `namespace/name` holds.
pub async fn fetch(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<BTreeMap<String, ByteString>, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    match api.get_opt(name).await {
        Ok(Some(secret)) => Ok(secret.data.unwrap_or_default()),
        Ok(None) => Err(Error::Missing {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }),
        Err(error) => Err(Error::Read {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            why: error.to_string(),
        }),
    }
}
