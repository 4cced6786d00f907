//! The protobuf form of resources, standard xDS v3, both ways.
//!
//! Encoding is deterministic: maps are written in the order of their keys, so that the same
//! resource has the same bytes, and the same version, on every replica. Decoding is strict: a
//! field that would change behaviour and that we do not act on is an error that names it, for a
//! NACK; what only concerns statistics, logs or tuning is passed over.

mod any;
mod cluster;
mod endpoint;
mod listener;
mod refusal;
mod route;
mod secret;
mod text;
mod tls;
mod wire;

use std::fmt::Write as _;

use bytes::Bytes;
use envoy_types::pb::google::protobuf::Any;
use prost::Message;
use sha2::{Digest, Sha256};

pub use refusal::{Error, Result};

use crate::TypeUrl;
use crate::resource::{Encoded, Resource};

/// Encodes a resource.
pub fn encode(resource: &Resource) -> Encoded {
    let body = match resource {
        Resource::Cluster(cluster) => cluster::encode(cluster),
        Resource::Endpoint(assignment) => endpoint::encode(assignment),
        Resource::Listener(listener) => listener::encode(listener),
        Resource::Route(routes) => route::encode(routes),
        Resource::Secret(secret) => secret::encode(secret),
    };
    // Half of the hash is ample: versions are only compared between states of one resource.
    let hash = Sha256::digest(&body);
    let version = hash
        .iter()
        .take(16)
        .fold(String::with_capacity(32), |mut text, byte| {
            // Writing to a string does not fail.
            let _infallible = write!(text, "{byte:02x}");
            text
        });
    Encoded {
        name: resource.name().to_owned(),
        version,
        body: Bytes::from(body),
    }
}

/// Decodes a resource in its envelope.
///
/// # Errors
/// When the type is not one of ours, the bytes are not that type, or a field is not supported.
pub fn decode(any: &Any) -> Result<Resource> {
    let kind =
        TypeUrl::parse(&any.type_url).ok_or_else(|| Error::UnknownType(any.type_url.clone()))?;
    decode_as(kind, &any.value)
}

/// Decodes a resource whose type is known.
///
/// # Errors
/// When the bytes are not that type, or a field is not supported.
pub fn decode_as(kind: TypeUrl, body: &[u8]) -> Result<Resource> {
    Ok(match kind {
        TypeUrl::Cluster => Resource::Cluster(Box::new(cluster::decode(parse(body)?)?)),
        TypeUrl::Endpoint => Resource::Endpoint(endpoint::decode(parse(body)?)?),
        TypeUrl::Listener => Resource::Listener(Box::new(listener::decode(parse(body)?)?)),
        TypeUrl::Route => Resource::Route(route::decode(parse(body)?)?),
        TypeUrl::Secret => Resource::Secret(secret::decode(parse(body)?)?),
    })
}

fn parse<M: Message + prost::Name + Default>(body: &[u8]) -> Result<M> {
    M::decode(body).map_err(|source| Error::Malformed {
        message: M::NAME,
        source,
    })
}
