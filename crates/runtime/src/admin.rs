//! The admin server of a process: `/metrics`, `/healthz`, `/readyz`. Plain HTTP, nothing secret.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::readiness::{Readiness, State};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why the admin server could not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Accepting connections failed for good.
    #[error("failed to serve on {address}")]
    Serve {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What the admin server shows.
#[derive(Debug, Default)]
pub struct Admin {
    registry: Registry,
    readiness: Readiness,
    extra: Router,
}

impl Admin {
    /// Register the process' metrics here, before serving.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// The checks that `/readyz` shows; add and set them at any time.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Serves these routes as well.
    #[must_use]
    pub fn with_routes(mut self, routes: Router) -> Self {
        self.extra = self.extra.merge(routes);
        self
    }

    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn serve(
        self,
        address: SocketAddr,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| Error::Listen { address, source })?;
        tracing::info!(%address, "admin server listens");
        axum::serve(listener, self.router())
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await
            .map_err(|source| Error::Serve { address, source })
    }

    /// The routes, for a server that is not [`Admin::serve`].
    pub fn router(self) -> Router {
        let Self {
            registry,
            readiness,
            extra,
        } = self;
        let registry = Arc::new(registry);
        Router::new()
            .route(
                "/metrics",
                get(move || std::future::ready(metrics(&registry))),
            )
            .route("/healthz", get(|| std::future::ready("ok\n")))
            .route(
                "/readyz",
                get(move || std::future::ready(ready(&readiness))),
            )
            .merge(extra)
    }
}

fn metrics(registry: &Registry) -> impl IntoResponse + use<> {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], text),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            format!("failed to encode the metrics: {error}\n"),
        ),
    }
}

fn ready(readiness: &Readiness) -> (StatusCode, String) {
    let mut status = StatusCode::OK;
    let mut text = String::new();
    for (name, state) in readiness.states() {
        let line = match state {
            State::Ready => writeln!(text, "ok      {name}"),
            State::Waiting(why) => {
                status = StatusCode::SERVICE_UNAVAILABLE;
                writeln!(text, "waiting {name}: {why}")
            }
        };
        line.expect("writing to a string does not fail");
    }
    (status, text)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn readiness_lists_each_check_with_its_reason() {
        let readiness = Readiness::default();
        readiness.check("caches").ready();
        readiness.check("lease").waiting("held by `b`");
        assert_eq!(
            ready(&readiness),
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "ok      caches\nwaiting lease: held by `b`\n".to_owned()
            )
        );
    }

    #[test]
    fn metrics_are_open_metrics_text() {
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        registry.register("requests", "Requests", counter.clone());
        counter.inc();
        let response = metrics(&registry).into_response();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], OPEN_METRICS);
    }
}
