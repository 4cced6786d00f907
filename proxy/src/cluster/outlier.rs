//! Ejection of endpoints that fail again and again; the time is an argument.
//!
//! Each worker judges by what it sees itself.

use std::cell::Cell;
use std::time::Duration;

use fairlead_xds::resource::cluster::OutlierDetection;
use tokio::time::Instant;

/// How an endpoint has done lately.
#[derive(Debug, Default)]
pub struct Health {
    server_errors: Cell<u32>,
    gateway_errors: Cell<u32>,
    ejections: Cell<u32>,
    ejected_until: Cell<Option<Instant>>,
}

const DEFAULT_CONSECUTIVE: u32 = 5;
const DEFAULT_EJECTION: Duration = Duration::from_secs(30);
const LONGEST_EJECTION: Duration = Duration::from_secs(300);
const DEFAULT_MAX_PERCENT: u32 = 10;

impl Health {
    /// Whether it gets no requests for now.
    pub fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until.get().is_some_and(|until| now < until)
    }

    /// Takes note of an answer, or of none at all (as 503). `others` is how many endpoints the
    /// cluster has, and how many of them are ejected.
    pub fn record(
        &self,
        status: u16,
        rules: &OutlierDetection,
        others: (usize, usize),
        now: Instant,
    ) {
        if status < 500 {
            self.server_errors.set(0);
            self.gateway_errors.set(0);
            return;
        }
        self.server_errors
            .set(self.server_errors.get().saturating_add(1));
        if (502..=504).contains(&status) {
            self.gateway_errors
                .set(self.gateway_errors.get().saturating_add(1));
        } else {
            self.gateway_errors.set(0);
        }
        let over = |count: u32, limit: Option<u32>, enforcing: Option<u32>, default: u32| {
            let limit = limit.unwrap_or(DEFAULT_CONSECUTIVE);
            limit > 0 && enforcing.unwrap_or(default) > 0 && count >= limit
        };
        let eject = over(
            self.server_errors.get(),
            rules.consecutive_5xx,
            rules.enforcing_5xx,
            100,
        ) || over(
            self.gateway_errors.get(),
            rules.consecutive_gateway_failure,
            rules.enforcing_gateway_failure,
            0,
        );
        if eject && !self.is_ejected(now) && may_eject(rules, others) {
            self.ejections.set(self.ejections.get().saturating_add(1));
            let base = rules.base_ejection_time.unwrap_or(DEFAULT_EJECTION);
            let time = base
                .saturating_mul(self.ejections.get())
                .min(LONGEST_EJECTION.max(base));
            self.ejected_until.set(Some(now + time));
            self.server_errors.set(0);
            self.gateway_errors.set(0);
        }
    }
}

fn may_eject(rules: &OutlierDetection, (total, ejected): (usize, usize)) -> bool {
    let percent = rules.max_ejection_percent.unwrap_or(DEFAULT_MAX_PERCENT) as usize;
    // One may always go, unless the rules say none.
    percent > 0 && (ejected == 0 || (ejected + 1) * 100 <= total * percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> OutlierDetection {
        OutlierDetection {
            consecutive_5xx: Some(2),
            base_ejection_time: Some(Duration::from_secs(10)),
            max_ejection_percent: Some(50),
            ..OutlierDetection::default()
        }
    }

    #[test]
    fn failures_in_a_row_eject_for_a_time_that_grows() {
        let (health, start) = (Health::default(), Instant::now());
        health.record(500, &rules(), (4, 0), start);
        health.record(200, &rules(), (4, 0), start);
        health.record(500, &rules(), (4, 0), start);
        assert!(!health.is_ejected(start));
        health.record(500, &rules(), (4, 0), start);
        assert!(health.is_ejected(start + Duration::from_secs(9)));
        let back = start + Duration::from_secs(10);
        assert!(!health.is_ejected(back));
        health.record(503, &rules(), (4, 0), back);
        health.record(503, &rules(), (4, 0), back);
        assert!(health.is_ejected(back + Duration::from_secs(19)));
    }

    #[test]
    fn no_more_than_the_allowed_share_is_ejected() {
        let (health, now) = (Health::default(), Instant::now());
        for _ in 0..5 {
            health.record(500, &rules(), (4, 2), now);
        }
        assert!(!health.is_ejected(now));
    }
}
