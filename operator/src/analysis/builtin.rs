//! The two metrics that need no query: success rate and latency, as the mesh's proxies report them.
//!
//! Pure. Names and labels are Istio's standard metrics: of a workload, reported by the proxy at the
//! destination; of a Service, by the proxies of callers, since they alone know which one was called.

use super::mesh::Target;

/// Percentage of requests that were not answered with 5xx.
pub const SUCCESS_RATE: &str = "request-success-rate";
/// 99th percentile of the latency in milliseconds.
pub const DURATION: &str = "request-duration";

/// The query of a built-in metric over a `window`, or `None` when `name` is not one.
pub fn query(name: &str, target: &Target, window: &str) -> Option<String> {
    let Target {
        namespace,
        workload,
        service,
    } = target;
    let labels = match workload {
        Some(workload) => format!(
            r#"reporter="destination",destination_workload_namespace="{namespace}",destination_workload=~"{workload}""#
        ),
        None => format!(
            r#"reporter="source",destination_service_namespace="{namespace}",destination_service_name="{service}""#
        ),
    };
    match name {
        SUCCESS_RATE => Some(format!(
            r#"sum(rate(istio_requests_total{{{labels},response_code!~"5.*"}}[{window}])) / sum(rate(istio_requests_total{{{labels}}}[{window}])) * 100"#
        )),
        DURATION => Some(format!(
            "histogram_quantile(0.99, sum(rate(istio_request_duration_milliseconds_bucket{{{labels}}}[{window}])) by (le))"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(workload: Option<&str>) -> Target {
        Target {
            namespace: "test".to_owned(),
            workload: workload.map(ToOwned::to_owned),
            service: "podinfo-canary".to_owned(),
        }
    }

    #[test]
    fn only_two_metrics_are_built_in() {
        let podinfo = target(Some("podinfo"));
        assert!(query("latency", &podinfo, "30s").is_none());
        for name in [SUCCESS_RATE, DURATION] {
            let query = query(name, &podinfo, "30s").expect("a built-in metric");
            assert!(
                query.contains(r#"destination_workload=~"podinfo""#),
                "{query}"
            );
            assert!(query.contains("[30s]"), "{query}");
        }
    }

    #[test]
    fn a_service_is_asked_about_where_it_is_called() {
        let query = query(SUCCESS_RATE, &target(None), "1m").expect("a built-in metric");
        let labels = r#"reporter="source",destination_service_namespace="test",destination_service_name="podinfo-canary""#;
        assert!(query.contains(labels), "{query}");
        assert!(!query.contains("destination_workload"), "{query}");
    }
}
