//! HTTP through the proxy: connections, routes, retries and the answers that we give ourselves.

pub mod affinity;
pub mod body;
pub mod connection;
pub mod exchange;
pub mod fault;
pub mod forward;
pub mod head;
pub mod headers;
pub mod mirror;
pub mod redirect;
pub mod replay;
pub mod request;
pub mod respond;
pub mod retry;
pub mod router;
pub mod sanitize;
pub mod upgrade;
pub mod upstream;
