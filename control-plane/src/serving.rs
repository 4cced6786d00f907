//! The authority in force, the certificates under which this process is reached, and their renewal.
//!
//! Everything comes from the Secret that holds the authority's key. It is read again every minute:
//! a key that was replaced by garbage is reported and the old one stays in force until a good one
//! appears. Serving certificates are renewed at half of their life.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fairlead_identity::issuer::{self, Authority, DEFAULT_LIFETIME};
use fairlead_runtime::clock;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ca::store::{self, KeyMaterial, KeyStore};

/// How often the Secret is looked at; roots are replaced by people, over hours.
const RELOAD: Duration = Duration::from_secs(60);

/// Why this process cannot serve TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key could not be read or made.
    #[error("failed to load the authority's key")]
    Load(#[source] store::Error),
    /// The key is unusable.
    #[error("the authority's key is unusable")]
    Authority(#[source] issuer::Error),
    /// TLS refuses what we give it.
    #[error("failed to configure TLS")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What is in force, for those who use it.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The authority.
    pub authority: watch::Receiver<Arc<Authority>>,
    /// The roots, as PEM.
    pub roots: watch::Receiver<Arc<str>>,
    /// TLS of the webhooks.
    pub webhooks: watch::Receiver<Arc<ServerConfig>>,
    /// TLS towards other replicas.
    pub replicas: watch::Receiver<Arc<ClientConfig>>,
    /// TLS of the xDS server and the authority: clients may present a certificate of the mesh.
    pub xds: watch::Receiver<Arc<ServerConfig>>,
}

/// The loop that keeps it in force.
pub struct Keeper {
    keys: KeyStore,
    names: Vec<String>,
    material: KeyMaterial,
    renewed: Instant,
    authority: watch::Sender<Arc<Authority>>,
    roots: watch::Sender<Arc<str>>,
    webhooks: watch::Sender<Arc<ServerConfig>>,
    xds: watch::Sender<Arc<ServerConfig>>,
    replicas: watch::Sender<Arc<ClientConfig>>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Loads the authority, making it where there is none yet, and signs what this process serves with.
///
/// # Errors
/// There is no usable key, and none can be made.
pub async fn start(
    keys: KeyStore,
    names: Vec<String>,
    trust_domain: &str,
) -> Result<(Serving, Keeper), Error> {
    let make = || Authority::self_signed(trust_domain, clock::now()).map(|root| material_of(&root));
    let material = keys.load_or_create(make).await.map_err(Error::Load)?;
    let force = Force::new(&material, &names)?;
    let roots: Arc<str> = force.authority.roots().to_pem().into();
    let (authority, authority_seen) = watch::channel(force.authority);
    let (roots, roots_seen) = watch::channel(roots);
    let (webhooks, webhooks_seen) = watch::channel(force.webhooks);
    let (xds, xds_seen) = watch::channel(force.xds);
    let (replicas, replicas_seen) = watch::channel(force.replicas);
    let serving = Serving {
        authority: authority_seen,
        roots: roots_seen,
        webhooks: webhooks_seen,
        xds: xds_seen,
        replicas: replicas_seen,
    };
    let renewed = clock::instant();
    let keeper = Keeper {
        keys,
        names,
        material,
        renewed,
        authority,
        roots,
        webhooks,
        xds,
        replicas,
    };
    Ok((serving, keeper))
}

impl Keeper {
    /// Runs until shutdown.
    ///
    /// # Errors
    /// None: what fails is logged, and what was in force stays.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Infallible> {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(RELOAD) => {}
            }
            if let Err(error) = self.renew().await {
                let error = fairlead_runtime::report(&error).to_string();
                tracing::warn!(error, "the authority in force stays");
            }
        }
    }

    async fn renew(&mut self) -> Result<(), Error> {
        let stored = self.keys.load().await.map_err(Error::Load)?;
        let replaced = stored.filter(|stored| *stored != self.material);
        let is_due = self.renewed + DEFAULT_LIFETIME / 2 <= clock::instant();
        if replaced.is_none() && !is_due {
            return Ok(());
        }
        let material = replaced.unwrap_or_else(|| self.material.clone());
        let force = Force::new(&material, &self.names)?;
        let roots: Arc<str> = force.authority.roots().to_pem().into();
        self.roots.send_if_modified(|current| {
            let changed = *current != roots;
            *current = roots;
            changed
        });
        self.authority.send_replace(force.authority);
        self.webhooks.send_replace(force.webhooks);
        self.xds.send_replace(force.xds);
        self.replicas.send_replace(force.replicas);
        self.material = material;
        self.renewed = clock::instant();
        tracing::info!("serving certificates renewed");
        Ok(())
    }
}

/// All that follows from one key.
struct Force {
    authority: Arc<Authority>,
    webhooks: Arc<ServerConfig>,
    xds: Arc<ServerConfig>,
    replicas: Arc<ClientConfig>,
}

impl Force {
    fn new(material: &KeyMaterial, names: &[String]) -> Result<Self, Error> {
        let KeyMaterial {
            certificate,
            key,
            roots,
            chain,
        } = material;
        // The chain that a user brings begins with the signing certificate, or right above it.
        let above = if chain.contains(certificate.trim()) {
            chain.clone()
        } else {
            format!("{certificate}\n{chain}")
        };
        let authority = Authority::from_pem(&above, key, roots).map_err(Error::Authority)?;
        let tls = |source: rustls::Error| Error::Tls(Box::new(source));

        let (own, key) = credential(&authority, names)?;
        let mut roots = RootCertStore::empty();
        for root in authority.roots().iter() {
            roots.add(CertificateDer::from_slice(root)).map_err(tls)?;
        }
        let roots = Arc::new(roots);
        let server = |protocols: &[&[u8]]| -> Result<Arc<ServerConfig>, Error> {
            let clients = WebPkiClientVerifier::builder(Arc::clone(&roots))
                .allow_unauthenticated()
                .build()
                .map_err(|source| Error::Tls(Box::new(source)))?;
            let mut config = ServerConfig::builder()
                .with_client_cert_verifier(clients)
                .with_single_cert(own.clone(), key.clone_key())
                .map_err(tls)?;
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Ok(config.into())
        };
        let (webhooks, xds) = (server(&[b"h2", b"http/1.1"])?, server(&[b"h2"])?);
        let replicas = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(own, key)
            .map_err(tls)?;
        Ok(Self {
            authority: authority.into(),
            webhooks,
            xds,
            replicas: replicas.into(),
        })
    }
}

/// What this process serves TLS with.
fn credential(
    authority: &Authority,
    names: &[String],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (issued, key) = authority
        .issue_server(&names, DEFAULT_LIFETIME, clock::now())
        .map_err(Error::Authority)?;
    let pem = |source: rustls_pki_types::pem::Error| Error::Tls(Box::new(source));
    let chain: Result<Vec<_>, _> = issued
        .chain
        .iter()
        .map(|certificate| CertificateDer::from_pem_slice(certificate.as_bytes()))
        .collect();
    let key = PrivateKeyDer::from_pem_slice(key.expose_pem().as_bytes()).map_err(pem)?;
    Ok((chain.map_err(pem)?, key))
}

fn material_of(root: &Authority) -> KeyMaterial {
    KeyMaterial {
        certificate: root.certificate_pem().to_owned(),
        key: root.key().expose_pem().to_owned(),
        roots: root.roots().to_pem(),
        chain: String::new(),
    }
}
