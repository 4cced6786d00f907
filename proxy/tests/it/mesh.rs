//! Mutual TLS between two proxies, and what they know about each other.

use std::net::SocketAddr;

use fairlead_xds::resource::Resource;

use crate::peer::{Server, client, client_http2, get, text};
use crate::rig::{
    Mesh, Proxy, boxed, cluster, free_address, http_to, inbound_strict, mesh_cluster, outbound,
    route, routes,
};

/// A client's proxy that expects the server to be `expected`, and a server's proxy as `account`.
async fn pair(
    client_mesh: &Mesh,
    server_mesh: &Mesh,
    expected: &str,
    account: &str,
    server: SocketAddr,
) -> (Proxy, Proxy, SocketAddr, SocketAddr) {
    let (out, inn) = (free_address(), free_address());
    let theirs = Proxy::start(server_mesh, account);
    theirs
        .apply([
            boxed(cluster("inbound|80||", &[server])),
            inbound_strict(inn, http_to("inbound|80||")),
        ])
        .await;
    let ours = Proxy::start(client_mesh, "web");
    ours.apply([
        boxed(mesh_cluster("api", &[inn], expected)),
        Resource::Route(routes("80", vec![route(&[("api", 1)])])),
        outbound(out, "80"),
    ])
    .await;
    (ours, theirs, out, inn)
}

#[tokio::test]
async fn both_ends_prove_who_they_are() {
    let (mesh, server) = (Mesh::new(), Server::start("api").await);
    let (ours, theirs, out, _) = pair(&mesh, &mesh, "api", "api", server.address).await;
    let web = "spiffe://cluster.local/ns/shop/sa/web";
    for client in [client(), client_http2()] {
        let answer = get(&client, out, "/").await;
        let seen = text(&answer);
        assert_eq!(answer.status(), 200, "{seen}");
        assert!(seen.contains(&format!("URI={web}")), "{seen}");
        assert!(!seen.contains("x-envoy-peer-metadata"), "{seen}");
    }
    theirs
        .wait_for(
            "istio_requests_total",
            &[
                "reporter=\"destination\"",
                "source_workload=\"web\"",
                &format!("source_principal=\"{web}\""),
                "destination_workload=\"api\"",
                "connection_security_policy=\"mutual_tls\"",
            ],
            2,
        )
        .await;
    ours.wait_for(
        "istio_requests_total",
        &[
            "reporter=\"source\"",
            "destination_workload=\"api\"",
            "destination_service_name=\"api\"",
            "destination_principal=\"spiffe://cluster.local/ns/shop/sa/api\"",
        ],
        2,
    )
    .await;
}

#[tokio::test]
async fn a_server_with_another_identity_gets_nothing() {
    let (mesh, server) = (Mesh::new(), Server::start("api").await);
    let (ours, _theirs, out, _) = pair(&mesh, &mesh, "api", "thief", server.address).await;
    let answer = get(&client(), out, "/").await;
    assert_eq!(answer.status(), 503);
    assert_eq!(server.hits(), 0);
    ours.wait_for("istio_requests_total", &["response_flags=\"URX,UF\""], 1)
        .await;
}

#[tokio::test]
async fn a_client_of_another_mesh_is_refused() {
    let server = Server::start("api").await;
    let (_ours, _theirs, out, _) =
        pair(&Mesh::new(), &Mesh::new(), "api", "api", server.address).await;
    assert_eq!(get(&client(), out, "/").await.status(), 503);
    assert_eq!(server.hits(), 0);
}

#[tokio::test]
async fn plain_text_is_refused_where_mutual_tls_is_required() {
    let (mesh, server) = (Mesh::new(), Server::start("api").await);
    let (_ours, _theirs, _, inn) = pair(&mesh, &mesh, "api", "api", server.address).await;
    let uri = format!("http://{inn}/").parse().unwrap();
    client().get(uri).await.unwrap_err();
    assert_eq!(server.hits(), 0);
}
