//! Rules for HTTP requests.

mod answer;
mod fault;
mod header;
mod retry;

use std::time::Duration;

use fairlead_crds::networking as crd;
use fairlead_routing::RegexRewrite;
use fairlead_routing::text::search;
use fairlead_xds::resource::route::{
    Body, CorsPolicy, Fault, HeaderMutations, Redirect, RetryPolicy, Share,
};

use super::condition::{self, Condition};
use super::{Context, Destination, read_weight};
use crate::diagnostic::Findings;

pub(crate) use retry::default_retry;

/// What happens to requests.
#[derive(Clone, Debug)]
pub(crate) struct HttpRule {
    pub(crate) name: String,
    /// Alternatives, at least one; what was wrong with others is reported.
    pub(crate) conditions: Vec<Condition>,
    pub(crate) action: Action,
    pub(crate) headers: HeaderMutations,
    pub(crate) fault: Option<Fault>,
    pub(crate) cors: Option<CorsPolicy>,
}

/// What a rule does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Forward(Forward),
    Redirect { to: Redirect, port: RedirectPort },
    Respond { status: u16, body: Option<Body> },
}

/// Which port a redirection names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RedirectPort {
    /// The one that it says, if any.
    AsGiven,
    /// The one that the request came to.
    OfRequest,
}

/// How a rule forwards.
#[derive(Clone, Debug)]
pub(crate) struct Forward {
    pub(crate) destinations: Vec<WeightedDestination>,
    /// New path, to be fitted to each condition.
    pub(crate) uri: Option<String>,
    pub(crate) regex: Option<RegexRewrite>,
    pub(crate) authority: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) mirrors: Vec<(Destination, Share)>,
}

/// A destination with its share.
#[derive(Clone, Debug)]
pub(crate) struct WeightedDestination {
    pub(crate) destination: Destination,
    pub(crate) weight: u32,
    pub(crate) headers: HeaderMutations,
    pub(crate) authority: Option<String>,
}

pub(super) fn read_all(
    rules: &[crd::HttpRoute],
    context: &Context<'_>,
    findings: &mut Findings<'_>,
) -> Vec<HttpRule> {
    rules
        .iter()
        .enumerate()
        .filter_map(|(index, rule)| read(&format!("spec.http[{index}]"), rule, context, findings))
        .collect()
}

fn read(
    field: &str,
    rule: &crd::HttpRoute,
    context: &Context<'_>,
    findings: &mut Findings<'_>,
) -> Option<HttpRule> {
    if rule.delegate.is_some() {
        findings.error(
            format!("{field}.delegate"),
            "delegation is not supported; the rule is left out",
        );
        return None;
    }
    let conditions: Vec<_> = if rule.r#match.is_empty() {
        vec![Condition::any()]
    } else {
        rule.r#match
            .iter()
            .enumerate()
            .filter_map(|(index, request)| {
                condition::read(
                    &format!("{field}.match[{index}]"),
                    request,
                    context,
                    findings,
                )
            })
            .collect()
    };
    if conditions.is_empty() {
        return None;
    }
    let (headers, authority) = header::headers(rule.headers.as_ref());
    let action = if let Some(redirect) = &rule.redirect {
        answer::report_unused(field, rule, "redirect", findings);
        answer::read_redirect(field, redirect, findings)
    } else if let Some(response) = &rule.direct_response {
        answer::report_unused(field, rule, "directResponse", findings);
        answer::read_response(field, response, findings)
    } else {
        Action::Forward(read_forward(field, rule, authority, context, findings))
    };
    Some(HttpRule {
        name: rule.name.clone().unwrap_or_default(),
        conditions,
        action,
        headers,
        fault: rule
            .fault
            .as_ref()
            .and_then(|fault| fault::read_fault(field, fault, findings)),
        cors: rule
            .cors_policy
            .as_ref()
            .map(|policy| header::read_cors(field, policy, findings)),
    })
}

fn read_forward(
    field: &str,
    rule: &crd::HttpRoute,
    authority: Option<String>,
    context: &Context<'_>,
    findings: &mut Findings<'_>,
) -> Forward {
    let is_only = rule.route.len() == 1;
    let mut destinations = Vec::new();
    for (index, route) in rule.route.iter().enumerate() {
        let field = format!("{field}.route[{index}]");
        let weight = match route.weight {
            _ if is_only => 1,
            None => 0,
            Some(weight) => read_weight(&field, weight, findings),
        };
        let destination = context.destination(
            &format!("{field}.destination"),
            &route.destination,
            findings,
        );
        let (headers, authority) = header::headers(route.headers.as_ref());
        if weight > 0 {
            destinations.push(WeightedDestination {
                destination,
                weight,
                headers,
                authority,
            });
        }
    }
    if destinations.is_empty() {
        findings.error(
            format!("{field}.route"),
            "no destination has a weight; requests fail",
        );
    }
    let rewrite = rule.rewrite.as_ref();
    let regex = rewrite.and_then(|rewrite| rewrite.uri_regex_rewrite.as_ref());
    if regex.is_some() && rewrite.is_some_and(|rewrite| rewrite.uri.is_some()) {
        let field = format!("{field}.rewrite.uriRegexRewrite");
        findings.error(field, "has no effect beside `uri`");
    }
    Forward {
        destinations,
        uri: rewrite.and_then(|rewrite| rewrite.uri.clone()),
        regex: regex.and_then(|regex| read_regex(field, regex, findings)),
        authority: rewrite
            .and_then(|rewrite| rewrite.authority.clone())
            .filter(|host| !host.is_empty())
            .or(authority),
        timeout: findings
            .duration(&format!("{field}.timeout"), rule.timeout.as_ref())
            .unwrap_or_default(),
        retry: retry::read_retry(field, rule.retries.as_ref(), findings),
        mirrors: read_mirrors(field, rule, context, findings),
    }
}

fn read_regex(
    field: &str,
    regex: &crd::RegexRewrite,
    findings: &mut Findings<'_>,
) -> Option<RegexRewrite> {
    let pattern = regex.r#match.clone().unwrap_or_default();
    if let Err(error) = search(&pattern) {
        findings.error(
            format!("{field}.rewrite.uriRegexRewrite.match"),
            format!("{error}; the path is not rewritten"),
        );
        return None;
    }
    Some(RegexRewrite {
        pattern,
        substitution: regex.rewrite.clone().unwrap_or_default(),
    })
}

fn read_mirrors(
    field: &str,
    rule: &crd::HttpRoute,
    context: &Context<'_>,
    findings: &mut Findings<'_>,
) -> Vec<(Destination, Share)> {
    let old = rule.mirror_percent.or(rule.mirror_percent_old);
    if rule.mirror.is_none() {
        let shares = [
            ("mirrorPercentage", rule.mirror_percentage.is_some()),
            ("mirrorPercent", rule.mirror_percent.is_some()),
            ("mirror_percent", rule.mirror_percent_old.is_some()),
        ];
        findings.warn_of(field, &shares, "has no effect without `mirror`");
    }
    let single_share = match (rule.mirror_percentage, old) {
        (Some(percent), _) => share(Some(percent)),
        (None, Some(percent)) => Share::from_millionths(percent.saturating_mul(10_000)),
        (None, None) => Share::ALL,
    };
    let single = rule
        .mirror
        .iter()
        .map(|mirror| (mirror, single_share, "mirror".to_owned()));
    let several = rule.mirrors.iter().enumerate().map(|(index, policy)| {
        let field = format!("mirrors[{index}].destination");
        (&policy.destination, share(policy.percentage), field)
    });
    single
        .chain(several)
        .filter(|(_, share, _)| share.millionths() > 0)
        .map(|(mirror, share, name)| {
            (
                context.destination(&format!("{field}.{name}"), mirror, findings),
                share,
            )
        })
        .collect()
}

/// A missing percentage is all requests.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number is brought into the range first"
)]
fn share(percent: Option<crd::Percent>) -> Share {
    percent.map_or(Share::ALL, |percent| {
        Share::from_millionths((percent.value.clamp(0.0, 100.0) * 10_000.0).round() as u32)
    })
}
