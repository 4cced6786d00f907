//! A Canary from a file, as it would be in the cluster.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fairlead_crds::canary::Canary;
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use serde::Deserialize as _;
use serde_yaml_ng::{Deserializer, Value};

use super::Canaries;

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
    let Some(mut canary) = subject.read()? else {
        let name = subject.name.as_deref().unwrap_or_default();
        return Ok(canaries.read(name).await?);
    };
    let cluster = &canaries.cluster;
    let namespace = canary
        .namespace()
        .unwrap_or_else(|| cluster.namespace.clone());
    canary.metadata.namespace = Some(namespace.clone());
    let api: Api<Canary> = Api::namespaced(cluster.client.clone(), &namespace);
    let name = canary.name_any();
    let what = format!("read Canary `{namespace}/{name}`");
    let found = api.get_opt(&name).await;
    if let Some(live) = found.map_err(|source| cluster.explain(source, &what))? {
        return Ok(Canary {
            spec: canary.spec,
            ..live
        });
    }
    let params = PostParams {
        dry_run: true,
        field_manager: None,
    };
    let what = format!("try Canary `{namespace}/{name}`");
    let tried = api.create(&params, &canary).await;
    Ok(tried.map_err(|source| cluster.explain(source, &what))?)
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
fn find(text: &str, name: Option<&str>) -> Result<Canary> {
    let mut found = Vec::new();
    for document in Deserializer::from_str(text) {
        let document = Value::deserialize(document)?;
        if document["kind"] == "Canary" {
            let canary: Canary = serde_yaml_ng::from_value(document)?;
            found.push(canary);
        }
    }
    found.retain(|canary| name.is_none_or(|name| canary.name_any() == name));
    match (found.pop(), found.is_empty(), name) {
        (Some(canary), true, _) => Ok(canary),
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
        let found = find(TWO, Some("b")).map(|canary| canary.name_any());
        assert_eq!(found.ok().as_deref(), Some("b"));
        let refused = |name| find(TWO, name).expect_err("no choice").to_string();
        assert!(refused(None).contains("name one"));
        assert!(refused(Some("c")).contains("`c`"));
        find("kind: Service", None).expect_err("there is none");
    }
}
