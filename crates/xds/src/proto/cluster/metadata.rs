//! What a cluster stands for in the mesh, as `filter_metadata.istio`.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::google::protobuf::Struct;

use crate::proto::any::{list_field, text_field};
use crate::proto::endpoint::ISTIO;
use crate::proto::wire::{Value, encode_metadata};
use crate::resource::cluster::{ClusterMetadata, ServiceRef};

pub(super) fn encode(metadata: &ClusterMetadata) -> Option<Vec<u8>> {
    if *metadata == ClusterMetadata::default() {
        return None;
    }
    let mut fields = BTreeMap::new();
    if !metadata.services.is_empty() {
        let services = metadata.services.iter().map(|service| {
            BTreeMap::from([
                ("host", Value::Text(&service.host)),
                ("name", Value::Text(&service.name)),
                ("namespace", Value::Text(&service.namespace)),
            ])
        });
        fields.insert("services", Value::List(services.collect()));
    }
    if !metadata.subset.is_empty() {
        fields.insert("subset", Value::Text(&metadata.subset));
    }
    if let Some(config) = &metadata.config {
        fields.insert("config", Value::Text(config));
    }
    Some(encode_metadata(&BTreeMap::from([(ISTIO, fields)])))
}

pub(super) fn decode(metadata: Option<&core::Metadata>) -> ClusterMetadata {
    let fields = metadata.and_then(|metadata| metadata.filter_metadata.get(ISTIO));
    let text = |fields: Option<&Struct>, name: &str| {
        text_field(fields, name).unwrap_or_default().to_owned()
    };
    ClusterMetadata {
        services: list_field(fields, "services")
            .into_iter()
            .map(|service| ServiceRef {
                host: text(Some(service), "host"),
                name: text(Some(service), "name"),
                namespace: text(Some(service), "namespace"),
            })
            .collect(),
        subset: text(fields, "subset"),
        config: text_field(fields, "config").map(str::to_owned),
    }
}
