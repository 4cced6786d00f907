//! A real Envoy accepts every golden: all resources in one static bootstrap, in validate mode.
//!
//! `ENVOY=/path/to/envoy cargo test -p fairlead-translate -- --ignored`

use std::process::Command;

use envoy_types::pb::envoy::config::bootstrap::v3::{
    Admin, Bootstrap, bootstrap::DynamicResources, bootstrap::StaticResources,
};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use fairlead_translate::Translation;
use fairlead_xds::TypeUrl;
use fairlead_xds::resource::cluster::Discovery;
use fairlead_xds::resource::listener::{Handler, RouteSource};
use fairlead_xds::resource::{Listener as TypedListener, Resource};
use prost::Message;

use crate::case;

/// A cluster that stands for the control plane.
const CONTROL_PLANE: &str = "control-plane";

#[test]
#[ignore = "needs an Envoy"]
fn envoy_accepts_every_golden() {
    let envoy = std::env::var_os("ENVOY").expect("ENVOY names the binary");
    let directory = tempfile::tempdir().unwrap();
    for case in case::all() {
        let path = directory.path().join(format!("{}.pb", case.name));
        std::fs::write(&path, bootstrap(&case.translation()).encode_to_vec()).unwrap();
        let output = Command::new(&envoy)
            .args(["--mode", "validate", "-l", "warning", "-c"])
            .arg(&path)
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {log}", case.name);
        assert!(!log.contains("deprecated"), "{}: {log}", case.name);
    }
}

fn bodies<M: Message + Default>(translation: &Translation, kind: TypeUrl) -> Vec<M> {
    let resources = translation.resources.of(kind).values();
    resources
        .map(|encoded| M::decode(encoded.body.clone()).unwrap())
        .collect()
}

/// Routes and endpoints that would come later are put where Envoy looks at them now.
fn bootstrap(translation: &Translation) -> Bootstrap {
    let mut clusters: Vec<Cluster> = case::decoded(translation)
        .into_iter()
        .filter_map(without_early_secrets)
        .collect();
    clusters.push(Cluster {
        name: CONTROL_PLANE.to_owned(),
        ..Cluster::default()
    });
    let assignments: Vec<ClusterLoadAssignment> = bodies(translation, TypeUrl::Endpoint);
    clusters.extend(assignments.into_iter().map(|assignment| Cluster {
        name: format!("endpoints of {}", assignment.cluster_name),
        load_assignment: Some(assignment),
        ..Cluster::default()
    }));
    let mut listeners: Vec<Listener> = bodies(translation, TypeUrl::Listener);
    listeners.extend(
        case::decoded(translation)
            .into_iter()
            .filter_map(with_routes),
    );
    let secrets: Vec<Secret> = bodies(translation, TypeUrl::Secret);
    Bootstrap {
        node: Some(core::Node {
            id: "sidecar~10.1.0.1~pod.shop~shop.svc.cluster.local".to_owned(),
            cluster: "shop".to_owned(),
            ..core::Node::default()
        }),
        admin: Some(Admin::default()),
        static_resources: Some(StaticResources {
            clusters,
            listeners,
            secrets,
        }),
        dynamic_resources: Some(DynamicResources {
            ads_config: Some(core::ApiConfigSource {
                api_type: core::api_config_source::ApiType::DeltaGrpc.into(),
                transport_api_version: core::ApiVersion::V3.into(),
                grpc_services: vec![core::GrpcService {
                    target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(
                        core::grpc_service::EnvoyGrpc {
                            cluster_name: CONTROL_PLANE.to_owned(),
                            ..core::grpc_service::EnvoyGrpc::default()
                        },
                    )),
                    ..core::GrpcService::default()
                }],
                ..core::ApiConfigSource::default()
            }),
            ..DynamicResources::default()
        }),
        ..Bootstrap::default()
    }
}

/// A cluster as it is, but for secrets that Envoy would need before it has a stream to ask on: it
/// crashes in validate mode then. Clusters with endpoints by EDS, which start later, have the same.
fn without_early_secrets(resource: Resource) -> Option<Cluster> {
    let Resource::Cluster(mut cluster) = resource else {
        return None;
    };
    let asks = cluster
        .tls
        .as_ref()
        .is_some_and(|tls| tls.certificate.is_some());
    if asks && !matches!(cluster.discovery, Discovery::Eds { .. }) {
        cluster.tls = None;
    }
    let encoded = fairlead_xds::proto::encode(&Resource::Cluster(cluster));
    Some(Cluster::decode(encoded.body).unwrap())
}

/// A listener that has a route configuration in it.
fn with_routes(resource: Resource) -> Option<Listener> {
    let Resource::Route(routes) = resource else {
        return None;
    };
    let name = format!("routes of {}", routes.name);
    let any = Resource::Listener(Box::new(listener(
        name,
        RouteSource::Inline(Box::new(routes)),
    )));
    let encoded = fairlead_xds::proto::encode(&any);
    Some(Listener::decode(encoded.body).unwrap())
}

fn listener(name: String, routes: RouteSource) -> TypedListener {
    use fairlead_xds::resource::listener::{
        Codec, Direction, FilterChain, FilterChainMatch, ForwardClientCert, HttpConnectionManager,
        HttpFilter,
    };
    let manager = HttpConnectionManager {
        stat_prefix: "routes".to_owned(),
        codec: Codec::Auto,
        routes,
        forward_client_cert: ForwardClientCert::Sanitize,
        use_remote_address: false,
        xff_trusted_hops: 0,
        normalize_path: true,
        merge_slashes: false,
        upgrades: Vec::new(),
        stream_idle_timeout: None,
        server_name: String::new(),
        filters: vec![HttpFilter::Fault(None), HttpFilter::Cors],
    };
    TypedListener {
        address: "127.0.0.1:0".parse().unwrap(),
        bind_to_port: true,
        use_original_dst: false,
        direction: Direction::Outbound,
        filters: Vec::new(),
        filters_timeout: None,
        continue_on_filters_timeout: false,
        filter_chains: vec![FilterChain {
            name: name.clone(),
            matches: FilterChainMatch::default(),
            tls: None,
            handler: Handler::Http(Box::new(manager)),
        }],
        default_filter_chain: None,
        name,
    }
}
