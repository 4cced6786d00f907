//! Decides when a failed object is tried again. Pure, except that [`Backoff`] remembers failures.

use std::collections::HashMap;
use std::time::Duration;

use kube::runtime::controller::Action;
use parking_lot::Mutex;

/// The first delay after a transient failure.
const BASE: Duration = Duration::from_millis(500);
/// The longest delay: long enough to spare a broken API server, short enough that nobody waits an
/// hour for a cure that has happened.
const MAX: Duration = Duration::from_mins(2);

/// What helps against a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// Only a change of the object, or of what it refers to: await it.
    Invalid,
    /// Trying again: soon at first, then less and less often.
    Transient,
    /// Something else has to happen first and no watch tells: look again after this time.
    Waiting(Duration),
}

/// What the run loop must know about a reconciler's error.
pub trait Failure: std::error::Error + Send + Sync + 'static {
    /// What helps.
    fn class(&self) -> Class;
    /// A word for metrics, from a closed set.
    fn category(&self) -> &'static str;
}

/// Counts consecutive failures by object.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<String, u32>>,
}

impl Backoff {
    /// The object is fine again.
    pub fn succeeded(&self, object: &str) {
        self.failures.lock().remove(object);
    }

    /// When to try a failed object again; `roll` in `0.0..1.0` spreads objects that failed together.
    pub fn failed(&self, object: &str, class: Class, roll: f64) -> Action {
        match class {
            Class::Invalid => {
                self.succeeded(object);
                Action::await_change()
            }
            Class::Waiting(interval) => {
                self.succeeded(object);
                Action::requeue(interval)
            }
            Class::Transient => {
                let mut failures = self.failures.lock();
                let count = failures.entry(object.to_owned()).or_default();
                let delay = exponential(*count, roll);
                *count = count.saturating_add(1);
                Action::requeue(delay)
            }
        }
    }
}

/// Doubles with each failure up to [`MAX`], then takes between half and all of it.
fn exponential(failures: u32, roll: f64) -> Duration {
    let full = BASE
        .saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX))
        .min(MAX);
    full.mul_f64(0.5 + roll.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_maximum() {
        let delays: Vec<_> = [0, 1, 2, 7, 8, 31, 32, u32::MAX]
            .map(|count| exponential(count, 1.0))
            .into();
        let seconds = [0.5, 1.0, 2.0, 64.0, 120.0, 120.0, 120.0, 120.0];
        assert_eq!(delays, seconds.map(Duration::from_secs_f64));
    }

    #[test]
    fn jitter_takes_at_most_half() {
        assert_eq!(exponential(2, 0.0), Duration::from_secs(1));
        assert_eq!(exponential(2, 0.5), Duration::from_millis(1500));
    }

    #[test]
    fn failures_of_one_object_do_not_slow_another_and_success_forgets() {
        let backoff = Backoff::default();
        let first = Action::requeue(BASE);
        assert_eq!(backoff.failed("a", Class::Transient, 1.0), first);
        assert_eq!(
            backoff.failed("a", Class::Transient, 1.0),
            Action::requeue(BASE * 2)
        );
        assert_eq!(backoff.failed("b", Class::Transient, 1.0), first);
        backoff.succeeded("a");
        assert_eq!(backoff.failed("a", Class::Transient, 1.0), first);
    }

    #[test]
    fn an_invalid_object_waits_for_a_change() {
        let backoff = Backoff::default();
        assert_eq!(
            backoff.failed("a", Class::Invalid, 0.0),
            Action::await_change()
        );
        let minute = Duration::from_mins(1);
        assert_eq!(
            backoff.failed("a", Class::Waiting(minute), 0.0),
            Action::requeue(minute)
        );
    }
}
