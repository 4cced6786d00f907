//! Tells a correction from a fight: a field that someone else rewrites again and again.
//!
//! Kept in memory: a restart begins to count anew, which costs at most a few corrections more.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// So many corrections ...
const MOST: usize = 3;
/// ... within this time are a fight.
const WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// What is corrected, and for which run: each run may set a field once without any fight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Field {
    /// The Canary.
    pub(super) uid: String,
    /// The run.
    pub(super) run: u64,
    /// The step of the run.
    pub(super) step: u32,
    /// Which field.
    pub(super) name: &'static str,
    /// What it is set to.
    pub(super) value: String,
}

/// When fields were set.
#[derive(Debug, Default)]
pub(super) struct Fights {
    set: Mutex<HashMap<Field, Vec<Timestamp>>>,
}

impl Fights {
    /// Says whether setting a field once more would be a fight.
    pub(super) fn is_fight(&self, field: &Field, now: Timestamp) -> bool {
        let mut set = self.set.lock();
        set.retain(|_, times| {
            times.retain(|time| now.duration_since(*time) < WITHIN);
            !times.is_empty()
        });
        // The first one was no correction.
        set.get(field).is_some_and(|times| times.len() > MOST)
    }

    /// Notes that a field was set. A write that was refused is none: the object had changed, which
    /// need not have been this field. Nor is it a correction when we have set it to something else
    /// in between: a canary whose pods come and go gets and loses its weight by our own doing.
    pub(super) fn note(&self, field: Field, now: Timestamp) {
        let mut set = self.set.lock();
        set.retain(|other, _| {
            (&other.uid, other.name) != (&field.uid, field.name) || *other == field
        });
        set.entry(field).or_default().push(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(run: u64) -> Field {
        Field {
            uid: "a".to_owned(),
            run,
            step: 1,
            name: "spec.replicas",
            value: "0".to_owned(),
        }
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    #[test]
    fn the_fourth_correction_in_ten_minutes_is_a_fight() {
        let fights = Fights::default();
        for minute in 0..4 {
            assert!(!fights.is_fight(&field(1), at(minute)));
            fights.note(field(1), at(minute));
        }
        assert!(fights.is_fight(&field(1), at(5)));
        assert!(
            !fights.is_fight(&field(1), at(11)),
            "the first ones are long ago"
        );
    }

    #[test]
    fn what_we_set_back_and_forth_ourselves_is_no_fight() {
        let fights = Fights::default();
        let other = || Field {
            value: "2".to_owned(),
            ..field(1)
        };
        for _ in 0..20 {
            for setting in [field(1), other()] {
                assert!(!fights.is_fight(&setting, at(0)));
                fights.note(setting, at(0));
            }
        }
    }

    #[test]
    fn a_write_that_was_refused_is_no_correction() {
        let fights = Fights::default();
        assert!((0..20).all(|_| !fights.is_fight(&field(1), at(0))));
    }

    #[test]
    fn runs_do_not_add_up() {
        let fights = Fights::default();
        for run in 0..20 {
            assert!(!fights.is_fight(&field(run), at(0)));
            fights.note(field(run), at(0));
        }
    }
}
