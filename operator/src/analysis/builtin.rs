//! The two metrics that need no query: success rate and latency, as the mesh's proxies report them.
//!
//! Pure. Names and labels are Istio's standard metrics, reported by the proxy at the destination.

use super::template::Variables;

/// Percentage of requests that were not answered with 5xx.
pub const SUCCESS_RATE: &str = "request-success-rate";
/// 99th percentile of the latency in milliseconds.
pub const DURATION: &str = "request-duration";

/// The query of a built-in metric, or `None` when `name` is not one.
pub fn query(name: &str, variables: &Variables) -> Option<String> {
    let Variables {
        namespace,
        target,
        interval,
        ..
    } = variables;
    let labels = format!(
        r#"reporter="destination",destination_workload_namespace="{namespace}",destination_workload=~"{target}""#
    );
    match name {
        SUCCESS_RATE => Some(format!(
            r#"sum(rate(istio_requests_total{{{labels},response_code!~"5.*"}}[{interval}])) / sum(rate(istio_requests_total{{{labels}}}[{interval}])) * 100"#
        )),
        DURATION => Some(format!(
            "histogram_quantile(0.99, sum(rate(istio_request_duration_milliseconds_bucket{{{labels}}}[{interval}])) by (le))"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_metrics_are_built_in() {
        let variables = Variables::for_tests();
        assert!(query("latency", &variables).is_none());
        for name in [SUCCESS_RATE, DURATION] {
            let query = query(name, &variables).expect("a built-in metric");
            assert!(
                query.contains(r#"destination_workload=~"podinfo""#),
                "{query}"
            );
            assert!(query.contains("[30s]"), "{query}");
        }
    }
}
