//! The delta ADS service: admits streams, and runs a session on each.
//!
//! What is sent and when is decided by [`fairlead_xds::server::Session`]; here are only the stream,
//! the proof of who is at its other end, and the bookkeeping.

pub mod connections;
pub mod server;
mod stream;

use std::pin::Pin;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use fairlead_identity::SpiffeId;
use fairlead_xds::node::Node;
use futures::Stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::ca::caller::Callers;
use crate::metrics::{ByOutcome, Metrics};
use crate::push::Published;
use crate::status::Tracker;
use crate::tls::Peer;
use connections::Connections;

/// How proxies prove who they are.
#[derive(Debug, Clone)]
pub enum Admission {
    /// By certificate or token; the node must be of the same namespace and service account.
    Proven(Callers),
    /// Not at all, on the plaintext port of tests: such streams never get secrets.
    Anonymous,
}

/// What all streams share.
#[derive(Debug, Clone)]
pub struct Ads {
    /// How proxies prove who they are.
    pub admission: Admission,
    /// The newest snapshot; none while the caches are filling.
    pub published: watch::Receiver<Option<Arc<Published>>>,
    /// The open streams.
    pub connections: Arc<Connections>,
    /// Who has accepted what.
    pub tracker: Arc<Tracker>,
    /// Counts.
    pub metrics: Metrics,
    /// Ends all streams.
    pub shutdown: CancellationToken,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented(
            "only the incremental variant of ADS is served",
        ))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let identity = match &self.admission {
            Admission::Anonymous => None,
            Admission::Proven(callers) => Some(
                callers
                    .identify(&request)
                    .await
                    .inspect_err(|_| self.refused("caller"))?,
            ),
        };
        let peer = request.extensions().get::<Peer>().map(|peer| peer.address);
        let stream = stream::run(self.clone(), identity, peer, request.into_inner());
        Ok(Response::new(Box::pin(stream)))
    }
}

impl Ads {
    fn refused(&self, outcome: &'static str) {
        self.metrics
            .refused_streams
            .get_or_create(&ByOutcome { outcome })
            .inc();
    }
}

/// Whether a node is of the namespace and service account that its stream has proven.
fn is_own_node(identity: &SpiffeId, node: &Node) -> bool {
    let metadata = &node.metadata;
    node.id.namespace == identity.namespace()
        && metadata.namespace == identity.namespace()
        && metadata.service_account == identity.service_account()
}

#[cfg(test)]
mod tests {
    use fairlead_xds::node::Metadata;

    use super::*;

    fn node(id_namespace: &str, namespace: &str, account: &str) -> Node {
        Node {
            id: format!("sidecar~10.0.0.1~web-0.{id_namespace}~{id_namespace}.svc.cluster.local")
                .parse()
                .unwrap(),
            metadata: Metadata {
                namespace: namespace.to_owned(),
                service_account: account.to_owned(),
                ..Metadata::default()
            },
        }
    }

    #[test]
    fn a_node_may_be_only_what_its_stream_has_proven() {
        let identity = SpiffeId::new("cluster.local", "shop", "web").unwrap();
        assert!(is_own_node(&identity, &node("shop", "shop", "web")));
        assert!(!is_own_node(&identity, &node("shop", "shop", "admin")));
        assert!(!is_own_node(&identity, &node("shop", "kube-system", "web")));
        assert!(!is_own_node(&identity, &node("kube-system", "shop", "web")));
    }
}
