//! Envelopes, wrappers and addresses that all resources share.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::google::protobuf::{
    Any, BoolValue, Duration as ProtoDuration, Struct, UInt32Value, value::Kind,
};
use prost::{Message, Name};

use super::refusal::{Error, Result, refuse};
use crate::resource::endpoint::Address;

/// Opens an envelope that must hold an `M`.
pub(super) fn open<M: Message + Name + Default>(any: &Any) -> Result<M> {
    if any.type_url != M::type_url() {
        return Err(Error::UnknownType(any.type_url.clone()));
    }
    super::parse(&any.value)
}

/// The envelope of what prost encodes deterministically.
pub(super) fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

pub(super) const fn bool_value(value: bool) -> BoolValue {
    BoolValue { value }
}

pub(super) fn is_true(value: Option<BoolValue>, default: bool) -> bool {
    value.map_or(default, |value| value.value)
}

pub(super) fn u32_value(value: Option<u32>) -> Option<UInt32Value> {
    value.map(|value| UInt32Value { value })
}

pub(super) fn from_u32(value: Option<UInt32Value>) -> Option<u32> {
    value.map(|value| value.value)
}

pub(super) fn port_value(value: Option<UInt32Value>, field: &str) -> Result<Option<u16>> {
    value.map(|value| port(value.value, field)).transpose()
}

pub(super) fn port(value: u32, field: &str) -> Result<u16> {
    // The cause would only repeat that the number is too large.
    u16::try_from(value).map_err(|_cause| Error::invalid(field, value))
}

pub(super) fn duration(value: Option<Duration>) -> Option<ProtoDuration> {
    value.map(|value| ProtoDuration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(value.subsec_nanos()).unwrap_or(i32::MAX),
    })
}

pub(super) fn from_duration(value: Option<ProtoDuration>, field: &str) -> Result<Option<Duration>> {
    value
        .map(|value| {
            let seconds = u64::try_from(value.seconds);
            let nanos = u32::try_from(value.nanos);
            match (seconds, nanos) {
                (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => {
                    Ok(Duration::new(seconds, nanos))
                }
                _ => Err(Error::invalid(
                    field,
                    format_args!("{} s {} ns", value.seconds, value.nanos),
                )),
            }
        })
        .transpose()
}

/// A source of configuration: this same stream.
pub(super) fn ads() -> core::ConfigSource {
    use core::config_source::ConfigSourceSpecifier;
    core::ConfigSource {
        // No limit: until the first answer the proxy keeps what it has, or waits to be ready.
        initial_fetch_timeout: duration(Some(Duration::ZERO)),
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {})),
        ..core::ConfigSource::default()
    }
}

/// Refuses any source but this same stream. A missing source is accepted for SDS, where it means
/// that the secret is known locally.
#[expect(deprecated, reason = "the old form is refused by name")]
pub(super) fn require_ads(source: Option<&core::ConfigSource>) -> Result<()> {
    use core::config_source::ConfigSourceSpecifier;
    let Some(source) = source else { return Ok(()) };
    match &source.config_source_specifier {
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => Ok(()),
        None => Err(Error::missing("config_source_specifier")),
        Some(
            ConfigSourceSpecifier::Path(_)
            | ConfigSourceSpecifier::PathConfigSource(_)
            | ConfigSourceSpecifier::ApiConfigSource(_),
        ) => Err(Error::unsupported("config_source_specifier")),
    }
}

pub(super) fn socket_address(address: SocketAddr) -> core::Address {
    named_address(address.ip().to_string(), address.port())
}

pub(super) fn address(address: &Address) -> core::Address {
    match address {
        Address::Socket(address) => socket_address(*address),
        Address::Name { host, port } => named_address(host.clone(), *port),
    }
}

fn named_address(address: String, port: u16) -> core::Address {
    use core::socket_address::PortSpecifier;
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address,
            port_specifier: Some(PortSpecifier::PortValue(port.into())),
            ..core::SocketAddress::default()
        })),
    }
}

pub(super) fn from_address(address: Option<core::Address>) -> Result<Address> {
    use core::address::Address as Kind;
    use core::socket_address::PortSpecifier;
    let socket = match address.and_then(|address| address.address) {
        Some(Kind::SocketAddress(socket)) => socket,
        None => return Err(Error::missing("address")),
        Some(Kind::Pipe(_) | Kind::EnvoyInternalAddress(_)) => {
            return Err(Error::unsupported("address"));
        }
    };
    refuse!(socket, protocol, resolver_name, network_namespace_filepath);
    let port = match socket.port_specifier {
        Some(PortSpecifier::PortValue(value)) => port(value, "port_value")?,
        None => return Err(Error::missing("port_specifier")),
        Some(PortSpecifier::NamedPort(_)) => return Err(Error::unsupported("named_port")),
    };
    Ok(match IpAddr::from_str(&socket.address) {
        Ok(ip) => Address::Socket(SocketAddr::new(ip, port)),
        Err(_) => Address::Name {
            host: socket.address,
            port,
        },
    })
}

/// The text of a field of a struct.
pub(super) fn text_field<'s>(fields: Option<&'s Struct>, name: &str) -> Option<&'s str> {
    match fields?.fields.get(name)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        Kind::NullValue(_)
        | Kind::NumberValue(_)
        | Kind::BoolValue(_)
        | Kind::StructValue(_)
        | Kind::ListValue(_) => None,
    }
}

/// The elements of a list of structs in a struct.
pub(super) fn list_field<'s>(fields: Option<&'s Struct>, name: &str) -> Vec<&'s Struct> {
    let kind = fields
        .and_then(|fields| fields.fields.get(name))
        .and_then(|value| value.kind.as_ref());
    let Some(Kind::ListValue(list)) = kind else {
        return Vec::new();
    };
    list.values
        .iter()
        .filter_map(|value| match &value.kind {
            Some(Kind::StructValue(fields)) => Some(fields),
            _ => None,
        })
        .collect()
}
