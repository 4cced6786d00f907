//! How far the objects of the mesh have come, and what their statuses say about it.
//!
//! Every replica keeps the bookkeeping of its own streams ([`progress`]) and tells it to others
//! ([`replica`]); only the leader writes statuses ([`writer`]).

pub(crate) mod leader;
pub mod others;
pub mod peers;
pub mod progress;
pub mod replica;
mod report;
pub mod writer;

use parking_lot::Mutex;
use tokio::sync::Notify;

use progress::Progress;

/// The bookkeeping, shared by the pusher, the streams and the writer.
#[derive(Debug, Default)]
pub struct Tracker {
    progress: Mutex<Progress>,
    changed: Notify,
}

impl Tracker {
    /// Changes the bookkeeping, and lets the writer look at it.
    pub fn update<T>(&self, change: impl FnOnce(&mut Progress) -> T) -> T {
        let result = change(&mut self.progress.lock());
        self.changed.notify_one();
        result
    }

    /// Changes the bookkeeping on behalf of the writer, who looks at it anyway.
    pub(crate) fn adjust(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock());
    }

    /// Looks at the bookkeeping.
    pub fn read<T>(&self, look: impl FnOnce(&Progress) -> T) -> T {
        look(&self.progress.lock())
    }
}
