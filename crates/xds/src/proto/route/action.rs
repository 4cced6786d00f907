//! What a route does with a request.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as pb;
use fairlead_routing::{PathRewrite, weight};
use pb::route_action::{ClusterSpecifier, HostRewriteSpecifier};

use super::{redirect, retry};
use crate::proto::any::{bool_value, duration, from_duration, from_u32, u32_value};
use crate::proto::refusal::{Error, Result, Within, each, refuse};
use crate::proto::text::{
    from_headers_to_add, from_runtime_share, from_substitution, headers_to_add, share, substitution,
};
use crate::resource::route::{
    Action, Body, Forward, HashKey, HeaderMutations, HostRewrite, Mirror, Share, WeightedCluster,
};

pub(super) fn encode(action: &Action) -> pb::route::Action {
    match action {
        Action::Forward(forward) => pb::route::Action::Route(encode_forward(forward)),
        Action::Redirect(redirect) => pb::route::Action::Redirect(redirect::encode(redirect)),
        Action::Respond { status, body } => {
            pb::route::Action::DirectResponse(pb::DirectResponseAction {
                status: (*status).into(),
                body: body.as_ref().map(|body| core::DataSource {
                    specifier: Some(match body {
                        Body::Text(text) => {
                            core::data_source::Specifier::InlineString(text.clone())
                        }
                        Body::Bytes(bytes) => {
                            core::data_source::Specifier::InlineBytes(bytes.clone())
                        }
                    }),
                    watched_directory: None,
                }),
                ..pb::DirectResponseAction::default()
            })
        }
    }
}

fn encode_forward(forward: &Forward) -> pb::RouteAction {
    let (prefix_rewrite, regex_rewrite) = match &forward.path {
        None => (String::new(), None),
        Some(PathRewrite::Prefix(prefix)) => (prefix.clone(), None),
        Some(PathRewrite::Regex(rewrite)) => (String::new(), Some(substitution(rewrite))),
    };
    let host = forward.host.as_ref().map(|host| match host {
        HostRewrite::Literal(host) => HostRewriteSpecifier::HostRewriteLiteral(host.clone()),
        HostRewrite::Endpoint => HostRewriteSpecifier::AutoHostRewrite(bool_value(true)),
    });
    pb::RouteAction {
        cluster_specifier: Some(encode_clusters(&forward.clusters)),
        prefix_rewrite,
        regex_rewrite,
        host_rewrite_specifier: host,
        timeout: duration(forward.timeout),
        max_stream_duration: forward.max_grpc_timeout.map(|limit| {
            pb::route_action::MaxStreamDuration {
                grpc_timeout_header_max: duration(Some(limit)),
                ..pb::route_action::MaxStreamDuration::default()
            }
        }),
        retry_policy: forward.retry.as_ref().map(retry::encode),
        request_mirror_policies: forward
            .mirrors
            .iter()
            .map(|mirror| pb::route_action::RequestMirrorPolicy {
                cluster: mirror.cluster.clone(),
                runtime_fraction: Some(core::RuntimeFractionalPercent {
                    default_value: Some(share(mirror.share)),
                    runtime_key: String::new(),
                }),
                trace_sampled: Some(bool_value(false)),
                ..pb::route_action::RequestMirrorPolicy::default()
            })
            .collect(),
        hash_policy: forward.hash.iter().map(encode_hash).collect(),
        ..pb::RouteAction::default()
    }
}

/// One cluster of which nothing else is said is named directly; so is the usual case smaller.
fn encode_clusters(clusters: &[WeightedCluster]) -> ClusterSpecifier {
    if let [only] = clusters
        && *only == WeightedCluster::new(&only.name, 1)
    {
        return ClusterSpecifier::Cluster(only.name.clone());
    }
    let clusters = clusters
        .iter()
        .map(|cluster| pb::weighted_cluster::ClusterWeight {
            name: cluster.name.clone(),
            weight: u32_value(Some(cluster.weight)),
            request_headers_to_add: headers_to_add(&cluster.headers.request_add),
            request_headers_to_remove: cluster.headers.request_remove.clone(),
            response_headers_to_add: headers_to_add(&cluster.headers.response_add),
            response_headers_to_remove: cluster.headers.response_remove.clone(),
            host_rewrite_specifier: cluster.host.clone().map(
                pb::weighted_cluster::cluster_weight::HostRewriteSpecifier::HostRewriteLiteral,
            ),
            ..pb::weighted_cluster::ClusterWeight::default()
        })
        .collect();
    ClusterSpecifier::WeightedClusters(pb::WeightedCluster {
        clusters,
        ..pb::WeightedCluster::default()
    })
}

fn encode_hash(key: &HashKey) -> pb::route_action::HashPolicy {
    use pb::route_action::hash_policy::{
        ConnectionProperties, Cookie, Header, PolicySpecifier, QueryParameter,
    };
    let specifier = match key {
        HashKey::Header(name) => PolicySpecifier::Header(Header {
            header_name: name.clone(),
            regex_rewrite: None,
        }),
        HashKey::Cookie { name, path, ttl } => PolicySpecifier::Cookie(Cookie {
            name: name.clone(),
            path: path.clone(),
            ttl: duration(*ttl),
            attributes: Vec::new(),
        }),
        HashKey::SourceIp => {
            PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
        }
        HashKey::QueryParameter(name) => {
            PolicySpecifier::QueryParameter(QueryParameter { name: name.clone() })
        }
    };
    pb::route_action::HashPolicy {
        terminal: false,
        policy_specifier: Some(specifier),
    }
}

pub(super) fn decode(action: pb::route::Action) -> Result<Action> {
    Ok(match action {
        pb::route::Action::Route(route) => {
            Action::Forward(Box::new(decode_forward(route).within("route")?))
        }
        pb::route::Action::Redirect(redirect) => {
            Action::Redirect(redirect::decode(redirect).within("redirect")?)
        }
        pb::route::Action::DirectResponse(response) => {
            decode_response(response).within("direct_response")?
        }
        pb::route::Action::FilterAction(_) => return Err(Error::unsupported("filter_action")),
        pb::route::Action::NonForwardingAction(_) => {
            return Err(Error::unsupported("non_forwarding_action"));
        }
    })
}

fn decode_response(response: pb::DirectResponseAction) -> Result<Action> {
    use core::data_source::Specifier;
    refuse!(response, body_format);
    let status = u16::try_from(response.status)
        .ok()
        .filter(|status| (200..600).contains(status))
        .ok_or_else(|| Error::invalid("status", response.status))?;
    let body = match response.body.and_then(|body| body.specifier) {
        None => None,
        Some(Specifier::InlineString(text)) => Some(Body::Text(text)),
        Some(Specifier::InlineBytes(bytes)) => Some(Body::Bytes(bytes)),
        Some(Specifier::Filename(_) | Specifier::EnvironmentVariable(_)) => {
            return Err(Error::unsupported("body"));
        }
    };
    Ok(Action::Respond { status, body })
}

#[expect(deprecated, reason = "the old fields are refused by name")]
fn decode_forward(route: pb::RouteAction) -> Result<Forward> {
    refuse!(
        route,
        metadata_match,
        path_rewrite_policy,
        path_rewrite,
        append_x_forwarded_host,
        retry_policy_typed_config,
        priority,
        rate_limits,
        cors,
        grpc_timeout_offset,
        upgrade_configs,
        internal_redirect_policy,
        internal_redirect_action,
        hedge_policy,
    );
    let path = match (route.prefix_rewrite, route.regex_rewrite) {
        (prefix, None) if prefix.is_empty() => None,
        (prefix, None) => Some(PathRewrite::Prefix(prefix)),
        (prefix, Some(rewrite)) if prefix.is_empty() => Some(PathRewrite::Regex(
            from_substitution(rewrite).within("regex_rewrite")?,
        )),
        (_, Some(_)) => return Err(Error::unsupported("regex_rewrite")),
    };
    let host = match route.host_rewrite_specifier {
        None => None,
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => Some(HostRewrite::Literal(host)),
        Some(HostRewriteSpecifier::AutoHostRewrite(value)) => {
            value.value.then_some(HostRewrite::Endpoint)
        }
        Some(
            HostRewriteSpecifier::HostRewriteHeader(_)
            | HostRewriteSpecifier::HostRewritePathRegex(_)
            | HostRewriteSpecifier::HostRewrite(_),
        ) => return Err(Error::unsupported("host_rewrite_specifier")),
    };
    let grpc_limit = match route.max_stream_duration {
        None => route.max_grpc_timeout,
        Some(limits) => {
            refuse!(limits, max_stream_duration, grpc_timeout_header_offset);
            limits.grpc_timeout_header_max
        }
    };
    Ok(Forward {
        clusters: decode_clusters(route.cluster_specifier)?,
        path,
        host,
        timeout: from_duration(route.timeout, "timeout")?,
        max_grpc_timeout: from_duration(grpc_limit, "max_grpc_timeout")?,
        retry: route
            .retry_policy
            .map(retry::decode)
            .transpose()
            .within("retry_policy")?,
        mirrors: each(
            "request_mirror_policies",
            route.request_mirror_policies,
            decode_mirror,
        )?,
        hash: each("hash_policy", route.hash_policy, decode_hash)?,
    })
}

fn decode_clusters(specifier: Option<ClusterSpecifier>) -> Result<Vec<WeightedCluster>> {
    let weighted = match specifier {
        None => return Err(Error::missing("cluster_specifier")),
        Some(ClusterSpecifier::Cluster(name)) => return Ok(vec![WeightedCluster::new(name, 1)]),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted,
        Some(
            ClusterSpecifier::ClusterHeader(_)
            | ClusterSpecifier::ClusterSpecifierPlugin(_)
            | ClusterSpecifier::InlineClusterSpecifierPlugin(_),
        ) => return Err(Error::unsupported("cluster_specifier")),
    };
    refuse!(weighted, random_value_specifier);
    let clusters = each("weighted_clusters.clusters", weighted.clusters, |cluster| {
        refuse!(
            cluster,
            cluster_header,
            metadata_match,
            typed_per_filter_config
        );
        Ok(WeightedCluster {
            name: cluster.name,
            weight: from_u32(cluster.weight).unwrap_or_default(),
            headers: HeaderMutations {
                request_add: from_headers_to_add(
                    "request_headers_to_add",
                    cluster.request_headers_to_add,
                )?,
                request_remove: cluster.request_headers_to_remove,
                response_add: from_headers_to_add(
                    "response_headers_to_add",
                    cluster.response_headers_to_add,
                )?,
                response_remove: cluster.response_headers_to_remove,
            },
            host: cluster.host_rewrite_specifier.map(
                |pb::weighted_cluster::cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(
                    host,
                )| host,
            ),
        })
    })?;
    if weight::pick(clusters.iter().map(|cluster| cluster.weight), 0).is_none() {
        return Err(Error::invalid("weighted_clusters", "a total weight of 0"));
    }
    Ok(clusters)
}

fn decode_mirror(mirror: pb::route_action::RequestMirrorPolicy) -> Result<Mirror> {
    refuse!(
        mirror,
        cluster_header,
        disable_shadow_host_suffix_append,
        request_headers_mutations,
        host_rewrite_literal,
    );
    Ok(Mirror {
        cluster: mirror.cluster,
        share: from_runtime_share(mirror.runtime_fraction)?.unwrap_or(Share::ALL),
    })
}

fn decode_hash(policy: pb::route_action::HashPolicy) -> Result<HashKey> {
    use pb::route_action::hash_policy::PolicySpecifier;
    refuse!(policy, terminal);
    Ok(match policy.policy_specifier {
        None => return Err(Error::missing("policy_specifier")),
        Some(PolicySpecifier::Header(header)) => {
            refuse!(header, regex_rewrite);
            HashKey::Header(header.header_name)
        }
        Some(PolicySpecifier::Cookie(cookie)) => {
            refuse!(cookie, attributes);
            HashKey::Cookie {
                name: cookie.name,
                path: cookie.path,
                ttl: from_duration(cookie.ttl, "cookie.ttl")?,
            }
        }
        Some(PolicySpecifier::ConnectionProperties(properties)) if properties.source_ip => {
            HashKey::SourceIp
        }
        Some(PolicySpecifier::QueryParameter(parameter)) => HashKey::QueryParameter(parameter.name),
        Some(PolicySpecifier::ConnectionProperties(_) | PolicySpecifier::FilterState(_)) => {
            return Err(Error::unsupported("policy_specifier"));
        }
    })
}
