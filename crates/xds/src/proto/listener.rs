//! Listeners (LDS).

mod http;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as pb;
use envoy_types::pb::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use envoy_types::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};

use super::any::{
    bool_value, duration, from_address, from_duration, is_true, open, pack, port_value,
    socket_address, u32_value,
};
use super::refusal::{Error, Result, Within, each, refuse};
use super::tls;
use crate::resource::endpoint::Address;
use crate::resource::listener::{
    Cidr, Direction, FilterChain, FilterChainMatch, Handler, Listener, ListenerFilter, TcpProxy,
    TransportProtocol,
};

const HTTP: &str = "envoy.filters.network.http_connection_manager";
const TCP: &str = "envoy.filters.network.tcp_proxy";

pub(super) fn encode(listener: &Listener) -> Vec<u8> {
    let direction = match listener.direction {
        Direction::Unspecified => core::TrafficDirection::Unspecified,
        Direction::Inbound => core::TrafficDirection::Inbound,
        Direction::Outbound => core::TrafficDirection::Outbound,
    };
    pb::Listener {
        name: listener.name.clone(),
        address: Some(socket_address(listener.address)),
        bind_to_port: Some(bool_value(listener.bind_to_port)),
        use_original_dst: Some(bool_value(listener.use_original_dst)),
        traffic_direction: direction.into(),
        listener_filters: listener
            .filters
            .iter()
            .copied()
            .map(encode_listener_filter)
            .collect(),
        listener_filters_timeout: duration(listener.filters_timeout),
        continue_on_listener_filters_timeout: listener.continue_on_filters_timeout,
        filter_chains: listener.filter_chains.iter().map(encode_chain).collect(),
        default_filter_chain: listener.default_filter_chain.as_ref().map(encode_chain),
        ..pb::Listener::default()
    }
    .encode_to_vec()
}

fn encode_listener_filter(filter: ListenerFilter) -> pb::ListenerFilter {
    let (name, any) = match filter {
        ListenerFilter::OriginalDst => {
            ("envoy.filters.listener.original_dst", pack(&OriginalDst {}))
        }
        ListenerFilter::TlsInspector => (
            "envoy.filters.listener.tls_inspector",
            pack(&TlsInspector::default()),
        ),
        ListenerFilter::HttpInspector => (
            "envoy.filters.listener.http_inspector",
            pack(&HttpInspector {}),
        ),
    };
    pb::ListenerFilter {
        name: name.to_owned(),
        config_type: Some(pb::listener_filter::ConfigType::TypedConfig(any)),
        filter_disabled: None,
    }
}

fn encode_chain(chain: &FilterChain) -> pb::FilterChain {
    let (name, any) = match &chain.handler {
        Handler::Http(manager) => {
            let value = http::encode(manager);
            (
                HTTP,
                Any {
                    type_url: HttpConnectionManager::type_url(),
                    value,
                },
            )
        }
        Handler::Tcp(proxy) => (TCP, pack(&encode_tcp(proxy))),
    };
    pb::FilterChain {
        name: chain.name.clone(),
        filter_chain_match: (chain.matches != FilterChainMatch::default())
            .then(|| encode_match(&chain.matches)),
        transport_socket: chain.tls.as_ref().map(tls::downstream),
        filters: vec![pb::Filter {
            name: name.to_owned(),
            config_type: Some(pb::filter::ConfigType::TypedConfig(any)),
        }],
        ..pb::FilterChain::default()
    }
}

fn encode_match(matches: &FilterChainMatch) -> pb::FilterChainMatch {
    let transport = match matches.transport_protocol {
        None => "",
        Some(TransportProtocol::Tls) => "tls",
        Some(TransportProtocol::RawBuffer) => "raw_buffer",
    };
    pb::FilterChainMatch {
        destination_port: u32_value(matches.destination_port.map(u32::from)),
        prefix_ranges: matches
            .prefix_ranges
            .iter()
            .map(|range| core::CidrRange {
                address_prefix: range.address.to_string(),
                prefix_len: u32_value(Some(range.prefix_len.into())),
            })
            .collect(),
        server_names: matches.server_names.clone(),
        transport_protocol: transport.to_owned(),
        application_protocols: matches.application_protocols.clone(),
        ..pb::FilterChainMatch::default()
    }
}

fn encode_tcp(proxy: &TcpProxy) -> tcp::TcpProxy {
    use tcp::tcp_proxy::{ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight};
    let clusters = match proxy.clusters.as_slice() {
        [(only, 1)] => ClusterSpecifier::Cluster(only.clone()),
        several => ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: several
                .iter()
                .map(|(name, weight)| ClusterWeight {
                    name: name.clone(),
                    weight: *weight,
                    metadata_match: None,
                })
                .collect(),
        }),
    };
    tcp::TcpProxy {
        stat_prefix: proxy.stat_prefix.clone(),
        idle_timeout: duration(proxy.idle_timeout),
        cluster_specifier: Some(clusters),
        ..tcp::TcpProxy::default()
    }
}

#[expect(deprecated, reason = "the old fields are refused by name")]
pub(super) fn decode(listener: pb::Listener) -> Result<Listener> {
    refuse!(
        listener,
        additional_addresses,
        fcds_config,
        filter_chain_matcher,
        deprecated_v1,
        transparent,
        udp_listener_config,
        api_listener,
        listener_specifier,
    );
    let address = match from_address(listener.address).within("address")? {
        Address::Socket(address) => address,
        Address::Name { host, .. } => return Err(Error::invalid("address.address", host)),
    };
    let direction = match core::TrafficDirection::try_from(listener.traffic_direction) {
        Ok(core::TrafficDirection::Unspecified) => Direction::Unspecified,
        Ok(core::TrafficDirection::Inbound) => Direction::Inbound,
        Ok(core::TrafficDirection::Outbound) => Direction::Outbound,
        Err(_) => {
            return Err(Error::invalid(
                "traffic_direction",
                listener.traffic_direction,
            ));
        }
    };
    Ok(Listener {
        name: listener.name,
        address,
        bind_to_port: is_true(listener.bind_to_port, true),
        use_original_dst: is_true(listener.use_original_dst, false),
        direction,
        filters: each(
            "listener_filters",
            listener.listener_filters,
            decode_listener_filter,
        )?,
        filters_timeout: from_duration(
            listener.listener_filters_timeout,
            "listener_filters_timeout",
        )?,
        continue_on_filters_timeout: listener.continue_on_listener_filters_timeout,
        filter_chains: each("filter_chains", listener.filter_chains, decode_chain)?,
        default_filter_chain: listener
            .default_filter_chain
            .map(decode_chain)
            .transpose()
            .within("default_filter_chain")?,
    })
}

fn decode_listener_filter(filter: pb::ListenerFilter) -> Result<ListenerFilter> {
    // `filter_disabled` keeps an inspector away from ports of server-first protocols. Ours time
    // out or are answered by the first bytes, so that the exception may be passed over.
    let any = match filter.config_type {
        Some(pb::listener_filter::ConfigType::TypedConfig(any)) => any,
        Some(pb::listener_filter::ConfigType::ConfigDiscovery(_)) => {
            return Err(Error::unsupported("config_discovery"));
        }
        None => return Err(Error::missing("typed_config")),
    };
    match any.type_url {
        url if url == OriginalDst::type_url() => Ok(ListenerFilter::OriginalDst),
        url if url == TlsInspector::type_url() => Ok(ListenerFilter::TlsInspector),
        url if url == HttpInspector::type_url() => Ok(ListenerFilter::HttpInspector),
        url => Err(Error::UnknownType(url)),
    }
}

fn decode_chain(chain: pb::FilterChain) -> Result<FilterChain> {
    #[expect(deprecated, reason = "the old field is refused by name")]
    {
        refuse!(chain, use_proxy_proto);
    }
    let matches = chain
        .filter_chain_match
        .map(decode_match)
        .transpose()
        .within("filter_chain_match")?
        .unwrap_or_default();
    let tls = chain
        .transport_socket
        .as_ref()
        .map(tls::from_downstream)
        .transpose();
    let mut filters = chain.filters.into_iter();
    let filter = filters.next().ok_or_else(|| Error::missing("filters"))?;
    if filters.next().is_some() {
        return Err(Error::unsupported("filters[1]"));
    }
    Ok(FilterChain {
        name: chain.name,
        matches,
        tls: tls.within("transport_socket")?.flatten(),
        handler: decode_handler(filter).within("filters[0]")?,
    })
}

fn decode_handler(filter: pb::Filter) -> Result<Handler> {
    let any = match filter.config_type {
        Some(pb::filter::ConfigType::TypedConfig(any)) => any,
        Some(pb::filter::ConfigType::ConfigDiscovery(_)) => {
            return Err(Error::unsupported("config_discovery"));
        }
        None => return Err(Error::missing("typed_config")),
    };
    if any.type_url == HttpConnectionManager::type_url() {
        return Ok(Handler::Http(Box::new(http::decode(open(&any)?)?)));
    }
    Ok(Handler::Tcp(decode_tcp(open(&any)?)?))
}

fn decode_match(matches: pb::FilterChainMatch) -> Result<FilterChainMatch> {
    refuse!(
        matches,
        address_suffix,
        suffix_len,
        direct_source_prefix_ranges,
        source_type,
        source_prefix_ranges,
        source_ports,
    );
    let transport_protocol = match matches.transport_protocol.as_str() {
        "" => None,
        "tls" => Some(TransportProtocol::Tls),
        "raw_buffer" => Some(TransportProtocol::RawBuffer),
        other => return Err(Error::invalid("transport_protocol", other)),
    };
    Ok(FilterChainMatch {
        destination_port: port_value(matches.destination_port, "destination_port")?,
        prefix_ranges: each("prefix_ranges", matches.prefix_ranges, decode_range)?,
        server_names: matches.server_names,
        transport_protocol,
        application_protocols: matches.application_protocols,
    })
}

fn decode_range(range: core::CidrRange) -> Result<Cidr> {
    let Ok(address) = range.address_prefix.parse() else {
        return Err(Error::invalid("address_prefix", range.address_prefix));
    };
    let full = Cidr::host(address);
    let prefix_len = range.prefix_len.map_or(0, |len| len.value);
    match u8::try_from(prefix_len) {
        Ok(prefix_len) if prefix_len <= full.prefix_len => Ok(Cidr { prefix_len, ..full }),
        _ => Err(Error::invalid("prefix_len", prefix_len)),
    }
}

fn decode_tcp(proxy: tcp::TcpProxy) -> Result<TcpProxy> {
    use tcp::tcp_proxy::ClusterSpecifier;
    refuse!(
        proxy,
        on_demand,
        metadata_match,
        hash_policy,
        tunneling_config,
        max_downstream_connection_duration,
        upstream_connect_mode,
    );
    let clusters = match proxy.cluster_specifier {
        None => return Err(Error::missing("cluster_specifier")),
        Some(ClusterSpecifier::Cluster(name)) => vec![(name, 1)],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            each("weighted_clusters.clusters", weighted.clusters, |cluster| {
                refuse!(cluster, metadata_match);
                Ok((cluster.name, cluster.weight))
            })?
        }
    };
    if clusters.iter().all(|(_, weight)| *weight == 0) {
        return Err(Error::invalid("weighted_clusters", "a total weight of 0"));
    }
    Ok(TcpProxy {
        stat_prefix: proxy.stat_prefix,
        clusters,
        idle_timeout: from_duration(proxy.idle_timeout, "idle_timeout")?,
    })
}
