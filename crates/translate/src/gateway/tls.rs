//! TLS of a gateway's server: where it ends, with which certificate, for which clients.
//!
//! What is to keep clients out and cannot be carried out closes the server.

use fairlead_crds::networking::{ServerTls, ServerTlsMode, TlsVersion as CrdVersion};
use fairlead_routing::StringMatch;
use fairlead_xds::resource::TlsVersion;

use crate::diagnostic::{Findings, is_given};
use crate::protocol::Protocol;
use crate::secret::Credential;

/// What becomes of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// There is none.
    None,
    /// It is passed on, by its server name.
    Passthrough,
    /// It ends here.
    Terminate(Termination),
}

/// How TLS ends at a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Termination {
    pub(crate) certificate: Certificate,
    pub(crate) client: ClientCertificate,
    pub(crate) subject_alt_names: Vec<StringMatch>,
    pub(crate) min_version: Option<TlsVersion>,
    pub(crate) max_version: Option<TlsVersion>,
}

/// Where a gateway's certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// In a Secret of the gateway's namespace.
    Secret(Credential),
    /// It is the workload's own, of the mesh.
    Mesh,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientCertificate {
    NotAsked,
    Optional,
    Required,
}

impl Tls {
    /// The Secret that it needs.
    pub(crate) const fn credential(&self) -> Option<&Credential> {
        match self {
            Self::Terminate(Termination {
                certificate: Certificate::Secret(credential),
                ..
            }) => Some(credential),
            Self::Terminate(_) | Self::Passthrough | Self::None => None,
        }
    }
}

/// Settings by their names, and whether they are set.
type Settings = Vec<(&'static str, bool)>;

/// Reads the TLS of the server `field`; `None` if it cannot be served.
pub(super) fn read(
    field: &str,
    tls: Option<&ServerTls>,
    protocol: Protocol,
    findings: &mut Findings<'_>,
) -> Option<Tls> {
    let field = format!("{field}.tls");
    let is_encrypted = protocol == Protocol::Tls;
    let Some(tls) = tls else {
        if is_encrypted {
            findings.error(field, "is needed for this protocol; the server is left out");
            return None;
        }
        return Some(Tls::None);
    };
    let all = || [certificates(tls), clients(tls), checks(tls), handshake(tls)].concat();
    // Settings that only redirect come without a mode, on a port of plain HTTP.
    if !is_encrypted && (tls.mode.is_none() || tls.https_redirect == Some(true)) {
        findings.warn_of(&field, &all(), "has no effect: TLS does not end here");
        return Some(Tls::None);
    }
    let client = match tls.mode.unwrap_or_default() {
        ServerTlsMode::Passthrough => {
            findings.warn_of(&field, &all(), "has no effect: TLS does not end here");
            return Some(Tls::Passthrough);
        }
        ServerTlsMode::AutoPassthrough => {
            findings.error(
                format!("{field}.mode"),
                "`AUTO_PASSTHROUGH` is not supported; the server is left out",
            );
            return None;
        }
        ServerTlsMode::Simple => ClientCertificate::NotAsked,
        ServerTlsMode::OptionalMutual => ClientCertificate::Optional,
        ServerTlsMode::Mutual | ServerTlsMode::IstioMutual => ClientCertificate::Required,
    };
    report_certificates(&field, tls, findings);
    report_handshake(&field, tls, findings);
    let is_open = report_clients(&field, tls, client, findings);
    let certificate = read_certificate(&field, tls, client, findings)?;
    is_open.then(|| {
        Tls::Terminate(Termination {
            certificate,
            client,
            subject_alt_names: tls
                .subject_alt_names
                .iter()
                .map(StringMatch::exact)
                .collect(),
            min_version: version(tls.min_protocol_version),
            max_version: version(tls.max_protocol_version),
        })
    })
}

fn read_certificate(
    field: &str,
    tls: &ServerTls,
    client: ClientCertificate,
    findings: &mut Findings<'_>,
) -> Option<Certificate> {
    if tls.mode == Some(ServerTlsMode::IstioMutual) {
        return Some(Certificate::Mesh);
    }
    let single = tls.credential_name.as_ref();
    let name = single.or_else(|| tls.credential_names.first());
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        findings.error(
            format!("{field}.credentialName"),
            "is needed: certificates in files are not supported; the server is left out",
        );
        return None;
    };
    let roots = tls.ca_cert_credential_name.clone();
    Some(Certificate::Secret(Credential {
        name: name.clone(),
        asks_clients: client != ClientCertificate::NotAsked,
        roots: roots.filter(|name| !name.is_empty()),
    }))
}

/// Settings of the server's own certificate.
fn certificates(tls: &ServerTls) -> Settings {
    vec![
        ("credentialName", is_given(tls.credential_name.as_ref())),
        ("credentialNames", !tls.credential_names.is_empty()),
        (
            "serverCertificate",
            is_given(tls.server_certificate.as_ref()),
        ),
        ("privateKey", is_given(tls.private_key.as_ref())),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
    ]
}

/// Settings of whose certificates clients may have.
fn clients(tls: &ServerTls) -> Settings {
    vec![
        ("caCertificates", is_given(tls.ca_certificates.as_ref())),
        (
            "caCertCredentialName",
            is_given(tls.ca_cert_credential_name.as_ref()),
        ),
        ("subjectAltNames", !tls.subject_alt_names.is_empty()),
        ("insecureSkipVerify", tls.insecure_skip_verify == Some(true)),
    ]
}

/// Settings that would keep clients out, and cannot.
fn checks(tls: &ServerTls) -> Settings {
    vec![
        (
            "verifyCertificateSpki",
            !tls.verify_certificate_spki.is_empty(),
        ),
        (
            "verifyCertificateHash",
            !tls.verify_certificate_hash.is_empty(),
        ),
        ("caCrl", is_given(tls.ca_crl.as_ref())),
    ]
}

/// Settings of what is offered to clients.
fn handshake(tls: &ServerTls) -> Settings {
    vec![
        ("cipherSuites", !tls.cipher_suites.is_empty()),
        ("ecdhCurves", !tls.ecdh_curves.is_empty()),
        ("minProtocolVersion", tls.min_protocol_version.is_some()),
        ("maxProtocolVersion", tls.max_protocol_version.is_some()),
    ]
}

fn report_certificates(field: &str, tls: &ServerTls, findings: &mut Findings<'_>) {
    if tls.mode == Some(ServerTlsMode::IstioMutual) {
        let useless = "has no effect: with ISTIO_MUTUAL the mesh gives the certificate";
        findings.warn_of(field, &certificates(tls), useless);
        return;
    }
    let in_files = certificates(tls);
    let in_files = in_files.get(2..).unwrap_or_default();
    findings.error_of(field, in_files, "has no effect: files are not supported");
    if tls.credential_names.len() > 1 {
        let message = "only the first has an effect";
        findings.error(format!("{field}.credentialNames"), message);
    }
}

/// Whether the clients that are to be kept out are.
fn report_clients(
    field: &str,
    tls: &ServerTls,
    client: ClientCertificate,
    findings: &mut Findings<'_>,
) -> bool {
    if client == ClientCertificate::NotAsked {
        let useless = "has no effect: clients are not asked for a certificate";
        findings.warn_of(field, &clients(tls), useless);
        findings.warn_of(field, &checks(tls), useless);
        return true;
    }
    let by_file = [("caCertificates", is_given(tls.ca_certificates.as_ref()))];
    findings.error_of(field, &by_file, "has no effect: files are not supported");
    let skips = [("insecureSkipVerify", tls.insecure_skip_verify == Some(true))];
    findings.error_of(field, &skips, "has no effect: clients are verified");
    let is_mesh = tls.mode == Some(ServerTlsMode::IstioMutual);
    let roots = is_given(tls.ca_cert_credential_name.as_ref());
    let useless = "has no effect: with ISTIO_MUTUAL the mesh gives the authorities";
    findings.warn_of(
        field,
        &[("caCertCredentialName", is_mesh && roots)],
        useless,
    );
    let checks = checks(tls);
    findings.error_of(field, &checks, "is not supported; the server is left out");
    checks.iter().all(|(_, is_set)| !is_set)
}

fn report_handshake(field: &str, tls: &ServerTls, findings: &mut Findings<'_>) {
    findings.warn_of(
        field,
        &[
            ("cipherSuites", !tls.cipher_suites.is_empty()),
            ("ecdhCurves", !tls.ecdh_curves.is_empty()),
        ],
        "has no effect: what is offered is the same for all servers, and safe",
    );
    let is_old = |version| matches!(version, Some(CrdVersion::V1_0 | CrdVersion::V1_1));
    findings.warn_of(
        field,
        &[
            ("minProtocolVersion", is_old(tls.min_protocol_version)),
            ("maxProtocolVersion", is_old(tls.max_protocol_version)),
        ],
        "has no effect: nothing older than TLS 1.2 is spoken",
    );
}

/// A bound that is older than TLS 1.2 allows all that we speak.
fn version(version: Option<CrdVersion>) -> Option<TlsVersion> {
    match version? {
        CrdVersion::Auto | CrdVersion::V1_0 | CrdVersion::V1_1 => None,
        CrdVersion::V1_2 => Some(TlsVersion::V1_2),
        CrdVersion::V1_3 => Some(TlsVersion::V1_3),
    }
}
