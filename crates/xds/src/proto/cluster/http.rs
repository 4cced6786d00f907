//! Which version of HTTP endpoints speak, and how connections to them are used.

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as upstream;
use envoy_types::pb::google::protobuf::Any;

use crate::proto::any::{duration, from_duration, from_u32, open, pack, u32_value};
use crate::proto::refusal::{Error, Result, refuse};
use crate::resource::cluster::{Cluster, HttpProtocol};

pub(super) const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

pub(super) fn encode_http(cluster: &Cluster) -> Any {
    use upstream::http_protocol_options::explicit_http_config::ProtocolConfig;
    use upstream::http_protocol_options::{
        ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
    };
    let explicit = |config| {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(config),
        })
    };
    let http1 = core::Http1ProtocolOptions::default;
    let http2 = core::Http2ProtocolOptions::default;
    let has_common =
        cluster.idle_timeout.is_some() || cluster.max_requests_per_connection.is_some();
    pack(&upstream::HttpProtocolOptions {
        common_http_protocol_options: has_common.then(|| core::HttpProtocolOptions {
            idle_timeout: duration(cluster.idle_timeout),
            max_requests_per_connection: u32_value(cluster.max_requests_per_connection),
            ..core::HttpProtocolOptions::default()
        }),
        upstream_protocol_options: Some(match cluster.protocol {
            HttpProtocol::Http1 => explicit(ProtocolConfig::HttpProtocolOptions(http1())),
            HttpProtocol::Http2 => explicit(ProtocolConfig::Http2ProtocolOptions(http2())),
            HttpProtocol::UseDownstream => {
                UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                    http_protocol_options: Some(http1()),
                    http2_protocol_options: Some(http2()),
                    http3_protocol_options: None,
                })
            }
        }),
        ..upstream::HttpProtocolOptions::default()
    })
}

pub(super) struct HttpOptions {
    pub(super) protocol: HttpProtocol,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_requests_per_connection: Option<u32>,
}

pub(super) fn decode_http(cluster: &pb::Cluster) -> Result<HttpOptions> {
    use upstream::http_protocol_options::UpstreamProtocolOptions;
    use upstream::http_protocol_options::explicit_http_config::ProtocolConfig;
    let Some(any) = cluster.typed_extension_protocol_options.get(HTTP_OPTIONS) else {
        return Ok(HttpOptions {
            protocol: HttpProtocol::Http1,
            idle_timeout: None,
            max_requests_per_connection: None,
        });
    };
    let options: upstream::HttpProtocolOptions = open(any)?;
    refuse!(
        options,
        http_filters,
        hash_policy,
        retry_policy,
        request_mirror_policies
    );
    let protocol = match options.upstream_protocol_options {
        None => HttpProtocol::Http1,
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_)) => {
            HttpProtocol::UseDownstream
        }
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(config)) => match config.protocol_config {
            None | Some(ProtocolConfig::HttpProtocolOptions(_)) => HttpProtocol::Http1,
            Some(ProtocolConfig::Http2ProtocolOptions(_)) => HttpProtocol::Http2,
            Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
                return Err(Error::unsupported("http3_protocol_options"));
            }
        },
        Some(UpstreamProtocolOptions::AutoConfig(_)) => {
            return Err(Error::unsupported("auto_config"));
        }
    };
    let common = options.common_http_protocol_options.unwrap_or_default();
    Ok(HttpOptions {
        protocol,
        idle_timeout: from_duration(common.idle_timeout, "idle_timeout")?,
        max_requests_per_connection: from_u32(common.max_requests_per_connection),
    })
}
