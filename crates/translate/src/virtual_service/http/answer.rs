//! Requests that are answered without an upstream.

use fairlead_crds::networking as crd;
use fairlead_xds::resource::route::{Body, Redirect, RedirectPath, RedirectStatus};

use super::{Action, RedirectPort};
use crate::diagnostic::Findings;

/// Reports what a rule that answers by itself says of forwarding.
pub(super) fn report_unused(
    field: &str,
    rule: &crd::HttpRoute,
    answer: &str,
    findings: &mut Findings<'_>,
) {
    let is_redirect = rule.redirect.is_some();
    let unused = [
        ("route", !rule.route.is_empty()),
        (
            "directResponse",
            is_redirect && rule.direct_response.is_some(),
        ),
        ("rewrite", rule.rewrite.is_some()),
        ("timeout", rule.timeout.is_some()),
        ("retries", rule.retries.is_some()),
        ("mirror", rule.mirror.is_some()),
        ("mirrors", !rule.mirrors.is_empty()),
    ];
    findings.warn_of(field, &unused, &format!("has no effect beside `{answer}`"));
}

pub(super) fn read_redirect(
    field: &str,
    redirect: &crd::HttpRedirect,
    findings: &mut Findings<'_>,
) -> Action {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let code = redirect
        .redirect_code
        .filter(|code| *code != 0)
        .unwrap_or(301);
    let status = RedirectStatus::from_code(code).unwrap_or_else(|| {
        findings.error(
            format!("{field}.redirect.redirectCode"),
            format!("`{code}` is not a redirection; 301 is used"),
        );
        RedirectStatus::MovedPermanently
    });
    let scheme = given(&redirect.scheme);
    let given_port = redirect.port.and_then(|port| {
        let number = u16::try_from(port).ok();
        if number.is_none() {
            let message = "is not a port; the redirection names none";
            findings.error(format!("{field}.redirect.port"), message);
        }
        number
    });
    let (port, by) = match redirect.derive_port.as_deref() {
        Some("FROM_PROTOCOL_DEFAULT") if scheme.as_deref() == Some("https") => {
            (Some(443), RedirectPort::AsGiven)
        }
        Some("FROM_PROTOCOL_DEFAULT") => (Some(80), RedirectPort::AsGiven),
        Some("FROM_REQUEST_PORT") => (None, RedirectPort::OfRequest),
        _ => (given_port, RedirectPort::AsGiven),
    };
    let prefix = given(&redirect.prefix_rewrite)
        .map(|prefix| RedirectPath::Rewrite(fairlead_routing::PathRewrite::Prefix(prefix)));
    let to = Redirect {
        status,
        scheme,
        host: given(&redirect.authority),
        port,
        path: given(&redirect.uri).map(RedirectPath::Full).or(prefix),
        strip_query: false,
    };
    Action::Redirect { to, port: by }
}

pub(super) fn read_response(
    field: &str,
    response: &crd::HttpDirectResponse,
    findings: &mut Findings<'_>,
) -> Action {
    let status = u16::try_from(response.status)
        .ok()
        .filter(|code| (200..600).contains(code));
    let status = status.unwrap_or_else(|| {
        findings.error(
            format!("{field}.directResponse.status"),
            format!("`{}` is not a status; 500 is used", response.status),
        );
        500
    });
    let body = response.body.as_ref().and_then(|body| {
        let text = body.string.clone().map(Body::Text);
        text.or_else(|| body.bytes.clone().map(|bytes| Body::Bytes(bytes.0)))
    });
    Action::Respond { status, body }
}
