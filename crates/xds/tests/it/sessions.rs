//! A server's and a client's session over a wire that delivers late, in any interleaving, and
//! breaks now and then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use fairlead_xds::node::{Metadata, Node};
use fairlead_xds::resource::cluster::Discovery;
use fairlead_xds::resource::endpoint::{Address, Endpoint, LocalityEndpoints};
use fairlead_xds::resource::listener::{
    Codec, Direction, FilterChain, FilterChainMatch, ForwardClientCert, Handler,
    HttpConnectionManager, RouteSource,
};
use fairlead_xds::resource::route::{Action, Forward, Route, RouteConfiguration, VirtualHost};
use fairlead_xds::resource::{Cluster, Encoded, Listener, LoadAssignment, Resource, ResourceSet};
use fairlead_xds::routing::RouteMatch;
use fairlead_xds::{TypeUrl, client, server};
use proptest::prelude::*;

const CLUSTERS: usize = 4;

/// What the client should have: some clusters with endpoints, and a route to one of them.
#[derive(Clone, Debug)]
struct World {
    /// The version of each cluster's endpoints; none if the cluster does not exist.
    clusters: [Option<u8>; CLUSTERS],
    target: usize,
    /// A cluster whose bytes are no cluster.
    broken: Option<usize>,
}

impl World {
    fn resources(&self) -> ResourceSet {
        let mut set = ResourceSet::default();
        for (index, version) in self.clusters.iter().enumerate() {
            let Some(version) = version else { continue };
            let name = format!("c{index}");
            let eds = Discovery::Eds {
                service_name: String::new(),
            };
            let cluster = Resource::Cluster(Box::new(Cluster::new(&name, eds)));
            if self.broken == Some(index) {
                let bytes = Encoded {
                    name: name.clone(),
                    version: "broken".to_owned(),
                    body: vec![0xff].into(),
                };
                set.insert_encoded(TypeUrl::Cluster, Arc::new(bytes));
            } else {
                set.insert(&cluster);
            }
            let address = format!("10.0.{index}.{version}:80").parse().unwrap();
            set.insert(&Resource::Endpoint(LoadAssignment {
                cluster: name,
                localities: vec![LocalityEndpoints {
                    endpoints: vec![Endpoint::new(Address::Socket(address))],
                    ..LocalityEndpoints::default()
                }],
            }));
        }
        set.insert(&listener());
        if let Some(target) = self.target() {
            set.insert(&routes(target));
        }
        set
    }

    /// The target if it exists, else any that does.
    fn target(&self) -> Option<usize> {
        let exists = |index: &usize| self.clusters[*index].is_some();
        Some(self.target)
            .filter(exists)
            .or_else(|| (0..CLUSTERS).find(exists))
    }
}

fn listener() -> Resource {
    let manager = HttpConnectionManager {
        stat_prefix: "l".to_owned(),
        codec: Codec::Auto,
        routes: RouteSource::Rds("r".to_owned()),
        forward_client_cert: ForwardClientCert::Sanitize,
        use_remote_address: false,
        xff_trusted_hops: 0,
        normalize_path: true,
        merge_slashes: false,
        upgrades: Vec::new(),
        stream_idle_timeout: None,
        server_name: String::new(),
        filters: Vec::new(),
    };
    Resource::Listener(Box::new(Listener {
        name: "l".to_owned(),
        address: "0.0.0.0:80".parse().unwrap(),
        bind_to_port: true,
        use_original_dst: false,
        direction: Direction::Outbound,
        filters: Vec::new(),
        filters_timeout: None,
        continue_on_filters_timeout: false,
        filter_chains: vec![FilterChain {
            name: String::new(),
            matches: FilterChainMatch::default(),
            tls: None,
            handler: Handler::Http(Box::new(manager)),
        }],
        default_filter_chain: None,
    }))
}

fn routes(target: usize) -> Resource {
    let forward = Action::Forward(Box::new(Forward::to(format!("c{target}"))));
    Resource::Route(RouteConfiguration {
        name: "r".to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: "v".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![Route::new("", RouteMatch::any(), forward)],
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    })
}

#[derive(Clone, Debug)]
enum Step {
    Change(World),
    /// The client gets one response, puts it into effect, and answers.
    Respond,
    /// The server gets one request.
    Request,
    Reconnect,
}

fn world(may_break: bool) -> impl Strategy<Value = World> {
    let broken = if may_break {
        prop::option::of(0..CLUSTERS).boxed()
    } else {
        Just(None).boxed()
    };
    let clusters = prop::array::uniform4(prop::option::weighted(0.7, 0_u8..3));
    (clusters, 0..CLUSTERS, broken).prop_map(|(clusters, target, broken)| World {
        clusters,
        target,
        broken,
    })
}

fn steps(may_break: bool) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => world(may_break).prop_map(Step::Change),
        5 => Just(Step::Respond),
        5 => Just(Step::Request),
        1 => Just(Step::Reconnect),
    ];
    prop::collection::vec(step, 0..60)
}

struct Wire {
    wanted: ResourceSet,
    server: server::Session,
    client: client::Session,
    responses: VecDeque<DeltaDiscoveryResponse>,
    requests: VecDeque<DeltaDiscoveryRequest>,
    /// What the client has in effect.
    applied: BTreeMap<(TypeUrl, String), Resource>,
}

impl Wire {
    fn new(world: &World) -> Self {
        let node = Node {
            id: "sidecar~10.0.0.1~a.b~b.svc.cluster.local".parse().unwrap(),
            metadata: Metadata::default(),
        };
        let client = client::Session::new(&node, []);
        let requests = client.connect().into();
        Self {
            wanted: world.resources(),
            server: server::Session::default(),
            client,
            responses: VecDeque::new(),
            requests,
            applied: BTreeMap::new(),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Change(world) => {
                self.wanted = world.resources();
                self.responses.extend(self.server.on_snapshot(&self.wanted));
            }
            Step::Respond => self.respond(),
            Step::Request => {
                if let Some(request) = self.requests.pop_front() {
                    self.responses
                        .extend(self.server.on_request(&request, &self.wanted));
                }
            }
            Step::Reconnect => {
                self.responses.clear();
                self.server = server::Session::default();
                self.requests = self.client.connect().into();
            }
        }
    }

    fn respond(&mut self) {
        let Some(response) = self.responses.pop_front() else {
            return;
        };
        let received = self.client.on_response(response).unwrap();
        for resource in received.updates {
            self.applied
                .insert((resource.type_url(), resource.name().to_owned()), resource);
        }
        for name in received.removed {
            self.applied.remove(&(received.kind, name));
        }
        let client = &self.client;
        self.applied
            .retain(|(kind, name), _| client.is_subscribed(*kind, name));
        self.requests.extend(received.requests);
        self.requests.push_back(received.reply.into_request());
    }

    /// Delivers everything; fails if that has no end.
    fn settle(&mut self) {
        for _ in 0..500 {
            if self.responses.is_empty() && self.requests.is_empty() {
                return;
            }
            self.take(&Step::Request);
            self.take(&Step::Respond);
        }
        panic!("the sessions talk without end");
    }

    fn names(&self, kind: TypeUrl) -> BTreeSet<&str> {
        let applied = self.applied.keys().filter(|(own, _)| *own == kind);
        applied.map(|(_, name)| name.as_str()).collect()
    }

    /// No route in effect leads to a cluster that the client does not have with its endpoints.
    fn assert_no_break(&self) {
        let Some(Resource::Route(routes)) = self.applied.get(&(TypeUrl::Route, "r".to_owned()))
        else {
            return;
        };
        let Action::Forward(forward) = &routes.virtual_hosts[0].routes[0].action else {
            panic!("the only route forwards");
        };
        let target = forward.clusters[0].name.as_str();
        assert!(
            self.names(TypeUrl::Cluster).contains(target),
            "no cluster {target}"
        );
        assert!(
            self.names(TypeUrl::Endpoint).contains(target),
            "no endpoints of {target}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn in_the_end_the_client_has_what_it_should(first in world(false), steps in steps(false)) {
        let mut wire = Wire::new(&first);
        for step in &steps {
            wire.take(step);
        }
        wire.settle();
        prop_assert!(wire.server.is_settled(&wire.wanted));
        for kind in [TypeUrl::Cluster, TypeUrl::Endpoint, TypeUrl::Listener] {
            let wanted: BTreeSet<_> = wire.wanted.of(kind).keys().map(String::as_str).collect();
            prop_assert_eq!(wire.names(kind), wanted);
            for (name, encoded) in wire.wanted.of(kind) {
                let delivery = wire.server.delivery(kind, name, &encoded.version);
                prop_assert_eq!(delivery, server::Delivery::Acked);
                let resource = &wire.applied[&(kind, name.clone())];
                let applied = fairlead_xds::proto::encode(resource);
                prop_assert_eq!(&applied, encoded.as_ref());
            }
        }
    }

    #[test]
    fn no_route_ever_leads_to_a_cluster_that_is_not_ready(
        first in world(false),
        steps in steps(false),
    ) {
        let mut wire = Wire::new(&first);
        for step in &steps {
            wire.take(step);
            // A cluster that comes back after a lost connection may come after a route of before.
            if !matches!(step, Step::Reconnect) {
                wire.assert_no_break();
            }
        }
        wire.settle();
        wire.assert_no_break();
    }

    #[test]
    fn a_broken_resource_is_refused_once_and_its_neighbours_arrive(
        first in world(true),
        steps in steps(true),
    ) {
        let mut wire = Wire::new(&first);
        for step in &steps {
            wire.take(step);
        }
        wire.settle();
        for (name, encoded) in wire.wanted.of(TypeUrl::Cluster) {
            let delivery = wire.server.delivery(TypeUrl::Cluster, name, &encoded.version);
            if encoded.version == "broken" {
                let is_rejected = matches!(
                    &delivery,
                    server::Delivery::Rejected(rejection) if rejection.message.contains(name)
                );
                prop_assert!(is_rejected, "{:?}", delivery);
            } else {
                prop_assert_eq!(delivery, server::Delivery::Acked);
            }
        }
        // Nothing is said again without a reason.
        let wanted = wire.wanted.clone();
        prop_assert!(wire.server.on_snapshot(&wanted).is_empty());
    }
}

#[test]
fn a_stale_nonce_is_no_answer() {
    let world = World {
        clusters: [Some(0), None, None, None],
        target: 0,
        broken: None,
    };
    let wanted = world.resources();
    let mut server = server::Session::default();
    let request = |nonce: &str| DeltaDiscoveryRequest {
        type_url: TypeUrl::Cluster.as_str().to_owned(),
        response_nonce: nonce.to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    let responses = server.on_request(&request(""), &wanted);
    assert_eq!(responses.len(), 1);
    assert!(
        server
            .on_request(&request("from another time"), &wanted)
            .is_empty()
    );
    assert!(server.acked(TypeUrl::Cluster).unwrap().is_empty());
    assert!(
        server
            .on_request(&request(&responses[0].nonce), &wanted)
            .is_empty()
    );
    assert_eq!(server.acked(TypeUrl::Cluster).unwrap().len(), 1);
}

#[test]
fn a_client_that_comes_back_is_sent_only_what_changed() {
    let before = World {
        clusters: [Some(0), Some(0), None, None],
        target: 0,
        broken: None,
    };
    let mut wire = Wire::new(&before);
    wire.settle();
    let after = World {
        clusters: [Some(1), Some(0), None, None],
        target: 0,
        broken: None,
    };
    wire.wanted = after.resources();
    wire.take(&Step::Reconnect);
    let mut sent = Vec::new();
    while !wire.requests.is_empty() {
        wire.take(&Step::Request);
        sent.extend(wire.responses.iter().flat_map(|response| {
            response
                .resources
                .iter()
                .map(|resource| resource.name.clone())
        }));
        wire.take(&Step::Respond);
    }
    assert_eq!(sent, ["c0"]);
}

#[test]
fn a_client_that_never_asks_for_endpoints_gets_its_listeners_when_the_caller_gives_up() {
    let world = World {
        clusters: [Some(0), None, None, None],
        target: 0,
        broken: None,
    };
    let wanted = world.resources();
    let mut server = server::Session::default();
    let ask = |kind: TypeUrl, nonce: &str| DeltaDiscoveryRequest {
        type_url: kind.as_str().to_owned(),
        response_nonce: nonce.to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    let clusters = server.on_request(&ask(TypeUrl::Cluster, ""), &wanted);
    assert!(
        server
            .on_request(&ask(TypeUrl::Listener, ""), &wanted)
            .is_empty()
    );
    assert!(
        server
            .on_request(&ask(TypeUrl::Cluster, &clusters[0].nonce), &wanted)
            .is_empty()
    );
    assert!(server.is_holding(&wanted));
    let released = server.release(&wanted);
    assert_eq!(released.len(), 1);
    assert_eq!(released[0].type_url, TypeUrl::Listener.as_str());
    assert!(!server.is_holding(&wanted));
}

#[test]
fn who_asks_for_what_does_not_exist_is_told() {
    let wanted = ResourceSet::default();
    let mut server = server::Session::default();
    let request = DeltaDiscoveryRequest {
        type_url: TypeUrl::Route.as_str().to_owned(),
        resource_names_subscribe: vec!["r".to_owned()],
        ..DeltaDiscoveryRequest::default()
    };
    let responses = server.on_request(&request, &wanted);
    assert_eq!(responses[0].removed_resources, ["r"]);
}
