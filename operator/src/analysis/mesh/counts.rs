//! What a proxy has counted about a workload, read from Prometheus' text format. Pure.
//!
//! Only the caller's side counts (`reporter="source"`): there a refused connection and a reset are
//! seen as well.

use std::collections::BTreeMap;

use fairlead_rollout::judgement::Sample as Tally;

/// The bounds of the mesh's histograms in milliseconds: those of our proxies and of Envoy's.
pub const BOUNDS: [f64; 19] = [
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5,
    1.8e6, 3.6e6,
];

/// Where requests go to: a workload, or whatever a Service leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Its namespace.
    pub namespace: String,
    /// The workload's name; `None` where a Service is released, whatever is behind it.
    pub workload: Option<String>,
    /// The Service that leads to it alone: requests that reached no pod name nothing else.
    pub service: String,
}

/// Requests to one workload, as one or more proxies counted them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// All of them.
    pub(super) requests: u64,
    /// Those that failed: 5xx, or no answer at all.
    pub(super) failed: u64,
    /// How many took how long, by the bucket's upper bound in milliseconds; not cumulative.
    buckets: BTreeMap<Bound, u64>,
}

/// The upper bound of a bucket; the last one is infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bound(f64);

impl Eq for Bound {}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Counts {
    /// Adds what someone else counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        for (bound, count) in &other.buckets {
            *self.buckets.entry(*bound).or_default() += count;
        }
    }

    /// What came since `before`; `None` when less is counted now than then, which means that
    /// counting began anew.
    pub(super) fn since(&self, before: &Self) -> Option<Self> {
        let mut buckets = self.buckets.clone();
        for (bound, count) in &before.buckets {
            let now = buckets.get_mut(bound)?;
            *now = now.checked_sub(*count)?;
        }
        Some(Self {
            requests: self.requests.checked_sub(before.requests)?,
            failed: self.failed.checked_sub(before.failed)?,
            buckets,
        })
    }

    /// The share of requests that did not fail, in percent; `None` without requests.
    pub(super) fn success_rate(&self) -> Option<f64> {
        let succeeded = self.requests.saturating_sub(self.failed);
        (self.requests > 0).then(|| 100.0 * float(succeeded) / float(self.requests))
    }

    /// The upper bound of the bucket in which a quantile lies; `None` without requests.
    ///
    /// Nothing finer is known, so nothing finer is said: it is never less than the true value.
    pub(super) fn quantile(&self, quantile: f64) -> Option<f64> {
        let total: u64 = self.buckets.values().sum();
        let rank = quantile * float(total);
        let mut seen = 0;
        for (bound, count) in &self.buckets {
            seen += count;
            if seen > 0 && float(seen) >= rank {
                return Some(bound.0);
            }
        }
        None
    }

    /// The counters for a comparison: failed requests, and for each of [`BOUNDS`] those that took
    /// longer.
    pub(super) fn sample(&self) -> Tally {
        let slower = |bound: f64| {
            let beyond = self.buckets.range(Bound(bound)..);
            // A request that hung up may have a duration and not count as a request.
            let slower: u64 = beyond
                .filter(|(upper, _)| upper.0 > bound)
                .map(|(_, count)| count)
                .sum();
            float(slower.min(self.requests))
        };
        let failed = std::iter::once(float(self.failed));
        Tally {
            requests: float(self.requests),
            bad: failed.chain(BOUNDS.map(slower)).collect(),
        }
    }

    #[cfg(test)]
    pub(super) fn for_tests(requests: u64, failed: u64, buckets: &[(f64, u64)]) -> Self {
        let buckets = buckets.iter().map(|(bound, count)| (Bound(*bound), *count));
        Self {
            requests,
            failed,
            buckets: buckets.collect(),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no window holds more requests than a float counts exactly"
)]
const fn float(count: u64) -> f64 {
    count as f64
}

/// What a proxy's metrics say about each of `targets`; lines that are not understood are skipped,
/// as those of applications may be.
pub(super) fn parse<'a>(
    text: &str,
    targets: impl Iterator<Item = &'a Target>,
) -> BTreeMap<Target, Counts> {
    let mut found: BTreeMap<&Target, Series> =
        targets.map(|target| (target, Series::default())).collect();
    for line in text.lines() {
        let Some(sample) = Sample::parse(line) else {
            continue;
        };
        for (target, series) in &mut found {
            if sample.concerns(target) {
                series.take(&sample);
            }
        }
    }
    found
        .into_iter()
        .map(|(target, series)| (target.clone(), series.counts()))
        .collect()
}

/// The samples about one target, cumulative as they are sent.
#[derive(Default)]
struct Series {
    requests: u64,
    failed: u64,
    cumulative: BTreeMap<Bound, u64>,
}

impl Series {
    fn take(&mut self, sample: &Sample<'_>) {
        if sample.metric == REQUESTS {
            self.requests += sample.value;
            if sample.has_failed() {
                self.failed += sample.value;
            }
        } else if let Some(bound) = sample.label("le").and_then(|bound| bound.parse().ok()) {
            *self.cumulative.entry(Bound(bound)).or_default() += sample.value;
        }
    }

    fn counts(self) -> Counts {
        let mut below = 0;
        let buckets = self.cumulative.into_iter().map(|(bound, count)| {
            let own = count.saturating_sub(below);
            below = count;
            (bound, own)
        });
        Counts {
            requests: self.requests,
            failed: self.failed,
            buckets: buckets.collect(),
        }
    }
}

const REQUESTS: &str = "istio_requests_total";
const DURATIONS: &str = "istio_request_duration_milliseconds_bucket";

/// One line about requests, as their caller counted them.
struct Sample<'a> {
    metric: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    value: u64,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (metric, rest) = line.split_once('{')?;
        if metric != REQUESTS && metric != DURATIONS {
            return None;
        }
        let (labels, rest) = labels(rest)?;
        let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
        // Counters are whole and not negative; what else comes is not theirs.
        let is_counter = value >= 0.0 && value.is_finite();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be a finite number that is not negative"
        )]
        let sample = Self {
            metric,
            labels,
            value: value as u64,
        };
        (is_counter && sample.label("reporter") == Some("source")).then_some(sample)
    }

    fn label(&self, name: &str) -> Option<&'a str> {
        let found = self.labels.iter().find(|(label, _)| *label == name);
        found.map(|(_, value)| *value)
    }

    fn concerns(&self, target: &Target) -> bool {
        let is = |label, value: &str| self.label(label) == Some(value);
        match (self.label("destination_workload"), &target.workload) {
            (Some("unknown") | None, _) | (_, None) => {
                is("destination_service_name", &target.service)
                    && is("destination_service_namespace", &target.namespace)
            }
            (Some(found), Some(workload)) => {
                found == workload && is("destination_workload_namespace", &target.namespace)
            }
        }
    }

    /// 5xx, or no answer, unless it was the caller who hung up.
    fn has_failed(&self) -> bool {
        match self.label("response_code") {
            Some("0") => self.label("response_flags") != Some("DC"),
            Some(code) => code.starts_with('5'),
            None => false,
        }
    }
}

/// Labels up to the closing brace, and what follows it. Values keep their escapes: no name that is
/// compared here has any.
fn labels(mut text: &str) -> Option<(Vec<(&str, &str)>, &str)> {
    let mut labels = Vec::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.split_once("=\"")?;
        let end = closing_quote(rest)?;
        labels.push((name, rest.get(..end)?));
        text = rest.get(end + 1..)?;
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            namespace: "test".to_owned(),
            workload: Some("podinfo".to_owned()),
            service: "podinfo-canary".to_owned(),
        }
    }

    fn read(text: &str) -> Counts {
        parse(text, [&target()].into_iter())
            .remove(&target())
            .unwrap()
    }

    const TO_PODINFO: &str =
        r#"reporter="source",destination_workload="podinfo",destination_workload_namespace="test""#;

    #[test]
    fn requests_without_an_answer_and_5xx_have_failed() {
        let line = |code: &str, flags: &str, count: u64| {
            format!(
                "istio_requests_total{{{TO_PODINFO},response_code=\"{code}\",\
                 response_flags=\"{flags}\"}} {count}\n"
            )
        };
        let text = [
            line("200", "-", 90),
            line("404", "-", 4),
            line("503", "UF", 3),
            line("0", "UC", 2),
            line("0", "DC", 1),
        ];
        let counts = read(&text.concat());
        assert_eq!((counts.requests, counts.failed), (100, 5));
        assert_eq!(counts.success_rate(), Some(95.0));
    }

    #[test]
    fn only_the_callers_side_and_only_the_target_count() {
        let text = r#"
# TYPE istio_requests_total counter
istio_requests_total{reporter="destination",destination_workload="podinfo",destination_workload_namespace="test",response_code="200"} 1
istio_requests_total{reporter="source",destination_workload="podinfo-primary",destination_workload_namespace="test",response_code="200"} 2
istio_requests_total{reporter="source",destination_workload="podinfo",destination_workload_namespace="other",response_code="200"} 4
istio_requests_total{reporter="source",note="a \"quoted\", } name\\",destination_workload="podinfo",destination_workload_namespace="test",response_code="200"} 8
istio_requests_total{reporter="source",destination_workload="unknown",destination_service_name="podinfo-canary",destination_service_namespace="test",response_code="503"} 16
istio_requests_total{reporter="source",destination_workload="podinfo
http_requests_total{code="200"} 32
"#;
        let counts = read(text);
        assert_eq!((counts.requests, counts.failed), (24, 16));
    }

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket() {
        let line = |bound: &str, count: u64| {
            format!(
                "istio_request_duration_milliseconds_bucket{{{TO_PODINFO},le=\"{bound}\"}} \
                 {count}\n"
            )
        };
        let text = [
            line("10", 50),
            line("100", 98),
            line("500", 100),
            line("+Inf", 100),
        ];
        let counts = read(&text.concat());
        assert_eq!(counts.quantile(0.5), Some(10.0));
        assert_eq!(counts.quantile(0.51), Some(100.0));
        assert_eq!(counts.quantile(0.98), Some(100.0));
        assert_eq!(counts.quantile(0.99), Some(500.0));
        let beyond = [line("10", 0), line("+Inf", 1)].concat();
        assert_eq!(read(&beyond).quantile(0.99), Some(f64::INFINITY));
        assert_eq!(Counts::default().quantile(0.99), None);
    }

    #[test]
    #[expect(
        clippy::float_cmp,
        reason = "counts are whole numbers, bounds the constants themselves"
    )]
    fn a_sample_counts_failures_and_what_took_longer_than_each_bound() {
        let buckets = [(5.0, 90), (250.0, 7), (f64::INFINITY, 3)];
        let sample = Counts::for_tests(100, 4, &buckets).sample();
        assert_eq!((sample.requests, sample.bad[0]), (100.0, 4.0));
        let slower = |bound: f64| {
            let place = BOUNDS.iter().position(|one| *one == bound).unwrap();
            sample.bad[place + 1]
        };
        assert_eq!((slower(1.0), slower(5.0)), (100.0, 10.0));
        assert_eq!((slower(100.0), slower(250.0)), (10.0, 3.0));
        assert_eq!(slower(3.6e6), 3.0);
    }

    #[test]
    fn fewer_than_before_means_that_counting_began_anew() {
        let counts = |requests, failed, fast| Counts::for_tests(requests, failed, &[(1.0, fast)]);
        let since = counts(10, 2, 9).since(&counts(4, 1, 4));
        assert_eq!(since, Some(counts(6, 1, 5)));
        assert_eq!(counts(3, 2, 9).since(&counts(4, 1, 4)), None);
        assert_eq!(counts(10, 0, 9).since(&counts(4, 1, 4)), None);
        assert_eq!(counts(10, 2, 3).since(&counts(4, 1, 4)), None);
    }
}
