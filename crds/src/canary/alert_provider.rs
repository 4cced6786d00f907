//! `AlertProvider`: where messages about releases go.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::SecretName;
use crate::schema;

/// Where messages about releases go.
#[skip_serializing_none]
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "flagger.app",
    version = "v1beta1",
    kind = "AlertProvider",
    plural = "alertproviders",
    namespaced,
    doc = "Where messages about releases go.",
    status = "AlertProviderStatus",
    derive = "Default",
    derive = "PartialEq",
    category = "all",
    printcolumn = r#"{"name": "Type", "type": "string", "jsonPath": ".spec.type"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(
    transform = schema::rule("has(self.type)", "type is needed"),
    transform = schema::rule(
        "has(self.address) != has(self.secretRef)",
        "set either address or secretRef"
    )
)]
pub struct AlertProviderSpec {
    /// Which chat, or `webhook` for any receiver of JSON.
    #[schemars(
        transform = schema::one_of_texts(&[
            "slack", "msteams", "discord", "rocket", "gchat", "webhook",
        ])
    )]
    pub r#type: Option<String>,
    /// Channel to write to.
    pub channel: Option<String>,
    /// Name to write as.
    pub username: Option<String>,
    /// Address of the incoming webhook.
    pub address: Option<String>,
    /// HTTP proxy to go through.
    pub proxy: Option<String>,
    /// Secret with the `address`. Slack and `webhook` also take a `token`, sent as bearer token;
    /// with `hmacKey` a `webhook` gets the body signed in the header `X-Signature`.
    pub secret_ref: Option<SecretName>,
}

/// What the operator knows about a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertProviderStatus {
    /// The generation of the spec that was looked at last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}
