//! The data plane: one binary that is sidecar or gateway.
//!
//! It knows no Kubernetes: who it is comes by environment and files, what to do by xDS. A control
//! thread gets certificates and configuration ([`xds`]) and answers administrators ([`admin`]);
//! workers ([`worker`]) carry the traffic, each a thread that shares nothing with the others.
#![cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing))]

pub mod acceptor;
pub mod admin;
pub mod args;
pub mod cluster;
pub mod config;
pub mod detect;
pub mod downstream;
pub mod drain;
pub mod http;
pub mod init;
pub mod readiness;
pub mod run;
pub mod socket;
pub mod stream;
pub mod tcp;
pub mod telemetry;
pub mod tls;
pub mod worker;
pub mod workers;
pub mod xds;
