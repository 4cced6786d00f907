//! A client whose writes are only tried: the API server admits and answers each as if it were
//! done, and keeps nothing. So the code that writes can be asked what it would write.

use std::sync::Arc;

use http::{Method, Request, Response, Uri};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::Value;
use tower::BoxError;

/// A write that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// What is written, as `kubectl` names it: `deployments/podinfo`, with a subresource behind it.
    pub object: String,
    /// As it is; `None` when there is none.
    pub before: Option<Value>,
    /// As it would be; `None` when it would be deleted.
    pub after: Option<Value>,
}

/// The writes that were tried, in order.
#[derive(Clone, Debug, Default)]
pub struct Writes(Arc<Mutex<Vec<Write>>>);

impl Writes {
    /// Those since the last call.
    pub fn take(&self) -> Vec<Write> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// A client that only tries, and what it tried.
pub fn client(inner: Client) -> (Client, Writes) {
    let namespace = inner.default_namespace().to_owned();
    let writes = Writes::default();
    let kept = writes.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, kept) = (inner.clone(), kept.clone());
        async move { forward(inner, kept, request).await }
    });
    (Client::new(service, namespace), writes)
}

async fn forward(
    inner: Client,
    writes: Writes,
    mut request: Request<Body>,
) -> Result<Response<Body>, BoxError> {
    let method = request.method().clone();
    if method == Method::GET {
        return Ok(inner.send(request).await?);
    }
    let path = request.uri().path().to_owned();
    let before = read(&inner, &path).await?;
    *request.uri_mut() = tried(request.uri())?;
    let (parts, body) = inner.send(request).await?.into_parts();
    let bytes = body.collect_bytes().await?;
    if parts.status.is_success() {
        let answer = serde_json::from_slice(&bytes)?;
        writes.0.lock().push(Write {
            object: object(&path),
            before,
            after: (method != Method::DELETE).then_some(answer),
        });
    }
    Ok(Response::from_parts(parts, Body::from(bytes.to_vec())))
}

async fn read(inner: &Client, path: &str) -> Result<Option<Value>, BoxError> {
    let request = Request::get(path).body(Body::empty())?;
    let (parts, body) = inner.send(request).await?.into_parts();
    let bytes = body.collect_bytes().await?;
    // Whatever stands in the way of reading stands in the way of writing too, and says so there.
    let found = parts.status.is_success();
    Ok(found.then(|| serde_json::from_slice(&bytes)).transpose()?)
}

/// The address at which the same is only tried.
fn tried(uri: &Uri) -> Result<Uri, http::Error> {
    let query = match uri.query() {
        Some(query) => format!("{query}&dryRun=All"),
        None => "dryRun=All".to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{}?{query}", uri.path()).parse()?);
    Ok(Uri::from_parts(parts)?)
}

/// What a path is about: all that follows the namespace.
fn object(path: &str) -> String {
    let after = path
        .split_once("/namespaces/")
        .map_or(path, |(_, rest)| rest);
    let object = after.split_once('/').map_or(after, |(_, rest)| rest);
    object.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_keeps_its_parameters() {
        let uri: Uri = "/apis/apps/v1/namespaces/a/deployments/b?force=true"
            .parse()
            .expect("a path");
        let tried = tried(&uri).expect("a path");
        let expected = "/apis/apps/v1/namespaces/a/deployments/b?force=true&dryRun=All";
        assert_eq!(tried.to_string(), expected);
    }

    #[test]
    fn objects_are_named_as_kubectl_names_them() {
        let path = "/apis/apps/v1/namespaces/a/deployments/b/scale";
        assert_eq!(object(path), "deployments/b/scale");
        assert_eq!(object("/api/v1/namespaces/a/services/b"), "services/b");
    }
}
