//! The compiled tables say what a naive reading of Envoy's rules says.

use std::borrow::Cow;

use fairlead_routing::header::HeaderValueMatch;
use fairlead_routing::host::PortMatch;
use fairlead_routing::text::Pattern;
use fairlead_routing::{
    HeaderMatch, HostTable, PathMatch, QueryMatch, Request, RouteMatch, StringMatch, Table, pick,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Call {
    path: String,
    headers: Vec<(String, String)>,
}

impl Request for Call {
    fn path(&self) -> &str {
        &self.path
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let values: Vec<_> = self
            .headers
            .iter()
            .filter(|(own, _)| own == name)
            .map(|(_, value)| &**value)
            .collect();
        match values.as_slice() {
            [] => None,
            [one] => Some(Cow::Borrowed(one.as_bytes())),
            several => Some(Cow::Owned(several.join(",").into_bytes())),
        }
    }
}

fn word() -> impl Strategy<Value = String> {
    "[aAb/]{0,4}"
}

fn text_match() -> impl Strategy<Value = StringMatch> {
    (word(), 0..4, any::<bool>()).prop_map(|(text, kind, ignore_case)| {
        let pattern = match kind {
            0 => Pattern::Exact(text),
            1 => Pattern::Prefix(text),
            2 => Pattern::Suffix(text),
            _ => Pattern::Contains(text),
        };
        StringMatch {
            pattern,
            ignore_case,
        }
    })
}

fn route_match() -> impl Strategy<Value = RouteMatch> {
    let path = (word(), 0..4).prop_map(|(text, kind)| match kind {
        0 => PathMatch::Exact(format!("/{text}")),
        1 => PathMatch::Prefix(format!("/{text}")),
        2 => PathMatch::SeparatedPrefix(format!("/{}", text.replace('/', ""))),
        _ => PathMatch::Regex(format!("/{text}.*")),
    });
    let value = prop_oneof![
        any::<bool>().prop_map(HeaderValueMatch::Present),
        text_match().prop_map(HeaderValueMatch::Text),
        (-3_i64..3, -3_i64..3).prop_map(|(start, end)| HeaderValueMatch::Range { start, end }),
    ];
    let header = ("[xy]", value, any::<bool>(), any::<bool>()).prop_map(
        |(name, value, invert, missing_as_empty)| HeaderMatch {
            name,
            value,
            invert,
            missing_as_empty,
        },
    );
    let query = ("[pq]", prop::option::of(text_match()))
        .prop_map(|(name, value)| QueryMatch { name, value });
    (
        path,
        any::<bool>(),
        prop::collection::vec(header, 0..2),
        prop::collection::vec(query, 0..2),
    )
        .prop_map(|(path, ignore_case, headers, query)| RouteMatch {
            path,
            ignore_case,
            headers,
            query,
            grpc: false,
        })
}

fn call() -> impl Strategy<Value = Call> {
    let query = prop::option::of("[pq=&ab]{0,6}");
    let headers = prop::collection::vec(("[xy]", prop_oneof![word(), "-?[0-3]"]), 0..3);
    (word(), query, headers).prop_map(|(path, query, headers)| Call {
        path: match query {
            None => format!("/{path}"),
            Some(query) => format!("/{path}?{query}"),
        },
        headers,
    })
}

mod oracle {
    //! The rules as the documentation of Envoy tells them, without any cleverness.

    use super::*;

    fn fold(text: &str, ignore_case: bool) -> String {
        if ignore_case {
            text.to_ascii_lowercase()
        } else {
            text.to_owned()
        }
    }

    fn text(wanted: &StringMatch, value: &str) -> bool {
        let fold = |text: &str| fold(text, wanted.ignore_case);
        let value = fold(value);
        match &wanted.pattern {
            Pattern::Exact(text) => value == fold(text),
            Pattern::Prefix(text) => value.starts_with(&fold(text)),
            Pattern::Suffix(text) => value.ends_with(&fold(text)),
            Pattern::Contains(text) => value.contains(&fold(text)),
            Pattern::Regex(_) => unreachable!("not generated here"),
        }
    }

    fn header(wanted: &HeaderMatch, call: &Call) -> bool {
        let value = call
            .header(&wanted.name)
            .map(|value| String::from_utf8(value.into()).unwrap());
        let value = value.or_else(|| wanted.missing_as_empty.then(String::new));
        let matched = match (&wanted.value, value) {
            (HeaderValueMatch::Present(present), value) => value.is_some() == *present,
            (_, None) => return false,
            (HeaderValueMatch::Text(wanted), Some(value)) => text(wanted, &value),
            (HeaderValueMatch::Range { start, end }, Some(value)) => value
                .parse::<i64>()
                .is_ok_and(|number| *start <= number && number < *end),
        };
        matched != wanted.invert
    }

    fn query(wanted: &QueryMatch, call: &Call) -> bool {
        let query = call.path.split_once('?').map_or("", |(_, query)| query);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if name == wanted.name {
                return wanted
                    .value
                    .as_ref()
                    .is_none_or(|wanted| text(wanted, value));
            }
        }
        false
    }

    pub(super) fn is_match(wanted: &RouteMatch, call: &Call) -> bool {
        let path = call.path.split('?').next().unwrap();
        let fold = |text: &str| fold(text, wanted.ignore_case);
        let by_path = match &wanted.path {
            PathMatch::Exact(text) => fold(path) == fold(text),
            PathMatch::Prefix(text) => fold(path).starts_with(&fold(text)),
            PathMatch::SeparatedPrefix(text) => {
                fold(path) == fold(text) || fold(path).starts_with(&format!("{}/", fold(text)))
            }
            // Those made here are a prefix and anything after it, and mind the case.
            PathMatch::Regex(pattern) => path.starts_with(pattern.strip_suffix(".*").unwrap()),
        };
        by_path
            && wanted.headers.iter().all(|wanted| header(wanted, call))
            && wanted.query.iter().all(|wanted| query(wanted, call))
    }
}

fn domain() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        "[ab]{1,2}(\\.[ab]{1,2}){0,2}",
        "\\*[.-][ab]{1,2}(\\.[ab]{1,2}){0,1}",
        "[ab]{1,2}[.-]\\*",
    ]
}

/// The best domain as the documentation ranks them.
fn best<'d>(domains: &'d [String], host: &str) -> Option<&'d String> {
    let exact = domains.iter().find(|domain| *domain == host);
    let longest = |part: fn(&str) -> Option<&str>, fits: fn(&str, &str) -> bool| {
        domains
            .iter()
            .filter(|domain| *domain != "*")
            .filter_map(|domain| Some((part(domain)?, domain)))
            .filter(|(part, _)| fits(host, part) && host.len() > part.len())
            .max_by_key(|(part, _)| part.len())
            .map(|(_, domain)| domain)
    };
    exact
        .or_else(|| {
            longest(
                |own| own.strip_prefix('*'),
                |host, part| host.ends_with(part),
            )
        })
        .or_else(|| {
            longest(
                |own| own.strip_suffix('*'),
                |host, part| host.starts_with(part),
            )
        })
        .or_else(|| domains.iter().find(|domain| *domain == "*"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_first_match_wins(
        routes in prop::collection::vec(route_match(), 0..6),
        call in call(),
    ) {
        let table = Table::compile(&routes).unwrap();
        let expected = routes.iter().position(|route| oracle::is_match(route, &call));
        prop_assert_eq!(table.find(&call), expected);
    }

    #[test]
    fn a_route_that_does_not_match_changes_nothing(
        routes in prop::collection::vec(route_match(), 0..4),
        other in route_match(),
        at in any::<prop::sample::Index>(),
        call in call(),
    ) {
        prop_assume!(!oracle::is_match(&other, &call));
        let before = Table::compile(&routes).unwrap().find(&call);
        let at = at.index(routes.len() + 1);
        let mut more = routes;
        more.insert(at, other);
        let after = Table::compile(&more).unwrap().find(&call);
        prop_assert_eq!(after, before.map(|index| if index >= at { index + 1 } else { index }));
    }

    #[test]
    fn the_virtual_host_is_that_of_the_best_domain(
        domains in prop::collection::btree_set(domain(), 0..8),
        host in "[ab]{1,2}([.-][ab]{1,2}){0,3}",
        port in prop::option::of(any::<u16>()),
    ) {
        let domains: Vec<_> = domains.into_iter().collect();
        let pairs = domains.iter().enumerate().map(|(index, domain)| (domain.as_str(), index));
        let table = HostTable::new(PortMatch::Ignore, pairs).unwrap();
        let authority = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        let found = table.find(&authority.to_ascii_uppercase());
        prop_assert_eq!(found.map(|index| &domains[index]), best(&domains, &host));
    }

    #[test]
    fn over_all_rolls_the_split_is_exact(
        weights in prop::collection::vec(0_u32..50, 0..5),
        start in 0_u64..1000,
    ) {
        let total: u32 = weights.iter().sum();
        let mut counts = vec![0; weights.len()];
        for roll in start..start + u64::from(total) {
            counts[pick(weights.iter().copied(), roll).unwrap()] += 1;
        }
        prop_assert_eq!(&counts, &weights);
        if total == 0 {
            prop_assert_eq!(pick(weights, start), None);
        }
    }

    #[test]
    fn no_path_makes_a_rewrite_panic(
        path in "\\PC{0,12}",
        matched in "[a-z/é]{0,5}",
        replacement in "[a-z/é\\\\$0-9]{0,5}",
    ) {
        use fairlead_routing::{PathRewrite, RegexRewrite};
        let prefix = PathRewrite::Prefix(replacement.clone());
        prefix.compile(&PathMatch::Prefix(matched.clone())).unwrap().rewrite(&path);
        let regex = PathRewrite::Regex(RegexRewrite { pattern: matched, substitution: replacement });
        regex.compile(&PathMatch::Prefix("/".into())).unwrap().rewrite(&path);
    }
}
