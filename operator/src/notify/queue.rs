//! A bounded queue of deliveries, in lanes: one receiver that is slow delays only its own.
//!
//! Within a lane the order is kept; lanes run side by side, a few at a time.
//! What waits at shutdown is lost: messages are news, not state.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The most deliveries that wait in all lanes together.
const CAPACITY: usize = 512;
/// The most that wait in one lane, so that one dead receiver leaves room for the others.
const LANE_CAPACITY: usize = 64;
/// The most lanes that are served at once.
const MOST_AT_ONCE: usize = 16;

/// Too many deliveries wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many messages wait for the same receiver, or for all of them")]
pub struct Full;

type Delivery = BoxFuture<'static, ()>;

/// Takes deliveries; clones share the same queue.
#[derive(Clone, Default)]
pub struct Queue {
    lanes: Arc<Mutex<Lanes<Delivery>>>,
    changed: Arc<Notify>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("waiting", &self.lanes.lock().waiting)
            .finish_non_exhaustive()
    }
}

impl Queue {
    /// Takes a delivery at once, or not at all.
    ///
    /// The lane's name tells receivers apart and holds no secret.
    pub fn push<F>(&self, lane: String, delivery: F) -> Result<(), Full>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.lanes.lock().push(lane, Box::pin(delivery))?;
        self.changed.notify_one();
        Ok(())
    }

    /// Delivers until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Infallible> {
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < MOST_AT_ONCE {
                let Some((lane, delivery)) = self.lanes.lock().start() else {
                    break;
                };
                running.push(async move {
                    delivery.await;
                    lane
                });
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = self.changed.notified() => {}
                Some(lane) = running.next() => self.lanes.lock().finish(&lane),
            }
        }
    }
}

/// What waits, by lane. Pure.
#[derive(Debug)]
struct Lanes<T> {
    /// A lane is here while something in it waits or is being delivered.
    active: HashMap<String, VecDeque<T>>,
    /// Lanes in which something waits and nothing is being delivered, in order of arrival.
    idle: VecDeque<String>,
    waiting: usize,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self {
            active: HashMap::new(),
            idle: VecDeque::new(),
            waiting: 0,
        }
    }
}

impl<T> Lanes<T> {
    fn push(&mut self, lane: String, item: T) -> Result<(), Full> {
        if self.waiting >= CAPACITY {
            return Err(Full);
        }
        if let Some(items) = self.active.get_mut(&lane) {
            if items.len() >= LANE_CAPACITY {
                return Err(Full);
            }
            items.push_back(item);
        } else {
            self.idle.push_back(lane.clone());
            self.active.insert(lane, VecDeque::from([item]));
        }
        self.waiting += 1;
        Ok(())
    }

    /// The next item of an idle lane, which is busy from now on.
    fn start(&mut self) -> Option<(String, T)> {
        let lane = self.idle.pop_front()?;
        let item = self.active.get_mut(&lane)?.pop_front()?;
        self.waiting -= 1;
        Some((lane, item))
    }

    /// A lane is no longer busy.
    fn finish(&mut self, lane: &str) {
        match self.active.get(lane) {
            Some(items) if items.is_empty() => {
                self.active.remove(lane);
            }
            Some(_) => self.idle.push_back(lane.to_owned()),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_delivered_in_order_one_at_a_time() {
        let mut lanes = Lanes::default();
        for (lane, item) in [("a", 1), ("a", 2), ("b", 3)] {
            lanes.push(lane.to_owned(), item).unwrap();
        }
        assert_eq!(lanes.start(), Some(("a".to_owned(), 1)));
        assert_eq!(lanes.start(), Some(("b".to_owned(), 3)));
        assert_eq!(lanes.start(), None);
        lanes.finish("a");
        assert_eq!(lanes.start(), Some(("a".to_owned(), 2)));
        lanes.finish("a");
        lanes.finish("b");
        assert!(lanes.active.is_empty());
        assert_eq!(lanes.waiting, 0);
    }

    #[test]
    fn a_full_lane_leaves_room_for_others_until_all_is_full() {
        let mut lanes = Lanes::default();
        for _ in 0..LANE_CAPACITY {
            lanes.push("dead".to_owned(), ()).unwrap();
        }
        lanes.push("dead".to_owned(), ()).unwrap_err();
        for count in LANE_CAPACITY..CAPACITY {
            lanes.push(format!("lane {count}"), ()).unwrap();
        }
        lanes.push("one more".to_owned(), ()).unwrap_err();
        lanes.start().unwrap();
        lanes.push("one more".to_owned(), ()).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_hangs_delays_nobody_else() {
        let queue = Queue::default();
        let delivered = Arc::new(Notify::new());
        queue
            .push("dead".to_owned(), std::future::pending())
            .unwrap();
        let tell = Arc::clone(&delivered);
        queue
            .push("alive".to_owned(), async move { tell.notify_one() })
            .unwrap();
        let shutdown = CancellationToken::new();
        tokio::select! {
            _ = queue.run(shutdown) => panic!("the queue ended"),
            () = delivered.notified() => {}
        }
    }
}
