//! A git server over HTTP on loopback: git's own `http-backend`, with rights and faults to order.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use axum::serve::Listener;
use base64::Engine as _;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

/// What a request must carry.
#[derive(Clone, Debug, Default)]
pub(crate) enum Access {
    #[default]
    Open,
    Authorization(String),
    /// Nothing is ever answered.
    Silence,
    /// Everything is at this other address.
    MovedTo(String),
}

impl Access {
    pub(crate) fn basic(user: &str, password: &str) -> Self {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Self::Authorization(format!("Basic {pair}"))
    }
}

#[derive(Debug)]
struct Shared {
    root: TempDir,
    access: Access,
    packs: AtomicUsize,
    requests: AtomicUsize,
}

/// A running server with one repository; it ends with the runtime of the test.
#[derive(Debug)]
pub(crate) struct GitServer {
    base_url: String,
    shared: Arc<Shared>,
}

impl GitServer {
    pub(crate) async fn start(access: Access) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self::new(access).serve(listener, format!("http://{address}"))
    }

    fn new(access: Access) -> Self {
        let root = tempfile::tempdir().unwrap();
        run_git(
            root.path(),
            &[
                "init",
                "--quiet",
                "--bare",
                "--initial-branch=main",
                "repo.git",
            ],
        );
        run_git(root.path(), &["clone", "--quiet", "repo.git", "work"]);
        let shared = Shared {
            root,
            access,
            packs: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
        };
        Self {
            base_url: String::new(),
            shared: Arc::new(shared),
        }
    }

    fn serve<L>(self, listener: L, base_url: String) -> Self
    where
        L: Listener<Addr = SocketAddr>,
    {
        let app = Router::new()
            .fallback(serve)
            .with_state(Arc::clone(&self.shared));
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with the runtime of the test"
        )]
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { base_url, ..self }
    }

    /// The same over TLS, with a certificate of an authority that nobody knows; its certificate is
    /// returned too.
    pub(crate) async fn start_tls(access: Access) -> (Self, String) {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let authority = key.cert.pem();
        let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], private)
            .unwrap();
        let server = Self::new(access);
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = Tls {
            tcp,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        };
        let port = listener.tcp.local_addr().unwrap().port();
        (
            server.serve(listener, format!("https://localhost:{port}")),
            authority,
        )
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/repo.git", self.base_url)
    }

    /// How many packs were asked for.
    pub(crate) fn packs(&self) -> usize {
        self.shared.packs.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Commits files (no content removes one) on a branch and pushes; returns the commit's hash.
    pub(crate) fn commit(&self, files: &[(&str, Option<&str>)], message: &str) -> String {
        for (path, content) in files {
            let path = self.work().join(path);
            match content {
                Some(content) => {
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, content).unwrap();
                }
                None => std::fs::remove_file(path).unwrap(),
            }
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["push", "--quiet", "--force", "origin", "HEAD"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git in the working copy.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        run_git(&self.work(), args)
    }

    fn work(&self) -> std::path::PathBuf {
        self.shared.root.path().join("work")
    }
}

fn run_git(directory: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(directory)
        .args([
            "-c",
            "user.name=Test",
            "-c",
            "user.email=test@example.org",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", directory)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    shared.requests.fetch_add(1, Ordering::SeqCst);
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    match &shared.access {
        Access::Open => {}
        Access::Silence => std::future::pending().await,
        Access::MovedTo(base) => {
            let location = uri.path_and_query().map_or("", |path| path.as_str());
            return Response::builder()
                .status(StatusCode::MOVED_PERMANENTLY)
                .header(header::LOCATION, format!("{base}{location}"))
                .body(Body::empty())
                .unwrap();
        }
        Access::Authorization(wanted) if text("authorization") == wanted => {}
        Access::Authorization(_) => {
            return Response::builder()
                .status(StatusCode::UNAUTHORIZED)
                .header(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")
                .body(Body::empty())
                .unwrap();
        }
    }
    if uri.path().ends_with("git-upload-pack") && method == Method::POST {
        shared.packs.fetch_add(1, Ordering::SeqCst);
    }
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", shared.root.path())
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", text("content-type"))
        .env("HTTP_CONTENT_ENCODING", text("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&body).await.unwrap();
    drop(stdin);
    parse_cgi(&child.wait_with_output().await.unwrap().stdout)
}

fn parse_cgi(output: &[u8]) -> Response<Body> {
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let mut response = Response::builder();
    for line in std::str::from_utf8(&output[..end]).unwrap().split("\r\n") {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(value[..3].parse::<u16>().unwrap()),
            _ => response.header(name, value),
        };
    }
    response
        .body(Body::from(output[end + 4..].to_vec()))
        .unwrap()
}

/// Takes TLS connections; those whose handshake fails are forgotten.
struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
