//! Named readiness checks: the process is ready when each of them is.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

/// The checks of a process; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    checks: Arc<RwLock<BTreeMap<String, State>>>,
}

/// Whether one check is fulfilled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// It is.
    Ready,
    /// It is not, for this reason.
    Waiting(String),
}

/// Sets one named check.
#[derive(Clone, Debug)]
pub struct Check {
    name: String,
    readiness: Readiness,
}

impl Readiness {
    /// Adds a check, not ready yet. The same name again is the same check.
    pub fn check(&self, name: impl Into<String>) -> Check {
        let name = name.into();
        self.checks
            .write()
            .entry(name.clone())
            .or_insert_with(|| State::Waiting("not started".to_owned()));
        Check {
            name,
            readiness: self.clone(),
        }
    }

    /// All checks with their states, by name.
    pub fn states(&self) -> BTreeMap<String, State> {
        self.checks.read().clone()
    }

    /// Whether every check is ready.
    pub fn is_ready(&self) -> bool {
        self.checks
            .read()
            .values()
            .all(|state| *state == State::Ready)
    }
}

impl Check {
    /// The check is fulfilled.
    pub fn ready(&self) {
        self.set(State::Ready);
    }

    /// The check is not fulfilled, for this reason, which `/readyz` shows.
    pub fn waiting(&self, why: impl Into<String>) {
        self.set(State::Waiting(why.into()));
    }

    fn set(&self, state: State) {
        self.readiness
            .checks
            .write()
            .insert(self.name.clone(), state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_only_when_every_check_is() {
        let readiness = Readiness::default();
        let caches = readiness.check("caches");
        let lease = readiness.check("lease");
        caches.ready();
        assert!(!readiness.is_ready());
        lease.ready();
        assert!(readiness.is_ready());
        caches.waiting("lost");
        assert_eq!(
            readiness.states()["caches"],
            State::Waiting("lost".to_owned())
        );
        assert!(!readiness.is_ready());
    }
}
