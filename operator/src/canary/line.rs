//! Whose Canary is looked at next: a few at a time, the most urgent first.
//!
//! After a start every Canary must be looked at, and hundreds that are applied at once have
//! everything to be made. All together they would ask more of the API server than it answers in
//! time, and the one whose check is due would wait as long as the one that has hours.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How many looks are taken at the same time: each sends up to ten requests at once, and a few dozen
/// keep an API server busy.
const ABREAST: usize = 16;
/// After this a look steps aside: one that the API server, or a webhook of someone's, is slow to
/// answer must not keep the others.
const LONGEST: Duration = Duration::from_secs(1);
/// How many may stand aside. An API server that is slow to answer everybody gets no more.
const ASIDE: usize = 48;

/// Those who are looked at and those who wait.
#[derive(Clone, Debug)]
pub(super) struct Line {
    state: Arc<Mutex<State>>,
    closed: CancellationToken,
}

#[derive(Debug)]
struct State {
    free: usize,
    aside: usize,
    /// Tells those who come with the same urgency apart: the first comes first.
    number: u64,
    waiting: BTreeMap<Rank, oneshot::Sender<Place>>,
}

/// The earlier time is the more urgent one.
type Rank = (Timestamp, u64);

/// A place at the front; dropping it lets the next one in.
#[derive(Debug)]
struct Place {
    /// `None` once it was handed on.
    line: Option<Line>,
    is_aside: bool,
}

impl Place {
    /// Lets the next one in before the look is over, if not too many are aside already.
    fn step_aside(&mut self) {
        let Some(line) = self.line.as_ref().filter(|_| !self.is_aside) else {
            return;
        };
        {
            let mut state = line.state.lock();
            let Some(left) = state.aside.checked_sub(1) else {
                return;
            };
            state.aside = left;
        }
        self.is_aside = true;
        line.hand_on();
    }
}

impl Line {
    /// A line in which nobody's turn comes any more once `closed`.
    pub(super) fn new(closed: CancellationToken) -> Self {
        Self::of(ABREAST, ASIDE, closed)
    }

    fn of(abreast: usize, aside: usize, closed: CancellationToken) -> Self {
        let state = State {
            free: abreast,
            aside,
            number: 0,
            waiting: BTreeMap::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            closed,
        }
    }

    /// Takes a look when it is its turn: those with an earlier time of
    /// [`urgency`](super::urgency::urgency) come first. `None` when the line was closed before: a
    /// process that ends must not begin what waits.
    ///
    /// # Cancel safety
    /// Dropping it gives its place to the next.
    pub(super) async fn pass<T>(
        &self,
        urgency: Timestamp,
        look: impl Future<Output = T>,
    ) -> Option<T> {
        let mut place = self.enter(urgency).await?;
        let mut look = pin!(look);
        loop {
            if let Ok(outcome) = tokio::time::timeout(LONGEST, &mut look).await {
                return Some(outcome);
            }
            place.step_aside();
        }
    }

    async fn enter(&self, urgency: Timestamp) -> Option<Place> {
        let turn = {
            let mut state = self.state.lock();
            if self.closed.is_cancelled() {
                return None;
            }
            if state.free > 0 {
                state.free -= 1;
                return Some(self.place());
            }
            let (sender, turn) = oneshot::channel();
            state.number += 1;
            let number = state.number;
            state.waiting.insert((urgency, number), sender);
            turn
        };
        tokio::select! {
            biased;
            () = self.closed.cancelled() => None,
            // A sender is dropped with the line alone.
            place = turn => place.ok(),
        }
    }

    fn place(&self) -> Place {
        Place {
            line: Some(self.clone()),
            is_aside: false,
        }
    }

    /// Gives a place to the most urgent of those who still wait.
    fn hand_on(&self) {
        loop {
            let next = {
                let mut state = self.state.lock();
                let next = state.waiting.pop_first();
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some((_, next)) = next else { return };
            match next.send(self.place()) {
                Ok(()) => return,
                // Whoever waited is gone, and the next is chosen here.
                Err(mut place) => place.line = None,
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match self.line.take() {
            Some(line) if self.is_aside => line.state.lock().aside += 1,
            Some(line) => line.hand_on(),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn line() -> Line {
        Line::of(1, 2, CancellationToken::new())
    }

    /// Those of `looks` that are over, polled in their order until nobody gets on.
    fn finish<F: Future<Output = Option<usize>> + Unpin>(looks: &mut Vec<F>) -> Vec<usize> {
        let mut done = Vec::new();
        loop {
            let before = done.len();
            looks.retain_mut(|look| match look.now_or_never() {
                Some(number) => {
                    done.extend(number);
                    false
                }
                None => true,
            });
            if done.len() == before {
                return done;
            }
        }
    }

    #[tokio::test]
    async fn the_most_urgent_goes_first() {
        let line = line();
        let place = line.enter(at(0)).await;
        let wanted = [30, 40, 10, 20, 10].map(at);
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut looks: Vec<_> = wanted
            .into_iter()
            .enumerate()
            .map(|(number, since)| {
                let order = Arc::clone(&order);
                let read = async move {
                    order.lock().push(number);
                    number
                };
                line.pass(since, read).boxed()
            })
            .collect();
        assert!(finish(&mut looks).is_empty(), "the place is taken");
        drop(place);
        assert_eq!(finish(&mut looks).len(), 5);
        assert_eq!(*order.lock(), [2, 4, 3, 0, 1]);
    }

    #[tokio::test]
    async fn whoever_gives_up_keeps_nobody() {
        let line = line();
        let place = line.enter(at(0)).await;
        let mut gone = line.pass(at(1), std::future::pending::<()>()).boxed();
        let mut left = line.pass(at(2), std::future::ready(7)).boxed();
        assert!((&mut gone).now_or_never().is_none());
        assert!((&mut left).now_or_never().is_none());
        drop(gone);
        drop(place);
        assert_eq!(left.now_or_never(), Some(Some(7)));
        assert_eq!(line.state.lock().free, 1);
    }

    #[tokio::test]
    async fn a_place_that_was_given_to_one_who_is_gone_is_handed_on() {
        let line = line();
        let place = line.enter(at(0)).await;
        let mut gone = line.pass(at(1), std::future::pending::<()>()).boxed();
        let mut left = line.pass(at(2), std::future::ready(7)).boxed();
        assert!((&mut gone).now_or_never().is_none());
        assert!((&mut left).now_or_never().is_none());
        drop(place);
        drop(gone);
        assert_eq!(left.now_or_never(), Some(Some(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_look_keeps_the_others_for_a_while_only() {
        let line = line();
        let slow = line.pass(at(1), tokio::time::sleep(20 * LONGEST));
        let quick = line.pass(at(2), std::future::ready(7));
        let begun = tokio::time::Instant::now();
        let quick = async {
            let read = quick.await;
            (read, begun.elapsed())
        };
        let (_, (read, after)) = tokio::join!(slow, quick);
        assert_eq!((read, after), (Some(7), LONGEST));
        assert_eq!(begun.elapsed(), 20 * LONGEST);
        let state = line.state.lock();
        assert_eq!((state.free, state.aside), (1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_are_slow_no_more_are_taken() {
        let line = line();
        let sleep = || async { tokio::time::sleep(20 * LONGEST).await };
        let slow = || line.pass(at(1), sleep());
        let begun = tokio::time::Instant::now();
        tokio::join!(slow(), slow(), slow(), slow());
        // Two step aside, and the third when the first of them is done: then the fourth comes.
        let seconds = begun.elapsed().as_secs();
        assert!((40..=41).contains(&seconds), "{seconds}");
        let state = line.state.lock();
        assert_eq!((state.free, state.aside), (1, 2));
    }

    #[tokio::test]
    async fn nobody_comes_in_once_it_is_closed() {
        let line = line();
        let place = line.enter(at(0)).await;
        let mut waiting = line.pass(at(1), std::future::ready(7)).boxed();
        assert!((&mut waiting).now_or_never().is_none());
        line.closed.cancel();
        assert_eq!(waiting.await, None);
        drop(place);
        assert_eq!(line.pass(at(1), std::future::ready(7)).await, None);
    }
}
