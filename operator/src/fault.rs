//! What goes wrong at one of the process' writes, so that a test can place it between any two of
//! them: the process ends as abruptly as by a kill, the write comes late, or the API server and
//! its watches misbehave.
//!
//! Before a write is another moment than after the one before it: what was read in between, and
//! the answers of hooks and metrics, are lost. A write that is held back comes when the world has
//! moved on, as that of a leader who was paused. Leases and events do not count: their number
//! depends on time.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fairlead_runtime::clock;
use futures::{StreamExt as _, future};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;
use tower::BoxError;

/// How long watches are behind, or the API server is away.
const TROUBLE: Duration = Duration::from_secs(1);
/// Events of one watch that are on their way at the same time.
const EVENTS_UNDER_WAY: usize = 1024;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// At which write, counted from 1.
    pub write: usize,
}

/// What can go wrong at a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The process ends; the write is decided, and the API server never hears of it.
    Before,
    /// The process ends when the API server has answered.
    After,
    /// The write is sent when the process gets `SIGUSR1`.
    Held,
    /// The API server answers that the object has changed, and does not take the write.
    Conflict,
    /// The API server takes the write, and its answer is lost.
    Unanswered,
    /// The API server is away for a second, from this write on.
    Away,
    /// From this write on, watches tell everything a second late.
    Lagging,
    /// All watches break.
    Broken,
}

impl Kind {
    const ALL: [(&'static str, Self); 8] = [
        ("before", Self::Before),
        ("after", Self::After),
        ("held", Self::Held),
        ("conflict", Self::Conflict),
        ("unanswered", Self::Unanswered),
        ("away", Self::Away),
        ("lagging", Self::Lagging),
        ("broken", Self::Broken),
    ];
}

/// A text that names no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no fault such as `before:3` or `conflict:3`")]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let fault = text.split_once(':').and_then(|(name, write)| {
            let write = write.parse().ok().filter(|write| *write > 0)?;
            let (_, kind) = Kind::ALL.into_iter().find(|(known, _)| *known == name)?;
            Some(Self { kind, write })
        });
        fault.ok_or_else(|| UnknownFault(text.to_owned()))
    }
}

/// A client that meets `fault`, and logs each write with its number.
pub fn client(inner: Client, fault: Fault) -> Client {
    let namespace = inner.default_namespace().to_owned();
    let troubled = Arc::new(Troubled {
        inner,
        fault,
        writes: AtomicUsize::new(0),
        away_until: Mutex::new(None),
        met: watch::Sender::new(false),
    });
    let service = tower::service_fn(move |request: Request<Body>| {
        let troubled = Arc::clone(&troubled);
        async move {
            if is_watch(request.uri()) {
                troubled.watch(request).await
            } else {
                troubled.ask(request).await
            }
        }
    });
    Client::new(service, namespace)
}

struct Troubled {
    inner: Client,
    fault: Fault,
    writes: AtomicUsize,
    away_until: Mutex<Option<Instant>>,
    /// Whether the write of the fault has come.
    met: watch::Sender<bool>,
}

type Answer = Result<Response<Frames>, BoxError>;
type Frames = UnsyncBoxBody<Bytes, BoxError>;

impl Troubled {
    async fn ask(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut met = false;
        if is_counted(&method, &path) {
            let number = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
            tracing::info!(number, %method, path, "write");
            met = number == self.fault.write;
        }
        if met {
            tracing::info!(fault = ?self.fault.kind, "met");
            return self.meet(request).await;
        }
        self.refuse_while_away()?;
        self.send(request).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.inner.send(request).await?;
        Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    async fn meet(&self, request: Request<Body>) -> Answer {
        match self.fault.kind {
            Kind::Before => std::process::abort(),
            Kind::After => {
                // Whatever the answer is, nobody hears it: no destructor, no shutdown.
                let _answer = self.send(request).await;
                std::process::abort()
            }
            Kind::Held => {
                until_told().await;
                let answer = self.send(request).await;
                tracing::info!("sent");
                answer
            }
            Kind::Conflict => conflict(),
            Kind::Unanswered => {
                self.send(request).await?;
                Err("the connection was reset".into())
            }
            Kind::Away => {
                *self.away_until.lock() = Some(clock::instant() + TROUBLE);
                self.met.send_replace(true);
                Err("the connection was refused".into())
            }
            Kind::Lagging | Kind::Broken => {
                self.met.send_replace(true);
                self.send(request).await
            }
        }
    }

    fn refuse_while_away(&self) -> Result<(), BoxError> {
        let until = *self.away_until.lock();
        if until.is_some_and(|until| clock::instant() < until) {
            return Err("the connection was refused".into());
        }
        Ok(())
    }

    /// A watch whose events come as the fault has it.
    async fn watch(&self, request: Request<Body>) -> Answer {
        self.refuse_while_away()?;
        let (parts, body) = self.send(request).await?.into_parts();
        let frames = BodyStream::new(body);
        let body = match self.fault.kind {
            Kind::Lagging => {
                let met = self.met.subscribe();
                let late = frames.map(move |frame| {
                    let lag = if *met.borrow() {
                        TROUBLE
                    } else {
                        Duration::ZERO
                    };
                    async move {
                        tokio::time::sleep(lag).await;
                        frame
                    }
                });
                StreamBody::new(late.buffered(EVENTS_UNDER_WAY)).boxed_unsync()
            }
            Kind::Broken | Kind::Away if !*self.met.borrow() => {
                let mut met = self.met.subscribe();
                let broken = Box::pin(async move {
                    if met.wait_for(|met| *met).await.is_err() {
                        future::pending::<()>().await;
                    }
                });
                StreamBody::new(frames.take_until(broken)).boxed_unsync()
            }
            Kind::Broken
            | Kind::Away
            | Kind::Before
            | Kind::After
            | Kind::Held
            | Kind::Conflict
            | Kind::Unanswered => StreamBody::new(frames).boxed_unsync(),
        };
        Ok(Response::from_parts(parts, body))
    }
}

/// What an API server says of a write that names an old version.
fn conflict() -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "the object has been modified; please apply your changes to the latest version",
        "reason": "Conflict", "code": 409,
    });
    let answer = Response::builder()
        .status(StatusCode::CONFLICT)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::from(serde_json::to_vec(&status)?))?;
    Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
}

async fn until_told() {
    match signal(SignalKind::user_defined1()) {
        Ok(mut told) => {
            tracing::info!("held");
            // `None` never comes as long as there is a runtime.
            told.recv().await;
        }
        Err(error) => tracing::error!(%error, "failed to listen to signals: nothing is held"),
    }
}

fn is_watch(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    query
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1"))
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
    fn writes_are_counted_from_one() {
        let fault = |kind, write| Ok(Fault { kind, write });
        assert_eq!("before:3".parse(), fault(Kind::Before, 3));
        assert_eq!("lagging:12".parse(), fault(Kind::Lagging, 12));
        assert_eq!("held:1".parse(), fault(Kind::Held, 1));
        for wrong in ["after:0", "after", "3", "during:3", "before:x"] {
            wrong.parse::<Fault>().unwrap_err();
        }
    }

    #[test]
    fn watches_are_told_from_lists() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        assert!(is_watch(&uri("/api/v1/pods?watch=true&resourceVersion=3")));
        assert!(!is_watch(&uri("/api/v1/pods?limit=500")));
        assert!(!is_watch(&uri("/api/v1/pods")));
    }
}
