//! The server's side of a delta ADS stream, without the stream.
//!
//! What a proxy should have ([`ResourceSet`](crate::resource::ResourceSet)) and what it says come
//! in, responses go out. No IO, no clock: a limit in time is the caller's, see
//! [`Session::release`].

mod delta;
mod session;

pub use session::{Delivery, Rejection, Session};
