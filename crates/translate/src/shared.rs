//! Clusters and endpoints that are the same for many proxies, encoded once.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlead_crds::networking::Subset;
use fairlead_xds::proto;
use fairlead_xds::resource::{Encoded, Resource};
use parking_lot::Mutex;

use crate::cluster::{self, Client, Scope};
use crate::diagnostic::Source;
use crate::registry::{Port, Service};
use crate::rule::Rule;

/// What a cluster depends on, besides the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    host: String,
    /// Two namespaces may see two services of one host.
    namespace: String,
    port: u16,
    subset: String,
    rule: Vec<Source>,
    client: Client,
}

/// A cluster, with its endpoints if they come by EDS.
#[derive(Clone, Debug)]
pub(crate) struct EncodedCluster {
    pub(crate) cluster: Arc<Encoded>,
    pub(crate) endpoints: Option<Arc<Encoded>>,
}

/// The clusters of one snapshot that were asked for so far.
#[derive(Debug, Default)]
pub(crate) struct Clusters {
    made: Mutex<BTreeMap<Key, EncodedCluster>>,
}

impl Clusters {
    /// The cluster of `port`, or of `subset` in it.
    pub(crate) fn outbound(
        &self,
        scope: Scope<'_>,
        service: &Service,
        port: &Port,
        rule: Option<&Rule>,
        subset: Option<&Subset>,
    ) -> EncodedCluster {
        let key = Key {
            host: service.host.clone(),
            namespace: service.namespace.clone(),
            port: port.number,
            subset: subset.map(|subset| subset.name.clone()).unwrap_or_default(),
            rule: rule.map(|rule| rule.sources.clone()).unwrap_or_default(),
            client: scope.client,
        };
        if let Some(made) = self.made.lock().get(&key) {
            return made.clone();
        }
        // Two threads may make the same at once; that costs time, and waiting would cost more.
        let outbound = cluster::outbound(scope, service, port, rule, subset);
        let encode = |resource| Arc::new(proto::encode(&resource));
        let made = EncodedCluster {
            cluster: encode(Resource::Cluster(Box::new(outbound.cluster))),
            endpoints: outbound.endpoints.map(Resource::Endpoint).map(encode),
        };
        self.made.lock().entry(key).or_insert(made).clone()
    }
}
