//! Secrets (SDS).

use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use prost::Message;

use super::refusal::{Error, Result, refuse};
use crate::resource::{Secret, secret::SecretContent};

pub(super) fn encode(secret: &Secret) -> Vec<u8> {
    let content = match &secret.content {
        SecretContent::Certificate { chain, key } => {
            pb::secret::Type::TlsCertificate(pb::TlsCertificate {
                certificate_chain: Some(inline(chain)),
                private_key: Some(inline(key)),
                ..pb::TlsCertificate::default()
            })
        }
        SecretContent::Roots { roots } => {
            pb::secret::Type::ValidationContext(pb::CertificateValidationContext {
                trusted_ca: Some(inline(roots)),
                ..pb::CertificateValidationContext::default()
            })
        }
    };
    pb::Secret {
        name: secret.name.clone(),
        r#type: Some(content),
    }
    .encode_to_vec()
}

pub(super) fn decode(secret: pb::Secret) -> Result<Secret> {
    let content = match secret.r#type {
        None => return Err(Error::missing("type")),
        Some(pb::secret::Type::TlsCertificate(certificate)) => {
            refuse!(
                certificate,
                pkcs12,
                private_key_provider,
                password,
                watched_directory
            );
            SecretContent::Certificate {
                chain: bytes(certificate.certificate_chain, "certificate_chain")?,
                key: bytes(certificate.private_key, "private_key")?,
            }
        }
        Some(pb::secret::Type::ValidationContext(context)) => {
            refuse!(
                context,
                crl,
                watched_directory,
                match_typed_subject_alt_names
            );
            SecretContent::Roots {
                roots: bytes(context.trusted_ca, "trusted_ca")?,
            }
        }
        Some(pb::secret::Type::SessionTicketKeys(_)) => {
            return Err(Error::unsupported("session_ticket_keys"));
        }
        Some(pb::secret::Type::GenericSecret(_)) => {
            return Err(Error::unsupported("generic_secret"));
        }
    };
    Ok(Secret {
        name: secret.name,
        content,
    })
}

fn inline(bytes: &[u8]) -> DataSource {
    DataSource {
        specifier: Some(Specifier::InlineBytes(bytes.to_vec())),
        watched_directory: None,
    }
}

fn bytes(source: Option<DataSource>, field: &str) -> Result<Vec<u8>> {
    match source.and_then(|source| source.specifier) {
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes),
        Some(Specifier::InlineString(text)) => Ok(text.into_bytes()),
        None => Err(Error::missing(field)),
        Some(Specifier::Filename(_) | Specifier::EnvironmentVariable(_)) => {
            Err(Error::unsupported(field))
        }
    }
}
