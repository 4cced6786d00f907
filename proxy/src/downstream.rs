//! What is known about a connection that was accepted, for as long as it lives.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use fairlead_xds::resource::listener::Direction;
use http::HeaderValue;
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

use crate::http::connection::Version;
use crate::stream::Stream;
use crate::telemetry::metrics::{Id, Security};
use crate::telemetry::peer::Peer;
use crate::tls::verify::Leaf;
use crate::worker::Worker;

/// A connection from downstream.
#[derive(Debug)]
pub struct Downstream {
    /// Who connected.
    pub remote: SocketAddr,
    /// Where it wanted to go, before it was redirected to us.
    pub destination: SocketAddr,
    /// Which way the traffic goes.
    pub direction: Direction,
    /// The TLS server name that it asked for.
    pub server_name: Option<String>,
    /// It came over TLS.
    pub is_tls: bool,
    /// Which HTTP it speaks, if it does.
    pub version: Version,
    peer: Option<PeerCertificate>,
    source: RefCell<Option<(Option<HeaderValue>, Id)>>,
}

#[derive(Debug)]
struct PeerCertificate {
    leaf: Leaf,
    hash: String,
}

impl Downstream {
    /// Describes a connection, after its TLS handshake if it has one.
    pub fn new(
        remote: SocketAddr,
        destination: SocketAddr,
        direction: Direction,
        stream: &Stream,
    ) -> Self {
        let session = stream.session();
        let certificate = session
            .and_then(|session| session.peer_certificates())
            .and_then(|chain| chain.first())
            .and_then(PeerCertificate::read);
        Self {
            remote,
            destination,
            direction,
            server_name: None,
            is_tls: session.is_some(),
            version: Version::Http1,
            peer: certificate,
            source: RefCell::new(None),
        }
    }

    /// Whether the traffic goes to our own workload.
    pub fn is_inbound(&self) -> bool {
        self.direction == Direction::Inbound
    }

    /// How the connection is secured.
    pub fn security(&self) -> Security {
        if self.peer.is_some() {
            Security::MutualTls
        } else {
            Security::Plain
        }
    }

    /// The SPIFFE identity that the peer proved.
    pub fn principal(&self) -> Option<&Arc<str>> {
        self.peer.as_ref().and_then(|peer| peer.leaf.uri.as_ref())
    }

    /// The number that stands for the peer in metrics. What `header` says counts only for a peer
    /// that proved who it is.
    pub fn source(&self, worker: &Worker, header: Option<&HeaderValue>) -> Id {
        let Some(principal) = self.principal() else {
            return Id::UNKNOWN;
        };
        if let Some((known, id)) = &*self.source.borrow()
            && known.as_ref() == header
        {
            return *id;
        }
        let text = header.and_then(|value| value.to_str().ok());
        let id = worker
            .metrics
            .borrow_mut()
            .caller(&Peer::from_header(text, principal));
        *self.source.borrow_mut() = Some((header.cloned(), id));
        id
    }

    /// The element that tells an upstream who the client is, as `x-forwarded-client-cert`.
    pub fn client_certificate(&self, own_uri: Option<&str>) -> Option<String> {
        let PeerCertificate { leaf, hash } = self.peer.as_ref()?;
        let by = own_uri.map(|uri| format!("By={uri}"));
        let hash = format!("Hash={hash};Subject=\"\"");
        let uri = leaf.uri.as_ref().map(|uri| format!("URI={uri}"));
        let dns = leaf.dns.iter().map(|name| format!("DNS={name}"));
        let fields: Vec<_> = by.into_iter().chain([hash]).chain(uri).chain(dns).collect();
        Some(fields.join(";"))
    }
}

impl PeerCertificate {
    fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let leaf = Leaf::parse(certificate).ok()?;
        Some(Self {
            leaf,
            hash: hex::encode(Sha256::digest(certificate)),
        })
    }
}

/// A connection shared by the requests on it.
pub type Shared = Rc<Downstream>;
