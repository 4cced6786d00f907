//! The status that all mesh kinds share.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::schema;

/// What the control plane made of the object.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::open)]
pub struct IstioStatus {
    /// State of the object, one entry for each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<IstioCondition>,
    /// The generation that every connected proxy using the object has accepted.
    #[schemars(transform = schema::int_or_string)]
    pub observed_generation: Option<IntOrString>,
    /// Faults found in the object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validation_messages: Vec<ValidationMessage>,
}

/// One aspect of the state of a mesh object.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IstioCondition {
    /// Name of the condition, such as `Reconciled`.
    pub r#type: Option<String>,
    /// `True`, `False` or `Unknown`.
    pub status: Option<String>,
    /// Why, as one CamelCase word.
    pub reason: Option<String>,
    /// Why, as a sentence.
    pub message: Option<String>,
    /// When the condition was last looked at.
    pub last_probe_time: Option<Time>,
    /// When the status last changed.
    pub last_transition_time: Option<Time>,
    /// The generation that the condition speaks about.
    #[schemars(transform = schema::int_or_string)]
    pub observed_generation: Option<IntOrString>,
}

/// A fault found in the object.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValidationMessage {
    /// Where to read more about this kind of fault.
    pub documentation_url: Option<String>,
    /// How bad it is.
    #[schemars(transform = schema::one_of_texts(&["UNKNOWN", "ERROR", "WARNING", "INFO"]))]
    pub level: Option<String>,
    /// Which kind of fault.
    pub r#type: Option<ValidationMessageType>,
}

/// A kind of fault.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ValidationMessageType {
    /// Stable code of the kind.
    pub code: Option<String>,
    /// Readable name of the kind.
    pub name: Option<String>,
}
