//! The Kubernetes API types that Fairlead serves, and the CRDs generated from them.
//!
//! Types are for reading and building objects: unknown fields are ignored, and what the API server
//! lets through deserialises. Nothing here talks to a cluster or decides what a field means.

pub mod annotation;
pub mod canary;
pub mod condition;
pub mod definition;
pub mod duration;
pub mod kustomization;
pub mod label;
pub mod mesh_install;
pub mod networking;
mod schema;
pub mod security;
mod selector;
pub mod source;

pub use condition::{
    ConditionStatus, ConditionType, Finding, find_condition, is_true, remove_condition,
    set_condition,
};
pub use duration::parse_duration;
pub use selector::PodSelector;
