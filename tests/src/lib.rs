//! The test harness: a local cluster, a git server, Prometheus, load, and the stories told on them.
//!
//! Demo, tests and benchmarks share it; nothing that is deployed may depend on it.

pub mod apiserver;
pub mod built;
pub mod callers;
pub mod certificates;
pub mod chart;
pub mod cluster;
pub mod console;
pub mod control_plane;
pub mod diagnosis;
pub mod figure;
pub mod forward;
pub mod git;
pub mod images;
pub mod kubeconfig;
pub mod lifetime;
pub mod load;
pub mod manifest;
pub mod operator;
pub mod players;
pub mod ports;
pub mod program;
mod revisions;
pub mod story;
pub mod timeline;
pub mod tools;
pub mod wait;
pub mod world;

pub use apiserver::ApiServer;
pub use cluster::Cluster;
