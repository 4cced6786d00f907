//! The proxy's traffic, end to end in one process: real sockets, real TLS, no control plane.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod drain;
mod gateway;
mod grpc;
mod mesh;
mod peer;
mod redirect;
mod retry;
mod rig;
mod routing;
mod tcp;
mod websocket;
