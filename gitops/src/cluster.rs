//! What the cluster serves, and clients that act as service accounts. Both are cached.

use std::collections::HashMap;

use fairlead_controller::{ApiError, client};
use fairlead_kustomize::Id;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{self, Scope};
use kube::{Client, Config};
use parking_lot::Mutex;

/// Why the cluster could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster does not serve a kind.
    #[error("the cluster serves no {kind} of {api_version}; is its CRD installed?")]
    UnknownKind {
        /// The kind.
        kind: String,
        /// Group and version.
        api_version: String,
    },
    /// Discovery failed.
    #[error("failed to look for the kind {kind} of {api_version}")]
    Discover {
        /// The kind.
        kind: String,
        /// Group and version.
        api_version: String,
        /// The server's answer.
        source: ApiError,
    },
    /// No client could be made.
    #[error("failed to act as service account `{account}`")]
    Impersonate {
        /// Namespace and name.
        account: String,
        /// What went wrong.
        source: client::Error,
    },
    /// A namespaced object names no namespace.
    #[error(
        "{object} needs a namespace: set its `metadata.namespace` or the Kustomization's `targetNamespace`"
    )]
    NoNamespace {
        /// Kind and name.
        object: String,
    },
}

/// A kind as the cluster serves it.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Its names.
    pub resource: ApiResource,
    /// Whether its objects have a namespace.
    pub is_namespaced: bool,
}

impl Kind {
    /// Access to the objects of this kind in a namespace, or of the whole cluster.
    pub fn api(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        if self.is_namespaced && !namespace.is_empty() {
            Api::namespaced_with(client.clone(), namespace, &self.resource)
        } else {
            Api::all_with(client.clone(), &self.resource)
        }
    }
}

/// Access to a cluster on somebody's behalf.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    /// Kinds of the cluster.
    pub cluster: &'a Cluster,
    /// This process' own client, for discovery.
    pub own: &'a Client,
    /// The client whose rights count.
    pub client: &'a Client,
}

impl std::fmt::Debug for Access<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Access<'_> {
    /// How the cluster serves a kind.
    pub async fn kind(&self, id: &Id) -> Result<Kind, Error> {
        self.cluster.kind(self.own, id).await
    }
}

/// Caches of what the cluster serves and of clients.
#[derive(Debug)]
pub struct Cluster {
    config: Config,
    kinds: Mutex<HashMap<GroupVersionKind, Kind>>,
    clients: Mutex<HashMap<String, ClientOf>>,
}

#[derive(Clone)]
struct ClientOf(Client);

impl std::fmt::Debug for ClientOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Cluster {
    /// Nothing is known yet; `config` is that of this process.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            kinds: Mutex::default(),
            clients: Mutex::default(),
        }
    }

    /// How the cluster serves a kind. What it does not serve is asked for again each time.
    pub async fn kind(&self, client: &Client, id: &Id) -> Result<Kind, Error> {
        let key = GroupVersionKind::gvk(&id.group, &id.version, &id.kind);
        if let Some(kind) = self.kinds.lock().get(&key) {
            return Ok(kind.clone());
        }
        match discovery::pinned_kind(client, &key).await {
            Ok((resource, capabilities)) => {
                let kind = Kind {
                    resource,
                    is_namespaced: capabilities.scope == Scope::Namespaced,
                };
                self.kinds.lock().insert(key, kind.clone());
                Ok(kind)
            }
            Err(kube::Error::Discovery(_)) => Err(unknown(&key)),
            // A group that is being added is answered with a bare 404 page, without a reason.
            Err(kube::Error::Api(status)) if status.code == 404 => Err(unknown(&key)),
            Err(error) => Err(Error::Discover {
                api_version: key.api_version(),
                kind: key.kind,
                source: error.into(),
            }),
        }
    }

    /// Forgets all kinds: a definition was changed.
    pub fn forget_all(&self) {
        self.kinds.lock().clear();
    }

    /// A client that has the rights of a service account.
    pub fn act_as(&self, namespace: &str, name: &str) -> Result<Client, Error> {
        let user = format!("system:serviceaccount:{namespace}:{name}");
        if let Some(ClientOf(client)) = self.clients.lock().get(&user) {
            return Ok(client.clone());
        }
        let mut config = self.config.clone();
        config.auth_info.impersonate = Some(user.clone());
        let client = client::from_config(config).map_err(|source| Error::Impersonate {
            account: format!("{namespace}/{name}"),
            source,
        })?;
        self.clients.lock().insert(user, ClientOf(client.clone()));
        Ok(client)
    }
}

fn unknown(key: &GroupVersionKind) -> Error {
    Error::UnknownKind {
        kind: key.kind.clone(),
        api_version: key.api_version(),
    }
}
