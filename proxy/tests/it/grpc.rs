//! gRPC through two proxies: HTTP/2 all the way, with trailers.

use std::convert::Infallible;

use bytes::Bytes;
use fairlead_xds::resource::Resource;
use fairlead_xds::resource::cluster::HttpProtocol;
use futures::stream;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;

use crate::peer::{Client, client_http2, get, serve_http2};
use crate::rig::{
    Mesh, Proxy, boxed, cluster, free_address, http_to, inbound_strict, mesh_cluster, outbound,
    route, routes,
};

async fn answer(
    request: Request<Incoming>,
) -> Result<Response<impl http_body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    assert_eq!(request.headers()["te"], "trailers");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "5".parse().unwrap());
    trailers.insert("grpc-message", "not found".parse().unwrap());
    let frames = [Ok(Frame::data(body)), Ok(Frame::trailers(trailers))];
    Ok(Response::builder()
        .header("content-type", "application/grpc")
        .body(StreamBody::new(stream::iter(frames)))
        .unwrap())
}

async fn call(client: &Client, address: std::net::SocketAddr) -> (Response<()>, HeaderMap) {
    let request = Request::post(format!("http://{address}/shop.Cart/Get"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::from(Bytes::from_static(b"\0\0\0\0\x01x")))
        .unwrap();
    let (parts, body) = client.request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    (Response::from_parts(parts, ()), trailers)
}

#[tokio::test]
async fn trailers_arrive_and_the_status_is_counted() {
    let mesh = Mesh::new();
    let (upstream, _tasks) = serve_http2(answer).await;
    let (inn, out) = (free_address(), free_address());
    let theirs = Proxy::start(&mesh, "cart");
    let mut local = cluster("inbound|80||", &[upstream]);
    local.protocol = HttpProtocol::Http2;
    theirs
        .apply([boxed(local), inbound_strict(inn, http_to("inbound|80||"))])
        .await;
    let ours = Proxy::start(&mesh, "web");
    ours.apply([
        boxed(mesh_cluster("cart", &[inn], "cart")),
        Resource::Route(routes("80", vec![route(&[("cart", 1)])])),
        outbound(out, "80"),
    ])
    .await;

    let (response, trailers) = call(&client_http2(), out).await;
    assert_eq!(response.status(), 200);
    assert_eq!(trailers["grpc-status"], "5");
    assert_eq!(trailers["grpc-message"], "not found");
    for proxy in [&ours, &theirs] {
        let labels = ["request_protocol=\"grpc\"", "grpc_response_status=\"5\""];
        proxy.wait_for("istio_requests_total", &labels, 1).await;
    }
}

#[tokio::test]
async fn an_unreachable_server_is_a_grpc_error() {
    let (proxy, out) = (Proxy::start(&Mesh::new(), "web"), free_address());
    proxy
        .apply([
            boxed(cluster("cart", &[free_address()])),
            Resource::Route(routes("80", vec![route(&[("cart", 1)])])),
            outbound(out, "80"),
        ])
        .await;
    let (response, _) = call(&client_http2(), out).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "14");
}

#[tokio::test]
async fn a_response_may_have_as_long_headers_as_a_request() {
    let (upstream, _tasks) = serve_http2(|_request| async {
        let long = "x".repeat(40 * 1024);
        let response = Response::builder().header("x-long", long);
        Ok(response.body(Full::<Bytes>::default()).unwrap())
    })
    .await;
    let (proxy, out) = (Proxy::start(&Mesh::new(), "web"), free_address());
    let mut http2 = cluster("cart", &[upstream]);
    http2.protocol = HttpProtocol::Http2;
    proxy
        .apply([
            boxed(http2),
            Resource::Route(routes("80", vec![route(&[("cart", 1)])])),
            outbound(out, "80"),
        ])
        .await;
    assert_eq!(get(&crate::peer::client(), out, "/").await.status(), 200);
}
