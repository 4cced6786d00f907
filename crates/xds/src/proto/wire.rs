//! Pieces of the wire format that prost would write in the random order of a `HashMap`.
//!
//! A message may be encoded in parts: the fields that prost writes, then the rest appended, since
//! the order of fields carries no meaning.

use std::collections::BTreeMap;

use prost::encoding::{WireType, encode_key, encode_varint};

/// Appends a field that holds an encoded message, a string or bytes.
pub(super) fn append(out: &mut Vec<u8>, tag: u32, body: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(body.len() as u64, out);
    out.extend_from_slice(body);
}

/// Appends an entry of a map with string keys.
pub(super) fn append_entry(out: &mut Vec<u8>, tag: u32, key: &str, value: &[u8]) {
    let mut entry = Vec::with_capacity(key.len() + value.len() + 8);
    append(&mut entry, 1, key.as_bytes());
    append(&mut entry, 2, value);
    append(out, tag, &entry);
}

/// A `google.protobuf.Value` with sorted fields.
pub(super) enum Value<'v> {
    Text(&'v str),
    List(Vec<Fields<'v>>),
}

/// The fields of a `google.protobuf.Struct`, sorted.
pub(super) type Fields<'v> = BTreeMap<&'v str, Value<'v>>;

impl Value<'_> {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Text(text) => append(&mut out, 3, text.as_bytes()),
            Self::List(elements) => {
                let mut list = Vec::new();
                for fields in elements {
                    let mut value = Vec::new();
                    append(&mut value, 5, &encode_struct(fields));
                    append(&mut list, 1, &value);
                }
                append(&mut out, 6, &list);
            }
        }
        out
    }
}

/// A `google.protobuf.Struct`.
pub(super) fn encode_struct(fields: &Fields<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in fields {
        append_entry(&mut out, 1, key, &value.encode());
    }
    out
}

/// An `envoy.config.core.v3.Metadata` with the given `filter_metadata`.
pub(super) fn encode_metadata(filters: &BTreeMap<&str, Fields<'_>>) -> Vec<u8> {
    let mut out = Vec::new();
    for (filter, fields) in filters {
        append_entry(&mut out, 1, filter, &encode_struct(fields));
    }
    out
}
