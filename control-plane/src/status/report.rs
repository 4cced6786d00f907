//! What a status says, in words. Pure: the time is an argument.

use std::sync::Arc;

use fairlead_crds::condition::{ConditionType, Finding, set_condition};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::progress::{Object, Verdict};

/// Names in a message; the rest is counted.
const NAMES: usize = 5;

/// What a status says about one generation.
///
/// It names no numbers of proxies that are well: pods come and go, and a status is not written for
/// each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) generation: i64,
    pub(super) holds: bool,
    reason: &'static str,
    message: String,
    /// Levels of what is wrong with the object itself; the texts are in the message.
    pub(super) levels: Vec<&'static str>,
}

impl Report {
    pub(super) fn of(verdict: &Verdict, object: &Object) -> Self {
        let (holds, reason, message) = match verdict {
            Verdict::Live => {
                let message = "every connected proxy that uses it has accepted it".to_owned();
                (true, "Reconciled", message)
            }
            Verdict::Pending { waiting } => (
                false,
                "WaitingForProxies",
                format!("not yet accepted by {}", names(waiting)),
            ),
            Verdict::Rejected { proxy, message } => (
                false,
                "RejectedByProxy",
                format!("`{proxy}` refused it: {message}"),
            ),
            Verdict::Invalid => (false, "Invalid", object.problems.join("; ")),
        };
        let message = match object.hints.as_slice() {
            [] => message,
            hints => format!("{message}; warning: {}", hints.join("; ")),
        };
        let errors = object.problems.iter().map(|_| "ERROR");
        let levels = errors
            .chain(object.hints.iter().map(|_| "WARNING"))
            .collect();
        Self {
            generation: object.generation,
            holds,
            reason,
            message,
            levels,
        }
    }

    pub(super) fn conditions(
        &self,
        mut conditions: Vec<Condition>,
        now: Timestamp,
    ) -> Vec<Condition> {
        let finding = Finding {
            type_: ConditionType::Reconciled,
            status: self.holds.into(),
            reason: self.reason,
            message: self.message.clone(),
            generation: Some(self.generation),
        };
        set_condition(&mut conditions, finding, now);
        conditions
    }
}

fn names(waiting: &[Arc<str>]) -> String {
    let shown: Vec<&str> = waiting.iter().take(NAMES).map(|name| &**name).collect();
    match waiting.len().saturating_sub(NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_of_proxies_are_cut() {
        let waiting: Vec<Arc<str>> = (0..7).map(|n| format!("p{n}").into()).collect();
        assert_eq!(names(&waiting), "p0, p1, p2, p3, p4 and 2 more");
    }
}
