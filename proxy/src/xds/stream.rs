//! The stream to the control plane: receives resources, puts them into effect, acknowledges them.
//!
//! What was received stays in use while the control plane is away.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use fairlead_runtime::report;
use fairlead_xds::client::{Received, Session};
use fairlead_xds::resource::endpoint::LoadAssignment;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::authority::Authority;
use super::store::{Progress, Store};
use super::{channel, resolve};
use crate::readiness::Readiness;
use crate::tls::Identity;
use crate::workers::Workers;

/// Requests on their way to the control plane.
const QUEUE: usize = 64;
/// Pause after a failed connection: doubled from the first to the last, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(15);
/// How often names of endpoints are looked up.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(5);
/// Readiness is not held up for longer than this by what the control plane does not send.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to read the roots")]
    Roots(#[source] super::authority::Error),
    #[error("failed to connect to the control plane")]
    Connect(#[source] channel::Error),
    #[error("the control plane ended the stream")]
    Status(#[source] Box<tonic::Status>),
    #[error("the control plane closed the stream")]
    Closed,
}

/// The configuration's side of the control thread.
#[derive(Debug)]
pub struct Client {
    /// Where the control plane is.
    pub authority: Authority,
    /// What was received.
    pub store: Store,
    /// What was agreed with the control plane.
    pub session: Session,
    /// Who runs on it.
    pub workers: Arc<Workers>,
    /// Who wants to know when there is enough.
    pub readiness: Readiness,
    /// Our certificate, as it is renewed.
    pub identity: watch::Receiver<Arc<Identity>>,
}

impl Client {
    /// Runs until shutdown, over as many streams as it takes.
    pub async fn run(mut self, token: CancellationToken) -> Result<(), std::convert::Infallible> {
        let (found, mut lookups) = mpsc::channel(QUEUE);
        let mut resolving = tokio::time::interval(RESOLVE_INTERVAL);
        let mut pause = FIRST_PAUSE;
        loop {
            let error = tokio::select! {
                () = token.cancelled() => return Ok(()),
                error = self.stream(&mut pause, &mut resolving, &found, &mut lookups) => error,
            };
            let wait = pause.mul_f64(0.5 + rand::random::<f64>() / 2.0);
            tracing::warn!(error = %report(&error), ?wait, "connecting to the control plane again");
            pause = (pause * 2).min(LAST_PAUSE);
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn connect(
        &self,
    ) -> Result<
        (
            mpsc::Sender<DeltaDiscoveryRequest>,
            Streaming<envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse>,
        ),
        Error,
    > {
        let Authority {
            address, provider, ..
        } = &self.authority;
        let roots = self.authority.roots().await.map_err(Error::Roots)?;
        let identity = Arc::clone(&self.identity.borrow());
        let channel = channel::open(address, Arc::new(roots), Some(&identity), provider)
            .await
            .map_err(Error::Connect)?;
        let (requests, receiver) = mpsc::channel(QUEUE);
        for request in self.session.connect() {
            requests
                .send(request)
                .await
                .map_err(|_closed| Error::Closed)?;
        }
        let responses = AggregatedDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(usize::MAX)
            .delta_aggregated_resources(ReceiverStream::new(receiver))
            .await
            .map_err(|status| Error::Status(Box::new(status)))?
            .into_inner();
        Ok((requests, responses))
    }

    async fn stream(
        &mut self,
        pause: &mut Duration,
        resolving: &mut tokio::time::Interval,
        found: &mpsc::Sender<(String, LoadAssignment)>,
        lookups: &mut mpsc::Receiver<(String, LoadAssignment)>,
    ) -> Error {
        let (requests, mut responses) = match self.connect().await {
            Ok(connected) => connected,
            Err(error) => return error,
        };
        tracing::info!(address = %self.authority.address, "connected to the control plane");
        let mut partial_since = None;
        loop {
            tokio::select! {
                message = responses.message() => {
                    let response = match message {
                        Ok(Some(response)) => response,
                        Ok(None) => return Error::Closed,
                        Err(status) => return Error::Status(Box::new(status)),
                    };
                    *pause = FIRST_PAUSE;
                    let Some(received) = self.session.on_response(response) else { continue };
                    for request in self.take(received).await {
                        if requests.send(request).await.is_err() {
                            return Error::Closed;
                        }
                    }
                }
                Ok(()) = self.identity.changed() => {
                    let identity = Arc::clone(&self.identity.borrow_and_update());
                    for problem in self.store.renew(identity) {
                        tracing::error!(error = %report(&problem), "failed to renew TLS");
                    }
                    self.publish().await;
                }
                _ = resolving.tick() => self.start_lookups(found),
                Some((cluster, assignment)) = lookups.recv() => {
                    self.store.resolve(&cluster, assignment);
                    self.publish().await;
                }
                () = tokio::time::sleep(PATIENCE), if partial_since.is_some() => {}
            }
            self.note_readiness(&mut partial_since);
        }
    }

    /// Puts a response into effect, and gives the requests that follow from it. The answer comes
    /// last: only when each worker runs on what it acknowledges.
    async fn take(&mut self, received: Received) -> Vec<DeltaDiscoveryRequest> {
        let Received {
            kind,
            updates,
            removed,
            mut requests,
            reply,
        } = received;
        tracing::debug!(%kind, updates = updates.len(), removed = removed.len(), "received");
        let problems = self.store.update(kind, updates, &removed);
        let mut reasons: Vec<String> = problems
            .iter()
            .map(|problem| report(problem).to_string())
            .collect();
        reasons.extend(self.publish().await);
        if let Some(rejection) = reply.rejection() {
            tracing::warn!(%kind, rejection, "refused configuration");
        }
        let answer = if reasons.is_empty() {
            reply.into_request()
        } else {
            let reason = reasons.join("; ");
            tracing::warn!(%kind, reason, "refused configuration");
            self.session.reject(reply, &reason)
        };
        requests.push(answer);
        requests
    }

    async fn publish(&self) -> Vec<String> {
        self.workers.apply(self.store.snapshot()).await
    }

    /// Ready when all is there, or when nothing more has come for a while.
    fn note_readiness(&self, partial_since: &mut Option<Instant>) {
        if self.readiness.is_configured() {
            *partial_since = None;
            return;
        }
        let now = fairlead_runtime::clock::instant();
        let is_enough = match self.store.progress() {
            Progress::Complete => true,
            Progress::Partial => {
                let since = *partial_since.get_or_insert(now);
                now.saturating_duration_since(since) >= PATIENCE
            }
            Progress::Waiting => false,
        };
        if is_enough {
            tracing::info!("ready to serve");
            self.readiness.configured();
        }
    }

    fn start_lookups(&self, found: &mpsc::Sender<(String, LoadAssignment)>) {
        for (cluster, names) in self.store.names_to_resolve() {
            let found = found.clone();
            self.workers.tasks().spawn_job("lookup", async move {
                if let Some(assignment) = resolve::assignment(&names).await {
                    // The client has gone, and with it the wish to know.
                    let _gone = found.send((cluster, assignment)).await;
                }
                Ok::<_, std::convert::Infallible>(())
            });
        }
    }
}
