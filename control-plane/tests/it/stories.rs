//! What users and proxies live through.

use std::sync::Arc;

use tonic::Code;

use crate::proxy::{Proxy, certificate, node};
use crate::stage::{ControlPlane, Stage};

fn virtual_service(name: &str, host: &str, retries: u8) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: {name}, namespace: shop }}
spec:
  hosts: [{host}]
  http:
    - name: generation-{retries}
      retries: {{ attempts: {retries} }}
      route: [{{ destination: {{ host: web }} }}]
"
    )
}

fn endpoint_slice(pod: &str, replica: &ControlPlane) -> String {
    let (ip, port) = (replica.address.ip(), replica.webhooks);
    format!(
        "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {pod}
  namespace: istio-system
  labels: {{ kubernetes.io/service-name: istiod }}
addressType: IPv4
ports: [{{ name: https-webhook, port: {port}, protocol: TCP }}]
endpoints:
  - addresses: [{ip}]
    targetRef: {{ kind: Pod, name: {pod}, namespace: istio-system }}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn a_route_is_reconciled_when_the_proxies_that_use_it_have_accepted_it() {
    let stage = Stage::set().await;
    let control_plane = stage.control_plane("istiod-a").await;
    stage.apply(&virtual_service("web", "web", 1)).await;
    let mut proxy = Proxy::start(&stage, control_plane.address, "web-0").await;
    proxy.receive_route("generation-1").await;
    proxy.accept().await;
    assert_eq!(
        stage.reconciled("web", 1, "Reconciled").await[..2],
        ["True", "Reconciled"]
    );

    stage.apply(&virtual_service("web", "web", 2)).await;
    proxy.receive_route("generation-2").await;
    assert_eq!(
        stage.reconciled("web", 2, "WaitingForProxies").await[..2],
        ["False", "WaitingForProxies"]
    );
    proxy.accept().await;
    assert_eq!(stage.reconciled("web", 2, "Reconciled").await[0], "True");

    stage.apply(&virtual_service("web", "web", 3)).await;
    proxy.receive_route("generation-3").await;
    proxy.refuse("out of memory").await;
    let [status, reason, message] = stage.reconciled("web", 3, "RejectedByProxy").await;
    assert_eq!(
        [status.as_str(), reason.as_str()],
        ["False", "RejectedByProxy"]
    );
    assert!(
        message.contains("web-0.shop") && message.contains("out of memory"),
        "{message}"
    );
    control_plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn a_leader_asks_the_other_replicas_before_it_calls_a_route_live() {
    let stage = Stage::set().await;
    let leader = stage.control_plane("istiod-a").await;
    stage.apply(&virtual_service("web", "web", 1)).await;
    assert_eq!(stage.reconciled("web", 1, "Reconciled").await[0], "True");
    let other = stage.control_plane("istiod-b").await;
    stage.apply(&endpoint_slice("istiod-a", &leader)).await;
    stage.apply(&endpoint_slice("istiod-b", &other)).await;
    let mut proxy = Proxy::start(&stage, other.address, "web-0").await;
    proxy.receive_route("generation-1").await;
    proxy.accept().await;
    stage.apply(&virtual_service("web", "web", 2)).await;
    proxy.receive_route("generation-2").await;
    let [status, reason, message] = stage.reconciled("web", 2, "web-0.shop").await;
    assert_eq!(
        [status.as_str(), reason.as_str()],
        ["False", "WaitingForProxies"]
    );
    assert!(message.contains("web-0.shop"), "{message}");
    proxy.accept().await;
    assert_eq!(stage.reconciled("web", 2, "Reconciled").await[0], "True");
    other.stop().await;
    leader.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn a_caller_is_only_who_it_proves_to_be() {
    let stage = Stage::set().await;
    let control_plane = stage.control_plane("istiod-a").await;
    let address = control_plane.address;
    let roots = stage.roots("shop").await;

    let token = stage.token("shop", "web", Some("istio-ca")).await;
    let identity = certificate(address, Arc::clone(&roots), &token)
        .await
        .unwrap();
    assert_eq!(identity.name(), "spiffe://cluster.local/ns/shop/sa/web");

    let foreign = stage.token("shop", "web", None).await;
    let refused = certificate(address, Arc::clone(&roots), &foreign).await;
    assert_eq!(
        refused.err().map(|status| status.code()),
        Some(Code::Unauthenticated)
    );

    let admin = node("admin-0", "admin");
    let mut stream = Proxy::open(address, roots, &identity, &admin).await;
    let refused = stream.receive().await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    control_plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver"]
async fn a_malformed_object_is_reported_and_harms_no_neighbour() {
    let stage = Stage::set().await;
    let control_plane = stage.control_plane("istiod-a").await;
    stage.accept_any_virtual_service().await;
    stage
        .apply_malformed(
            "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: broken, namespace: shop }
spec: { hosts: 5 }
",
        )
        .await;
    stage.apply(&virtual_service("web", "web", 1)).await;
    let mut proxy = Proxy::start(&stage, control_plane.address, "web-0").await;
    proxy.receive_route("generation-1").await;
    proxy.accept().await;
    assert_eq!(stage.reconciled("web", 1, "Reconciled").await[0], "True");
    let [status, reason, message] = stage.reconciled_raw("broken").await;
    assert_eq!([status.as_str(), reason.as_str()], ["False", "Invalid"]);
    assert!(message.contains("cannot be decoded"), "{message}");
    control_plane.stop().await;
}
