//! Requests that are answered without an upstream.

use fairlead_crds::networking as crd;
use fairlead_xds::resource::route::{Body, Redirect, RedirectPath, RedirectStatus};

use super::Action;
use crate::diagnostic::Findings;

pub(super) fn read_redirect(
    field: &str,
    redirect: &crd::HttpRedirect,
    findings: &mut Findings<'_>,
) -> Redirect {
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
    let port = match (redirect.port, redirect.derive_port.as_deref()) {
        (Some(port), _) => u16::try_from(port).ok(),
        (None, Some("FROM_PROTOCOL_DEFAULT")) => match scheme.as_deref() {
            Some("https") => Some(443),
            _ => Some(80),
        },
        (None, _) => None,
    };
    let prefix = given(&redirect.prefix_rewrite)
        .map(|prefix| RedirectPath::Rewrite(fairlead_routing::PathRewrite::Prefix(prefix)));
    Redirect {
        status,
        scheme,
        host: given(&redirect.authority),
        port,
        path: given(&redirect.uri).map(RedirectPath::Full).or(prefix),
        strip_query: false,
    }
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
