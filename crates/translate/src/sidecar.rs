//! What a sidecar gets: the way out, shared by all proxies that see the same, and the way in.

mod inbound;
mod outbound;
mod port;

pub(crate) use inbound::inbound;
pub(crate) use outbound::outbound;
