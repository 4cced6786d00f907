//! One stream: requests and snapshots come in, responses go out, one at a time as they are taken.
//!
//! There is no task and no queue of its own: a proxy that does not read holds up only itself, and
//! what changes meanwhile reaches it in its latest state only.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use fairlead_identity::SpiffeId;
use fairlead_runtime::clock;
use fairlead_xds::TypeUrl;
use fairlead_xds::node::Node;
use fairlead_xds::resource::ResourceSet;
use fairlead_xds::server::Session;
use futures::{Stream, StreamExt, stream};
use tokio::time::Instant;
use tonic::Status;

use super::connections::Guard;
use super::{Admission, Ads, is_own_node};
use crate::metrics::ByType;
use crate::push::Published;

/// How long listeners and routes wait for endpoints that the proxy does not ask for.
const HOLD: Duration = Duration::from_secs(2);
/// Streams end after this, so that proxies spread over the replicas again.
const AGE: Duration = Duration::from_secs(30 * 60);
/// The ends of streams that began together spread over this.
const AGE_SPREAD: u64 = 10 * 60;

/// The responses of one stream.
pub(super) fn run<I>(
    ads: Ads,
    identity: Option<SpiffeId>,
    peer: Option<SocketAddr>,
    requests: I,
) -> impl Stream<Item = Result<DeltaDiscoveryResponse, Status>>
where
    I: Stream<Item = Result<DeltaDiscoveryRequest, Status>> + Send + Unpin + 'static,
{
    let state = State {
        ads,
        identity,
        peer,
        requests,
        outbox: VecDeque::new(),
        open: None,
    };
    stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        match state.next().await {
            Ok(Some(response)) => Some((Ok(response), Some(state))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    })
}

struct State<I> {
    ads: Ads,
    identity: Option<SpiffeId>,
    peer: Option<SocketAddr>,
    requests: I,
    outbox: VecDeque<DeltaDiscoveryResponse>,
    open: Option<Open>,
}

/// What there is once the proxy has said who it is.
struct Open {
    guard: Guard,
    node: Arc<Node>,
    session: Session,
    wanted: Arc<ResourceSet>,
    /// When the oldest snapshot was made that the proxy has not accepted.
    unaccepted: Option<Instant>,
    hold_until: Option<Instant>,
    ends_at: Instant,
}

enum Wake {
    Request(Box<DeltaDiscoveryRequest>),
    Broken(Status),
    Snapshot,
    Release,
    End,
}

impl<I> State<I>
where
    I: Stream<Item = Result<DeltaDiscoveryRequest, Status>> + Send + Unpin,
{
    async fn next(&mut self) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        loop {
            if let Some(response) = self.outbox.pop_front() {
                return Ok(Some(response));
            }
            match self.wake().await {
                Wake::Request(request) => self.on_request(&request).await?,
                Wake::Broken(status) => {
                    tracing::debug!(%status, "stream broke");
                    return Ok(None);
                }
                Wake::End => return Ok(None),
                Wake::Snapshot => self.on_snapshot(),
                Wake::Release => self.release(),
            }
        }
    }

    async fn wake(&mut self) -> Wake {
        let (ends_at, hold_until) = match &self.open {
            Some(open) => (Some(open.ends_at), open.hold_until),
            None => (None, None),
        };
        let Self { ads, requests, .. } = self;
        tokio::select! {
            () = ads.shutdown.cancelled() => Wake::End,
            request = requests.next() => match request {
                Some(Ok(request)) => Wake::Request(Box::new(request)),
                Some(Err(status)) => Wake::Broken(status),
                None => Wake::End,
            },
            changed = ads.published.changed(), if ends_at.is_some() => match changed {
                Ok(()) => Wake::Snapshot,
                Err(_) => Wake::End,
            },
            () = sleep_until(hold_until) => Wake::Release,
            () = sleep_until(ends_at) => Wake::End,
        }
    }

    async fn on_request(&mut self, request: &DeltaDiscoveryRequest) -> Result<(), Status> {
        if self.open.is_none() {
            self.open = Some(self.admit(request).await?);
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if let (Some(error), Some(kind)) =
            (&request.error_detail, TypeUrl::parse(&request.type_url))
        {
            let node = open.node.id.to_string();
            tracing::warn!(node, r#type = %kind, error = error.message, "configuration refused");
            self.ads
                .metrics
                .rejects
                .get_or_create(&ByType {
                    r#type: kind.short(),
                })
                .inc();
            open.guard.rejected(kind);
        }
        let responses = open.session.on_request(request, &open.wanted);
        self.send(responses);
        Ok(())
    }

    /// Checks the node of a first request, and waits until there is something to serve.
    async fn admit(&mut self, request: &DeltaDiscoveryRequest) -> Result<Open, Status> {
        let Some(node) = &request.node else {
            self.ads.refused("node");
            return Err(Status::invalid_argument("the first request names no node"));
        };
        let node = Node::from_proto(node).map_err(|error| {
            self.ads.refused("node");
            Status::invalid_argument(error.to_string())
        })?;
        if let Some(identity) = &self.identity
            && !is_own_node(identity, &node)
        {
            self.ads.refused("identity");
            tracing::warn!(%identity, node = %node.id, "stream of a foreign node refused");
            return Err(Status::permission_denied(format!(
                "`{identity}` is not the identity of node `{}`",
                node.id
            )));
        }
        let published = {
            let ready = self.ads.published.wait_for(Option::is_some);
            let ready = tokio::select! {
                ready = ready => ready.ok().and_then(|published| published.clone()),
                () = self.ads.shutdown.cancelled() => None,
            };
            ready.ok_or_else(|| Status::unavailable("the control plane is shutting down"))?
        };
        self.ads.published.mark_unchanged();
        let node = Arc::new(node);
        let guard = self
            .ads
            .connections
            .open(Arc::clone(&node), self.peer, clock::now());
        tracing::info!(node = %node.id, "proxy connected");
        let spread = Duration::from_secs(guard.id().wrapping_mul(7919) % AGE_SPREAD);
        let mut open = Open {
            guard,
            node,
            session: Session::default(),
            wanted: Arc::default(),
            unaccepted: None,
            hold_until: None,
            ends_at: clock::instant() + AGE + spread,
        };
        // What came before it connected is none of its delay.
        open.unaccepted = Some(clock::instant());
        open.take(&self.ads, &published);
        Ok(open)
    }

    fn on_snapshot(&mut self) {
        let published = self.ads.published.borrow_and_update().clone();
        let (Some(open), Some(published)) = (&mut self.open, published) else {
            return;
        };
        let before = Arc::clone(&open.wanted);
        open.take(&self.ads, &published);
        let responses = if Arc::ptr_eq(&before, &open.wanted) {
            Vec::new()
        } else {
            open.session.on_snapshot(&open.wanted)
        };
        self.send(responses);
    }

    fn release(&mut self) {
        let Some(open) = &mut self.open else { return };
        tracing::info!(node = %open.node.id, "going on without endpoints that were not asked for");
        let responses = open.session.release(&open.wanted);
        self.send(responses);
    }

    fn send(&mut self, responses: Vec<DeltaDiscoveryResponse>) {
        let Some(open) = &mut self.open else { return };
        for response in &responses {
            if let Some(kind) = TypeUrl::parse(&response.type_url) {
                self.ads
                    .metrics
                    .pushes
                    .get_or_create(&ByType {
                        r#type: kind.short(),
                    })
                    .inc();
                open.guard.sent(kind);
            }
        }
        self.outbox.extend(responses);
        open.settle(&self.ads);
    }
}

impl Open {
    /// Takes over what a snapshot means for this proxy.
    fn take(&mut self, ads: &Ads, published: &Published) {
        let view = published.view(&self.node);
        self.wanted = match ads.admission {
            Admission::Proven(_) => Arc::clone(&view.resources),
            Admission::Anonymous => without_secrets(&view.resources),
        };
        self.guard.want(&self.wanted);
        self.unaccepted.get_or_insert_with(|| published.at());
        let (id, sequence) = (self.guard.id(), published.sequence());
        ads.tracker
            .update(|progress| progress.sent(id, sequence, Arc::clone(&view.uses)));
    }

    /// Notes how far the proxy is after something has happened.
    fn settle(&mut self, ads: &Ads) {
        let is_settled = self.session.is_settled(&self.wanted);
        self.guard.settle(&self.session, is_settled);
        let is_holding = self.session.is_holding(&self.wanted);
        self.hold_until = match self.hold_until {
            _ if !is_holding => None,
            None => Some(clock::instant() + HOLD),
            held => held,
        };
        if !is_settled {
            return;
        }
        let refusal = self
            .session
            .rejections()
            .next()
            .map(|(kind, name, rejection)| format!("{kind} `{name}`: {}", rejection.message));
        let id = self.guard.id();
        if let Some(refusal) = refusal {
            return ads
                .tracker
                .update(|progress| progress.rejected(id, refusal));
        }
        ads.tracker.update(|progress| progress.accepted(id));
        if let Some(since) = self.unaccepted.take() {
            let taken = clock::instant().saturating_duration_since(since);
            ads.metrics.convergence.observe(taken.as_secs_f64());
        }
    }
}

fn without_secrets(resources: &ResourceSet) -> Arc<ResourceSet> {
    let mut rest = resources.clone();
    for name in resources.of(TypeUrl::Secret).keys() {
        rest.remove(TypeUrl::Secret, name);
    }
    rest.into()
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
