//! Header operations, and cross-origin resource sharing, which is made of headers.

use fairlead_crds::networking as crd;
use fairlead_xds::resource::route::{AddMode, CorsPolicy, HeaderAdd, HeaderMutations};

use crate::diagnostic::Findings;
use crate::virtual_service::condition;

/// Header operations; one that sets the host is a new authority.
pub(super) fn headers(headers: Option<&crd::Headers>) -> (HeaderMutations, Option<String>) {
    let mut mutations = HeaderMutations::default();
    let mut authority = None;
    let Some(headers) = headers else {
        return (mutations, authority);
    };
    if let Some(request) = &headers.request {
        let is_host = |name: &str| {
            name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
        };
        authority = request
            .set
            .iter()
            .find(|(name, _)| is_host(name))
            .map(|(_, value)| value.clone());
        mutations.request_add = additions(request);
        mutations
            .request_add
            .retain(|header| !is_host(&header.name));
        mutations.request_remove.clone_from(&request.remove);
    }
    if let Some(response) = &headers.response {
        mutations.response_add = additions(response);
        mutations.response_remove.clone_from(&response.remove);
    }
    (mutations, authority)
}

pub(super) fn additions(operations: &crd::HeaderOperations) -> Vec<HeaderAdd> {
    let add = |mode| {
        move |(name, value): (&String, &String)| HeaderAdd {
            name: name.clone(),
            value: value.clone(),
            mode,
        }
    };
    let set = operations.set.iter().map(add(AddMode::Overwrite));
    set.chain(operations.add.iter().map(add(AddMode::Append)))
        .collect()
}

pub(super) fn read_cors(
    field: &str,
    policy: &crd::CorsPolicy,
    findings: &mut Findings<'_>,
) -> CorsPolicy {
    let exact = policy
        .allow_origin
        .iter()
        .map(fairlead_routing::StringMatch::exact);
    let origins = policy.allow_origins.iter().enumerate();
    let allow_origins = origins.filter_map(|(index, origin)| {
        let field = format!("{field}.corsPolicy.allowOrigins[{index}]");
        let Some(text) = condition::text(origin) else {
            let message = "needs `exact`, `prefix` or `regex` (`.*` for any); it is left out";
            findings.error(field, message);
            return None;
        };
        match text.compile() {
            Ok(_) => Some(text),
            Err(error) => {
                findings.error(field, format!("{error}; the origin is left out"));
                None
            }
        }
    });
    let allow_origins = allow_origins.chain(exact).collect();
    let max_age = findings.duration(
        &format!("{field}.corsPolicy.maxAge"),
        policy.max_age.as_ref(),
    );
    CorsPolicy {
        allow_origins,
        allow_methods: policy.allow_methods.join(","),
        allow_headers: policy.allow_headers.join(","),
        expose_headers: policy.expose_headers.join(","),
        max_age: max_age
            .map(|age| age.as_secs().to_string())
            .unwrap_or_default(),
        allow_credentials: policy.allow_credentials,
        forward_unmatched_preflights: match policy.unmatched_preflights.as_deref() {
            Some("FORWARD") => Some(true),
            Some("IGNORE") => Some(false),
            _ => None,
        },
    }
}
