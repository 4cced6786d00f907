//! Reconciler machinery that knows no kind in particular: client, lease, run loop, requeue policy,
//! applier, conditions, events.
//!
//! A controller is a `kube::runtime::Controller` given to [`run::run`], which reconciles, logs each
//! failure with its causes, and asks [`requeue`] when to try again. Its writes go through the
//! [`applier`], its conditions through [`conditions`], its events through [`events`]. The process
//! [leads](lease::lead) before it writes.

pub mod api_error;
pub mod applier;
pub mod client;
pub mod conditions;
pub mod events;
pub mod kinds;
pub mod lease;
pub mod requeue;
pub mod run;

pub use api_error::ApiError;
pub use applier::Applier;
pub use events::Recorder;
pub use requeue::{Class, Failure};
