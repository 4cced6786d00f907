//! What holds for every translation.

use std::collections::BTreeSet;

use fairlead_translate::{Snapshot, Translation, Translator, translate};
use fairlead_xds::TypeUrl;
use fairlead_xds::node::Node;
use fairlead_xds::resource::cluster::Discovery;
use fairlead_xds::resource::listener::{Handler, RouteSource};
use fairlead_xds::resource::route::{Action, RouteConfiguration};
use fairlead_xds::resource::{DownstreamTls, Resource, UpstreamTls};
use proptest::prelude::*;
use serde_json::Value;

use crate::case::{self, Case};

/// Secrets that the proxy has by itself.
const OWN_SECRETS: [&str; 2] = ["default", "ROOTCA"];

fn names(translation: &Translation, kind: TypeUrl) -> BTreeSet<&str> {
    translation
        .resources
        .of(kind)
        .keys()
        .map(String::as_str)
        .collect()
}

fn clusters_of(routes: &RouteConfiguration) -> Vec<String> {
    let mut clusters = Vec::new();
    for route in routes.virtual_hosts.iter().flat_map(|host| &host.routes) {
        if let Action::Forward(forward) = &route.action {
            clusters.extend(forward.clusters.iter().map(|cluster| cluster.name.clone()));
            clusters.extend(forward.mirrors.iter().map(|mirror| mirror.cluster.clone()));
        }
    }
    clusters
}

fn secrets_of_server(tls: &DownstreamTls) -> Vec<String> {
    let roots = tls
        .validation
        .iter()
        .filter_map(|check| check.roots.clone());
    tls.certificates.iter().cloned().chain(roots).collect()
}

fn secrets_of_client(tls: &UpstreamTls) -> Vec<String> {
    let roots = tls
        .validation
        .iter()
        .filter_map(|check| check.roots.clone());
    tls.certificate.iter().cloned().chain(roots).collect()
}

/// Every name that a resource names is that of a resource.
fn assert_closed(name: &str, translation: &Translation) {
    let clusters = names(translation, TypeUrl::Cluster);
    let endpoints = names(translation, TypeUrl::Endpoint);
    let routes = names(translation, TypeUrl::Route);
    let secrets = names(translation, TypeUrl::Secret);
    let mut used_clusters = Vec::new();
    let mut used_secrets = Vec::new();
    for resource in case::decoded(translation) {
        match resource {
            Resource::Cluster(cluster) => {
                if let Discovery::Eds { .. } = cluster.discovery {
                    assert!(
                        endpoints.contains(cluster.name.as_str()),
                        "{name}: {}",
                        cluster.name
                    );
                }
                let contexts = cluster
                    .tls_matches
                    .iter()
                    .filter_map(|entry| entry.tls.as_ref());
                used_secrets.extend(contexts.chain(&cluster.tls).flat_map(secrets_of_client));
            }
            Resource::Listener(listener) => {
                let chains = listener
                    .filter_chains
                    .iter()
                    .chain(&listener.default_filter_chain);
                for chain in chains {
                    used_secrets.extend(chain.tls.iter().flat_map(secrets_of_server));
                    match &chain.handler {
                        Handler::Tcp(proxy) => used_clusters
                            .extend(proxy.clusters.iter().map(|(cluster, _)| cluster.clone())),
                        Handler::Http(manager) => match &manager.routes {
                            RouteSource::Rds(wanted) => {
                                assert!(routes.contains(wanted.as_str()), "{name}: {wanted}");
                            }
                            RouteSource::Inline(routes) => {
                                used_clusters.extend(clusters_of(routes));
                            }
                        },
                    }
                }
            }
            Resource::Route(routes) => used_clusters.extend(clusters_of(&routes)),
            Resource::Endpoint(_) | Resource::Secret(_) => {}
        }
    }
    for cluster in used_clusters {
        assert!(
            clusters.contains(cluster.as_str()),
            "{name}: no cluster `{cluster}`"
        );
    }
    for secret in used_secrets {
        let is_own = OWN_SECRETS.contains(&secret.as_str());
        assert!(
            is_own || secrets.contains(secret.as_str()),
            "{name}: no secret `{secret}`"
        );
    }
}

#[test]
fn every_name_that_is_used_exists() {
    for case in case::all() {
        assert_closed(&case.name, &case.translation());
    }
}

#[test]
fn every_resource_survives_its_protobuf_form() {
    for case in case::all() {
        let translation = case.translation();
        for resource in case::decoded(&translation) {
            let encoded = fairlead_xds::proto::encode(&resource);
            let kind = resource.type_url();
            assert_eq!(
                Some(&encoded),
                translation
                    .resources
                    .of(kind)
                    .get(resource.name())
                    .map(AsRef::as_ref),
                "{}",
                case.name
            );
        }
    }
}

#[test]
fn what_is_shared_is_what_each_would_get_alone() {
    for case in case::all() {
        let translator = Translator::new(&case.snapshot());
        let node = case.node();
        let first = translator.translate(&node);
        let second = translator.translate(&node);
        assert_eq!(first.resources, second.resources, "{}", case.name);
        assert_eq!(
            first.resources,
            case.translation().resources,
            "{}",
            case.name
        );
    }
}

#[test]
fn a_changed_endpoint_changes_only_the_endpoints_of_its_service() {
    let case = case::all()
        .iter()
        .find(|case| case.name == "sidecar")
        .unwrap();
    let before = case.translation();
    let mut changed = case.manifests.clone();
    for manifest in &mut changed {
        let is_reviews =
            manifest["kind"] == "EndpointSlice" && manifest["metadata"]["name"] == "reviews-1";
        if is_reviews {
            manifest["endpoints"][0]["conditions"]["ready"] = Value::Bool(false);
        }
    }
    let changed = Case {
        manifests: changed,
        ..case.clone()
    };
    let after = changed.translation();
    let mut differing = BTreeSet::new();
    for kind in TypeUrl::ALL {
        let (before, after) = (before.resources.of(kind), after.resources.of(kind));
        assert_eq!(before.len(), after.len());
        for (name, encoded) in before {
            if after.get(name) != Some(encoded) {
                differing.insert((kind, name.clone()));
            }
        }
    }
    let reviews = "outbound|9080||reviews.shop.svc.cluster.local".to_owned();
    assert_eq!(differing, BTreeSet::from([(TypeUrl::Endpoint, reviews)]));
}

/// Values that a user may write where another was meant.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(Value::from("")),
        Just(Value::from("*")),
        Just(Value::from("(")),
        Just(Value::from("a.b.c")),
        Just(Value::from("-1s")),
        Just(Value::from(0)),
        Just(Value::from(-1)),
        Just(Value::from(70_000)),
        Just(serde_json::json!([])),
        Just(serde_json::json!({})),
    ]
}

/// Puts `value` in the place of the `position`th value below `place`.
fn replace(place: &mut Value, position: &mut usize, value: &Value) -> bool {
    if *position == 0 {
        *place = value.clone();
        return true;
    }
    *position -= 1;
    match place {
        Value::Array(list) => list.iter_mut().any(|entry| replace(entry, position, value)),
        Value::Object(fields) => fields
            .values_mut()
            .any(|entry| replace(entry, position, value)),
        _ => false,
    }
}

/// The manifests with one value replaced, without those that the API server would refuse.
fn damaged(case: &Case, manifest: usize, position: usize, value: &Value) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let chosen = manifest % case.manifests.len();
    for (index, manifest) in case.manifests.iter().enumerate() {
        let mut manifest = manifest.clone();
        if index == chosen
            && let Some(spec) = manifest.get_mut("spec")
        {
            let mut position = position;
            replace(spec, &mut position, value);
        }
        // What does not have the form of its kind never arrives from an API server.
        let _refused = snapshot.add_manifest(manifest);
    }
    snapshot
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_objects_does_not_matter(
        which in any::<prop::sample::Index>(),
        shuffle in any::<u64>(),
    ) {
        let cases = case::all();
        let mut case = cases[which.index(cases.len())].clone();
        let expected = case.translation();
        let len = case.manifests.len();
        case.manifests.rotate_left(usize::try_from(shuffle % len as u64).unwrap());
        if shuffle % 2 == 0 {
            case.manifests.reverse();
        }
        let translation = case.translation();
        prop_assert_eq!(translation.resources, expected.resources);
        prop_assert_eq!(translation.diagnostics, expected.diagnostics);
    }

    #[test]
    fn one_bad_value_leaves_a_translation_that_is_whole(
        which in any::<prop::sample::Index>(),
        manifest in any::<usize>(),
        position in 0_usize..60,
        value in any_value(),
    ) {
        let cases = case::all();
        let case = &cases[which.index(cases.len())];
        let snapshot = damaged(case, manifest, position, &value);
        let translation = translate(&snapshot, &case.node());
        assert_closed(&case.name, &translation);
    }
}

#[test]
fn a_proxy_that_only_says_it_is_a_gateway_gets_no_secrets() {
    let case = case::all().iter().find(|case| case.name == "gateway");
    let (snapshot, gateway) = (case.unwrap().snapshot(), case.unwrap().node());
    let secrets = |node: &Node| names(&translate(&snapshot, node), TypeUrl::Secret).len();
    assert_ne!(secrets(&gateway), 0);
    let mut other_pod = gateway.clone();
    other_pod.id.pod = "web-1".to_owned();
    assert_eq!(secrets(&other_pod), 0);
    let mut other_account = gateway;
    other_account.metadata.service_account = "web".to_owned();
    assert_eq!(secrets(&other_account), 0);
}
