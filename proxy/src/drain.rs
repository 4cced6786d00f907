//! The two steps of an orderly end: first peers are asked to leave, then they are cut off.

use std::sync::{Arc, OnceLock};

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// Says how far the end has come; clones share it, across threads too.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    since: Arc<OnceLock<Instant>>,
    started: CancellationToken,
    closing: CancellationToken,
}

impl Drain {
    /// Asks peers to leave: new requests are still served, and answered with the wish to close.
    pub fn start(&self) {
        self.since.get_or_init(fairlead_runtime::clock::instant);
        self.started.cancel();
    }

    /// When peers were asked to leave.
    pub fn since(&self) -> Option<Instant> {
        self.since.get().copied()
    }

    /// Cuts off who is still there and idle, and accepts nobody any more.
    pub fn close(&self) {
        self.started.cancel();
        self.closing.cancel();
    }

    /// Whether peers have been asked to leave.
    pub fn is_started(&self) -> bool {
        self.started.is_cancelled()
    }

    /// Waits until peers are asked to leave.
    pub fn started(&self) -> WaitForCancellationFuture<'_> {
        self.started.cancelled()
    }

    /// Waits until peers are cut off.
    pub fn closing(&self) -> WaitForCancellationFuture<'_> {
        self.closing.cancelled()
    }

    /// A drain that ends with this one, or before it by itself.
    pub fn child(&self) -> Self {
        Self {
            since: Arc::default(),
            started: self.started.child_token(),
            closing: self.closing.child_token(),
        }
    }
}
