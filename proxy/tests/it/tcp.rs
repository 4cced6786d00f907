//! Bytes through two proxies, inside mutual TLS.

use fairlead_xds::resource::Resource;
use fairlead_xds::resource::listener::Direction;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{
    Mesh, Proxy, boxed, chain, cluster, free_address, inbound_strict, listener, mesh_cluster,
    tcp_to,
};

#[tokio::test]
async fn bytes_arrive_and_the_end_of_one_direction_is_passed_on() {
    let mesh = Mesh::new();
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (inn, out) = (free_address(), free_address());
    let theirs = Proxy::start(&mesh, "db");
    theirs
        .apply([
            boxed(cluster("inbound|5432||", &[server.local_addr().unwrap()])),
            inbound_strict(inn, tcp_to("inbound|5432||")),
        ])
        .await;
    let ours = Proxy::start(&mesh, "web");
    let mut outbound = listener(out, Direction::Outbound, vec![chain(tcp_to("db"))]);
    // A database's client may wait for the server to speak first.
    outbound.filters = vec![];
    ours.apply([
        boxed(mesh_cluster("db", &[inn], "db")),
        Resource::Listener(Box::new(outbound)),
    ])
    .await;

    let serve = async {
        let (mut stream, _) = server.accept().await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(&all).await.unwrap();
    };
    let ask = async {
        let mut stream = TcpStream::connect(out).await.unwrap();
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"hello");
        let data = vec![7; 300_000];
        stream.write_all(&data).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut echo = Vec::new();
        stream.read_to_end(&mut echo).await.unwrap();
        assert_eq!(echo, data);
    };
    tokio::join!(serve, ask);
    for (proxy, reporter) in [(&ours, "source"), (&theirs, "destination")] {
        let reporter = format!("reporter=\"{reporter}\"");
        let labels = [reporter.as_str(), "destination_workload=\"db\""];
        proxy
            .wait_for("istio_tcp_connections_closed_total", &labels, 1)
            .await;
        proxy
            .wait_for("istio_tcp_received_bytes_total", &labels, 300_000)
            .await;
        proxy
            .wait_for("istio_tcp_sent_bytes_total", &labels, 300_005)
            .await;
    }
}
