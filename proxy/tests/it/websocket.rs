//! WebSocket through two proxies: after the handshake, bytes both ways.

use fairlead_xds::resource::Resource;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{
    Mesh, Proxy, boxed, cluster, free_address, http_to, inbound_strict, mesh_cluster, outbound,
    route, routes,
};

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

#[tokio::test]
async fn a_websocket_is_opened_through_both_proxies() {
    let mesh = Mesh::new();
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (inn, out) = (free_address(), free_address());
    let theirs = Proxy::start(&mesh, "chat");
    theirs
        .apply([
            boxed(cluster("inbound|80||", &[server.local_addr().unwrap()])),
            inbound_strict(inn, http_to("inbound|80||")),
        ])
        .await;
    let ours = Proxy::start(&mesh, "web");
    ours.apply([
        boxed(mesh_cluster("chat", &[inn], "chat")),
        Resource::Route(routes("80", vec![route(&[("chat", 1)])])),
        outbound(out, "80"),
    ])
    .await;

    let serve = async {
        let (mut stream, _) = server.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(
            head.contains("upgrade: websocket") && head.contains("connection: upgrade"),
            "{head}"
        );
        assert!(head.contains("sec-websocket-key: abc"), "{head}");
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                  Connection: Upgrade\r\nSec-WebSocket-Accept: xyz\r\n\r\n",
            )
            .await
            .unwrap();
        let mut frame = [0; 4];
        stream.read_exact(&mut frame).await.unwrap();
        stream.write_all(&frame).await.unwrap();
    };
    let ask = async {
        let mut stream = TcpStream::connect(out).await.unwrap();
        stream
            .write_all(
                b"GET /chat HTTP/1.1\r\nHost: chat\r\nConnection: keep-alive, Upgrade\r\n\
                  Upgrade: websocket\r\nSec-WebSocket-Key: abc\r\nSec-WebSocket-Version: 13\r\n\r\n",
            )
            .await
            .unwrap();
        let head = read_head(&mut stream).await;
        assert!(
            head.starts_with("http/1.1 101") && head.contains("sec-websocket-accept: xyz"),
            "{head}"
        );
        stream.write_all(&[1, 2, 3, 4]).await.unwrap();
        let mut echo = Vec::new();
        stream.read_to_end(&mut echo).await.unwrap();
        assert_eq!(echo, [1, 2, 3, 4]);
    };
    tokio::join!(serve, ask);
    ours.wait_for("istio_requests_total", &["response_code=\"101\""], 1)
        .await;
}
