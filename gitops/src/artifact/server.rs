//! Serves artifacts over plain HTTP, read-only. Knows no cluster.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::io::ReaderStream;

use super::store::Store;

/// The routes: one artifact under each path, and nothing else.
pub fn router(store: Store) -> Router {
    Router::new()
        .route("/{*path}", get(serve))
        .with_state(store)
}

async fn serve(State(store): State<Store>, method: Method, Path(path): Path<String>) -> Response {
    let Some(file) = store.file(&path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let opened = async {
        let file = tokio::fs::File::open(&file).await?;
        let size = file.metadata().await?.len();
        Ok::<_, std::io::Error>((file, size))
    };
    match opened.await {
        Ok((file, size)) => {
            let headers = [
                (header::CONTENT_TYPE, "application/gzip".to_owned()),
                (header::CONTENT_LENGTH, size.to_string()),
            ];
            if method == Method::HEAD {
                return (headers, Body::empty()).into_response();
            }
            (headers, Body::from_stream(ReaderStream::new(file))).into_response()
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            StatusCode::NOT_FOUND.into_response()
        }
        Err(error) => {
            tracing::error!(path, %error, "failed to open an artifact");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
