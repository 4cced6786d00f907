//! The HTTP connection manager with its filters.

use envoy_types::pb::envoy::extensions::filters::http::cors::v3::Cors;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use envoy_types::pb::google::protobuf::Any;
use pb::http_connection_manager::{
    CodecType, ForwardClientCertDetails, RouteSpecifier, SetCurrentClientCertDetails, UpgradeConfig,
};
use prost::{Message, Name};

use crate::proto::any::{ads, bool_value, duration, from_duration, is_true, pack, require_ads};
use crate::proto::refusal::{Error, Result, Within, each, refuse};
use crate::proto::route::{self, CORS, FAULT};
use crate::proto::wire::append;
use crate::resource::listener::{
    Codec, ForwardClientCert, HttpConnectionManager, HttpFilter, RouteSource,
};

const ROUTER: &str = "envoy.filters.http.router";

pub(super) fn encode(manager: &HttpConnectionManager) -> Vec<u8> {
    let codec = match manager.codec {
        Codec::Auto => CodecType::Auto,
        Codec::Http1 => CodecType::Http1,
        Codec::Http2 => CodecType::Http2,
    };
    let forward = match manager.forward_client_cert {
        ForwardClientCert::Sanitize => ForwardClientCertDetails::Sanitize,
        ForwardClientCert::ForwardOnly => ForwardClientCertDetails::ForwardOnly,
        ForwardClientCert::AppendForward => ForwardClientCertDetails::AppendForward,
        ForwardClientCert::SanitizeSet => ForwardClientCertDetails::SanitizeSet,
        ForwardClientCert::AlwaysForwardOnly => ForwardClientCertDetails::AlwaysForwardOnly,
    };
    let sets_certificate = matches!(
        manager.forward_client_cert,
        ForwardClientCert::AppendForward | ForwardClientCert::SanitizeSet
    );
    let rds = match &manager.routes {
        RouteSource::Rds(name) => Some(RouteSpecifier::Rds(pb::Rds {
            config_source: Some(ads()),
            route_config_name: name.clone(),
        })),
        RouteSource::Inline(_) => None,
    };
    let upgrades = manager.upgrades.iter().map(|upgrade| UpgradeConfig {
        upgrade_type: upgrade.clone(),
        ..UpgradeConfig::default()
    });
    let mut out = pb::HttpConnectionManager {
        codec_type: codec.into(),
        stat_prefix: manager.stat_prefix.clone(),
        http_filters: manager
            .filters
            .iter()
            .map(encode_filter)
            .chain([filter(ROUTER, pack(&Router::default()))])
            .collect(),
        server_name: manager.server_name.clone(),
        stream_idle_timeout: duration(manager.stream_idle_timeout),
        use_remote_address: Some(bool_value(manager.use_remote_address)),
        xff_num_trusted_hops: manager.xff_trusted_hops,
        forward_client_cert_details: forward.into(),
        set_current_client_cert_details: sets_certificate.then(|| SetCurrentClientCertDetails {
            subject: Some(bool_value(true)),
            dns: true,
            uri: true,
            ..SetCurrentClientCertDetails::default()
        }),
        upgrade_configs: upgrades.collect(),
        normalize_path: Some(bool_value(manager.normalize_path)),
        merge_slashes: manager.merge_slashes,
        route_specifier: rds,
        ..pb::HttpConnectionManager::default()
    }
    .encode_to_vec();
    if let RouteSource::Inline(routes) = &manager.routes {
        append(&mut out, 4, &route::encode(routes));
    }
    out
}

fn filter(name: &str, any: Any) -> pb::HttpFilter {
    pb::HttpFilter {
        name: name.to_owned(),
        config_type: Some(pb::http_filter::ConfigType::TypedConfig(any)),
        ..pb::HttpFilter::default()
    }
}

fn encode_filter(setting: &HttpFilter) -> pb::HttpFilter {
    match setting {
        HttpFilter::Fault(fault) => filter(
            FAULT,
            pack(&fault.as_ref().map(route::fault).unwrap_or_default()),
        ),
        // The filter itself has no settings; its default is a policy of the route configuration.
        HttpFilter::Cors => filter(CORS, pack(&Cors {})),
    }
}

pub(super) fn decode(manager: pb::HttpConnectionManager) -> Result<HttpConnectionManager> {
    refuse!(
        manager,
        original_ip_detection_extensions,
        early_header_mutation_extensions,
        forward_client_cert_matcher,
        request_id_extension,
        path_normalization_options,
        local_reply_config,
        add_user_agent,
        strip_matching_host_port,
        strip_port_mode,
        strip_trailing_host_dot,
        append_x_forwarded_port,
    );
    let codec = match CodecType::try_from(manager.codec_type) {
        Ok(CodecType::Auto) => Codec::Auto,
        Ok(CodecType::Http1) => Codec::Http1,
        Ok(CodecType::Http2) => Codec::Http2,
        Ok(CodecType::Http3) | Err(_) => return Err(Error::unsupported("codec_type")),
    };
    let forward = match ForwardClientCertDetails::try_from(manager.forward_client_cert_details) {
        Ok(ForwardClientCertDetails::Sanitize) => ForwardClientCert::Sanitize,
        Ok(ForwardClientCertDetails::ForwardOnly) => ForwardClientCert::ForwardOnly,
        Ok(ForwardClientCertDetails::AppendForward) => ForwardClientCert::AppendForward,
        Ok(ForwardClientCertDetails::SanitizeSet) => ForwardClientCert::SanitizeSet,
        Ok(ForwardClientCertDetails::AlwaysForwardOnly) => ForwardClientCert::AlwaysForwardOnly,
        Err(_) => return Err(Error::unsupported("forward_client_cert_details")),
    };
    let routes = match manager.route_specifier {
        None => return Err(Error::missing("route_specifier")),
        Some(RouteSpecifier::Rds(rds)) => {
            require_ads(rds.config_source.as_ref()).within("rds.config_source")?;
            RouteSource::Rds(rds.route_config_name)
        }
        Some(RouteSpecifier::RouteConfig(routes)) => {
            RouteSource::Inline(Box::new(route::decode(routes).within("route_config")?))
        }
        Some(RouteSpecifier::ScopedRoutes(_)) => return Err(Error::unsupported("scoped_routes")),
    };
    let upgrades = each("upgrade_configs", manager.upgrade_configs, |upgrade| {
        refuse!(upgrade, filters);
        Ok(is_true(upgrade.enabled, true).then_some(upgrade.upgrade_type))
    })?;
    Ok(HttpConnectionManager {
        stat_prefix: manager.stat_prefix,
        codec,
        routes,
        forward_client_cert: forward,
        use_remote_address: is_true(manager.use_remote_address, false),
        xff_trusted_hops: manager.xff_num_trusted_hops,
        normalize_path: is_true(manager.normalize_path, false),
        merge_slashes: manager.merge_slashes,
        upgrades: upgrades.into_iter().flatten().collect(),
        stream_idle_timeout: from_duration(manager.stream_idle_timeout, "stream_idle_timeout")?,
        server_name: manager.server_name,
        filters: decode_filters(manager.http_filters)?,
    })
}

fn decode_filters(filters: Vec<pb::HttpFilter>) -> Result<Vec<HttpFilter>> {
    let mut decoded = each("http_filters", filters, decode_filter)?;
    if !matches!(decoded.pop(), Some(Decoded::Router)) {
        return Err(Error::missing("http_filters.router"));
    }
    let mut filters = Vec::with_capacity(decoded.len());
    for filter in decoded {
        match filter {
            Decoded::Filter(filter) => filters.push(filter),
            Decoded::Ignored => {}
            // The router ends the chain, so that what follows it would never run.
            Decoded::Router => {
                return Err(Error::invalid("http_filters", "a router that is not last"));
            }
        }
    }
    Ok(filters)
}

/// What an entry of the filter chain is.
enum Decoded {
    /// The end of the chain.
    Router,
    Filter(HttpFilter),
    /// One that we do not know and that may be left out.
    Ignored,
}

fn decode_filter(filter: pb::HttpFilter) -> Result<Decoded> {
    refuse!(filter, disabled);
    let any = match filter.config_type {
        Some(pb::http_filter::ConfigType::TypedConfig(any)) => any,
        Some(pb::http_filter::ConfigType::ConfigDiscovery(_)) => {
            return Err(Error::unsupported("config_discovery"));
        }
        None => return Err(Error::missing("typed_config")),
    };
    if any.type_url == Router::type_url() {
        return Ok(Decoded::Router);
    }
    if any.type_url == HttpFault::type_url() {
        let fault = (!any.value.is_empty())
            .then(|| route::decode_fault(&any))
            .transpose()?;
        return Ok(Decoded::Filter(HttpFilter::Fault(fault)));
    }
    if any.type_url == Cors::type_url() {
        return Ok(Decoded::Filter(HttpFilter::Cors));
    }
    if filter.is_optional {
        Ok(Decoded::Ignored)
    } else {
        Err(Error::UnknownType(any.type_url))
    }
}
