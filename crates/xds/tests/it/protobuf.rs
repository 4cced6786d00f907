//! What a control plane of others may send, and what is refused with the name of the field.

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::google::protobuf::Any;
use fairlead_xds::TypeUrl;
use fairlead_xds::proto::{Error, decode, decode_as, encode};
use fairlead_xds::resource::endpoint::{
    Address, Endpoint, Health, Locality, LocalityEndpoints, Workload,
};
use fairlead_xds::resource::{LoadAssignment, Resource};
use proptest::prelude::*;
use prost::{Message, Name};

fn refused<M: Message + Name>(message: &M) -> String {
    let any = Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    };
    decode(&any).unwrap_err().to_string()
}

#[test]
fn a_field_that_we_do_not_act_on_is_named() {
    let cluster = cluster::Cluster {
        name: "c".to_owned(),
        lb_subset_config: Some(cluster::cluster::LbSubsetConfig::default()),
        ..cluster::Cluster::default()
    };
    assert_eq!(
        refused(&cluster),
        "field `lb_subset_config` is not supported"
    );
}

#[test]
fn the_path_leads_to_the_field() {
    let action = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::ClusterHeader(
            "x-cluster".to_owned(),
        )),
        ..route::RouteAction::default()
    };
    let routes = route::RouteConfiguration {
        virtual_hosts: vec![route::VirtualHost {
            routes: vec![route::Route {
                r#match: Some(route::RouteMatch {
                    path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
                    ..route::RouteMatch::default()
                }),
                action: Some(route::route::Action::Route(action)),
                ..route::Route::default()
            }],
            ..route::VirtualHost::default()
        }],
        ..route::RouteConfiguration::default()
    };
    assert_eq!(
        refused(&routes),
        "field `virtual_hosts[0].routes[0].route.cluster_specifier` is not supported"
    );
}

#[test]
fn two_hosts_of_one_domain_are_refused() {
    let host = |name: &str| route::VirtualHost {
        name: name.to_owned(),
        domains: vec!["example.com".to_owned()],
        ..route::VirtualHost::default()
    };
    let routes = route::RouteConfiguration {
        virtual_hosts: vec![host("a"), host("b")],
        ..route::RouteConfiguration::default()
    };
    assert_eq!(
        refused(&routes),
        "field `virtual_hosts.domains` has the invalid value `example.com`"
    );
}

#[test]
fn a_network_filter_that_is_not_known_is_named_by_its_type() {
    let any = Any {
        type_url: "type.googleapis.com/example.Filter".to_owned(),
        value: Vec::new(),
    };
    let filter = listener::Filter {
        name: "example".to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(any)),
    };
    let address = core::SocketAddress {
        address: "0.0.0.0".to_owned(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(80)),
        ..core::SocketAddress::default()
    };
    let listener = listener::Listener {
        address: Some(core::Address {
            address: Some(core::address::Address::SocketAddress(address)),
        }),
        filter_chains: vec![listener::FilterChain {
            filters: vec![filter],
            ..listener::FilterChain::default()
        }],
        ..listener::Listener::default()
    };
    assert_eq!(
        refused(&listener),
        "type `type.googleapis.com/example.Filter` is not supported"
    );
}

#[test]
fn what_is_no_message_is_refused() {
    let error = decode_as(TypeUrl::Cluster, &[0xff]).unwrap_err();
    assert!(matches!(
        error,
        Error::Malformed {
            message: "Cluster",
            ..
        }
    ));
}

fn name() -> impl Strategy<Value = String> {
    "[a-z|0-9]{0,6}"
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let address = prop_oneof![
        any::<([u8; 4], u16)>().prop_map(|(ip, port)| Address::Socket((ip, port).into())),
        any::<([u16; 8], u16)>().prop_map(|(ip, port)| Address::Socket((ip, port).into())),
        ("[a-z]{1,5}\\.example", any::<u16>())
            .prop_map(|(host, port)| Address::Name { host, port }),
    ];
    let health = prop_oneof![
        Just(Health::Healthy),
        Just(Health::Unhealthy),
        Just(Health::Draining),
        Just(Health::Degraded)
    ];
    let workload = prop::option::of([name(), name(), name(), name(), name()].prop_map(
        |[name, namespace, canonical_name, canonical_revision, cluster]| Workload {
            name,
            namespace,
            canonical_name,
            canonical_revision,
            cluster,
        },
    ));
    let weight = prop::option::of(1_u32..);
    (
        address,
        name(),
        weight,
        health,
        workload,
        prop::option::of(name()),
    )
        .prop_map(
            |(address, hostname, weight, health, workload, tls_mode)| Endpoint {
                address,
                hostname,
                weight,
                health,
                workload,
                tls_mode,
            },
        )
}

proptest! {
    #[test]
    fn endpoints_survive_their_protobuf_form(
        cluster in name(),
        places in prop::collection::vec(
            (name(), name(), prop::option::of(1_u32..), 0_u32..3,
             prop::collection::vec(endpoint(), 0..3)),
            0..3,
        ),
    ) {
        let localities = places
            .into_iter()
            .map(|(region, zone, weight, priority, endpoints)| LocalityEndpoints {
                locality: Locality { region, zone, sub_zone: String::new() },
                weight,
                priority,
                endpoints,
            })
            .collect();
        let resource = Resource::Endpoint(LoadAssignment { cluster, localities });
        let encoded = encode(&resource);
        prop_assert_eq!(&encode(&resource), &encoded);
        prop_assert_eq!(decode_as(TypeUrl::Endpoint, &encoded.body).unwrap(), resource);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(
        kind in prop::sample::select(TypeUrl::ALL.to_vec()),
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let _verdict = decode_as(kind, &bytes);
    }
}
