//! Ends the process at one of its writes, as abruptly as a kill, or holds that write back: so that
//! a test can stop the operator between any two of them.
//!
//! Before a write is another moment than after the one before it: what was read in between, and
//! the answers of hooks and metrics, are lost. A write that is held back comes when the world has
//! moved on, as that of a leader who was paused. Leases and events do not count: their number
//! depends on time.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use tokio::signal::unix::{SignalKind, signal};

/// The end of a process, by its writes counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The write is decided, and the API server never hears of it.
    Before(usize),
    /// The API server has answered it.
    After(usize),
    /// The write is decided, and is sent when the process gets `SIGUSR1`.
    Held(usize),
}

/// A text that is none of `before:N`, `after:N` and `held:N`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no moment such as `before:3` or `after:3`")]
pub struct UnknownMoment(String);

impl FromStr for Moment {
    type Err = UnknownMoment;

    fn from_str(text: &str) -> Result<Self, UnknownMoment> {
        let moment = text.split_once(':').and_then(|(side, number)| {
            let number = number.parse().ok().filter(|number| *number > 0)?;
            match side {
                "before" => Some(Self::Before(number)),
                "after" => Some(Self::After(number)),
                "held" => Some(Self::Held(number)),
                _ => None,
            }
        });
        moment.ok_or_else(|| UnknownMoment(text.to_owned()))
    }
}

/// A client that ends or holds at `moment`, and logs each write with its number.
pub fn client(inner: Client, moment: Moment) -> Client {
    let namespace = inner.default_namespace().to_owned();
    let writes = Arc::new(AtomicUsize::new(0));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, writes) = (inner.clone(), Arc::clone(&writes));
        async move {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            if !is_counted(&method, &path) {
                return inner.send(request).await;
            }
            let number = writes.fetch_add(1, Ordering::SeqCst) + 1;
            tracing::info!(number, %method, path, "write");
            end_if(moment == Moment::Before(number));
            if moment == Moment::Held(number) {
                until_told(number).await;
            }
            let answer = inner.send(request).await;
            end_if(moment == Moment::After(number));
            if moment == Moment::Held(number) {
                tracing::info!(number, "sent");
            }
            answer
        }
    });
    Client::new(service, namespace)
}

async fn until_told(number: usize) {
    match signal(SignalKind::user_defined1()) {
        Ok(mut told) => {
            tracing::info!(number, "held");
            // `None` never comes as long as there is a runtime.
            told.recv().await;
        }
        Err(error) => tracing::error!(%error, "failed to listen to signals: nothing is held"),
    }
}

fn end_if(now: bool) {
    if now {
        // No destructor, no shutdown: what a kill leaves behind.
        std::process::abort();
    }
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

    #[test]
    fn moments_are_counted_from_one() {
        assert_eq!("before:3".parse(), Ok(Moment::Before(3)));
        assert_eq!("after:12".parse(), Ok(Moment::After(12)));
        assert_eq!("held:1".parse(), Ok(Moment::Held(1)));
        for wrong in ["after:0", "after", "3", "during:3", "before:x"] {
            wrong.parse::<Moment>().unwrap_err();
        }
    }
}
