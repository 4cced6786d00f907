//! A Canary from a file, as it would be in the cluster.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fairlead_crds::canary::{Canary, CanarySpec};
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use kube::api::{Api, ObjectMeta};
use kube::{Client, Resource as _, ResourceExt as _};
use serde::Deserialize as _;
use serde_json::Value;
use serde_yaml_ng::Deserializer;

use super::Canaries;

/// As often is a manifest tried that somebody else writes at the same time.
const MOST_TRIES: u32 = 5;

/// Which Canary is meant: one of the cluster, or one of a file.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Subject {
    /// Its name
    #[arg(required_unless_present = "file")]
    pub(crate) name: Option<String>,
    /// A manifest that holds it, `-` for standard input; by default the Canary of the cluster
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

impl Subject {
    /// The Canary of the file, when one is named; nothing of the cluster is in it.
    pub(super) fn read(&self) -> Result<Option<Canary>> {
        let Some(document) = self.document()? else {
            return Ok(None);
        };
        let canary = Canary::deserialize(document);
        canary.context("the Canary cannot be read").map(Some)
    }

    /// The same as it stands there, with whatever no Canary has.
    fn document(&self) -> Result<Option<Value>> {
        let Some(path) = &self.file else {
            return Ok(None);
        };
        let shown = path.display();
        let text = text(path).with_context(|| format!("failed to read `{shown}`"))?;
        let found = find(&text, self.name.as_deref());
        found
            .with_context(|| format!("no Canary can be read from `{shown}`"))
            .map(Some)
    }
}

/// The Canary that is meant, with the status and identity that it has or would have in the
/// cluster; what the API server refuses in it is refused here.
pub(super) async fn resolve(canaries: &Canaries, subject: &Subject) -> Result<Canary> {
    let Some(mut document) = subject.document()? else {
        let name = subject.name.as_deref().unwrap_or_default();
        return Ok(canaries.read(name).await?);
    };
    let cluster = &canaries.cluster;
    let text = |field: &str| document["metadata"][field].as_str().map(ToOwned::to_owned);
    let name = text("name").context("the Canary has no metadata.name")?;
    let namespace = text("namespace").unwrap_or_else(|| cluster.namespace.clone());
    let api: Api<Canary> = Api::namespaced(cluster.client.clone(), &namespace);
    let what = format!("read Canary `{namespace}/{name}`");
    document["metadata"]["namespace"] = namespace.clone().into();
    let mut tries = 1;
    loop {
        let found = api.get_opt(&name).await;
        let live = found.map_err(|source| cluster.explain(source, &what))?;
        if let Some(live) = &live {
            let version = live.resource_version().unwrap_or_default();
            document["metadata"]["resourceVersion"] = version.into();
        }
        let tried = try_out(&cluster.client, &namespace, live.as_ref(), &document).await;
        match (tried, live) {
            (Ok(canary), live) => return Ok(with_status(canary.spec, live, canary.metadata)),
            // The operator, or somebody else, has written it in between.
            (Err(kube::Error::Api(status)), Some(_))
                if status.code == 409 && tries < MOST_TRIES =>
            {
                tries += 1;
            }
            // Who may not write it still gets its plan, as far as that can be told from here.
            (Err(kube::Error::Api(status)), Some(live)) if status.code == 403 => {
                let canary = Canary::deserialize(document).context("the Canary cannot be read")?;
                return Ok(with_status(canary.spec, Some(live), ObjectMeta::default()));
            }
            (Err(source), _) => {
                let what = format!("try Canary `{namespace}/{name}`");
                return Err(cluster.explain(source, &what).into());
            }
        }
    }
}

/// A spec with the identity and status of the object in the cluster, or with what it would have.
fn with_status(spec: CanarySpec, live: Option<Canary>, metadata: ObjectMeta) -> Canary {
    match live {
        Some(live) => Canary { spec, ..live },
        None => Canary {
            metadata,
            spec,
            status: None,
        },
    }
}

/// Lets the API server judge a manifest as `kubectl apply --validate=strict --dry-run=server` would:
/// a field that no Canary has is refused by its name.
async fn try_out(
    client: &Client,
    namespace: &str,
    live: Option<&Canary>,
    document: &Value,
) -> kube::Result<Canary> {
    let path = Canary::url_path(&(), Some(namespace));
    let (method, path) = match live {
        Some(live) => (Method::PUT, format!("{path}/{}", live.name_any())),
        None => (Method::POST, path),
    };
    let body = serde_json::to_vec(document).map_err(kube::Error::SerdeError)?;
    let request = Request::builder()
        .method(method)
        .uri(format!("{path}?dryRun=All&fieldValidation=Strict"))
        .header(CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(|error| {
            kube::Error::BuildRequest(kube::core::request::Error::BuildRequest(error))
        })?;
    client.request(request).await
}

fn text(path: &Path) -> std::io::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(path)
}

/// The one Canary among the documents of a text, or the one of that name.
fn find(text: &str, name: Option<&str>) -> Result<Value> {
    let mut found = Vec::new();
    for document in Deserializer::from_str(text) {
        let document = Value::deserialize(document)?;
        if document["kind"] == "Canary" {
            found.push(document);
        }
    }
    found.retain(|canary| name.is_none_or(|name| canary["metadata"]["name"] == name));
    match (found.pop(), found.is_empty(), name) {
        (Some(document), true, _) => Ok(document),
        (Some(_), false, _) => bail!("it holds several: name one of them"),
        (None, _, Some(name)) => bail!("it holds none that is called `{name}`"),
        (None, _, None) => bail!("it holds none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "
kind: Service
---
kind: Canary
apiVersion: flagger.app/v1beta1
metadata: { name: a }
spec: { targetRef: { apiVersion: apps/v1, kind: Deployment, name: a }, analysis: {} }
---
kind: Canary
apiVersion: flagger.app/v1beta1
metadata: { name: b }
spec: { targetRef: { apiVersion: apps/v1, kind: Deployment, name: b }, analysis: {} }
";

    #[test]
    fn one_of_several_has_to_be_named() {
        let found = find(TWO, Some("b")).expect("it is there");
        assert_eq!(found["metadata"]["name"], "b");
        let refused = |name| find(TWO, name).expect_err("no choice").to_string();
        assert!(refused(None).contains("name one"));
        assert!(refused(Some("c")).contains("`c`"));
        find("kind: Service", None).expect_err("there is none");
    }
}
