//! A proxy as the control plane sees it: gets a certificate, opens a stream, and accepts or refuses
//! when the test says so.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use fairlead_identity::{KeyAndRequest, SpiffeId};
use fairlead_xds::TypeUrl;
use fairlead_xds::ca::{CertificateClient, CertificateRequest};
use fairlead_xds::client::{Received, Session};
use fairlead_xds::node::{Metadata, Node};
use fairlead_xds::resource::Resource;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use crate::stage::{DEADLINE, Stage};

/// A certificate chain with its key.
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// An open stream.
pub(crate) struct Proxy {
    session: Session,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    held: VecDeque<Received>,
    resources: BTreeMap<(TypeUrl, String), Resource>,
}

/// Asks for a certificate of whoever the token proves.
pub(crate) async fn certificate(
    address: SocketAddr,
    roots: Arc<RootCertStore>,
    token: &str,
) -> Result<Identity, Status> {
    // The name in the request is somebody else's, and must not matter.
    let wish = SpiffeId::new("cluster.local", "kube-system", "admin").unwrap();
    let KeyAndRequest { key, csr_pem } = KeyAndRequest::generate(&wish).unwrap();
    let mut request = Request::new(CertificateRequest {
        csr: csr_pem,
        ..Default::default()
    });
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {token}").parse().unwrap());
    let channel = channel(address, roots, None).await;
    let answer = CertificateClient::new(channel)
        .create_certificate(request)
        .await?;
    let chain = answer.into_inner().cert_chain;
    let chain = chain
        .iter()
        .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
    let key = PrivateKeyDer::from_pem_slice(key.expose_pem().as_bytes()).unwrap();
    Ok(Identity {
        chain: chain.collect(),
        key,
    })
}

impl Identity {
    /// The SPIFFE id.
    pub(crate) fn name(&self) -> String {
        SpiffeId::of_certificate(&self.chain[0])
            .unwrap()
            .to_string()
    }
}

/// A sidecar of `pod` in namespace `shop`.
pub(crate) fn node(pod: &str, account: &str) -> Node {
    Node {
        id: format!("sidecar~10.0.0.1~{pod}.shop~shop.svc.cluster.local")
            .parse()
            .unwrap(),
        metadata: Metadata {
            namespace: "shop".to_owned(),
            service_account: account.to_owned(),
            ..Metadata::default()
        },
    }
}

impl Proxy {
    /// Gets a certificate for service account `web` and opens a stream.
    pub(crate) async fn start(stage: &Stage, address: SocketAddr, pod: &str) -> Self {
        let roots = stage.roots("shop").await;
        let token = stage.token("shop", "web", Some("istio-ca")).await;
        let identity = certificate(address, Arc::clone(&roots), &token)
            .await
            .unwrap();
        Self::open(address, roots, &identity, &node(pod, "web")).await
    }

    /// Opens a stream.
    pub(crate) async fn open(
        address: SocketAddr,
        roots: Arc<RootCertStore>,
        identity: &Identity,
        node: &Node,
    ) -> Self {
        let channel = channel(address, roots, Some(identity)).await;
        let session = Session::new(node, ["default".to_owned(), "ROOTCA".to_owned()]);
        let (requests, receiver) = mpsc::channel(64);
        for request in session.connect() {
            requests.send(request).await.unwrap();
        }
        let responses = AggregatedDiscoveryServiceClient::new(channel)
            .delta_aggregated_resources(ReceiverStream::new(receiver))
            .await
            .unwrap()
            .into_inner();
        let (held, resources) = (VecDeque::new(), BTreeMap::new());
        Self {
            session,
            requests,
            responses,
            held,
            resources,
        }
    }

    /// Takes the next response without an answer to it.
    pub(crate) async fn receive(&mut self) -> Result<TypeUrl, Status> {
        let message = tokio::time::timeout(DEADLINE, self.responses.message()).await;
        let response = message.expect("a response in time")?;
        let response = response.ok_or_else(|| Status::new(Code::Ok, "the stream ended"))?;
        let received = self.session.on_response(response).expect("a type of ours");
        for resource in &received.updates {
            let name = (resource.type_url(), resource.name().to_owned());
            self.resources.insert(name, resource.clone());
        }
        let kind = received.kind;
        self.held.push_back(received);
        Ok(kind)
    }

    /// Accepts all that was received.
    pub(crate) async fn accept(&mut self) {
        while let Some(received) = self.held.pop_front() {
            for request in received.requests {
                self.requests.send(request).await.unwrap();
            }
            self.requests
                .send(received.reply.into_request())
                .await
                .unwrap();
        }
    }

    /// Refuses all that was received.
    pub(crate) async fn refuse(&mut self, reason: &str) {
        while let Some(received) = self.held.pop_front() {
            let request = self.session.reject(received.reply, reason);
            self.requests.send(request).await.unwrap();
        }
    }

    /// Receives and accepts until a route configuration mentions `text`, which stays unanswered.
    pub(crate) async fn receive_route(&mut self, text: &str) {
        loop {
            let kind = self.receive().await.unwrap();
            if kind == TypeUrl::Route && self.knows_route(text) {
                return;
            }
            self.accept().await;
        }
    }

    fn knows_route(&self, text: &str) -> bool {
        self.resources.iter().any(|((kind, _), resource)| {
            *kind == TypeUrl::Route && format!("{resource:?}").contains(text)
        })
    }
}

async fn channel(
    address: SocketAddr,
    roots: Arc<RootCertStore>,
    identity: Option<&Identity>,
) -> Channel {
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match identity {
        Some(identity) => builder
            .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("istiod.istio-system.svc").unwrap();
    let connect = tower::service_fn(move |_uri: tonic::codegen::http::Uri| {
        let (connector, name) = (connector.clone(), name.clone());
        async move {
            // The control plane of the test may only be starting.
            let tcp = loop {
                match TcpStream::connect(address).await {
                    Ok(tcp) => break tcp,
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            connector.connect(name, tcp).await.map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_static("http://istiod.istio-system.svc:15012");
    tokio::time::timeout(DEADLINE, endpoint.connect_with_connector(connect))
        .await
        .unwrap()
        .unwrap()
}
