//! Whether traffic may come: certificates, listeners and routes are there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by who knows and who asks.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// The configuration is there; it never goes away again.
    pub fn configured(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the configuration is there.
    pub fn is_configured(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
