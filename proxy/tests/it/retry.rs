//! Retries: what had no effect is tried again elsewhere, and nothing else.

use bytes::Bytes;
use fairlead_xds::resource::Resource;
use http::Request;
use http_body_util::Full;

use crate::peer::{Manner, Server, client, get, send, text};
use crate::rig::{Mesh, Proxy, boxed, cluster, free_address, outbound, route, routes};

async fn proxy_to(endpoints: &[std::net::SocketAddr]) -> (Proxy, std::net::SocketAddr) {
    let (proxy, address) = (Proxy::start(&Mesh::new(), "web"), free_address());
    proxy
        .apply([
            boxed(cluster("api", endpoints)),
            Resource::Route(routes("80", vec![route(&[("api", 1)])])),
            outbound(address, "80"),
        ])
        .await;
    (proxy, address)
}

#[tokio::test]
async fn a_refused_connection_is_tried_at_another_endpoint() {
    let server = Server::start("api").await;
    let (_proxy, address) = proxy_to(&[free_address(), server.address]).await;
    let client = client();
    for _ in 0..50 {
        let request = Request::post(format!("http://{address}/"))
            .body(Full::from(Bytes::from_static(b"once")))
            .unwrap();
        let answer = send(&client, request).await;
        assert_eq!(answer.status(), 200);
        assert!(text(&answer).ends_with("once"));
    }
    assert_eq!(server.hits(), 50);
}

#[tokio::test]
async fn an_unavailable_endpoint_is_avoided_and_an_error_is_not_repeated() {
    let (fine, sick) = (
        Server::start("fine").await,
        Server::with("sick", Manner::Status(503)).await,
    );
    let (_proxy, address) = proxy_to(&[fine.address, sick.address]).await;
    let client = client();
    for _ in 0..50 {
        assert_eq!(get(&client, address, "/").await.status(), 200);
    }
    assert!(sick.hits() > 0);

    let broken = Server::with("broken", Manner::Status(500)).await;
    let (_proxy, address) = proxy_to(&[broken.address]).await;
    assert_eq!(get(&client, address, "/").await.status(), 500);
    assert_eq!(broken.hits(), 1);
}

#[tokio::test]
async fn when_all_fail_the_answer_says_so() {
    let (proxy, address) = proxy_to(&[free_address()]).await;
    let answer = get(&client(), address, "/").await;
    assert_eq!(answer.status(), 503);
    assert!(text(&answer).contains("remote connection failure"));
    proxy
        .wait_for("istio_requests_total", &["response_flags=\"URX,UF\""], 1)
        .await;
}

#[tokio::test]
async fn a_server_that_closes_idle_connections_loses_no_request() {
    let server = Server::with("closer", Manner::ClosesSilently).await;
    let (_proxy, address) = proxy_to(&[server.address]).await;
    let client = client();
    for _ in 0..200 {
        assert_eq!(get(&client, address, "/").await.status(), 200);
    }
}

#[tokio::test]
async fn endpoints_may_come_and_go_under_load() {
    let servers = [
        Server::start("a").await,
        Server::start("b").await,
        Server::start("c").await,
    ];
    let (proxy, address) = proxy_to(&[servers[0].address]).await;
    let load = async {
        let client = client();
        for _ in 0..600 {
            assert_eq!(get(&client, address, "/").await.status(), 200);
        }
    };
    let churn = async {
        for round in 0..60 {
            let endpoints = [servers[round % 3].address, servers[(round + 1) % 3].address];
            proxy.apply([boxed(cluster("api", &endpoints))]).await;
        }
    };
    tokio::join!(load, churn);
    assert_eq!(servers.iter().map(Server::hits).sum::<usize>(), 600);
}
