//! Routes (RDS) of VirtualServices, and of services without one.

mod host;

use fairlead_routing::text::escape;
use fairlead_routing::{PathMatch, PathRewrite, RegexRewrite, RouteMatch};
use fairlead_xds::resource::route::{
    Action, Forward, HashKey, HeaderMutations, HostRewrite, Mirror, Redirect, Route,
    WeightedCluster,
};

use crate::cluster::{BLACK_HOLE, policy};
use crate::rule::Rule;
use crate::view::{Resolver, View};
use crate::virtual_service::{
    self as rules, Condition, Destination, GatewayRef, HttpRule, RedirectPort, VirtualService,
    default_retry,
};

pub(crate) use host::{catch_all, domains};

/// Whom routes are for.
#[derive(Debug)]
pub(crate) struct Scope<'s> {
    pub(crate) gateway: &'s GatewayRef,
    /// The port that requests come to, as clients know it.
    pub(crate) port: u16,
}

/// The routes of a VirtualService.
pub(crate) fn of_virtual_service(
    service: &VirtualService,
    scope: &Scope<'_>,
    resolver: &mut Resolver<'_>,
) -> Vec<Route> {
    let view = resolver.view;
    let mut routes = Vec::new();
    for rule in &service.http {
        for condition in rule
            .conditions
            .iter()
            .filter(|own| applies(own, scope, view))
        {
            let route = of_condition(service, rule, condition, scope, resolver);
            let is_last = route.matches.is_catch_all();
            routes.push(route);
            if is_last {
                return routes;
            }
        }
    }
    routes
}

fn applies(condition: &Condition, scope: &Scope<'_>, view: &View) -> bool {
    (condition.gateways.is_empty() || condition.gateways.contains(scope.gateway))
        && condition.port.is_none_or(|port| port == scope.port)
        && condition
            .source_namespace
            .as_ref()
            .is_none_or(|own| *own == view.namespace)
        && crate::registry::is_subset(&condition.source_labels, &view.labels)
}

fn of_condition(
    service: &VirtualService,
    rule: &HttpRule,
    condition: &Condition,
    scope: &Scope<'_>,
    resolver: &mut Resolver<'_>,
) -> Route {
    let name = match (rule.name.as_str(), condition.name.as_str()) {
        (name, "") | ("", name) => name.to_owned(),
        (rule, condition) => format!("{rule}.{condition}"),
    };
    let action = match &rule.action {
        rules::Action::Forward(own) => Action::Forward(Box::new(forward(
            own,
            &condition.matches,
            scope.port,
            resolver,
        ))),
        rules::Action::Redirect { to, port } => Action::Redirect(Redirect {
            port: match port {
                RedirectPort::AsGiven => to.port,
                RedirectPort::OfRequest => Some(scope.port),
            },
            ..to.clone()
        }),
        rules::Action::Respond { status, body } => Action::Respond {
            status: *status,
            body: body.clone(),
        },
    };
    Route {
        headers: rule.headers.clone(),
        fault: rule.fault.clone(),
        cors: rule.cors.clone(),
        config: Some(service.source.api_path()),
        ..Route::new(name, condition.matches.clone(), action)
    }
}

fn forward(
    rule: &rules::Forward,
    matches: &RouteMatch,
    port: u16,
    resolver: &mut Resolver<'_>,
) -> Forward {
    let mut clusters: Vec<_> = rule
        .destinations
        .iter()
        .map(|own| WeightedCluster {
            name: resolver.cluster(&own.destination, port),
            weight: own.weight,
            headers: own.headers.clone(),
            host: own.authority.clone(),
        })
        .collect();
    if clusters.is_empty() {
        clusters.push(WeightedCluster::new(BLACK_HOLE, 1));
    }
    let hash = hash_of(
        rule.destinations.iter().map(|own| &own.destination),
        port,
        resolver,
    );
    let mut retry = rule.retry.clone();
    if let Some(retry) = retry.as_mut().filter(|_| !hash.is_empty()) {
        // What is hashed goes where the hash says, also when it is tried again.
        retry.avoid_previous_hosts = false;
        retry.host_selection_attempts = 0;
    }
    let by_regex = rule.regex.clone().map(PathRewrite::Regex);
    Forward {
        clusters,
        path: rule
            .uri
            .as_ref()
            .map(|uri| rewrite(uri, &matches.path))
            .or(by_regex),
        host: rule.authority.clone().map(HostRewrite::Literal),
        timeout: Some(rule.timeout),
        max_grpc_timeout: None,
        retry,
        mirrors: rule
            .mirrors
            .iter()
            .map(|(mirror, share)| Mirror {
                cluster: resolver.cluster(mirror, port),
                share: *share,
            })
            .collect(),
        hash,
    }
}

/// The new path. A prefix that is cut off takes the slash after it along, so that `/api/v1`
/// without `/api` is `/v1` and not `//v1`.
fn rewrite(uri: &str, matched: &PathMatch) -> PathRewrite {
    match matched {
        PathMatch::Prefix(prefix) if uri == "/" && !prefix.ends_with('/') => {
            PathRewrite::Regex(RegexRewrite {
                pattern: format!("^{}(/?)(.*)", escape(prefix)),
                substitution: r"/\2".to_owned(),
            })
        }
        PathMatch::Prefix(_)
        | PathMatch::Exact(_)
        | PathMatch::SeparatedPrefix(_)
        | PathMatch::Regex(_) => PathRewrite::Prefix(uri.to_owned()),
    }
}

fn hash_of<'d>(
    destinations: impl Iterator<Item = &'d Destination>,
    port: u16,
    resolver: &Resolver<'_>,
) -> Vec<HashKey> {
    let mut keys = Vec::new();
    for destination in destinations {
        let Ok(target) = resolver.view.resolve(destination, Some(port)) else {
            continue;
        };
        let rule = resolver
            .view
            .find(&target.host)
            .and_then(|visible| visible.rule.as_ref());
        let key = rule.and_then(|rule| hash_key(rule, target.port, &target.subset));
        keys.extend(key.filter(|key| !keys.contains(key)));
    }
    keys
}

fn hash_key(rule: &Rule, port: u16, subset: &str) -> Option<HashKey> {
    let policy = rule.policy(port, rule.subsets().get(subset));
    policy.load_balancer.as_ref().and_then(policy::hash_key)
}

/// The only route of a service that no VirtualService speaks of.
pub(crate) fn default_route(host: &str, port: u16, resolver: &mut Resolver<'_>) -> Route {
    let destination = Destination {
        host: host.to_owned(),
        subset: String::new(),
        port: Some(port),
        field: String::new(),
    };
    let hash = hash_of([&destination].into_iter(), port, resolver);
    let mut retry = default_retry();
    if !hash.is_empty() {
        retry.avoid_previous_hosts = false;
        retry.host_selection_attempts = 0;
    }
    let forward = Forward {
        retry: Some(retry),
        hash,
        ..Forward::to(resolver.cluster(&destination, port))
    };
    Route {
        headers: HeaderMutations::default(),
        ..Route::new(
            "default",
            RouteMatch::any(),
            Action::Forward(Box::new(forward)),
        )
    }
}
