//! A verdict in words for people. Pure.

use std::fmt;

use super::{Cohorts, Confidence, Harm, Metric, Unclear, Verdict};

/// What the evidence says about one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Opinion {
    /// The metric.
    pub metric: Metric,
    /// What the evidence says.
    pub verdict: Verdict,
    /// The bound in milliseconds that requests are compared at, once it is chosen; latency only.
    pub bound: Option<f64>,
    /// The requests that were compared: the canary's, and the primary's.
    pub requests: [f64; 2],
    /// How sure harm is.
    pub confidence: Confidence,
    /// How users came to a version.
    pub cohorts: Cohorts,
}

impl Opinion {
    /// The verdict as one CamelCase word.
    pub const fn word(&self) -> &'static str {
        match self.verdict {
            Verdict::Harm(_) => "Harm",
            Verdict::NoHarmShown { .. } => "NoHarmShown",
            Verdict::Inconclusive(_) => "Inconclusive",
        }
    }

    /// What makes a request count as bad.
    fn fault(&self) -> String {
        match (self.metric, self.bound) {
            (Metric::Failures, _) => "failed".to_owned(),
            (Metric::Latency, Some(bound)) => format!("took longer than {bound} ms"),
            (Metric::Latency, None) => "were slow".to_owned(),
        }
    }

    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = self.fault();
        match self.verdict {
            Verdict::Harm(Harm {
                excess,
                canary,
                primary,
                ..
            }) => write!(
                f,
                "the canary is worse than the primary: {} of its requests {fault} and {} of the \
                 primary's, {} more at the same time (confidence {})",
                Percent(canary),
                Percent(primary),
                Points(excess),
                self.confidence,
            ),
            Verdict::NoHarmShown { excess, resolution } => write!(
                f,
                "no harm shown: {} more of the canary's requests {fault} than of the primary's, \
                 and {} would have been seen",
                Points(excess),
                Points(resolution),
            ),
            Verdict::Inconclusive(unclear) => write!(f, "inconclusive: {unclear}"),
        }
    }
}

impl fmt::Display for Opinion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.metric)?;
        self.explain(f)?;
        f.write_str(self.cohorts.caution())
    }
}

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Running => f.write_str("the planned time has not passed"),
            Self::NoData => {
                f.write_str("no requests to both versions were counted at the same time")
            }
            Self::Samples { requests, needed } => {
                write!(
                    f,
                    "the canary had {requests} of the {needed} requests needed"
                )
            }
            Self::Spread { resolution, effect } => write!(
                f,
                "an excess of {} is asked about, and only {} would have been seen",
                Points(effect),
                Points(resolution)
            ),
            Self::Buckets { above, upto } if upto.is_finite() => write!(
                f,
                "the quantile is between {above} and {upto} ms, where the histogram has no bound"
            ),
            Self::Buckets { above, .. } => {
                write!(
                    f,
                    "the quantile is above {above} ms, the histogram's last bound"
                )
            }
        }
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A confidence of 0.999 has digits that a share does not need.
        write!(f, "{} %", (self.get() * 1e6).round() / 1e4)
    }
}

/// A share of requests.
struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} %", self.0 * 100.0)
    }
}

/// A difference of two shares.
struct Points(f64);

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_finite() {
            write!(f, "{:.2} points", self.0 * 100.0)
        } else {
            f.write_str("nothing")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opinion(verdict: Verdict, cohorts: Cohorts) -> String {
        let opinion = Opinion {
            metric: Metric::Latency,
            verdict,
            bound: Some(250.0),
            requests: [0.0; 2],
            confidence: Confidence::DEFAULT,
            cohorts,
        };
        opinion.to_string()
    }

    #[test]
    fn harm_tells_both_shares_and_how_sure_it_is() {
        let harm = Harm {
            excess: 0.4951,
            canary: 0.505,
            primary: 0.01,
            odds: 40.0,
        };
        assert_eq!(
            opinion(Verdict::Harm(harm), Cohorts::Random),
            "request-duration: the canary is worse than the primary: 50.5 % of its requests took \
             longer than 250 ms and 1.0 % of the primary's, 49.51 points more at the same time \
             (confidence 95 %)"
        );
    }

    #[test]
    fn chosen_users_are_a_caution_with_each_verdict() {
        let verdict = Verdict::Inconclusive(Unclear::Samples {
            requests: 3,
            needed: 1000,
        });
        let told = opinion(verdict, Cohorts::Chosen);
        assert!(told.contains("3 of the 1000 requests"), "{told}");
        assert!(told.ends_with("the difference may be theirs)"), "{told}");
    }
}
