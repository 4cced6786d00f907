//! A gRPC channel to the control plane, over TLS of our own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::tls::{self, Identity};

/// A control plane that vanished is noticed after interval and timeout.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is malformed.
    #[error("`{0}` is not of the form `host:port`")]
    Address(String),
    /// TLS cannot be set up.
    #[error("failed to set up TLS")]
    Tls(#[source] tls::Error),
    /// The connection failed.
    #[error("failed to connect to `{address}`")]
    Connect {
        /// Where to.
        address: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Opens a channel to `address`, presenting `identity` if there is one.
pub async fn open(
    address: &str,
    roots: Arc<RootCertStore>,
    identity: Option<&Identity>,
    provider: &Arc<CryptoProvider>,
) -> Result<Channel, Error> {
    let malformed = || Error::Address(address.to_owned());
    let (host, _port) = address.rsplit_once(':').ok_or_else(malformed)?;
    let name = ServerName::try_from(host.to_owned())
        .ok()
        .ok_or_else(malformed)?;
    let config = tls::client::plain(roots, identity, provider).map_err(Error::Tls)?;
    let connector = TlsConnector::from(Arc::new(config));
    let target = address.to_owned();
    let connect = tower::service_fn(move |_uri: http::Uri| {
        let (connector, name, target) = (connector.clone(), name.clone(), target.clone());
        async move {
            let stream = TcpStream::connect(&target).await?;
            stream.set_nodelay(true)?;
            let stream = connector.connect(name, stream).await?;
            Ok::<_, io::Error>(crate::http::connection::adapt(stream))
        }
    });
    Endpoint::try_from(format!("https://{address}"))
        .map_err(|source| Error::Connect {
            address: address.to_owned(),
            source,
        })?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector(connect)
        .await
        .map_err(|source| Error::Connect {
            address: address.to_owned(),
            source,
        })
}
