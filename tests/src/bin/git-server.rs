//! A git server over HTTP: git's own `http-backend` behind a small CGI bridge.
//!
//! It makes one bare repository at the start. Where a `GitRepository` is named, the post-receive
//! hook (this binary again, under the hook's name, so that no shell is needed) annotates it with
//! `reconcile.fluxcd.io/requestedAt` after each push.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use axum::routing::get;
use clap::Parser;
use fairlead_runtime::{clock, shutdown};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;

/// Serves one bare git repository over HTTP.
#[derive(Debug, Parser)]
struct Args {
    /// Port to listen on.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// Folder that holds the repositories.
    #[arg(long, env = "ROOT", default_value = "/srv/git")]
    root: PathBuf,
    /// Name of the repository to make.
    #[arg(long, env = "REPOSITORY", default_value = "apps.git")]
    repository: String,
    /// The `GitRepository` to reconcile after each push, as `namespace/name`.
    #[arg(long, env = "NOTIFY")]
    notify: Option<String>,
    /// What a push with an option hands to the hook; `quiet` keeps it from telling anybody.
    #[arg(long, env = "GIT_PUSH_OPTION_0", hide = true)]
    push_option: Option<String>,
}

/// The name under which git starts the hook.
const HOOK: &str = "post-receive";

/// Largest request body that is accepted, in bytes: a pack of the sample is a few kilobytes.
const BODY_LIMIT: usize = 64 << 20;

async fn git(args: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("git")
        .args(args)
        .stdout(Stdio::null())
        .status()
        .await;
    let status = status.with_context(|| format!("failed to run git {args:?}"))?;
    ensure!(status.success(), "git {args:?} ended with {status}");
    Ok(())
}

async fn create(args: &Args) -> anyhow::Result<()> {
    let path = args.root.join(&args.repository);
    let path = path.to_str().context("the path is not UTF-8")?;
    git(&["init", "--quiet", "--bare", "--initial-branch=main", path]).await?;
    git(&["-C", path, "config", "http.receivepack", "true"]).await?;
    git(&["-C", path, "config", "receive.autogc", "false"]).await?;
    git(&["-C", path, "config", "receive.advertisePushOptions", "true"]).await?;
    if args.notify.is_some() {
        let hook = args.root.join(&args.repository).join("hooks").join(HOOK);
        let own = std::env::current_exe().context("failed to find this binary")?;
        std::os::unix::fs::symlink(own, hook).context("failed to install the hook")?;
    }
    Ok(())
}

/// Asks for a reconciliation of the named `GitRepository` now; runs as the post-receive hook.
async fn notify(target: &str) -> anyhow::Result<()> {
    let (namespace, name) = target
        .split_once('/')
        .context("NOTIFY is not of the form `namespace/name`")?;
    let client = kube::Client::try_default()
        .await
        .context("failed to reach the API server")?;
    let patch = serde_json::json!({"metadata": {"annotations": {
        "reconcile.fluxcd.io/requestedAt": clock::now().to_string(),
    }}});
    let kind = GroupVersionKind::gvk("source.toolkit.fluxcd.io", "v1", "GitRepository");
    Api::<DynamicObject>::namespaced_with(client, namespace, &ApiResource::from_gvk(&kind))
        .patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .with_context(|| format!("failed to annotate the GitRepository `{target}`"))?;
    Ok(())
}

/// Turns what a CGI program printed (headers, an empty line, a body) into a response.
fn parse_cgi(output: &[u8]) -> anyhow::Result<Response<Body>> {
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("git http-backend printed no header")?;
    let head = std::str::from_utf8(&output[..end]).context("the header is not UTF-8")?;
    let mut response = Response::new(Body::from(output[end + 4..].to_vec()));
    for line in head.split("\r\n") {
        let (name, value) = line.split_once(':').context("a header without a colon")?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or_default();
            *response.status_mut() = StatusCode::from_bytes(code.as_bytes())?;
        } else {
            let name = HeaderName::from_bytes(name.as_bytes())?;
            response
                .headers_mut()
                .append(name, HeaderValue::from_str(value)?);
        }
    }
    Ok(response)
}

async fn run_backend(
    args: &Args,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> anyhow::Result<Response<Body>> {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    };
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &args.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .envs(args.notify.as_ref().map(|target| ("NOTIFY", target)))
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_USER", "demo")
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("failed to start git http-backend")?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let write = async {
        stdin.write_all(body).await?;
        drop(stdin);
        Ok::<_, std::io::Error>(())
    };
    let (written, output) = tokio::join!(write, child.wait_with_output());
    let output = output.context("failed to wait for git http-backend")?;
    if output.status.success() {
        written.context("failed to hand the body to git http-backend")?;
    }
    parse_cgi(&output.stdout)
}

async fn serve(
    State(args): State<Arc<Args>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    match run_backend(&args, &method, &uri, &headers, &body).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), %uri, "failed to serve");
            let mut response = Response::new(Body::from(format!("{error:#}\n")));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

/// A repository whose server takes every request and answers none.
async fn keep_silent() -> StatusCode {
    std::future::pending().await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let is_hook = std::env::args_os()
        .next()
        .is_some_and(|name| PathBuf::from(name).ends_with(HOOK));
    if is_hook {
        // git calls the hook without arguments; the environment is the server's own.
        let args = Args::parse_from(["git-server"]);
        if args.push_option.as_deref() == Some("quiet") {
            return Ok(());
        }
        return notify(&args.notify.context("NOTIFY is not set")?).await;
    }
    let args = Arc::new(Args::parse());
    create(&args).await?;
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, args.port));
    let router = Router::new()
        .route("/health", get(|| async { "ok" }))
        .route("/silent.git/{*path}", get(keep_silent))
        .fallback(serve)
        .layer(axum::extract::DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(args);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to listen on {address}"))?;
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown::token()?.cancelled_owned())
        .await
        .context("failed to serve")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_header_becomes_the_status() {
        let response = parse_cgi(b"Status: 404 Not Found\r\nX-A: b\r\n\r\nbody").unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()["x-a"], "b");
    }

    #[test]
    fn output_without_a_header_is_an_error() {
        parse_cgi(b"fatal: no").unwrap_err();
    }
}
