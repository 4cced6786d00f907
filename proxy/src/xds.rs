//! The configuration's way into the proxy: certificates first, then xDS.

pub mod authority;
pub mod channel;
pub mod resolve;
pub mod secrets;
pub mod store;
pub mod stream;
