//! String matchers, header matchers and header mutations.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::envoy::r#type::v3 as percent;
use fairlead_routing::header::HeaderValueMatch;
use fairlead_routing::text::{Pattern, full_match, search};
use fairlead_routing::{HeaderMatch, QueryMatch, RegexRewrite, StringMatch};

use super::refusal::{Error, Result, each, refuse};
use crate::resource::route::{AddMode, HeaderAdd, Share};

pub(super) fn regex(pattern: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher {
        regex: pattern.to_owned(),
        engine_type: None,
    }
}

/// A regular expression that must match a whole text; it is compiled to see that it can be.
pub(super) fn from_regex(regex: matcher::RegexMatcher) -> Result<String> {
    match full_match(&regex.regex) {
        Ok(_) => Ok(regex.regex),
        Err(source) => Err(Error::Regex {
            field: "regex".to_owned(),
            source,
        }),
    }
}

pub(super) fn string(text: &StringMatch) -> matcher::StringMatcher {
    use matcher::string_matcher::MatchPattern;
    let pattern = match &text.pattern {
        Pattern::Exact(text) => MatchPattern::Exact(text.clone()),
        Pattern::Prefix(text) => MatchPattern::Prefix(text.clone()),
        Pattern::Suffix(text) => MatchPattern::Suffix(text.clone()),
        Pattern::Contains(text) => MatchPattern::Contains(text.clone()),
        Pattern::Regex(pattern) => MatchPattern::SafeRegex(regex(pattern)),
    };
    matcher::StringMatcher {
        ignore_case: text.ignore_case,
        match_pattern: Some(pattern),
    }
}

pub(super) fn from_string(text: matcher::StringMatcher) -> Result<StringMatch> {
    use matcher::string_matcher::MatchPattern;
    let pattern = match text.match_pattern {
        None => return Err(Error::missing("match_pattern")),
        Some(MatchPattern::Exact(text)) => Pattern::Exact(text),
        Some(MatchPattern::Prefix(text)) => Pattern::Prefix(text),
        Some(MatchPattern::Suffix(text)) => Pattern::Suffix(text),
        Some(MatchPattern::Contains(text)) => Pattern::Contains(text),
        Some(MatchPattern::SafeRegex(regex)) => Pattern::Regex(from_regex(regex)?),
        Some(MatchPattern::Custom(_)) => return Err(Error::unsupported("custom")),
    };
    Ok(StringMatch {
        pattern,
        ignore_case: text.ignore_case,
    })
}

pub(super) fn header(header: &HeaderMatch) -> pb::HeaderMatcher {
    use pb::header_matcher::HeaderMatchSpecifier;
    let specifier = match &header.value {
        HeaderValueMatch::Present(wanted) => HeaderMatchSpecifier::PresentMatch(*wanted),
        HeaderValueMatch::Text(text) => HeaderMatchSpecifier::StringMatch(string(text)),
        HeaderValueMatch::Range { start, end } => {
            HeaderMatchSpecifier::RangeMatch(percent::Int64Range {
                start: *start,
                end: *end,
            })
        }
    };
    pb::HeaderMatcher {
        name: header.name.clone(),
        invert_match: header.invert,
        treat_missing_header_as_empty: header.missing_as_empty,
        header_match_specifier: Some(specifier),
    }
}

#[expect(
    deprecated,
    reason = "control planes of others still send the old forms"
)]
pub(super) fn from_header(header: pb::HeaderMatcher) -> Result<HeaderMatch> {
    use pb::header_matcher::HeaderMatchSpecifier;
    let value = match header.header_match_specifier {
        None => HeaderValueMatch::Present(true),
        Some(HeaderMatchSpecifier::PresentMatch(wanted)) => HeaderValueMatch::Present(wanted),
        Some(HeaderMatchSpecifier::StringMatch(text)) => HeaderValueMatch::Text(from_string(text)?),
        Some(HeaderMatchSpecifier::RangeMatch(range)) => HeaderValueMatch::Range {
            start: range.start,
            end: range.end,
        },
        Some(HeaderMatchSpecifier::ExactMatch(text)) => {
            HeaderValueMatch::Text(StringMatch::exact(text))
        }
        Some(HeaderMatchSpecifier::PrefixMatch(text)) => {
            HeaderValueMatch::Text(StringMatch::prefix(text))
        }
        Some(HeaderMatchSpecifier::SuffixMatch(text)) => {
            HeaderValueMatch::Text(StringMatch::suffix(text))
        }
        Some(HeaderMatchSpecifier::ContainsMatch(text)) => HeaderValueMatch::Text(StringMatch {
            pattern: Pattern::Contains(text),
            ignore_case: false,
        }),
        Some(HeaderMatchSpecifier::SafeRegexMatch(regex)) => {
            HeaderValueMatch::Text(StringMatch::regex(from_regex(regex)?))
        }
    };
    Ok(HeaderMatch {
        name: header.name,
        value,
        invert: header.invert_match,
        missing_as_empty: header.treat_missing_header_as_empty,
    })
}

pub(super) fn query(query: &QueryMatch) -> pb::QueryParameterMatcher {
    use pb::query_parameter_matcher::QueryParameterMatchSpecifier;
    pb::QueryParameterMatcher {
        name: query.name.clone(),
        query_parameter_match_specifier: Some(
            query
                .value
                .as_ref()
                .map_or(QueryParameterMatchSpecifier::PresentMatch(true), |value| {
                    QueryParameterMatchSpecifier::StringMatch(string(value))
                }),
        ),
    }
}

pub(super) fn from_query(query: pb::QueryParameterMatcher) -> Result<QueryMatch> {
    use pb::query_parameter_matcher::QueryParameterMatchSpecifier;
    let value = match query.query_parameter_match_specifier {
        None | Some(QueryParameterMatchSpecifier::PresentMatch(true)) => None,
        Some(QueryParameterMatchSpecifier::PresentMatch(false)) => {
            return Err(Error::invalid("present_match", false));
        }
        Some(QueryParameterMatchSpecifier::StringMatch(text)) => Some(from_string(text)?),
    };
    Ok(QueryMatch {
        name: query.name,
        value,
    })
}

pub(super) fn substitution(rewrite: &RegexRewrite) -> matcher::RegexMatchAndSubstitute {
    matcher::RegexMatchAndSubstitute {
        pattern: Some(regex(&rewrite.pattern)),
        substitution: rewrite.substitution.clone(),
    }
}

pub(super) fn from_substitution(rewrite: matcher::RegexMatchAndSubstitute) -> Result<RegexRewrite> {
    let pattern = rewrite
        .pattern
        .ok_or_else(|| Error::missing("pattern"))?
        .regex;
    match search(&pattern) {
        Ok(_) => Ok(RegexRewrite {
            pattern,
            substitution: rewrite.substitution,
        }),
        Err(source) => Err(Error::Regex {
            field: "pattern".to_owned(),
            source,
        }),
    }
}

pub(super) fn headers_to_add(headers: &[HeaderAdd]) -> Vec<core::HeaderValueOption> {
    use core::header_value_option::HeaderAppendAction;
    headers
        .iter()
        .map(|header| core::HeaderValueOption {
            header: Some(core::HeaderValue {
                key: header.name.clone(),
                value: header.value.clone(),
                raw_value: Vec::new(),
            }),
            append_action: match header.mode {
                AddMode::Append => HeaderAppendAction::AppendIfExistsOrAdd,
                AddMode::IfAbsent => HeaderAppendAction::AddIfAbsent,
                AddMode::Overwrite => HeaderAppendAction::OverwriteIfExistsOrAdd,
                AddMode::OverwriteIfPresent => HeaderAppendAction::OverwriteIfExists,
            }
            .into(),
            keep_empty_value: header.value.is_empty(),
            ..core::HeaderValueOption::default()
        })
        .collect()
}

#[expect(deprecated, reason = "the old field is refused by name")]
pub(super) fn from_headers_to_add(
    field: &str,
    headers: Vec<core::HeaderValueOption>,
) -> Result<Vec<HeaderAdd>> {
    use core::header_value_option::HeaderAppendAction;
    each(field, headers, |option| {
        refuse!(option, append);
        let action = HeaderAppendAction::try_from(option.append_action)
            .map_err(|_cause| Error::invalid("append_action", option.append_action))?;
        let header = option.header.ok_or_else(|| Error::missing("header"))?;
        refuse!(header, raw_value);
        Ok(HeaderAdd {
            name: header.key,
            value: header.value,
            mode: match action {
                HeaderAppendAction::AppendIfExistsOrAdd => AddMode::Append,
                HeaderAppendAction::AddIfAbsent => AddMode::IfAbsent,
                HeaderAppendAction::OverwriteIfExistsOrAdd => AddMode::Overwrite,
                HeaderAppendAction::OverwriteIfExists => AddMode::OverwriteIfPresent,
            },
        })
    })
}

pub(super) fn share(share: Share) -> percent::FractionalPercent {
    percent::FractionalPercent {
        numerator: share.millionths(),
        denominator: percent::fractional_percent::DenominatorType::Million.into(),
    }
}

pub(super) fn from_share(share: percent::FractionalPercent) -> Result<Share> {
    use percent::fractional_percent::DenominatorType;
    let factor = match DenominatorType::try_from(share.denominator) {
        Ok(DenominatorType::Hundred) => 10_000,
        Ok(DenominatorType::TenThousand) => 100,
        Ok(DenominatorType::Million) => 1,
        Err(_) => return Err(Error::invalid("denominator", share.denominator)),
    };
    Ok(Share::from_millionths(
        share.numerator.saturating_mul(factor),
    ))
}

/// A share that may be overridden at run time; the override is passed over, the default taken.
pub(super) fn from_runtime_share(
    share: Option<core::RuntimeFractionalPercent>,
) -> Result<Option<Share>> {
    share
        .and_then(|share| share.default_value)
        .map(from_share)
        .transpose()
}
