//! The whole condition of a route: path, headers and query parameters, all of which must match.

use serde::Serialize;

use crate::header::{HeaderMatch, HeaderMatcher};
use crate::path::{PathMatch, PathMatcher};
use crate::query::{QueryMatch, QueryMatcher};
use crate::request::{Request, split_path};
use crate::text::InvalidRegex;

/// Which requests a route takes, as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatch,
    /// Compare the path without regard to ASCII case; not for regular expressions.
    pub ignore_case: bool,
    /// Headers that must all match.
    pub headers: Vec<HeaderMatch>,
    /// Query parameters that must all match.
    pub query: Vec<QueryMatch>,
    /// Only requests of gRPC, by their content type.
    pub grpc: bool,
}

impl RouteMatch {
    /// Takes the paths of `path`, whatever the headers and the query.
    pub fn path(path: PathMatch) -> Self {
        Self {
            path,
            ignore_case: false,
            headers: Vec::new(),
            query: Vec::new(),
            grpc: false,
        }
    }

    /// Takes every request.
    pub fn any() -> Self {
        Self::path(PathMatch::Prefix("/".to_owned()))
    }

    /// Whether every request is taken, so that no later route can be reached.
    pub fn is_catch_all(&self) -> bool {
        let any_path = match &self.path {
            PathMatch::Prefix(path) => path.is_empty() || path == "/",
            PathMatch::Regex(pattern) => pattern == ".*" || pattern == "/.*",
            PathMatch::Exact(_) | PathMatch::SeparatedPrefix(_) => false,
        };
        any_path && self.headers.is_empty() && self.query.is_empty() && !self.grpc
    }

    /// Makes the matcher of the hot path.
    ///
    /// # Errors
    /// When one of the regular expressions is not valid.
    pub fn compile(&self) -> Result<Matcher, InvalidRegex> {
        Ok(Matcher {
            path: self.path.compile()?,
            case_sensitive: !self.ignore_case,
            headers: self
                .headers
                .iter()
                .map(HeaderMatch::compile)
                .collect::<Result<_, _>>()?,
            query: self
                .query
                .iter()
                .map(QueryMatch::compile)
                .collect::<Result<_, _>>()?,
            grpc: self.grpc,
        })
    }
}

/// A compiled [`RouteMatch`].
#[derive(Clone, Debug)]
pub struct Matcher {
    path: PathMatcher,
    case_sensitive: bool,
    headers: Box<[HeaderMatcher]>,
    query: Box<[QueryMatcher]>,
    grpc: bool,
}

impl Matcher {
    /// Whether the route takes `request`.
    pub fn is_match(&self, request: &impl Request) -> bool {
        let (path, query) = split_path(request.path());
        self.is_match_split(request, path, query)
    }

    pub(crate) fn is_match_split(&self, request: &impl Request, path: &str, query: &str) -> bool {
        self.path.is_match(path, self.case_sensitive)
            && (!self.grpc || is_grpc(request))
            && self.headers.iter().all(|header| header.is_match(request))
            && self.query.iter().all(|parameter| parameter.is_match(query))
    }
}

/// Whether the content type is gRPC's own, or that with a `+codec`.
fn is_grpc(request: &impl Request) -> bool {
    request.header("content-type").is_some_and(|value| {
        value
            .strip_prefix(b"application/grpc")
            .is_some_and(|rest| rest.first().is_none_or(|&next| next == b'+'))
    })
}
