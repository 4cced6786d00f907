//! Proxies for tests: workers that run on resources given as values.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use fairlead_identity::{Authority, KeyAndRequest, SpiffeId, VerifiedRequest};
use fairlead_proxy::drain::Drain;
use fairlead_proxy::telemetry::{Peer, render};
use fairlead_proxy::tls::Identity;
use fairlead_proxy::worker::{self, Me};
use fairlead_proxy::workers::Workers;
use fairlead_proxy::xds::secrets::{MESH_ROOTS, OWN_CERTIFICATE};
use fairlead_proxy::xds::store::Store;
use fairlead_runtime::clock;
use fairlead_runtime::tasks::Tasks;
use fairlead_xds::resource::cluster::{
    Cluster, ClusterMetadata, Discovery, HttpProtocol, ServiceRef, TlsMatch,
};
use fairlead_xds::resource::endpoint::{Address, Endpoint, LoadAssignment, LocalityEndpoints};
use fairlead_xds::resource::listener::{
    Codec, Direction, FilterChain, FilterChainMatch, ForwardClientCert, Handler,
    HttpConnectionManager, Listener, ListenerFilter, RouteSource, TcpProxy,
};
use fairlead_xds::resource::route::{
    Action, Forward, RetryPolicy, Route, RouteConfiguration, VirtualHost, WeightedCluster,
};
use fairlead_xds::resource::{CertificateValidation, DownstreamTls, Resource, UpstreamTls};
use fairlead_xds::routing::{RouteMatch, StringMatch};
use parking_lot::Mutex;
use rustls::RootCertStore;
use tokio_util::sync::CancellationToken;

/// A mesh's certificate authority.
pub(crate) struct Mesh(Authority);

impl Mesh {
    pub(crate) fn new() -> Self {
        Self(Authority::self_signed("test", clock::now()).unwrap())
    }

    pub(crate) fn roots(&self) -> String {
        self.0.roots().to_pem()
    }

    pub(crate) fn identity(&self, account: &str) -> Arc<Identity> {
        let id = id(account);
        let KeyAndRequest { key, csr_pem } = KeyAndRequest::generate(&id).unwrap();
        let request = VerifiedRequest::verify(&csr_pem).unwrap();
        let hour = Duration::from_secs(3600);
        let issued = self.0.issue(&request, &id, hour, clock::now()).unwrap();
        let roots = self.0.roots().to_pem();
        let leaf = issued.chain[0].as_bytes();
        Arc::new(Identity::from_pem(leaf, key.expose_pem().as_bytes(), roots.as_bytes()).unwrap())
    }
}

pub(crate) fn id(account: &str) -> SpiffeId {
    SpiffeId::new("cluster.local", "shop", account).unwrap()
}

/// A running proxy.
pub(crate) struct Proxy {
    pub(crate) workers: Arc<Workers>,
    pub(crate) drain: Drain,
    store: Mutex<Store>,
}

impl Proxy {
    /// A proxy of one worker that runs as `account`.
    pub(crate) fn start(mesh: &Mesh, account: &str) -> Self {
        let peer = Peer {
            principal: id(account).to_string(),
            ..Peer::from_endpoint(&format!("{account};shop;{account};v1;Kubernetes"))
        };
        let header = peer.to_header().parse().unwrap();
        let drain = Drain::default();
        let handle = worker::start(worker::Start {
            index: 0,
            me: Arc::new(Me { peer, header }),
            log: None,
            drain: drain.clone(),
            seed: 42,
        });
        let tasks = Tasks::new(CancellationToken::new());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(RootCertStore::empty());
        Self {
            workers: Arc::new(Workers::new(vec![handle.unwrap()], tasks)),
            drain,
            store: Mutex::new(Store::new(provider, mesh.identity(account), roots)),
        }
    }

    /// Puts resources into effect.
    pub(crate) async fn apply(&self, resources: impl IntoIterator<Item = Resource>) {
        for resource in resources {
            let problems =
                self.store
                    .lock()
                    .update(resource.type_url(), vec![resource.clone()], &[]);
            assert!(problems.is_empty(), "{problems:?}");
        }
        let snapshot = self.store.lock().snapshot();
        let problems = self.workers.apply(snapshot).await;
        assert!(problems.is_empty(), "{problems:?}");
    }

    pub(crate) async fn metrics(&self) -> String {
        render::prometheus(&self.workers.collect().await)
    }

    /// The sum of the series of `name` that have all of `labels`, once it is `expected`: an
    /// exchange is counted when its last byte has gone, which its client may see before.
    pub(crate) async fn wait_for(&self, name: &str, labels: &[&str], expected: u64) {
        let deadline = clock::instant() + Duration::from_secs(5);
        loop {
            let text = self.metrics().await;
            let found = sum(&text, name, labels);
            if found == expected {
                return;
            }
            assert!(
                clock::instant() < deadline,
                "{name}{labels:?} is {found} and not {expected}:\n{text}"
            );
            tokio::task::yield_now().await;
        }
    }
}

pub(crate) fn sum(metrics: &str, name: &str, labels: &[&str]) -> u64 {
    metrics
        .lines()
        .filter(|line| line.starts_with(&format!("{name}{{")))
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// An address that nobody listens on. Ports are given out in turn, since listeners of two tests
/// could share one, and outside the range from which the kernel takes them.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let start = u16::try_from(std::process::id() % 20).unwrap() * 500;
        let port = 20_000 + start + NEXT.fetch_add(1, Ordering::SeqCst) % 500;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

pub(crate) fn cluster(name: &str, endpoints: &[SocketAddr]) -> Cluster {
    let endpoints = endpoints
        .iter()
        .map(|address| Endpoint::new(Address::Socket(*address)));
    let assignment = LoadAssignment {
        cluster: name.to_owned(),
        localities: vec![LocalityEndpoints {
            endpoints: endpoints.collect(),
            ..LocalityEndpoints::default()
        }],
    };
    Cluster {
        metadata: ClusterMetadata {
            services: vec![ServiceRef {
                host: format!("{name}.shop.svc.cluster.local"),
                name: name.to_owned(),
                namespace: "shop".to_owned(),
            }],
            ..ClusterMetadata::default()
        },
        ..Cluster::new(name, Discovery::Static(assignment))
    }
}

/// A cluster whose endpoints speak mutual TLS and are `account`.
pub(crate) fn mesh_cluster(name: &str, endpoints: &[SocketAddr], account: &str) -> Cluster {
    let tls = UpstreamTls {
        certificate: Some(OWN_CERTIFICATE.to_owned()),
        validation: Some(CertificateValidation {
            roots: Some(MESH_ROOTS.to_owned()),
            subject_alt_names: vec![StringMatch::exact(id(account).to_string())],
        }),
        sni: format!("outbound_.80_._.{name}.shop.svc.cluster.local"),
        alpn: vec!["istio-peer-exchange".to_owned(), "istio".to_owned()],
    };
    let mut cluster = cluster(name, endpoints);
    cluster.protocol = HttpProtocol::UseDownstream;
    cluster.tls_matches = vec![TlsMatch {
        name: "tlsMode-istio".to_owned(),
        labels: [("tlsMode".to_owned(), "istio".to_owned())].into(),
        tls: Some(tls),
    }];
    if let Discovery::Static(assignment) = &mut cluster.discovery {
        for endpoint in &mut assignment.localities[0].endpoints {
            endpoint.tls_mode = Some("istio".to_owned());
            endpoint.workload = Some(fairlead_xds::resource::endpoint::Workload::parse(&format!(
                "{account};shop;{account};v1;Kubernetes"
            )));
        }
    }
    cluster
}

pub(crate) fn routes(name: &str, routes: Vec<Route>) -> RouteConfiguration {
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: "any".to_owned(),
            domains: vec!["*".to_owned()],
            routes,
            ..VirtualHost::default()
        }],
        ignore_port_in_host: true,
        ..RouteConfiguration::default()
    }
}

/// A route for everything to `clusters` with their weights, with the mesh's default retries.
pub(crate) fn route(clusters: &[(&str, u32)]) -> Route {
    let forward = Forward {
        clusters: clusters
            .iter()
            .map(|(name, weight)| WeightedCluster::new(*name, *weight))
            .collect(),
        retry: Some(default_retries()),
        ..Forward::to("")
    };
    Route::new(
        "default",
        RouteMatch::any(),
        Action::Forward(Box::new(forward)),
    )
}

pub(crate) fn default_retries() -> RetryPolicy {
    let words = [
        "connect-failure",
        "refused-stream",
        "unavailable",
        "cancelled",
        "retriable-status-codes",
    ];
    RetryPolicy {
        retry_on: words.map(str::to_owned).to_vec(),
        retries: 2,
        statuses: vec![503],
        avoid_previous_hosts: true,
        host_selection_attempts: 5,
        ..RetryPolicy::default()
    }
}

pub(crate) fn manager(routes: RouteSource) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: "http".to_owned(),
        codec: Codec::Auto,
        routes,
        forward_client_cert: ForwardClientCert::AppendForward,
        use_remote_address: false,
        xff_trusted_hops: 0,
        normalize_path: true,
        merge_slashes: false,
        upgrades: vec!["websocket".to_owned()],
        stream_idle_timeout: None,
        server_name: String::new(),
        filters: vec![],
    }
}

pub(crate) fn chain(handler: Handler) -> FilterChain {
    FilterChain {
        name: "chain".to_owned(),
        matches: FilterChainMatch::default(),
        tls: None,
        handler,
    }
}

pub(crate) fn listener(
    address: SocketAddr,
    direction: Direction,
    chains: Vec<FilterChain>,
) -> Listener {
    Listener {
        name: format!("{direction:?}-{}", address.port()),
        address,
        bind_to_port: true,
        use_original_dst: false,
        direction,
        filters: vec![ListenerFilter::TlsInspector, ListenerFilter::HttpInspector],
        filters_timeout: None,
        continue_on_filters_timeout: true,
        filter_chains: chains,
        default_filter_chain: None,
    }
}

/// An outbound listener for HTTP by the routes named `routes`.
pub(crate) fn outbound(address: SocketAddr, routes: &str) -> Resource {
    let handler = Handler::Http(Box::new(manager(RouteSource::Rds(routes.to_owned()))));
    Resource::Listener(Box::new(listener(
        address,
        Direction::Outbound,
        vec![chain(handler)],
    )))
}

/// An inbound listener that wants mutual TLS and passes HTTP, or bytes, on to `cluster`.
pub(crate) fn inbound_strict(address: SocketAddr, handler: Handler) -> Resource {
    let mut chain = chain(handler);
    chain.tls = Some(DownstreamTls {
        certificates: vec![OWN_CERTIFICATE.to_owned()],
        validation: Some(CertificateValidation {
            roots: Some(MESH_ROOTS.to_owned()),
            subject_alt_names: vec![],
        }),
        require_client_certificate: true,
        alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
        ..DownstreamTls::default()
    });
    Resource::Listener(Box::new(listener(address, Direction::Inbound, vec![chain])))
}

pub(crate) fn http_to(cluster: &str) -> Handler {
    let configuration = routes(&format!("inbound|{cluster}"), vec![route(&[(cluster, 1)])]);
    Handler::Http(Box::new(manager(RouteSource::Inline(Box::new(
        configuration,
    )))))
}

pub(crate) fn tcp_to(cluster: &str) -> Handler {
    Handler::Tcp(TcpProxy::to(cluster))
}

pub(crate) fn boxed(cluster: Cluster) -> Resource {
    Resource::Cluster(Box::new(cluster))
}
