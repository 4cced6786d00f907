//! The client's side of a delta ADS stream, without the stream.

mod session;
mod subscription;

pub use session::{Received, Reply, Session};
