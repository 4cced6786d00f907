//! `Gateway`: the ports that gateway proxies open, and for which hosts.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::IstioStatus;
use crate::schema;

/// Ports that gateway proxies open, and for which hosts.
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "networking.istio.io",
    version = "v1",
    kind = "Gateway",
    plural = "gateways",
    namespaced,
    doc = "What gateway proxies let in.",
    status = "IstioStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "gw",
    category = "istio-io",
    category = "networking-istio-io"
)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// Ports, each with the hosts that it is open for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Server>,
    /// Labels of the gateway pods that open them, such as `istio: ingressgateway`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
}

/// A port, with the hosts that it is open for.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// Name, for people.
    pub name: Option<String>,
    /// The port.
    pub port: ServerPort,
    /// Hosts that routes may be bound to, `namespace/name`, a leading `*.` for all names below.
    pub hosts: Vec<String>,
    /// TLS on the port.
    pub tls: Option<ServerTls>,
    /// Address to listen on; by default all addresses of the pod.
    pub bind: Option<String>,
    /// Where connections go when no route takes them; not carried out by proxies today.
    pub default_endpoint: Option<String>,
}

/// A port of a gateway.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerPort {
    /// Number of the port, as the gateway's Service has it.
    pub number: u32,
    /// What is spoken on it: HTTP, HTTPS, GRPC, HTTP2, TCP or TLS.
    pub protocol: String,
    /// Name, unique within the gateway.
    pub name: String,
    /// Number of the pod's port; by default as the Service says.
    pub target_port: Option<u32>,
}

/// TLS on a port of a gateway.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    transform = schema::rule(
        "!has(self.credentialName) || !has(self.credentialNames)",
        "set either credentialName or credentialNames"
    ),
    transform = schema::rule(
        "!has(self.credentialNames) || !has(self.tlsCertificates)",
        "set either credentialNames or tlsCertificates"
    ),
    transform = schema::rule(
        "!has(self.tlsCertificates) || size(self.tlsCertificates) <= 2",
        "tlsCertificates holds one certificate for each of at most two kinds of key"
    )
)]
pub struct ServerTls {
    /// Answer plain HTTP with a redirect to HTTPS.
    pub https_redirect: Option<bool>,
    /// Whether and how connections are encrypted.
    pub mode: Option<ServerTlsMode>,
    /// File with the server's certificate.
    pub server_certificate: Option<String>,
    /// File with the server's private key.
    pub private_key: Option<String>,
    /// File with the authorities that sign clients' certificates.
    pub ca_certificates: Option<String>,
    /// File with a list of revoked certificates.
    pub ca_crl: Option<String>,
    /// Secret with key and certificate, in the namespace of the gateway pods.
    pub credential_name: Option<String>,
    /// Secrets with key and certificate, one for each kind of key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 2))]
    pub credential_names: Vec<String>,
    /// Secret with the authorities that sign clients' certificates.
    pub ca_cert_credential_name: Option<String>,
    /// Files with key and certificate, one for each kind of key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 2))]
    pub tls_certificates: Vec<TlsCertificate>,
    /// Names, one of which a client's certificate must carry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<String>,
    /// Hashes (SHA-256) of the public keys that clients may have, as base64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify_certificate_spki: Vec<String>,
    /// Hashes (SHA-256) of the certificates that clients may have, as hex.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify_certificate_hash: Vec<String>,
    /// Oldest version of TLS that is accepted; 1.2 by default.
    pub min_protocol_version: Option<TlsVersion>,
    /// Newest version of TLS that is accepted.
    pub max_protocol_version: Option<TlsVersion>,
    /// Cipher suites that are accepted for TLS 1.2 and older, by OpenSSL's names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<String>,
    /// Curves that are accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ecdh_curves: Vec<String>,
    /// Whether clients' certificates are accepted unverified.
    #[schemars(transform = schema::nullable)]
    pub insecure_skip_verify: Option<bool>,
}

/// Whether and how connections to a gateway are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerTlsMode {
    /// TLS is passed on unopened, by the server name
    #[default]
    Passthrough,
    /// TLS without a certificate of the client
    Simple,
    /// TLS with a certificate of the client
    Mutual,
    /// TLS is passed on unopened, to the service that the server name says
    AutoPassthrough,
    /// mutual TLS with the identity that the mesh gives each workload
    IstioMutual,
    /// TLS with a certificate of the client where it has one
    OptionalMutual,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// as the proxy does by default
    #[default]
    #[serde(rename = "TLS_AUTO")]
    Auto,
    /// 1.0
    #[serde(rename = "TLSV1_0")]
    V1_0,
    /// 1.1
    #[serde(rename = "TLSV1_1")]
    V1_1,
    /// 1.2
    #[serde(rename = "TLSV1_2")]
    V1_2,
    /// 1.3
    #[serde(rename = "TLSV1_3")]
    V1_3,
}

/// Files with a key and its certificate.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsCertificate {
    /// File with the server's certificate.
    pub server_certificate: Option<String>,
    /// File with the server's private key.
    pub private_key: Option<String>,
    /// File with the authorities that sign clients' certificates.
    pub ca_certificates: Option<String>,
}
