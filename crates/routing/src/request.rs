//! What matching needs to see of a request.

use std::borrow::Cow;

/// The head of a request, as seen by the matchers.
pub trait Request {
    /// The `:path`, with its query.
    fn path(&self) -> &str;

    /// The value of a header, named in lower case; `:method`, `:authority`, `:scheme` and `:path`
    /// name the pseudo-headers. The values of a repeated header are joined with a comma.
    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>>;
}

/// Splits a `:path` into the path proper and its query, without `?` and fragment.
pub fn split_path(path: &str) -> (&str, &str) {
    let path = path.split_once('#').map_or(path, |(before, _)| before);
    path.split_once('?').unwrap_or((path, ""))
}
