//! Our proxy with one worker and a fixed configuration: everything to one upstream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fairlead_identity::{Authority, KeyAndRequest, SpiffeId, VerifiedRequest};
use fairlead_proxy::drain::Drain;
use fairlead_proxy::telemetry::Peer;
use fairlead_proxy::tls::Identity;
use fairlead_proxy::worker::{self, Me};
use fairlead_proxy::workers::Workers;
use fairlead_proxy::xds::store::Store;
use fairlead_runtime::{clock, tasks::Tasks};
use fairlead_xds::resource::Resource;
use fairlead_xds::resource::cluster::{Cluster, Discovery};
use fairlead_xds::resource::endpoint::{Address, Endpoint, LoadAssignment, LocalityEndpoints};
use fairlead_xds::resource::listener::{
    Codec, Direction, FilterChain, FilterChainMatch, ForwardClientCert, Handler,
    HttpConnectionManager, Listener, RouteSource,
};
use fairlead_xds::resource::route::{
    Action, Forward, RetryPolicy, Route, RouteConfiguration, VirtualHost,
};
use fairlead_xds::routing::RouteMatch;
use tokio_util::sync::CancellationToken;

/// Serves until the process is killed.
pub(crate) fn run(address: SocketAddr, upstream: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let peer = Peer::from_endpoint("bench;bench;bench;v1;bench");
        let header = peer.to_header().parse()?;
        let handle = worker::start(worker::Start {
            index: 0,
            me: Arc::new(Me { peer, header }),
            log: None,
            drain: Drain::default(),
            seed: 1,
        })?;
        let workers = Workers::new(vec![handle], Tasks::new(CancellationToken::new()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(rustls::RootCertStore::empty());
        let mut store = Store::new(provider, identity()?, roots);
        for resource in resources(address, upstream) {
            let problems = store.update(resource.type_url(), vec![resource], &[]);
            anyhow::ensure!(problems.is_empty(), "{problems:?}");
        }
        let problems = workers.apply(store.snapshot()).await;
        anyhow::ensure!(problems.is_empty(), "{problems:?}");
        std::future::pending().await
    })
}

fn identity() -> anyhow::Result<Arc<Identity>> {
    let authority = Authority::self_signed("bench", clock::now())?;
    let id = SpiffeId::new("cluster.local", "bench", "bench")?;
    let KeyAndRequest { key, csr_pem } = KeyAndRequest::generate(&id)?;
    let request = VerifiedRequest::verify(&csr_pem)?;
    let issued = authority.issue(&request, &id, Duration::from_secs(3600), clock::now())?;
    let leaf = issued.chain.first().context("the chain is empty")?;
    let roots = authority.roots().to_pem();
    let (leaf, key, roots) = (
        leaf.as_bytes(),
        key.expose_pem().as_bytes(),
        roots.as_bytes(),
    );
    Ok(Arc::new(Identity::from_pem(leaf, key, roots)?))
}

fn resources(address: SocketAddr, upstream: SocketAddr) -> Vec<Resource> {
    let assignment = LoadAssignment {
        cluster: "upstream".to_owned(),
        localities: vec![LocalityEndpoints {
            endpoints: vec![Endpoint::new(Address::Socket(upstream))],
            ..LocalityEndpoints::default()
        }],
    };
    let retry = RetryPolicy {
        retry_on: vec!["connect-failure,refused-stream".to_owned()],
        retries: 2,
        ..RetryPolicy::default()
    };
    let forward = Forward {
        retry: Some(retry),
        ..Forward::to("upstream")
    };
    let route = Route::new(
        "default",
        RouteMatch::any(),
        Action::Forward(Box::new(forward)),
    );
    let routes = RouteConfiguration {
        name: "routes".to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: "any".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![route],
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    };
    let manager = HttpConnectionManager {
        stat_prefix: "bench".to_owned(),
        codec: Codec::Auto,
        routes: RouteSource::Inline(Box::new(routes)),
        forward_client_cert: ForwardClientCert::Sanitize,
        use_remote_address: false,
        xff_trusted_hops: 0,
        normalize_path: true,
        merge_slashes: false,
        upgrades: vec![],
        stream_idle_timeout: None,
        server_name: String::new(),
        filters: vec![],
    };
    let chain = FilterChain {
        name: "http".to_owned(),
        matches: FilterChainMatch::default(),
        tls: None,
        handler: Handler::Http(Box::new(manager)),
    };
    let listener = Listener {
        name: "bench".to_owned(),
        address,
        bind_to_port: true,
        use_original_dst: false,
        direction: Direction::Outbound,
        filters: vec![],
        filters_timeout: None,
        continue_on_filters_timeout: true,
        filter_chains: vec![chain],
        default_filter_chain: None,
    };
    vec![
        Resource::Cluster(Box::new(Cluster::new(
            "upstream",
            Discovery::Static(assignment),
        ))),
        Resource::Listener(Box::new(listener)),
    ]
}
