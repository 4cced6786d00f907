//! Calls to addresses that people write into objects: webhooks, chat services, metrics providers.
//!
//! Whoever may write a Canary must not reach through the operator what only the operator can
//! reach.
//! So the address is judged when it is connected to: names by what they resolve to, inside of the
//! connection's own look-up, so that no second answer of a name server can differ; literal
//! addresses, which are never looked up, before the client is handed out.
//! Redirects are not followed. Behind an HTTP proxy it is the proxy that is judged here; what is
//! behind it is the proxy's matter.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fairlead_runtime::tasks::Tasks;
use parking_lot::Mutex;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::watch;

pub mod access;
pub mod address;
mod cluster;
pub mod retry;
pub mod secret;
pub mod signature;

use self::address::{Class, Permissions, Places, classify};
use self::cluster::Known;

/// The header that is the same in each attempt of one call, so that the receiver can tell a
/// repetition (draft-ietf-httpapi-idempotency-key-header).
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call waits for the cluster's own addresses after the start.
const PATIENCE: Duration = Duration::from_secs(5);
/// More kinds of clients than this are not kept.
const MOST_CLIENTS: usize = 64;

/// Why there is no client for an address; the texts hold neither address nor secret, except where
/// the address itself is the reason.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be called.
    #[error("the address is not a URL that starts with http:// or https://")]
    Url,
    /// The proxy's address cannot be used.
    #[error("the address of the proxy is not a URL")]
    Proxy,
    /// The rules forbid it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The authority's certificate is none.
    #[error("the certificate authority is not in PEM format")]
    Authority,
    /// TLS could not be set up.
    #[error("the client cannot be set up")]
    Setup(#[source] reqwest::Error),
}

/// An address that the rules forbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is of a class that is not allowed.
    #[error(
        "calls to {0} are refused, for it is a {1} address; if that is meant, start the operator \
         with --allow-outgoing={1} (chart value operator.allowOutgoing), or with the host's name"
    )]
    Class(IpAddr, Class),
    /// The addresses of nodes and API server could not be read yet.
    #[error(
        "calls wait until the addresses of nodes and API server are known: may the operator list \
         nodes? Without that right start it with --allow-outgoing=node,api-server"
    )]
    Unknown,
}

/// Which certificates a client accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Those of the authorities that the image trusts.
    #[default]
    System,
    /// Those of an authority as well, in PEM format.
    Authority(Vec<u8>),
    /// Any.
    Anything,
}

/// What a client is like.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Which certificates it accepts.
    pub trust: Trust,
    /// An HTTP proxy; its address may hold a secret.
    pub proxy: Option<String>,
}

impl std::fmt::Debug for Settings {
    /// Shows no address: it may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

/// Hands out clients that obey the rules; clones share connections.
#[derive(Clone, Debug)]
pub struct Outgoing {
    rules: Rules,
    clients: Arc<Mutex<HashMap<Settings, reqwest::Client>>>,
}

impl Outgoing {
    /// Starts to watch the cluster's own addresses.
    pub fn start(
        tasks: &Tasks,
        client: kube::Client,
        permissions: impl IntoIterator<Item = address::Permission>,
    ) -> Self {
        let (known, receiver) = watch::channel(Known::default());
        tasks.spawn(
            "cluster addresses",
            cluster::follow(client, known, tasks.token().clone()),
        );
        Self::new(receiver, permissions.into_iter().collect())
    }

    fn new(known: watch::Receiver<Known>, permissions: Permissions) -> Self {
        let permissions = Arc::new(permissions);
        Self {
            rules: Rules { permissions, known },
            clients: Arc::default(),
        }
    }

    /// A client for `address` alone, and that address, parsed.
    pub async fn client(
        &self,
        address: &str,
        settings: &Settings,
    ) -> Result<(reqwest::Client, Url), Error> {
        let url: Url = address.trim().parse().map_err(|_no_url| Error::Url)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::Url);
        }
        self.rules.admit_literal(&url).await?;
        if let Some(proxy) = &settings.proxy {
            let proxy: Url = proxy.parse().map_err(|_no_url| Error::Proxy)?;
            self.rules.admit_literal(&proxy).await?;
        }
        if let Some(client) = self.clients.lock().get(settings) {
            return Ok((client.clone(), url));
        }
        let client = self.build(settings)?;
        let mut clients = self.clients.lock();
        if clients.len() >= MOST_CLIENTS {
            clients.clear();
        }
        clients.insert(settings.clone(), client.clone());
        Ok((client, url))
    }

    fn build(&self, settings: &Settings) -> Result<reqwest::Client, Error> {
        let mut builder = reqwest::Client::builder()
            .dns_resolver(self.rules.clone())
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("fairlead-operator/", env!("CARGO_PKG_VERSION")));
        builder = match &settings.trust {
            Trust::System => builder,
            Trust::Authority(pem) => {
                let certificates = reqwest::Certificate::from_pem_bundle(pem)
                    .map_err(|_no_pem| Error::Authority)?;
                if certificates.is_empty() {
                    return Err(Error::Authority);
                }
                builder.tls_certs_merge(certificates)
            }
            Trust::Anything => builder.tls_danger_accept_invalid_certs(true),
        };
        if let Some(proxy) = &settings.proxy {
            let proxy = reqwest::Proxy::all(proxy).map_err(|_no_proxy| Error::Proxy)?;
            builder = builder.proxy(proxy);
        }
        builder
            .build()
            .map_err(|error| Error::Setup(error.without_url()))
    }
}

/// Why a call failed, without the address, which may hold a secret.
pub fn describe(error: &reqwest::Error) -> String {
    if let Some(refused) = refusal(error) {
        refused.to_string()
    } else if error.is_timeout() {
        "it did not answer in time".to_owned()
    } else if error.is_connect() {
        "it does not accept connections".to_owned()
    } else if error.is_builder() {
        "its URL is not valid".to_owned()
    } else if error.is_decode() {
        "its answer cannot be read".to_owned()
    } else {
        "the request failed".to_owned()
    }
}

/// The rule that kept a call from being made.
pub fn refusal(error: &reqwest::Error) -> Option<Refused> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return Some(*refused);
        }
        cause = error.source();
    }
    None
}

/// The rules, as a resolver of names.
#[derive(Clone, Debug)]
struct Rules {
    permissions: Arc<Permissions>,
    known: watch::Receiver<Known>,
}

impl Rules {
    /// Judges the host of a URL when it is an address; names are judged when they are resolved.
    async fn admit_literal(&self, url: &Url) -> Result<(), Refused> {
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse() {
            Ok(address) => self.admit(host, address, &self.places().await?),
            Err(_a_name) => Ok(()),
        }
    }

    fn admit(&self, host: &str, address: IpAddr, places: &Places) -> Result<(), Refused> {
        match classify(address, places) {
            Some(class)
                if !self.permissions.has_class(class) && !self.permissions.has_host(host) =>
            {
                Err(Refused::Class(address, class))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The cluster's own addresses; none where both classes are allowed anyway.
    async fn places(&self) -> Result<Places, Refused> {
        let allowed = |class| self.permissions.has_class(class);
        if allowed(Class::Node) && allowed(Class::ApiServer) {
            return Ok(Places::default());
        }
        let mut known = self.known.clone();
        let complete = known.wait_for(|known| known.places().is_some());
        let Ok(Ok(known)) = tokio::time::timeout(PATIENCE, complete).await else {
            return Err(Refused::Unknown);
        };
        known.places().ok_or(Refused::Unknown)
    }

    /// The addresses of a name that may be connected to.
    async fn resolve_name(
        self,
        host: &str,
    ) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let found = tokio::net::lookup_host((host, 0)).await?;
        let places = self.places().await?;
        let mut refused = None;
        let mut admitted = Vec::new();
        for address in found {
            match self.admit(host, address.ip(), &places) {
                Ok(()) => admitted.push(address),
                Err(why) => refused = Some(why),
            }
        }
        match refused {
            Some(why) if admitted.is_empty() => Err(why.into()),
            Some(_) | None => Ok(admitted),
        }
    }
}

impl Resolve for Rules {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.clone();
        Box::pin(async move {
            let admitted = rules.resolve_name(name.as_str()).await?;
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests;
