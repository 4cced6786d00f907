//! Retries: what had no effect is tried again elsewhere, and nothing else.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fairlead_xds::resource::Resource;
use fairlead_xds::resource::cluster::HttpProtocol;
use fairlead_xds::resource::route::{Action, RetryPolicy};
use futures::{StreamExt as _, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper_util::client::legacy::Client as Legacy;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Notify;

use crate::peer::{Manner, Server, client, get, send, serve_http2, text};
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

#[tokio::test]
async fn an_upstream_that_was_given_up_does_not_wait_for_the_rest_of_the_request() {
    static REQUESTS: AtomicUsize = AtomicUsize::new(0);
    static GIVEN_UP: Notify = Notify::const_new();
    let (upstream, _tasks) = serve_http2(|request| async {
        if REQUESTS.fetch_add(1, Ordering::SeqCst) == 0 {
            request.into_body().collect().await.unwrap_err();
            GIVEN_UP.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(Response::new(Full::<Bytes>::default()))
    })
    .await;
    let (proxy, address) = (Proxy::start(&Mesh::new(), "web"), free_address());
    let mut http2 = cluster("api", &[upstream]);
    http2.protocol = HttpProtocol::Http2;
    let mut route = route(&[("api", 1)]);
    if let Action::Forward(forward) = &mut route.action {
        forward.retry = Some(RetryPolicy {
            retry_on: vec!["gateway-error".to_owned()],
            retries: 1,
            per_try_timeout: Some(Duration::from_secs(2)),
            ..RetryPolicy::default()
        });
    }
    proxy
        .apply([
            boxed(http2),
            Resource::Route(routes("80", vec![route])),
            outbound(address, "80"),
        ])
        .await;

    // The client goes on sending for as long as it likes.
    let first = Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(b"first")));
    let body = StreamBody::new(stream::iter([first]).chain(stream::pending()));
    let client = Legacy::builder(TokioExecutor::new()).build_http();
    let request = Request::post(format!("http://{address}/"))
        .body(body)
        .unwrap();
    assert_eq!(client.request(request).await.unwrap().status(), 200);
    let given_up = tokio::time::timeout(Duration::from_secs(30), GIVEN_UP.notified());
    given_up.await.expect("the first attempt still waits");
}
