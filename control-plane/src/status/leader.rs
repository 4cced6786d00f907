//! Runs the writer on the one replica that leads.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fairlead_controller::lease;
use tokio_util::sync::CancellationToken;

use super::others::Others;
use super::peers::Peers;
use super::writer::Writer;
use crate::Shared;
use crate::args::Args;

/// The lease of the replica that writes statuses.
const LEASE: &str = "istio-status-leader";
/// How long the others wait for a leader that is silent. The operator waits 5 s for a status after
/// it has changed a weight, so that a writer that was killed must be replaced before. To be hasty
/// does no harm here: two writers would write the same.
const DURATION: Duration = Duration::from_secs(3);
const RENEW_DEADLINE: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_secs(1);

/// Writes statuses whenever this replica leads. A lost lease only stops the writing: streams and
/// webhooks are served by every replica.
pub(crate) struct Leader {
    mesh: Shared,
    lease: lease::Config,
    others: Others,
}

impl Leader {
    pub(crate) fn new(args: &Args, mesh: &Shared) -> anyhow::Result<Self> {
        let name = args.replica_name();
        let name = name
            .try_into()
            .context("the Service's name is not a DNS name")?;
        let others = Others {
            live: Arc::clone(&mesh.live),
            namespace: args.namespace.clone(),
            service: args.service.clone(),
            pod: args.pod_name.clone(),
            peers: Peers::new(mesh.serving.replicas.clone(), name),
        };
        let lease = lease(&args.namespace, &args.pod_name);
        Ok(Self {
            mesh: mesh.clone(),
            lease,
            others,
        })
    }

    pub(crate) async fn run(self, shutdown: CancellationToken) -> Result<(), Infallible> {
        while !shutdown.is_cancelled() {
            let client = self.mesh.client.clone();
            let led = lease::lead(client, self.lease.clone(), shutdown.clone(), |shutdown| {
                self.writer().run(shutdown)
            });
            if let Err(error) = led.await {
                let error = fairlead_runtime::report(&error).to_string();
                tracing::warn!(error, "no longer writing statuses");
            }
        }
        Ok(())
    }

    fn writer(&self) -> Writer {
        let (client, tracker) = (self.mesh.client.clone(), Arc::clone(&self.mesh.tracker));
        Writer::new(
            client,
            tracker,
            self.others.clone(),
            self.mesh.metrics.clone(),
        )
    }
}

fn lease(namespace: &str, pod: &str) -> lease::Config {
    lease::Config {
        duration: DURATION,
        renew_deadline: RENEW_DEADLINE,
        interval: INTERVAL,
        ..lease::Config::new(namespace, LEASE, pod)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use bytes::Bytes;
    use fairlead_runtime::clock;
    use http_body_util::{BodyExt, Full};
    use hyper::{Method, Request, Response, StatusCode};
    use kube::Client;
    use kube::client::Body;
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tokio::sync::oneshot;

    use super::*;

    /// How long the operator waits for a status.
    const OPERATOR: Duration = Duration::from_secs(5);

    fn answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
        let mut answer = Response::new(Full::from(body.to_string()));
        *answer.status_mut() = status;
        answer
    }

    /// Stores one Lease as an API server does.
    async fn serve(
        stored: Arc<Mutex<Option<Value>>>,
        request: Request<Body>,
    ) -> Response<Full<Bytes>> {
        let refuse = |code: StatusCode, reason: &str| {
            let body = json!({ "status": "Failure", "reason": reason, "code": code.as_u16() });
            answer(code, &body)
        };
        let is_read = request.method() == Method::GET;
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut stored = stored.lock();
        if is_read {
            return match &*stored {
                Some(lease) => answer(StatusCode::OK, lease),
                None => refuse(StatusCode::NOT_FOUND, "NotFound"),
            };
        }
        let mut lease: Value = serde_json::from_slice(&body).unwrap();
        let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
        let current = stored.as_ref().map(version).unwrap_or_default();
        if version(&lease) != current {
            return refuse(StatusCode::CONFLICT, "Conflict");
        }
        let next: u64 = current.as_str().map_or(0, |text| text.parse().unwrap());
        lease["metadata"]["resourceVersion"] = json!((next + 1).to_string());
        answer(StatusCode::OK, stored.insert(lease))
    }

    fn api_server() -> Client {
        let stored = Arc::default();
        let service = tower::service_fn(move |request| {
            let answer = serve(Arc::clone(&stored), request);
            async { Ok::<_, Infallible>(answer.await) }
        });
        Client::new(service, "istio-system")
    }

    /// Leads as `pod`, and tells when it does.
    fn lead(
        client: &Client,
        pod: &str,
        shutdown: &CancellationToken,
    ) -> (
        impl Future<Output = Result<(), lease::Error>> + use<>,
        oneshot::Receiver<()>,
    ) {
        let (leads, told) = oneshot::channel();
        let work = |shutdown: CancellationToken| async move {
            leads.send(()).unwrap();
            shutdown.cancelled().await;
            Ok::<_, Infallible>(())
        };
        let config = lease("istio-system", pod);
        let led = lease::lead(client.clone(), config, shutdown.clone(), work);
        (led, told)
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_is_killed_is_replaced_while_the_operator_waits() {
        let (client, never) = (api_server(), CancellationToken::new());
        let (second, takes_over) = lead(&client, "b", &never);
        let mut second = pin!(second);
        {
            let (first, leads) = lead(&client, "a", &never);
            let mut first = pin!(first);
            tokio::select! {
                ended = &mut first => panic!("{ended:?}"),
                told = leads => told.unwrap(),
            }
            tokio::select! {
                ended = first => panic!("{ended:?}"),
                ended = &mut second => panic!("{ended:?}"),
                () = tokio::time::sleep(OPERATOR * 4) => {}
            }
        }
        let killed = clock::instant();
        tokio::select! {
            ended = second => panic!("{ended:?}"),
            told = takes_over => told.unwrap(),
        }
        let silent = clock::instant() - killed;
        assert!(silent < OPERATOR, "{silent:?}");
        assert!(silent > INTERVAL, "the lease was not held: {silent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_ends_in_order_is_replaced_at_once() {
        let client = api_server();
        let (end, never) = (CancellationToken::new(), CancellationToken::new());
        let (first, leads) = lead(&client, "a", &end);
        let mut first = pin!(first);
        tokio::select! {
            ended = &mut first => panic!("{ended:?}"),
            told = leads => told.unwrap(),
        }
        end.cancel();
        first.await.unwrap();
        let released = clock::instant();
        let (second, takes_over) = lead(&client, "b", &never);
        tokio::select! {
            ended = second => panic!("{ended:?}"),
            told = takes_over => told.unwrap(),
        }
        assert!(clock::instant() - released < INTERVAL);
    }
}
