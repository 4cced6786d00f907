//! Redirections.

use envoy_types::pb::envoy::config::route::v3 as pb;
use fairlead_routing::PathRewrite;

use crate::proto::any::port;
use crate::proto::refusal::{Error, Result};
use crate::proto::text::{from_substitution, substitution};
use crate::resource::route::{Redirect, RedirectPath, RedirectStatus};

pub(super) fn encode(redirect: &Redirect) -> pb::RedirectAction {
    use pb::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
    let status = match redirect.status {
        RedirectStatus::MovedPermanently => RedirectResponseCode::MovedPermanently,
        RedirectStatus::Found => RedirectResponseCode::Found,
        RedirectStatus::SeeOther => RedirectResponseCode::SeeOther,
        RedirectStatus::TemporaryRedirect => RedirectResponseCode::TemporaryRedirect,
        RedirectStatus::PermanentRedirect => RedirectResponseCode::PermanentRedirect,
    };
    pb::RedirectAction {
        host_redirect: redirect.host.clone().unwrap_or_default(),
        port_redirect: redirect.port.unwrap_or_default().into(),
        response_code: status.into(),
        strip_query: redirect.strip_query,
        scheme_rewrite_specifier: redirect
            .scheme
            .clone()
            .map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: redirect.path.as_ref().map(|path| match path {
            RedirectPath::Full(path) => PathRewriteSpecifier::PathRedirect(path.clone()),
            RedirectPath::Rewrite(PathRewrite::Prefix(prefix)) => {
                PathRewriteSpecifier::PrefixRewrite(prefix.clone())
            }
            RedirectPath::Rewrite(PathRewrite::Regex(rewrite)) => {
                PathRewriteSpecifier::RegexRewrite(substitution(rewrite))
            }
        }),
    }
}

pub(super) fn decode(redirect: pb::RedirectAction) -> Result<Redirect> {
    use pb::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
    let status = match RedirectResponseCode::try_from(redirect.response_code) {
        Ok(RedirectResponseCode::MovedPermanently) => RedirectStatus::MovedPermanently,
        Ok(RedirectResponseCode::Found) => RedirectStatus::Found,
        Ok(RedirectResponseCode::SeeOther) => RedirectStatus::SeeOther,
        Ok(RedirectResponseCode::TemporaryRedirect) => RedirectStatus::TemporaryRedirect,
        Ok(RedirectResponseCode::PermanentRedirect) => RedirectStatus::PermanentRedirect,
        Err(_) => return Err(Error::invalid("response_code", redirect.response_code)),
    };
    let scheme = match redirect.scheme_rewrite_specifier {
        None | Some(SchemeRewriteSpecifier::HttpsRedirect(false)) => None,
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".to_owned()),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => Some(scheme),
    };
    let path = match redirect.path_rewrite_specifier {
        None => None,
        Some(PathRewriteSpecifier::PathRedirect(path)) => Some(RedirectPath::Full(path)),
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
            Some(RedirectPath::Rewrite(PathRewrite::Prefix(prefix)))
        }
        Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => Some(RedirectPath::Rewrite(
            PathRewrite::Regex(from_substitution(rewrite)?),
        )),
        Some(PathRewriteSpecifier::PathRewrite(_)) => {
            return Err(Error::unsupported("path_rewrite"));
        }
    };
    let port = match redirect.port_redirect {
        0 => None,
        number => Some(port(number, "port_redirect")?),
    };
    Ok(Redirect {
        status,
        scheme,
        host: (!redirect.host_redirect.is_empty()).then_some(redirect.host_redirect),
        port,
        path,
        strip_query: redirect.strip_query,
    })
}
