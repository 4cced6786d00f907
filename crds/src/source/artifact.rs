//! What a source makes of a revision, for others to download.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// An archive of one revision of a source.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Hash of the archive, `algorithm:hex`.
    #[schemars(regex(pattern = "^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$"))]
    pub digest: String,
    /// When the archive was made.
    pub last_update_time: Time,
    /// What else is known of the revision.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Path of the archive below the server's root.
    pub path: String,
    /// The revision, such as `main@sha1:` and the commit.
    pub revision: String,
    /// Bytes of the archive.
    pub size: Option<i64>,
    /// Address to download it from.
    pub url: String,
}
