//! The orderly end of a proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fairlead_xds::resource::Resource;
use tokio::task::JoinSet;

use crate::peer::{Client, Server, client, client_http2, get};
use crate::rig::{
    Mesh, Proxy, boxed, cluster, free_address, http_to, inbound_strict, mesh_cluster, outbound,
    route, routes,
};

#[tokio::test]
async fn a_draining_proxy_asks_its_peers_to_leave() {
    let (proxy, address) = (Proxy::start(&Mesh::new(), "web"), free_address());
    let server = Server::start("server").await;
    proxy
        .apply([
            boxed(cluster("server", &[server.address])),
            Resource::Route(routes("80", vec![route(&[("server", 1)])])),
            outbound(address, "80"),
        ])
        .await;
    let client = client();
    let before = get(&client, address, "/").await;
    assert!(!before.headers().contains_key("connection"));
    proxy.drain.start();
    let after = get(&client, address, "/").await;
    assert_eq!(
        (after.status().as_u16(), &after.headers()["connection"]),
        (200, &"close".parse().unwrap())
    );
}

/// One of two server proxies ends under load while the clients' proxy is told to use the other.
async fn replace_under_load(make: fn() -> Client) {
    let mesh = Mesh::new();
    let server = Server::start("api").await;
    let (old_in, new_in, out) = (free_address(), free_address(), free_address());
    let start = async |address| {
        let proxy = Proxy::start(&mesh, "api");
        proxy
            .apply([
                boxed(cluster("inbound|80||", &[server.address])),
                inbound_strict(address, http_to("inbound|80||")),
            ])
            .await;
        proxy
    };
    let (old, _new) = (start(old_in).await, start(new_in).await);
    let ours = Proxy::start(&mesh, "web");
    ours.apply([
        boxed(mesh_cluster("api", &[old_in], "api")),
        Resource::Route(routes("80", vec![route(&[("api", 1)])])),
        outbound(out, "80"),
    ])
    .await;

    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicUsize::new(0));
    let mut load = JoinSet::new();
    for _ in 0..8 {
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        load.spawn(async move {
            let client = make();
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(get(&client, out, "/").await.status(), 200);
                sent.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let until = async |count: usize| {
        let target = sent.load(Ordering::SeqCst) + count;
        while sent.load(Ordering::SeqCst) < target {
            tokio::task::yield_now().await;
        }
    };
    until(100).await;
    old.drain.start();
    until(100).await;
    ours.apply([boxed(mesh_cluster("api", &[new_in], "api"))])
        .await;
    until(100).await;
    old.drain.close();
    until(200).await;
    stop.store(true, Ordering::SeqCst);
    while let Some(result) = load.join_next().await {
        result.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_replaced_without_an_error_over_http1() {
    replace_under_load(client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_replaced_without_an_error_over_http2() {
    replace_under_load(client_http2).await;
}
