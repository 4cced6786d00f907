//! Certificates and roots by name, while a resource is compiled; no IO.

use std::collections::HashMap;
use std::sync::Arc;

use fairlead_xds::resource::secret::SecretContent;
use fairlead_xds::resource::{DownstreamTls, UpstreamTls};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::tls::client::Expect;
use crate::tls::server::Clients;
use crate::tls::verify::{self, Names};
use crate::tls::{self, Identity};

/// The name under which xDS mentions the proxy's own certificate.
pub const OWN_CERTIFICATE: &str = "default";
/// The name under which xDS mentions the mesh's roots.
pub const MESH_ROOTS: &str = "ROOTCA";

/// What TLS contexts can mention.
#[derive(Debug, Clone, Copy)]
pub struct Secrets<'a> {
    /// Cryptography.
    pub provider: &'a Arc<CryptoProvider>,
    /// Our own certificate, and the mesh's roots.
    pub identity: &'a Arc<Identity>,
    /// Whom to trust outside the mesh.
    pub public_roots: &'a Arc<RootCertStore>,
    /// What came by SDS.
    pub received: &'a HashMap<String, SecretContent>,
}

impl Secrets<'_> {
    /// The workloads of our own trust domain.
    pub fn own_domain(&self) -> Names {
        let domain = self
            .identity
            .leaf
            .uri
            .as_deref()
            .and_then(verify::trust_domain);
        domain.map_or(Names::OneOf(Vec::new()), |domain| {
            Names::Domain(domain.to_owned())
        })
    }

    /// A client configuration; its application protocols are still to be set.
    pub fn client(&self, spec: &UpstreamTls, expect: &Expect) -> Result<ClientConfig, tls::Error> {
        let roots = spec
            .validation
            .as_ref()
            .and_then(|validation| validation.roots.as_deref());
        let roots = match roots {
            None => Arc::clone(self.public_roots),
            Some(MESH_ROOTS) => Arc::clone(&self.identity.roots),
            Some(name) => match self.received.get(name) {
                Some(SecretContent::Roots { roots }) => {
                    Arc::new(tls::identity::parse_roots(roots)?)
                }
                // Nobody is trusted until the roots are there.
                Some(SecretContent::Certificate { .. }) | None => Arc::new(RootCertStore::empty()),
            },
        };
        let certificate = match spec.certificate.as_deref() {
            None => None,
            Some(OWN_CERTIFICATE) => {
                Some((self.identity.chain.clone(), self.identity.key.clone_key()))
            }
            Some(name) => match self.received.get(name) {
                Some(SecretContent::Certificate { chain, key }) => {
                    Some(tls::identity::parse_pair(chain, key)?)
                }
                Some(SecretContent::Roots { .. }) | None => None,
            },
        };
        tls::client::build(roots, certificate, expect, self.provider)
    }

    /// A server configuration, or the name of the secret that it still waits for.
    pub fn server(
        &self,
        spec: &DownstreamTls,
        names: Names,
        alpn: Vec<Vec<u8>>,
    ) -> Result<Result<ServerConfig, String>, tls::Error> {
        let Some(name) = spec.certificates.first() else {
            return Ok(Err("(none named)".to_owned()));
        };
        let certificate = if name == OWN_CERTIFICATE {
            (self.identity.chain.clone(), self.identity.key.clone_key())
        } else {
            match self.received.get(name) {
                Some(SecretContent::Certificate { chain, key }) => {
                    tls::identity::parse_pair(chain, key)?
                }
                Some(SecretContent::Roots { .. }) | None => return Ok(Err(name.clone())),
            }
        };
        let clients = match &spec.validation {
            None if !spec.require_client_certificate => None,
            validation => {
                let roots = validation.as_ref().and_then(|v| v.roots.as_deref());
                let roots = match roots {
                    None | Some(MESH_ROOTS) => Arc::clone(&self.identity.roots),
                    Some(name) => match self.received.get(name) {
                        Some(SecretContent::Roots { roots }) => {
                            Arc::new(tls::identity::parse_roots(roots)?)
                        }
                        Some(SecretContent::Certificate { .. }) | None => {
                            return Ok(Err(name.to_owned()));
                        }
                    },
                };
                Some(Clients {
                    roots,
                    names,
                    required: spec.require_client_certificate,
                })
            }
        };
        let versions = tls::server::versions(spec.min_version, spec.max_version);
        tls::server::build(certificate, clients, &versions, alpn, self.provider).map(Ok)
    }
}
