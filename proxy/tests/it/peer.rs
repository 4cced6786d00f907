//! What is at the two ends of a proxy in tests: servers that answer with what they saw, and clients.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client as Legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A server of HTTP/1.1 and HTTP/2 that names itself and shows the request's head; it ends when
/// this is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) hits: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

/// How a server behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It answers 200.
    Fine,
    /// It answers with this status.
    Status(u16),
    /// It closes each connection after one answer, without having said so.
    ClosesSilently,
}

impl Server {
    pub(crate) async fn start(name: &'static str) -> Self {
        Self::with(name, Manner::Fine).await
    }

    pub(crate) async fn with(name: &'static str, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hits = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let counter = Arc::clone(&hits);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let counter = Arc::clone(&counter);
                connections.spawn(async move {
                    if manner == Manner::ClosesSilently {
                        return close_after_one(stream, &counter).await;
                    }
                    let service = service_fn(move |request| {
                        counter.fetch_add(1, Ordering::SeqCst);
                        show(name, manner, request)
                    });
                    let builder =
                        hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    // The proxy may end a connection at any time.
                    let _ended = builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            hits,
            _tasks: tasks,
        }
    }

    pub(crate) fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

/// A server of HTTP/2 that answers with `answer`, for one connection after the other.
pub(crate) async fn serve_http2<A, F, B>(answer: A) -> (SocketAddr, JoinSet<()>)
where
    A: Fn(Request<Incoming>) -> F + Copy + Send + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ended = builder
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
        }
    });
    (address, tasks)
}

async fn show(
    name: &str,
    manner: Manner,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let mut text = format!(
        "{name}\n{} {} {:?}\n",
        parts.method, parts.uri, parts.version
    );
    for (key, value) in &parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let _infallible = writeln!(text, "{key}: {value}");
    }
    let _infallible = write!(text, "\n{}", String::from_utf8_lossy(&body));
    let status = if let Manner::Status(status) = manner {
        status
    } else {
        200
    };
    Ok(Response::builder()
        .status(status)
        .body(text.into())
        .unwrap())
}

async fn close_after_one(stream: tokio::net::TcpStream, hits: &AtomicUsize) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = stream;
    let mut buffer = vec![0; 4096];
    let mut seen = Vec::new();
    while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) => seen.extend_from_slice(&buffer[..n]),
        }
    }
    hits.fetch_add(1, Ordering::SeqCst);
    let _ended = stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        .await;
}

pub(crate) type Client = Legacy<HttpConnector, Full<Bytes>>;

pub(crate) fn client() -> Client {
    Legacy::builder(TokioExecutor::new()).build_http()
}

pub(crate) fn client_http2() -> Client {
    Legacy::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http()
}

pub(crate) async fn get(client: &Client, address: SocketAddr, path: &str) -> Response<Bytes> {
    let uri = format!("http://{address}{path}");
    send(client, Request::get(uri).body(Full::default()).unwrap()).await
}

pub(crate) async fn send(client: &Client, request: Request<Full<Bytes>>) -> Response<Bytes> {
    let (parts, body) = client.request(request).await.unwrap().into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

pub(crate) fn text(response: &Response<Bytes>) -> String {
    String::from_utf8_lossy(response.body()).into_owned()
}
