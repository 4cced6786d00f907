//! The certificate authority: a self-signed root or a given one, and what it issues.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::bundle::{self, TrustBundle};
use crate::csr::VerifiedRequest;
use crate::spiffe::SpiffeId;

/// Life of a self-signed root: ten years, as operators of a mesh expect.
pub const ROOT_LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);
/// Life of a workload's certificate unless it asks for less.
pub const DEFAULT_LIFETIME: Duration = Duration::from_hours(24);
/// The longest life of a workload's certificate.
pub const MAX_LIFETIME: Duration = Duration::from_hours(90 * 24);
/// Certificates begin a little in the past, for peers whose clocks are behind.
pub const BACK_DATE: Duration = Duration::from_mins(2);

/// Why the authority cannot be made or cannot issue.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No key could be generated.
    #[error("failed to generate a key")]
    GenerateKey(#[source] rcgen::Error),
    /// The root could not sign itself.
    #[error("failed to sign the root certificate")]
    SignRoot(#[source] rcgen::Error),
    /// The given key cannot be read.
    #[error("failed to read the key of the certificate authority")]
    ReadKey(#[source] rcgen::Error),
    /// The given certificate cannot be read.
    #[error("failed to read the certificate of the certificate authority")]
    ReadCertificate(#[source] rcgen::Error),
    /// The given certificates are no PEM.
    #[error("failed to read the certificates of the certificate authority")]
    ReadBundle(#[source] bundle::Error),
    /// The given certificate is not one of an authority.
    #[error("the certificate of the certificate authority must not sign others")]
    NoAuthority,
    /// The given key is not that of the given certificate.
    #[error("the key is not that of the certificate authority's certificate")]
    OtherKey,
    /// The authority itself has expired, or is not valid yet.
    #[error("the certificate authority is valid from {not_before} to {not_after}")]
    NotValid {
        /// Begin of its life.
        not_before: Timestamp,
        /// End of its life.
        not_after: Timestamp,
    },
    /// A name does not fit into a certificate.
    #[error("`{name}` does not fit into a certificate")]
    Name {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The certificate could not be signed.
    #[error("failed to sign the certificate of `{subject}`")]
    Sign {
        /// Whose certificate.
        subject: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
}

/// PEM of a private key; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(String);

impl PrivateKey {
    pub(crate) const fn new(pem: String) -> Self {
        Self(pem)
    }

    /// The PEM, to be stored or used, never to be logged.
    pub fn expose_pem(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// PEM of each certificate: the leaf first, the root last.
    pub chain: Vec<String>,
    /// Begin of its life.
    pub not_before: Timestamp,
    /// End of its life.
    pub not_after: Timestamp,
}

/// The certificate authority of a mesh.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    key: PrivateKey,
    /// Between the issuing certificate and the root, and the root: PEM of each.
    parents: Vec<String>,
    roots: TrustBundle,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// A new root that signs itself.
    ///
    /// # Errors
    /// When the crypto library cannot.
    pub fn self_signed(organization: &str, now: Timestamp) -> Result<Self, Error> {
        let key = KeyPair::generate().map_err(Error::GenerateKey)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(
            &mut params,
            before(now, BACK_DATE),
            after(now, ROOT_LIFETIME),
        );
        let certificate = params.self_signed(&key).map_err(Error::SignRoot)?;
        let key_pem = key.serialize_pem();
        Self::from_pem(&certificate.pem(), &key_pem, &certificate.pem())
    }

    /// A given authority: its certificate (with those between it and the root, if there are any),
    /// its key, and the roots that the mesh trusts.
    ///
    /// # Errors
    /// When one of them cannot be read, or they do not belong together.
    pub fn from_pem(chain_pem: &str, key_pem: &str, roots_pem: &str) -> Result<Self, Error> {
        let key = KeyPair::from_pem(key_pem).map_err(Error::ReadKey)?;
        let certificates = bundle::split_pem(chain_pem).map_err(Error::ReadBundle)?;
        let roots = TrustBundle::parse(roots_pem).map_err(Error::ReadBundle)?;
        let Some((own, between)) = certificates.split_first() else {
            return Err(Error::NoAuthority);
        };
        let (not_before, not_after) = {
            let Ok((_, parsed)) = X509Certificate::from_der(own) else {
                return Err(Error::NoAuthority);
            };
            if !parsed.is_ca() {
                return Err(Error::NoAuthority);
            }
            if parsed.public_key().subject_public_key.data.as_ref() != key.der_bytes() {
                return Err(Error::OtherKey);
            }
            bundle::validity(&parsed)
        };
        let issuer = Issuer::from_ca_cert_der(&own.as_slice().into(), key)
            .map_err(Error::ReadCertificate)?;
        let is_root = |der: &Vec<u8>| roots.contains(der);
        let mut parents: Vec<_> = between
            .iter()
            .filter(|der| !is_root(der))
            .map(|der| bundle::to_pem(der))
            .collect();
        // Peers get the roots too, the way Istio's agents expect them: last in the chain.
        parents.extend(
            roots
                .iter()
                .filter(|root| *root != own.as_slice())
                .map(bundle::to_pem),
        );
        Ok(Self {
            issuer,
            certificate_pem: bundle::to_pem(own),
            key: PrivateKey::new(key_pem.to_owned()),
            parents,
            roots,
            not_before,
            not_after,
        })
    }

    /// Issues a workload's certificate for the key of `request`. The identity is the caller's, as
    /// its authentication proved it. A `lifetime` of zero asks for the default.
    ///
    /// # Errors
    /// When the authority is not valid at `now`, or cannot sign.
    pub fn issue(
        &self,
        request: &VerifiedRequest,
        id: &SpiffeId,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Issued, Error> {
        let lifetime = if lifetime.is_zero() {
            DEFAULT_LIFETIME
        } else {
            lifetime
        };
        let name = id.to_string();
        let uri = name.clone().try_into().map_err(|source| Error::Name {
            name: name.clone(),
            source,
        })?;
        self.sign(&request.key, &name, vec![SanType::URI(uri)], lifetime, now)
    }

    /// Issues a certificate for a server of ours that is known by DNS names, with a new key.
    ///
    /// # Errors
    /// When the authority is not valid at `now`, a name is not a DNS name, or it cannot sign.
    pub fn issue_server(
        &self,
        dns_names: &[&str],
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<(Issued, PrivateKey), Error> {
        let key = KeyPair::generate().map_err(Error::GenerateKey)?;
        let names = dns_names
            .iter()
            .map(|name| {
                (*name)
                    .try_into()
                    .map(SanType::DnsName)
                    .map_err(|source| Error::Name {
                        name: (*name).to_owned(),
                        source,
                    })
            })
            .collect::<Result<_, _>>()?;
        let subject = dns_names.first().copied().unwrap_or_default();
        let issued = self.sign(&key, subject, names, lifetime, now)?;
        Ok((issued, PrivateKey::new(key.serialize_pem())))
    }

    fn sign(
        &self,
        key: &impl PublicKeyData,
        subject: &str,
        names: Vec<SanType>,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Issued, Error> {
        if !(self.not_before..self.not_after).contains(&now) {
            let Self {
                not_before,
                not_after,
                ..
            } = *self;
            return Err(Error::NotValid {
                not_before,
                not_after,
            });
        }
        // A chain is only as valid as its weakest link, so the leaf never outlives its issuer.
        let not_after = after(now, lifetime.min(MAX_LIFETIME)).min(self.not_after);
        let not_before = before(now, BACK_DATE).max(self.not_before);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        set_validity(&mut params, not_before, not_after);
        let certificate = params
            .signed_by(key, &self.issuer)
            .map_err(|source| Error::Sign {
                subject: subject.to_owned(),
                source,
            })?;
        let chain = [bundle::to_pem(certificate.der())]
            .into_iter()
            .chain([self.certificate_pem.clone()])
            .chain(self.parents.iter().cloned())
            .collect();
        Ok(Issued {
            chain,
            not_before,
            not_after,
        })
    }

    /// PEM of the authority's own certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's key.
    pub const fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The roots that the mesh trusts.
    pub const fn roots(&self) -> &TrustBundle {
        &self.roots
    }

    /// Begin of the authority's life.
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// End of the authority's life.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

fn set_validity(params: &mut CertificateParams, not_before: Timestamp, not_after: Timestamp) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = |time: Timestamp| Duration::from_secs(time.as_second().try_into().unwrap_or(0));
    params.not_before = epoch + since(not_before);
    params.not_after = epoch + since(not_after);
}

fn after(now: Timestamp, time: Duration) -> Timestamp {
    let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    now.checked_add(time).unwrap_or(Timestamp::MAX)
}

fn before(now: Timestamp, time: Duration) -> Timestamp {
    let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    now.checked_sub(time).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csr::KeyAndRequest;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn web() -> SpiffeId {
        SpiffeId::new("cluster.local", "shop", "web").unwrap()
    }

    fn issue(authority: &Authority, lifetime: Duration, now: Timestamp) -> Issued {
        let forged = SpiffeId::new("cluster.local", "kube-system", "admin").unwrap();
        let request = KeyAndRequest::generate(&forged).unwrap();
        let request = VerifiedRequest::verify(&request.csr_pem).unwrap();
        authority.issue(&request, &web(), lifetime, now).unwrap()
    }

    #[test]
    fn the_identity_is_the_callers_and_not_that_of_the_request() {
        let authority = Authority::self_signed("cluster.local", now()).unwrap();
        let issued = issue(&authority, Duration::ZERO, now());
        let leaf = &bundle::split_pem(&issued.chain[0]).unwrap()[0];
        assert_eq!(SpiffeId::of_certificate(leaf).unwrap(), web());
    }

    #[test]
    fn a_leaf_is_signed_by_the_root_and_lives_a_day() {
        let authority = Authority::self_signed("cluster.local", now()).unwrap();
        let issued = issue(&authority, Duration::ZERO, now());
        let leaf = &bundle::split_pem(&issued.chain[0]).unwrap()[0];
        let root = &bundle::split_pem(issued.chain.last().unwrap()).unwrap()[0];
        let (_, leaf) = X509Certificate::from_der(leaf).unwrap();
        let (_, root) = X509Certificate::from_der(root).unwrap();
        leaf.verify_signature(Some(root.public_key())).unwrap();
        assert!(!leaf.is_ca());
        assert_eq!(issued.not_before, "2026-03-01T11:58:00Z".parse().unwrap());
        assert_eq!(
            bundle::validity(&leaf),
            (issued.not_before, issued.not_after)
        );
        assert_eq!(issued.not_after, "2026-03-02T12:00:00Z".parse().unwrap());
    }

    #[test]
    fn a_leaf_does_not_outlive_its_issuer() {
        let authority = Authority::self_signed("cluster.local", now()).unwrap();
        let late = before(authority.not_after(), Duration::from_hours(1));
        assert_eq!(
            issue(&authority, Duration::ZERO, late).not_after,
            authority.not_after()
        );
    }

    #[test]
    fn an_expired_authority_does_not_sign() {
        let authority = Authority::self_signed("cluster.local", now()).unwrap();
        let request = KeyAndRequest::generate(&web()).unwrap();
        let request = VerifiedRequest::verify(&request.csr_pem).unwrap();
        let late = after(authority.not_after(), Duration::from_secs(1));
        let error = authority
            .issue(&request, &web(), Duration::ZERO, late)
            .unwrap_err();
        assert!(matches!(error, Error::NotValid { .. }));
    }

    #[test]
    fn an_authority_survives_its_pem() {
        let authority = Authority::self_signed("cluster.local", now()).unwrap();
        let (pem, key) = (authority.certificate_pem(), authority.key().expose_pem());
        let again = Authority::from_pem(pem, key, pem).unwrap();
        assert_eq!(again.not_after(), authority.not_after());
        issue(&again, Duration::ZERO, now());
        let other = Authority::self_signed("cluster.local", now()).unwrap();
        let error = Authority::from_pem(pem, other.key().expose_pem(), pem).unwrap_err();
        assert!(matches!(error, Error::OtherKey));
    }

    #[test]
    fn an_intermediate_authority_sends_its_root_last() {
        let root = Authority::self_signed("root", now()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        set_validity(
            &mut params,
            now(),
            after(now(), Duration::from_hours(24 * 30)),
        );
        let own = params.signed_by(&key, &root.issuer).unwrap().pem();
        let chain = own + root.certificate_pem();
        let authority =
            Authority::from_pem(&chain, &key.serialize_pem(), root.certificate_pem()).unwrap();
        let issued = issue(&authority, Duration::ZERO, now());
        assert_eq!(issued.chain.len(), 3);
        assert_eq!(issued.chain[2], root.certificate_pem());
        let leaf = &bundle::split_pem(&issued.chain[0]).unwrap()[0];
        let issuer = &bundle::split_pem(&issued.chain[1]).unwrap()[0];
        let (_, leaf) = X509Certificate::from_der(leaf).unwrap();
        let (_, issuer) = X509Certificate::from_der(issuer).unwrap();
        leaf.verify_signature(Some(issuer.public_key())).unwrap();
    }

    #[test]
    fn a_server_gets_its_names() {
        let authority = Authority::self_signed("cluster.local", now()).unwrap();
        let names = ["istiod.istio-system.svc", "istiod"];
        let (issued, key) = authority
            .issue_server(&names, DEFAULT_LIFETIME, now())
            .unwrap();
        let leaf = &bundle::split_pem(&issued.chain[0]).unwrap()[0];
        let (_, leaf) = X509Certificate::from_der(leaf).unwrap();
        let found = leaf
            .subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names
            .len();
        assert_eq!(found, 2);
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }
}
