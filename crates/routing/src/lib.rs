//! Route matching in order, virtual-host selection and weighted choice, as Envoy does them.
//!
//! Pure: no IO, no clock, no randomness; a roll or a `now` is always an argument.
//! Specifications (`RouteMatch`, `StringMatch`, …) are plain data that travel in xDS resources;
//! compiling them once gives the matchers of the hot path, which do not allocate.
//! Semantics: <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto>.
#![cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing))]

pub mod find;
pub mod header;
pub mod host;
pub mod path;
pub mod query;
pub mod request;
pub mod rewrite;
pub mod rule;
pub mod text;
pub mod weight;

pub use find::Table;
pub use header::HeaderMatch;
pub use host::HostTable;
pub use path::PathMatch;
pub use query::QueryMatch;
pub use request::Request;
pub use rewrite::{PathRewrite, RegexRewrite};
pub use rule::RouteMatch;
pub use text::{InvalidRegex, StringMatch};
pub use weight::pick;
