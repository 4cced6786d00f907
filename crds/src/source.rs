//! `source.toolkit.fluxcd.io`: where manifests come from.
//!
//! Types only: what they mean is decided in gitops.

mod artifact;
mod git_repository;

pub use artifact::*;
pub use git_repository::*;

/// The API group.
pub const GROUP: &str = "source.toolkit.fluxcd.io";
/// The served versions.
pub const VERSIONS: &[&str] = &["v1"];

/// Names of `spec.provider`.
const PROVIDERS: &[&str] = &["generic", "aws", "azure", "github"];
/// Hours, minutes, seconds and milliseconds.
pub(crate) const INTERVAL_PATTERN: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$";
/// Minutes, seconds and milliseconds.
const TIMEOUT_PATTERN: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m))+$";
