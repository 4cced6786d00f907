//! Who is at the two ends of a request, as the standard labels name them; no IO.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// A header by which a proxy tells another about its workload; it never reaches an application.
pub const PEER_HEADER: http::HeaderName = http::HeaderName::from_static("x-envoy-peer-metadata");
/// Its companion in existing meshes, which we do not read but must not leak either.
pub const PEER_ID_HEADER: http::HeaderName =
    http::HeaderName::from_static("x-envoy-peer-metadata-id");

/// A peer cannot make us keep more than this for its name.
const LONGEST_HEADER: usize = 1024;

/// One end of a request. Empty text is printed as `unknown`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer {
    /// Name of the workload, for instance of the Deployment.
    pub workload: String,
    /// Its namespace.
    pub namespace: String,
    /// Canonical name of what it is part of; also the `app` label.
    pub canonical_service: String,
    /// Its canonical revision; also the `version` label.
    pub canonical_revision: String,
    /// The cluster that it runs in.
    pub cluster: String,
    /// The SPIFFE identity that its certificate proved.
    pub principal: String,
}

impl Peer {
    /// Reads endpoint metadata of the form `name;namespace;canonical;revision;cluster`.
    pub fn from_endpoint(text: &str) -> Self {
        let mut parts = text.split(';').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Self {
            workload: next(),
            namespace: next(),
            canonical_service: next(),
            canonical_revision: next(),
            cluster: next(),
            principal: String::new(),
        }
    }

    /// The value of [`PEER_HEADER`] that tells others who we are.
    pub fn to_header(&self) -> String {
        let Self {
            workload,
            namespace,
            canonical_service,
            canonical_revision,
            cluster,
            ..
        } = self;
        BASE64.encode(format!(
            "{workload};{namespace};{canonical_service};{canonical_revision};{cluster}"
        ))
    }

    /// What a peer with the proven identity `principal` says about itself. Its namespace is
    /// taken from the identity, so that it can name itself freely only within its own.
    pub fn from_header(value: Option<&str>, principal: &str) -> Self {
        let decoded = value
            .filter(|value| value.len() <= LONGEST_HEADER)
            .and_then(|value| BASE64.decode(value).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let mut peer = decoded
            .as_deref()
            .map(Self::from_endpoint)
            .unwrap_or_default();
        if let Some(namespace) = namespace_of(principal) {
            namespace.clone_into(&mut peer.namespace);
        }
        principal.clone_into(&mut peer.principal);
        peer
    }
}

fn namespace_of(principal: &str) -> Option<&str> {
    principal.split_once("/ns/")?.1.split('/').next()
}

/// The service that a request was for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// Its full host name.
    pub host: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

impl Service {
    /// A destination that no service stands for, by the name of the cluster that takes it.
    pub fn unresolved(cluster: &str) -> Self {
        Self {
            host: cluster.to_owned(),
            name: cluster.to_owned(),
            namespace: String::new(),
        }
    }
}

/// A peer or service shared by all that mention it.
pub type Shared<T> = Arc<T>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_survives_the_header_with_the_proven_namespace() {
        let me = Peer::from_endpoint("web;shop;web;v1;Kubernetes");
        let principal = "spiffe://cluster.local/ns/shop/sa/web";
        let seen = Peer::from_header(Some(&me.to_header()), principal);
        assert_eq!(
            seen,
            Peer {
                principal: principal.to_owned(),
                ..me.clone()
            }
        );

        let liar = Peer {
            namespace: "bank".to_owned(),
            ..me
        };
        assert_eq!(
            Peer::from_header(Some(&liar.to_header()), principal).namespace,
            "shop"
        );
    }

    #[test]
    fn nonsense_in_the_header_leaves_the_proven_identity() {
        let seen = Peer::from_header(Some("%%%"), "spiffe://cluster.local/ns/shop/sa/web");
        assert_eq!(
            (seen.workload.as_str(), seen.namespace.as_str()),
            ("", "shop")
        );
    }
}
