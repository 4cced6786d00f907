//! `MetricTemplate`: a query that canaries share.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::schema;

/// Names of metrics systems that manifests in the wild ask for.
const PROVIDERS: &[&str] = &[
    "prometheus",
    "influxdb",
    "datadog",
    "externalmetrics",
    "stackdriver",
    "cloudwatch",
    "newrelic",
    "graphite",
    "dynatrace",
    "keptn",
    "splunk",
    "web",
];

/// A query that canaries share.
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "flagger.app",
    version = "v1beta1",
    kind = "MetricTemplate",
    plural = "metrictemplates",
    namespaced,
    doc = "A query that canaries share.",
    status = "MetricTemplateStatus",
    derive = "Default",
    derive = "PartialEq",
    category = "all",
    printcolumn = r#"{"name": "Provider", "type": "string", "jsonPath": ".spec.provider.type"}"#
)]
pub struct MetricTemplateSpec {
    /// Who is asked.
    pub provider: MetricProvider,
    /// The query, a Go template; for a `web` provider the path and parameters after its address.
    /// It sees `name`, `namespace`, `target`, `service`, `ingress`, `interval` and `variables`.
    pub query: String,
}

/// A metrics system.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricProvider {
    /// Which system; `web` is any server that answers with JSON.
    #[schemars(transform = schema::one_of_texts(PROVIDERS))]
    pub r#type: String,
    /// Its address.
    pub address: Option<String>,
    /// Headers that are sent along.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Vec<String>>,
    /// Where an answer of a `web` provider holds the numbers, such as `$.data[*].errorRate`; the
    /// whole answer by default. Each number must keep the limits.
    pub json_path: Option<String>,
    /// Secret in this namespace with `token`, or `username` and `password`; it may also hold
    /// `ca.crt`, an authority to trust, and `headers`, a line of name, colon and value for each.
    pub secret_ref: Option<SecretName>,
    /// Region, for cloud providers.
    pub region: Option<String>,
    /// Whether the server's certificate is accepted unverified.
    pub insecure_skip_verify: Option<bool>,
}

/// A Secret in this namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretName {
    /// Its name.
    pub name: String,
}

/// What the operator knows about a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricTemplateStatus {
    /// The generation of the spec that was looked at last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}
