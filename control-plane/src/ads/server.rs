//! The gRPC servers of xDS and of the certificate authority.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use fairlead_runtime::tasks::Tasks;
use fairlead_xds::ca::CertificateServer;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::Ads;
use crate::ca::service::Signer;
use crate::serving::Serving;
use crate::tls::TlsListener;

/// Finds proxies that are gone without a word, such as those of a node that lost its power.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// A proxy that connects again lists the version of each resource that it has.
const LARGEST_REQUEST: usize = 64 << 20;

/// Starts the server that proxies use.
///
/// # Errors
/// The address cannot be listened on.
pub async fn start(
    tasks: &Tasks,
    address: SocketAddr,
    serving: &Serving,
    ads: Ads,
    signer: Signer,
) -> anyhow::Result<()> {
    let listener = TlsListener::bind(address, serving.xds.clone())
        .await
        .with_context(|| format!("failed to listen on {address}"))?;
    tracing::info!(address = %listener.address(), "xDS and certificate authority listen");
    let router = builder()
        .add_service(discovery(ads))
        .add_service(CertificateServer::new(signer));
    let stop = tasks.token().clone().cancelled_owned();
    let server = router.serve_with_incoming_shutdown(listener.into_incoming(), stop);
    tasks.spawn("xDS", server);
    Ok(())
}

/// Starts the server without TLS and identities that tests use.
///
/// # Errors
/// The address cannot be listened on.
pub fn start_plaintext(tasks: &Tasks, address: SocketAddr, ads: Ads) -> anyhow::Result<()> {
    let listener =
        TcpIncoming::bind(address).with_context(|| format!("failed to listen on {address}"))?;
    tracing::warn!(%address, "xDS listens in plain text, for tests only");
    let stop = tasks.token().clone().cancelled_owned();
    let server = builder()
        .add_service(discovery(ads))
        .serve_with_incoming_shutdown(listener, stop);
    tasks.spawn("xDS in plain text", server);
    Ok(())
}

fn discovery(ads: Ads) -> AggregatedDiscoveryServiceServer<Ads> {
    AggregatedDiscoveryServiceServer::new(ads).max_decoding_message_size(LARGEST_REQUEST)
}

fn builder() -> Server {
    Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}
