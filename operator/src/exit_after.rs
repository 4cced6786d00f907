//! Ends the process after a number of writes, as abruptly as a kill: so that a test can stop the
//! operator between any two of them.
//!
//! Leases and events do not count: their number depends on time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, Request};
use kube::Client;
use kube::client::Body;

/// A client that ends the process once the API server has answered write number `writes`.
pub fn client(inner: Client, writes: usize) -> Client {
    let namespace = inner.default_namespace().to_owned();
    let left = Arc::new(AtomicUsize::new(writes));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, left) = (inner.clone(), Arc::clone(&left));
        async move {
            let counts = is_counted(request.method(), request.uri().path());
            let answer = inner.send(request).await;
            if counts && left.fetch_sub(1, Ordering::SeqCst) == 1 {
                // No destructor, no shutdown: what a kill leaves behind.
                std::process::abort();
            }
            answer
        }
    });
    Client::new(service, namespace)
}

fn is_counted(method: &Method, path: &str) -> bool {
    let writes = *method != Method::GET;
    writes && !path.contains("/leases") && !path.contains("/events")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_leases_and_events_do_not_count() {
        let status = "/apis/flagger.app/v1beta1/namespaces/a/canaries/b/status";
        assert!(is_counted(&Method::PUT, status));
        assert!(!is_counted(&Method::GET, status));
        assert!(!is_counted(
            &Method::PUT,
            "/apis/coordination.k8s.io/v1/namespaces/a/leases/b"
        ));
        assert!(!is_counted(
            &Method::POST,
            "/apis/events.k8s.io/v1/namespaces/a/events"
        ));
    }
}
