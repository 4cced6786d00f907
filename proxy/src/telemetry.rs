//! What the proxy tells about the traffic: metrics and the access log.
//!
//! Each worker writes its own plain values; the control thread collects them.

pub mod access_log;
pub mod flag;
pub mod histogram;
pub mod metrics;
pub mod peer;
pub mod render;

pub use flag::{Flag, Flags};
pub use metrics::Metrics;
pub use peer::{Peer, Service};
