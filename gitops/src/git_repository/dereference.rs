//! Reads the Secrets that a GitRepository names. Client required.

use std::collections::BTreeMap;

use fairlead_controller::ApiError;
use fairlead_crds::source::GitRepository;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

/// What a GitRepository refers to.
#[derive(Debug, Default)]
pub struct Dereferenced {
    /// Credentials for the git server.
    pub secret: Option<Named>,
    /// Address and credentials of a proxy.
    pub proxy: Option<Named>,
}

/// A Secret's name and content.
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its content.
    pub data: BTreeMap<String, Vec<u8>>,
}

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Why a Secret could not be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read Secret `{name}`")]
pub struct Error {
    /// Its name.
    pub name: String,
    /// The server's answer.
    pub source: ApiError,
}

/// Reads what a GitRepository refers to.
pub async fn dereference(client: &Client, object: &GitRepository) -> Result<Dereferenced, Error> {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let read = async |reference: Option<&str>| {
        let Some(name) = reference else {
            return Ok(None);
        };
        let secret = api.get(name).await.map_err(|source| Error {
            name: name.to_owned(),
            source: source.into(),
        })?;
        let data = secret
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, bytes)| (key, bytes.0))
            .collect();
        Ok(Some(Named {
            name: name.to_owned(),
            data,
        }))
    };
    Ok(Dereferenced {
        secret: read(
            object
                .spec
                .secret_ref
                .as_ref()
                .map(|reference| reference.name.as_str()),
        )
        .await?,
        proxy: read(
            object
                .spec
                .proxy_secret_ref
                .as_ref()
                .map(|reference| reference.name.as_str()),
        )
        .await?,
    })
}
