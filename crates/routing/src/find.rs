//! The routes of one virtual host: the first match in order wins.

use crate::request::{Request, split_path};
use crate::rule::{Matcher, RouteMatch};
use crate::text::InvalidRegex;

/// Compiled routes in their order.
#[derive(Clone, Debug, Default)]
pub struct Table {
    matchers: Box<[Matcher]>,
}

impl Table {
    /// Compiles the matches of a virtual host's routes.
    ///
    /// # Errors
    /// When a regular expression of one of them is not valid.
    pub fn compile<'m>(
        matches: impl IntoIterator<Item = &'m RouteMatch>,
    ) -> Result<Self, InvalidRegex> {
        let matchers = matches
            .into_iter()
            .map(RouteMatch::compile)
            .collect::<Result<Box<[_]>, _>>()?;
        Ok(Self { matchers })
    }

    /// The index of the first route that takes `request`.
    pub fn find(&self, request: &impl Request) -> Option<usize> {
        let (path, query) = split_path(request.path());
        self.matchers
            .iter()
            .position(|matcher| matcher.is_match_split(request, path, query))
    }
}
