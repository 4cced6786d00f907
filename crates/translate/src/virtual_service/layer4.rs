//! Rules for bytes, and for TLS by server name.

use std::collections::BTreeMap;

use fairlead_crds::networking as crd;

use super::condition::read_port;
use super::{Context, Destination, GatewayRef, read_weight};
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

/// What is said of conditions by address.
const NO_SUBNETS: &str = "is not supported; the condition is left out";

pub(super) fn read_tcp(
    rules: &[crd::TcpRoute],
    context: &Context<'_>,
    findings: &mut Findings<'_>,
) -> Vec<TcpRule> {
    let mut read = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let field = format!("spec.tcp[{index}]");
        let conditions =
            read_conditions(&field, &rule.r#match, findings, |field, own, findings| {
                findings.error_of(
                    field,
                    &[
                        ("destinationSubnets", !own.destination_subnets.is_empty()),
                        ("sourceSubnet", own.source_subnet.is_some()),
                    ],
                    NO_SUBNETS,
                );
                let has_subnets =
                    !own.destination_subnets.is_empty() || own.source_subnet.is_some();
                let port = read_port(field, own.port, findings)?;
                (!has_subnets).then(|| Layer4Condition {
                    server_names: Vec::new(),
                    port,
                    source_labels: own.source_labels.clone(),
                    source_namespace: own.source_namespace.clone().filter(|name| !name.is_empty()),
                    gateways: GatewayRef::parse_all(&own.gateways, context.namespace, &[]),
                })
            });
        // Without a condition that is left, a rule that had some is for nobody.
        if conditions.is_empty() && !rule.r#match.is_empty() {
            continue;
        }
        let destinations = destinations(&field, &rule.route, context, findings);
        if !destinations.is_empty() {
            read.push(TcpRule {
                conditions,
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
        let conditions =
            read_conditions(&field, &rule.r#match, findings, |field, own, findings| {
                let has_subnets = !own.destination_subnets.is_empty();
                findings.error_of(field, &[("destinationSubnets", has_subnets)], NO_SUBNETS);
                if own.sni_hosts.is_empty() {
                    let field = format!("{field}.sniHosts");
                    findings.error(field, "is needed; the condition is left out");
                }
                let port = read_port(field, own.port, findings)?;
                (!has_subnets && !own.sni_hosts.is_empty()).then(|| Layer4Condition {
                    server_names: own
                        .sni_hosts
                        .iter()
                        .map(|name| name.to_ascii_lowercase())
                        .collect(),
                    port,
                    source_labels: own.source_labels.clone(),
                    source_namespace: own.source_namespace.clone().filter(|name| !name.is_empty()),
                    gateways: GatewayRef::parse_all(&own.gateways, context.namespace, &[]),
                })
            });
        if rule.r#match.is_empty() {
            findings.error(
                format!("{field}.match"),
                "needs `sniHosts`; the rule is left out",
            );
        }
        let destinations = destinations(&field, &rule.route, context, findings);
        if !conditions.is_empty() && !destinations.is_empty() {
            read.push(TlsRule {
                conditions,
                destinations,
            });
        }
    }
    read
}

/// Reads the conditions of a rule; one that is wrong is left out, so that it cannot take what it
/// was not meant for.
fn read_conditions<C>(
    field: &str,
    conditions: &[C],
    findings: &mut Findings<'_>,
    read: impl Fn(&str, &C, &mut Findings<'_>) -> Option<Layer4Condition>,
) -> Vec<Layer4Condition> {
    let conditions = conditions.iter().enumerate();
    conditions
        .filter_map(|(index, own)| read(&format!("{field}.match[{index}]"), own, findings))
        .collect()
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
            let field = format!("{field}.route[{index}]");
            let place = format!("{field}.destination");
            let destination = context.destination(&place, &route.destination, findings);
            let weight = match route.weight {
                _ if is_only => 1,
                None => 0,
                Some(weight) => read_weight(&field, weight, findings),
            };
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
