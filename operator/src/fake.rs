//! Servers for unit tests: one answers as it is told and remembers what it was asked, the other
//! plays an API server that can only be read.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing};
use fairlead_runtime::tasks::Tasks;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    /// A header as text; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    /// The same with a header.
    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        let name = HeaderName::from_static(name);
        self.headers.insert(name, value.parse().unwrap());
        self
    }
}

/// A server on loopback that lives as long as this value.
#[derive(Debug)]
pub(crate) struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    _life: DropGuard,
}

impl Server {
    /// Answers the n-th request, counted from 0, as `answer` says.
    pub(crate) async fn start(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Arc::new(answer);
        let seen = Arc::clone(&requests);
        let record = move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let count = {
                let mut seen = seen.lock();
                seen.push(Request { uri, headers, body });
                seen.len() - 1
            };
            std::future::ready(respond(answer(count)))
        };
        let router = Router::new().fallback(routing::any(record));
        let token = CancellationToken::new();
        let tasks = Tasks::new(token.clone());
        let stop = token.clone();
        tasks.spawn_job("fake server", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                served = axum::serve(listener, router) => served.unwrap(),
            }
            Ok::<_, Infallible>(())
        });
        Self {
            port,
            requests,
            _life: token.drop_guard(),
        }
    }

    /// An answer.
    pub(crate) fn answer(status: u16, body: impl Into<String>) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.into(),
        }
    }

    /// Where it listens.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens, as a URL.
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it was asked, in order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().clone()
    }
}

fn respond(answer: Answer) -> Response {
    (answer.status, answer.headers, answer.body).into_response()
}

/// A cluster in which `find` says what stands at an address.
pub(crate) fn cluster(
    find: impl Fn(&Uri) -> Option<serde_json::Value> + Send + Sync + 'static,
) -> kube::Client {
    let find = Arc::new(find);
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let found = find(request.uri());
        let status = match found {
            Some(_) => StatusCode::OK,
            None => StatusCode::NOT_FOUND,
        };
        let body = found.unwrap_or_else(|| {
            serde_json::json!({
                "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
                "reason": "NotFound", "code": 404,
            })
        });
        let body = kube::client::Body::from(body.to_string().into_bytes());
        let answer = http::Response::builder().status(status).body(body).unwrap();
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    kube::Client::new(service, "default")
}
