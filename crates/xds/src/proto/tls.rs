//! TLS contexts as transport sockets. Secrets are named, never inline, and come by this stream.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use fairlead_routing::StringMatch;

use super::any::{ads, bool_value, is_true, open, pack, require_ads};
use super::refusal::{Error, Result, Within, each, refuse};
use super::text::{from_string, string};
use crate::resource::{CertificateValidation, DownstreamTls, TlsVersion, UpstreamTls};

const TLS: &str = "envoy.transport_sockets.tls";
const RAW: &str = "envoy.transport_sockets.raw_buffer";
/// The system's roots, where Debian has them; Envoy has no other name for them.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

fn socket<M: prost::Message + prost::Name>(name: &str, message: &M) -> core::TransportSocket {
    core::TransportSocket {
        name: name.to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(pack(
            message,
        ))),
    }
}

/// The transport socket of plain text.
pub(super) fn raw() -> core::TransportSocket {
    socket(RAW, &RawBuffer {})
}

pub(super) fn downstream(tls: &DownstreamTls) -> core::TransportSocket {
    socket(
        TLS,
        &pb::DownstreamTlsContext {
            common_tls_context: Some(pb::CommonTlsContext {
                tls_params: params(tls.min_version, tls.max_version),
                tls_certificate_sds_secret_configs: tls
                    .certificates
                    .iter()
                    .map(|name| secret(name))
                    .collect(),
                alpn_protocols: tls.alpn.clone(),
                validation_context_type: tls.validation.as_ref().map(validation),
                ..pb::CommonTlsContext::default()
            }),
            require_client_certificate: Some(bool_value(tls.require_client_certificate)),
            ..pb::DownstreamTlsContext::default()
        },
    )
}

pub(super) fn upstream(tls: &UpstreamTls) -> core::TransportSocket {
    socket(
        TLS,
        &pb::UpstreamTlsContext {
            common_tls_context: Some(pb::CommonTlsContext {
                tls_certificate_sds_secret_configs: tls
                    .certificate
                    .iter()
                    .map(|name| secret(name))
                    .collect(),
                alpn_protocols: tls.alpn.clone(),
                validation_context_type: tls.validation.as_ref().map(validation),
                ..pb::CommonTlsContext::default()
            }),
            sni: tls.sni.clone(),
            ..pb::UpstreamTlsContext::default()
        },
    )
}

pub(super) fn from_downstream(socket: &core::TransportSocket) -> Result<Option<DownstreamTls>> {
    let Some(any) = typed(socket)? else {
        return Ok(None);
    };
    if any.type_url == <RawBuffer as prost::Name>::type_url() {
        return Ok(None);
    }
    let context: pb::DownstreamTlsContext = open(any)?;
    let common = context.common_tls_context.unwrap_or_default();
    from_common(&common).within("common_tls_context")?;
    let (min_version, max_version) = from_params(common.tls_params.as_ref())?;
    Ok(Some(DownstreamTls {
        certificates: from_secrets(&common.tls_certificate_sds_secret_configs)?,
        validation: from_validation(common.validation_context_type)?,
        require_client_certificate: is_true(context.require_client_certificate, false),
        alpn: common.alpn_protocols,
        min_version,
        max_version,
    }))
}

pub(super) fn from_upstream(socket: &core::TransportSocket) -> Result<Option<UpstreamTls>> {
    let Some(any) = typed(socket)? else {
        return Ok(None);
    };
    if any.type_url == <RawBuffer as prost::Name>::type_url() {
        return Ok(None);
    }
    let context: pb::UpstreamTlsContext = open(any)?;
    refuse!(context, auto_host_sni, auto_sni_san_validation);
    let common = context.common_tls_context.unwrap_or_default();
    from_common(&common).within("common_tls_context")?;
    Ok(Some(UpstreamTls {
        certificate: from_secrets(&common.tls_certificate_sds_secret_configs)?
            .into_iter()
            .next(),
        validation: from_validation(common.validation_context_type)?,
        sni: context.sni,
        alpn: common.alpn_protocols,
    }))
}

fn typed(
    socket: &core::TransportSocket,
) -> Result<Option<&envoy_types::pb::google::protobuf::Any>> {
    match &socket.config_type {
        Some(core::transport_socket::ConfigType::TypedConfig(any)) => Ok(Some(any)),
        None if socket.name == RAW => Ok(None),
        None => Err(Error::missing("typed_config")),
    }
}

fn from_common(common: &pb::CommonTlsContext) -> Result<()> {
    refuse!(
        common,
        tls_certificates,
        tls_certificate_provider_instance,
        custom_tls_certificate_selector,
        custom_handshaker,
    );
    Ok(())
}

fn params(min: Option<TlsVersion>, max: Option<TlsVersion>) -> Option<pb::TlsParameters> {
    let number = |version: Option<TlsVersion>| {
        match version {
            None => pb::tls_parameters::TlsProtocol::TlsAuto,
            Some(TlsVersion::V1_2) => pb::tls_parameters::TlsProtocol::TlSv12,
            Some(TlsVersion::V1_3) => pb::tls_parameters::TlsProtocol::TlSv13,
        }
        .into()
    };
    (min.is_some() || max.is_some()).then(|| pb::TlsParameters {
        tls_minimum_protocol_version: number(min),
        tls_maximum_protocol_version: number(max),
        ..pb::TlsParameters::default()
    })
}

fn from_params(
    params: Option<&pb::TlsParameters>,
) -> Result<(Option<TlsVersion>, Option<TlsVersion>)> {
    use pb::tls_parameters::TlsProtocol;
    let Some(params) = params else {
        return Ok((None, None));
    };
    let min = match TlsProtocol::try_from(params.tls_minimum_protocol_version) {
        // What allows older versions is served with those that we have.
        Ok(TlsProtocol::TlsAuto | TlsProtocol::TlSv10 | TlsProtocol::TlSv11) => None,
        Ok(TlsProtocol::TlSv12) => Some(TlsVersion::V1_2),
        Ok(TlsProtocol::TlSv13) => Some(TlsVersion::V1_3),
        Err(_) => return Err(Error::invalid("tls_minimum_protocol_version", "unknown")),
    };
    let max = match TlsProtocol::try_from(params.tls_maximum_protocol_version) {
        Ok(TlsProtocol::TlsAuto) => None,
        Ok(TlsProtocol::TlSv12) => Some(TlsVersion::V1_2),
        Ok(TlsProtocol::TlSv13) => Some(TlsVersion::V1_3),
        Ok(TlsProtocol::TlSv10 | TlsProtocol::TlSv11) => {
            return Err(Error::unsupported("tls_maximum_protocol_version"));
        }
        Err(_) => return Err(Error::invalid("tls_maximum_protocol_version", "unknown")),
    };
    Ok((min, max))
}

fn secret(name: &str) -> pb::SdsSecretConfig {
    pb::SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(ads()),
    }
}

fn from_secrets(secrets: &[pb::SdsSecretConfig]) -> Result<Vec<String>> {
    each("tls_certificate_sds_secret_configs", secrets, |secret| {
        require_ads(secret.sds_config.as_ref()).within("sds_config")?;
        Ok(secret.name.clone())
    })
}

fn validation(validation: &CertificateValidation) -> pb::common_tls_context::ValidationContextType {
    use pb::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
    let context = |system: bool| pb::CertificateValidationContext {
        trusted_ca: system.then(|| core::DataSource {
            specifier: Some(core::data_source::Specifier::Filename(
                SYSTEM_ROOTS.to_owned(),
            )),
            watched_directory: None,
        }),
        match_typed_subject_alt_names: san_matchers(&validation.subject_alt_names),
        ..pb::CertificateValidationContext::default()
    };
    match &validation.roots {
        None => ValidationContextType::ValidationContext(context(true)),
        Some(name) => {
            ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
                default_validation_context: Some(context(false)),
                validation_context_sds_secret_config: Some(secret(name)),
                ..CombinedCertificateValidationContext::default()
            })
        }
    }
}

/// The kind of name is told by its form: what has a scheme is a URI, anything else a DNS name.
fn san_matchers(names: &[StringMatch]) -> Vec<pb::SubjectAltNameMatcher> {
    use fairlead_routing::text::Pattern;
    use pb::subject_alt_name_matcher::SanType;
    names
        .iter()
        .map(|name| {
            let (Pattern::Exact(text)
            | Pattern::Prefix(text)
            | Pattern::Suffix(text)
            | Pattern::Contains(text)
            | Pattern::Regex(text)) = &name.pattern;
            let kind = if text.contains("://") {
                SanType::Uri
            } else {
                SanType::Dns
            };
            pb::SubjectAltNameMatcher {
                san_type: kind.into(),
                matcher: Some(string(name)),
                oid: String::new(),
            }
        })
        .collect()
}

fn from_validation(
    validation: Option<pb::common_tls_context::ValidationContextType>,
) -> Result<Option<CertificateValidation>> {
    use pb::common_tls_context::ValidationContextType;
    let (context, roots) = match validation {
        None => return Ok(None),
        Some(ValidationContextType::ValidationContext(context)) => (context, None),
        Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) => {
            require_ads(secret.sds_config.as_ref())?;
            (
                pb::CertificateValidationContext::default(),
                Some(secret.name),
            )
        }
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            let secret = combined
                .validation_context_sds_secret_config
                .ok_or_else(|| Error::missing("validation_context_sds_secret_config"))?;
            require_ads(secret.sds_config.as_ref())?;
            (
                combined.default_validation_context.unwrap_or_default(),
                Some(secret.name),
            )
        }
        Some(_) => return Err(Error::unsupported("validation_context_type")),
    };
    let file = context
        .trusted_ca
        .as_ref()
        .and_then(|source| source.specifier.as_ref());
    let is_system = match file {
        None => context.system_root_certs.is_some(),
        Some(core::data_source::Specifier::Filename(name)) if name == SYSTEM_ROOTS => true,
        Some(_) => return Err(Error::unsupported("trusted_ca")),
    };
    refuse!(
        context,
        ca_certificate_provider_instance,
        verify_certificate_spki,
        verify_certificate_hash,
        crl,
        trust_chain_verification,
        custom_validator_config,
    );
    if roots.is_none() && !is_system {
        return Err(Error::missing("trusted_ca"));
    }
    let subject_alt_names = each(
        "match_typed_subject_alt_names",
        context.match_typed_subject_alt_names,
        |name| from_string(name.matcher.ok_or_else(|| Error::missing("matcher"))?),
    )?;
    Ok(Some(CertificateValidation {
        roots,
        subject_alt_names,
    }))
}
