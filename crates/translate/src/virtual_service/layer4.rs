//! Rules for bytes, and for TLS by server name.

use std::collections::BTreeMap;

use fairlead_crds::networking as crd;

use super::{Context, Destination, GatewayRef};
use crate::diagnostic::Findings;

/// What happens to connections.
#[derive(Clone, Debug)]
pub(crate) struct TcpRule {
    /// Alternatives; empty takes every connection.
    pub(crate) conditions: Vec<Layer4Condition>,
    /// Where they go, with weights.
    pub(crate) destinations: Vec<(Destination, u32)>,
}

/// What happens to TLS connections that are not terminated.
#[derive(Clone, Debug)]
pub(crate) struct TlsRule {
    /// Alternatives, each with server names.
    pub(crate) conditions: Vec<Layer4Condition>,
    /// Where they go, with weights.
    pub(crate) destinations: Vec<(Destination, u32)>,
}

/// One of the alternatives of a rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer4Condition {
    /// Server names; for TLS only.
    pub(crate) server_names: Vec<String>,
    /// Only for connections to this port.
    pub(crate) port: Option<u16>,
    /// Only for clients with these labels.
    pub(crate) source_labels: BTreeMap<String, String>,
    /// Only for clients in this namespace.
    pub(crate) source_namespace: Option<String>,
    /// Only on these gateways; empty is those of the whole object.
    pub(crate) gateways: Vec<GatewayRef>,
}

pub(super) fn read_tcp(
    rules: &[crd::TcpRoute],
    context: &Context<'_>,
    findings: &mut Findings<'_>,
) -> Vec<TcpRule> {
    let mut read = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let field = format!("spec.tcp[{index}]");
        let conditions = rule.r#match.iter().map(|condition| Layer4Condition {
            server_names: Vec::new(),
            port: condition.port.and_then(|port| u16::try_from(port).ok()),
            source_labels: condition.source_labels.clone(),
            source_namespace: condition.source_namespace.clone(),
            gateways: GatewayRef::parse_all(&condition.gateways, context.namespace, &[]),
        });
        let has_subnets = rule.r#match.iter().any(|condition| {
            !condition.destination_subnets.is_empty() || condition.source_subnet.is_some()
        });
        if has_subnets {
            findings.error(
                format!("{field}.match"),
                "subnets are not supported; the rule is left out",
            );
            continue;
        }
        let destinations = destinations(&field, &rule.route, context, findings);
        if !destinations.is_empty() {
            read.push(TcpRule {
                conditions: conditions.collect(),
                destinations,
            });
        }
    }
    read
}

pub(super) fn read_tls(
    rules: &[crd::TlsRoute],
    context: &Context<'_>,
    findings: &mut Findings<'_>,
) -> Vec<TlsRule> {
    let mut read = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let field = format!("spec.tls[{index}]");
        if rule
            .r#match
            .iter()
            .any(|condition| !condition.destination_subnets.is_empty())
        {
            findings.error(
                format!("{field}.match"),
                "subnets are not supported; the rule is left out",
            );
            continue;
        }
        let conditions: Vec<_> = rule
            .r#match
            .iter()
            .filter(|condition| !condition.sni_hosts.is_empty())
            .map(|condition| Layer4Condition {
                server_names: condition
                    .sni_hosts
                    .iter()
                    .map(|name| name.to_ascii_lowercase())
                    .collect(),
                port: condition.port.and_then(|port| u16::try_from(port).ok()),
                source_labels: condition.source_labels.clone(),
                source_namespace: condition.source_namespace.clone(),
                gateways: GatewayRef::parse_all(&condition.gateways, context.namespace, &[]),
            })
            .collect();
        if conditions.is_empty() {
            findings.error(
                format!("{field}.match"),
                "needs `sniHosts`; the rule is left out",
            );
            continue;
        }
        let destinations = destinations(&field, &rule.route, context, findings);
        if !destinations.is_empty() {
            read.push(TlsRule {
                conditions,
                destinations,
            });
        }
    }
    read
}

fn destinations(
    field: &str,
    routes: &[crd::RouteDestination],
    context: &Context<'_>,
    findings: &mut Findings<'_>,
) -> Vec<(Destination, u32)> {
    let is_only = routes.len() == 1;
    let destinations: Vec<_> = routes
        .iter()
        .enumerate()
        .filter_map(|(index, route)| {
            let field = format!("{field}.route[{index}].destination");
            let destination = context.destination(&field, &route.destination, findings);
            let weight = route.weight.and_then(|weight| u32::try_from(weight).ok());
            let weight = if is_only { 1 } else { weight.unwrap_or(0) };
            (weight > 0).then_some((destination, weight))
        })
        .collect();
    if destinations.is_empty() {
        findings.error(
            format!("{field}.route"),
            "no destination has a weight; the rule is left out",
        );
    }
    destinations
}
