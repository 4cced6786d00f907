//! Route configurations (RDS).

mod action;
mod filter;
mod redirect;
mod retry;

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::route::v3 as pb;
use fairlead_routing::host::{HostTable, PortMatch};
use fairlead_routing::{PathMatch, RouteMatch};
use prost::Message;

use super::any::{bool_value, is_true, pack, text_field};
use super::endpoint::ISTIO;
use super::refusal::{Error, Result, Within, each, is_default, refuse};
use super::text::{
    from_header, from_headers_to_add, from_query, from_regex, header, headers_to_add, query, regex,
};
use super::wire::{Value, append, append_entry, encode_metadata};
use crate::resource::route::{HeaderMutations, Route, RouteConfiguration, VirtualHost};

pub(super) use filter::{CORS, FAULT, cors_policy, decode_cors, decode_fault, fault};

pub(super) fn encode(routes: &RouteConfiguration) -> Vec<u8> {
    let mut out = pb::RouteConfiguration {
        name: routes.name.clone(),
        validate_clusters: Some(bool_value(false)),
        ignore_port_in_host_matching: routes.ignore_port_in_host,
        request_headers_to_add: headers_to_add(&routes.headers.request_add),
        request_headers_to_remove: routes.headers.request_remove.clone(),
        response_headers_to_add: headers_to_add(&routes.headers.response_add),
        response_headers_to_remove: routes.headers.response_remove.clone(),
        ..pb::RouteConfiguration::default()
    }
    .encode_to_vec();
    for host in &routes.virtual_hosts {
        append(&mut out, 2, &encode_host(host));
    }
    out
}

fn encode_host(host: &VirtualHost) -> Vec<u8> {
    use pb::virtual_host::TlsRequirementType;
    let require_tls = if host.require_tls {
        TlsRequirementType::All
    } else {
        TlsRequirementType::None
    };
    let mut out = pb::VirtualHost {
        name: host.name.clone(),
        domains: host.domains.clone(),
        require_tls: require_tls.into(),
        request_headers_to_add: headers_to_add(&host.headers.request_add),
        request_headers_to_remove: host.headers.request_remove.clone(),
        response_headers_to_add: headers_to_add(&host.headers.response_add),
        response_headers_to_remove: host.headers.response_remove.clone(),
        include_request_attempt_count: host.include_attempt_count,
        ..pb::VirtualHost::default()
    }
    .encode_to_vec();
    for route in &host.routes {
        append(&mut out, 3, &encode_route(route));
    }
    out
}

fn encode_route(route: &Route) -> Vec<u8> {
    let mut out = pb::Route {
        name: route.name.clone(),
        r#match: Some(encode_match(&route.matches)),
        action: Some(action::encode(&route.action)),
        request_headers_to_add: headers_to_add(&route.headers.request_add),
        request_headers_to_remove: route.headers.request_remove.clone(),
        response_headers_to_add: headers_to_add(&route.headers.response_add),
        response_headers_to_remove: route.headers.response_remove.clone(),
        decorator: (!route.operation.is_empty()).then(|| pb::Decorator {
            operation: route.operation.clone(),
            propagate: None,
        }),
        ..pb::Route::default()
    }
    .encode_to_vec();
    let mut filters = BTreeMap::new();
    if let Some(settings) = &route.fault {
        filters.insert(FAULT, pack(&fault(settings)));
    }
    if let Some(policy) = &route.cors {
        filters.insert(CORS, pack(&cors_policy(policy)));
    }
    for (name, any) in &filters {
        append_entry(&mut out, 13, name, &any.encode_to_vec());
    }
    if let Some(config) = &route.config {
        let fields = BTreeMap::from([("config", Value::Text(config))]);
        append(
            &mut out,
            4,
            &encode_metadata(&BTreeMap::from([(ISTIO, fields)])),
        );
    }
    out
}

fn encode_match(matches: &RouteMatch) -> pb::RouteMatch {
    use pb::route_match::PathSpecifier;
    pb::RouteMatch {
        path_specifier: Some(match &matches.path {
            PathMatch::Exact(path) => PathSpecifier::Path(path.clone()),
            PathMatch::Prefix(path) => PathSpecifier::Prefix(path.clone()),
            PathMatch::SeparatedPrefix(path) => PathSpecifier::PathSeparatedPrefix(path.clone()),
            PathMatch::Regex(pattern) => PathSpecifier::SafeRegex(regex(pattern)),
        }),
        case_sensitive: matches.ignore_case.then(|| bool_value(false)),
        headers: matches.headers.iter().map(header).collect(),
        query_parameters: matches.query.iter().map(query).collect(),
        grpc: matches
            .grpc
            .then(pb::route_match::GrpcRouteMatchOptions::default),
        ..pb::RouteMatch::default()
    }
}

pub(super) fn decode(routes: pb::RouteConfiguration) -> Result<RouteConfiguration> {
    refuse!(
        routes,
        vhds,
        most_specific_header_mutations_wins,
        cluster_specifier_plugins,
        request_mirror_policies,
        vhost_header,
        ignore_path_parameters_in_path_matching,
        typed_per_filter_config,
        route_specifiers,
    );
    let virtual_hosts = each("virtual_hosts", routes.virtual_hosts, decode_host)?;
    let domains = virtual_hosts.iter().enumerate().flat_map(|(index, host)| {
        host.domains
            .iter()
            .map(move |domain| (domain.as_str(), index))
    });
    if let Err(duplicate) = HostTable::new(PortMatch::Exact, domains) {
        return Err(Error::invalid("virtual_hosts.domains", duplicate.domain));
    }
    Ok(RouteConfiguration {
        name: routes.name,
        virtual_hosts,
        ignore_port_in_host: routes.ignore_port_in_host_matching,
        headers: HeaderMutations {
            request_add: from_headers_to_add(
                "request_headers_to_add",
                routes.request_headers_to_add,
            )?,
            request_remove: routes.request_headers_to_remove,
            response_add: from_headers_to_add(
                "response_headers_to_add",
                routes.response_headers_to_add,
            )?,
            response_remove: routes.response_headers_to_remove,
        },
    })
}

#[expect(deprecated, reason = "the old fields are refused by name")]
fn decode_host(host: pb::VirtualHost) -> Result<VirtualHost> {
    use pb::virtual_host::TlsRequirementType;
    refuse!(
        host,
        matcher,
        rate_limits,
        cors,
        typed_per_filter_config,
        include_attempt_count_in_response,
        retry_policy,
        retry_policy_typed_config,
        hedge_policy,
        request_mirror_policies,
        route_specifiers,
    );
    let require_tls = match TlsRequirementType::try_from(host.require_tls) {
        Ok(TlsRequirementType::None) => false,
        Ok(TlsRequirementType::All) => true,
        Ok(TlsRequirementType::ExternalOnly) | Err(_) => {
            return Err(Error::unsupported("require_tls"));
        }
    };
    Ok(VirtualHost {
        routes: each("routes", host.routes, decode_route)?,
        name: host.name,
        domains: host.domains,
        require_tls,
        headers: HeaderMutations {
            request_add: from_headers_to_add(
                "request_headers_to_add",
                host.request_headers_to_add,
            )?,
            request_remove: host.request_headers_to_remove,
            response_add: from_headers_to_add(
                "response_headers_to_add",
                host.response_headers_to_add,
            )?,
            response_remove: host.response_headers_to_remove,
        },
        include_attempt_count: host.include_request_attempt_count,
    })
}

fn decode_route(route: pb::Route) -> Result<Route> {
    refuse!(route, route_specifiers);
    let mut fault = None;
    let mut cors = None;
    for (name, any) in &route.typed_per_filter_config {
        match name.as_str() {
            FAULT => fault = Some(decode_fault(any).within(name)?),
            CORS => cors = Some(decode_cors(any).within(name)?),
            other => {
                return Err(Error::unsupported(format!(
                    "typed_per_filter_config[{other}]"
                )));
            }
        }
    }
    let matches = route.r#match.ok_or_else(|| Error::missing("match"))?;
    let action = route.action.ok_or_else(|| Error::missing("action"))?;
    let metadata = route
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.filter_metadata.get(ISTIO));
    Ok(Route {
        name: route.name,
        matches: decode_match(matches).within("match")?,
        action: action::decode(action)?,
        headers: HeaderMutations {
            request_add: from_headers_to_add(
                "request_headers_to_add",
                route.request_headers_to_add,
            )?,
            request_remove: route.request_headers_to_remove,
            response_add: from_headers_to_add(
                "response_headers_to_add",
                route.response_headers_to_add,
            )?,
            response_remove: route.response_headers_to_remove,
        },
        fault,
        cors,
        config: text_field(metadata, "config").map(str::to_owned),
        operation: route
            .decorator
            .map(|decorator| decorator.operation)
            .unwrap_or_default(),
    })
}

fn decode_match(matches: pb::RouteMatch) -> Result<RouteMatch> {
    use pb::route_match::PathSpecifier;
    refuse!(
        matches,
        cookies,
        tls_context,
        dynamic_metadata,
        filter_state
    );
    // A share of all requests is what a missing fraction means.
    if !is_default(&matches.runtime_fraction) {
        return Err(Error::unsupported("runtime_fraction"));
    }
    let path = match matches.path_specifier {
        None => return Err(Error::missing("path_specifier")),
        Some(PathSpecifier::Path(path)) => PathMatch::Exact(path),
        Some(PathSpecifier::Prefix(path)) => PathMatch::Prefix(path),
        Some(PathSpecifier::PathSeparatedPrefix(path)) => PathMatch::SeparatedPrefix(path),
        Some(PathSpecifier::SafeRegex(regex)) => PathMatch::Regex(from_regex(regex)?),
        Some(PathSpecifier::ConnectMatcher(_)) => {
            return Err(Error::unsupported("connect_matcher"));
        }
        Some(PathSpecifier::PathMatchPolicy(_)) => {
            return Err(Error::unsupported("path_match_policy"));
        }
    };
    Ok(RouteMatch {
        path,
        ignore_case: !is_true(matches.case_sensitive, true),
        headers: each("headers", matches.headers, from_header)?,
        query: each("query_parameters", matches.query_parameters, from_query)?,
        grpc: matches.grpc.is_some(),
    })
}
