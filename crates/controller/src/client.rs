//! Connects to the Kubernetes API server.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::{BoxError, Layer, Service};

/// How long connecting may take: an API server that restarts refuses at once, one that is cut off
/// does not answer at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the server may take to answer anything but a watch.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a watch may be silent; the server ends watches after 295 s by itself.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(5);

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a kubeconfig nor a service account was found.
    #[error("failed to find out how to reach the API server")]
    Infer(#[source] kube::config::InferConfigError),
    /// The kubeconfig that was named cannot be used.
    #[error("failed to read the kubeconfig `{path}`")]
    Read {
        /// Where it is.
        path: String,
        /// Why.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// The configuration does not make a client.
    #[error("failed to make a client for the API server")]
    Build(#[source] kube::Error),
}

/// A client for the cluster of `KUBECONFIG`, else of the pod that this runs in.
pub async fn connect() -> Result<Client, Error> {
    from_config(Config::infer().await.map_err(Error::Infer)?)
}

/// A client for the current context of the kubeconfig at `path`.
pub async fn connect_by(path: &Path) -> Result<Client, Error> {
    let failed = |source| Error::Read {
        path: path.display().to_string(),
        source: Box::new(source),
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    from_config(config.map_err(failed)?)
}

/// A client with our time limits. It does not limit its own rate: the API server does that fairly
/// for all of its clients.
pub fn from_config(mut config: Config) -> Result<Client, Error> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(SILENCE_TIMEOUT);
    config.reset_reader_on_write = true;
    let builder = ClientBuilder::try_from(config).map_err(Error::Build)?;
    Ok(builder.with_layer(&AnswerTimeout).build())
}

/// Limits how long the server may take to start its answer, watches excepted.
#[derive(Clone, Copy, Debug)]
struct AnswerTimeout;

impl<S> Layer<S> for AnswerTimeout {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Limited { inner }
    }
}

#[derive(Clone, Debug)]
struct Limited<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Error: Into<BoxError>, Future: Send + 'static>,
    S::Response: Send,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<Body>) -> Self::Future {
        let streams = req
            .uri()
            .query()
            .is_some_and(|query| query.contains("watch=true") || query.contains("follow=true"));
        let answer = self.inner.call(req);
        Box::pin(async move {
            if streams {
                return answer.await.map_err(Into::into);
            }
            match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
                Ok(result) => result.map_err(Into::into),
                Err(elapsed) => Err(elapsed.into()),
            }
        })
    }
}
