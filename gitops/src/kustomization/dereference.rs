//! Reads what a Kustomization refers to: its source, its dependencies, its variables. Client required.

use std::collections::BTreeMap;

use fairlead_controller::ApiError;
use fairlead_crds::kustomization::{DependencyReference, Kustomization, SubstituteReference};
use fairlead_crds::source::Artifact;
use fairlead_kustomize::Id;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DynamicObject};

use crate::cluster;
use crate::context::Context;

/// The group of sources that name no `apiVersion`.
const SOURCE_GROUP: &str = "source.toolkit.fluxcd.io";
const SOURCE_VERSION: &str = "v1";

/// What a Kustomization refers to.
#[derive(Debug)]
pub struct Dereferenced {
    /// What its source offers; none if it offers nothing yet.
    pub artifact: Option<Artifact>,
    /// Its dependencies, with what is known of each.
    pub dependencies: Vec<Dependency>,
    /// Variables of `substituteFrom`, later references winning.
    pub variables: BTreeMap<String, String>,
}

/// A dependency as it stands in the cluster.
#[derive(Debug)]
pub struct Dependency {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The object, if it is there.
    pub object: Option<Kustomization>,
}

/// Why a reference could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A reference leads to another namespace, which is not allowed here.
    #[error("{what} in namespace `{namespace}` is refused: references between namespaces are off")]
    CrossNamespace {
        /// Kind and name.
        what: String,
        /// The namespace.
        namespace: String,
    },
    /// The source is not there.
    #[error("{kind} `{namespace}/{name}` is not there")]
    SourceMissing {
        /// The source's kind.
        kind: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The kind of the source is not served.
    #[error("the source's kind is not known")]
    SourceKind(#[source] cluster::Error),
    /// The server did not answer about an object.
    #[error("failed to read {what}")]
    Read {
        /// Kind and name.
        what: String,
        /// The server's answer.
        source: ApiError,
    },
    /// The source's artifact is malformed.
    #[error("the artifact of the source is malformed")]
    Artifact(#[source] serde_json::Error),
    /// The values of variables are not text.
    #[error("{what}: the value of `{key}` is not text")]
    NotText {
        /// Kind and name.
        what: String,
        /// The key.
        key: String,
    },
}

/// Reads all that the object refers to.
pub async fn dereference(context: &Context, object: &Kustomization) -> Result<Dereferenced, Error> {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let reader = Reader { context, namespace };
    let artifact = reader.artifact(object).await?;
    let mut dependencies = Vec::new();
    for reference in &object.spec.depends_on {
        dependencies.push(reader.dependency(reference).await?);
    }
    let mut variables = BTreeMap::new();
    for reference in object
        .spec
        .post_build
        .iter()
        .flat_map(|build| &build.substitute_from)
    {
        variables.extend(reader.variables(reference).await?);
    }
    Ok(Dereferenced {
        artifact,
        dependencies,
        variables,
    })
}

/// Identity of the source of a Kustomization.
pub fn source_id(object: &Kustomization) -> Id {
    let reference = &object.spec.source_ref;
    let own = object.metadata.namespace.clone().unwrap_or_default();
    let api_version = reference
        .api_version
        .as_deref()
        .filter(|text| !text.is_empty());
    let (group, version) = match api_version {
        Some(text) => text.split_once('/').unwrap_or(("", text)),
        None => (SOURCE_GROUP, SOURCE_VERSION),
    };
    Id {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: reference.kind.clone(),
        namespace: reference.namespace.clone().unwrap_or(own),
        name: reference.name.clone(),
    }
}

struct Reader<'a> {
    context: &'a Context,
    namespace: &'a str,
}

impl Reader<'_> {
    fn allow(&self, what: impl FnOnce() -> String, namespace: &str) -> Result<(), Error> {
        if self.context.settings.refuses_cross_namespace && namespace != self.namespace {
            return Err(Error::CrossNamespace {
                what: what(),
                namespace: namespace.to_owned(),
            });
        }
        Ok(())
    }

    async fn artifact(&self, object: &Kustomization) -> Result<Option<Artifact>, Error> {
        let id = source_id(object);
        self.allow(|| format!("{} `{}`", id.kind, id.name), &id.namespace)?;
        let client = &self.context.client;
        let kind = self
            .context
            .cluster
            .kind(client, &id)
            .await
            .map_err(Error::SourceKind)?;
        let source: Option<DynamicObject> = kind
            .api(client, &id.namespace)
            .get_opt(&id.name)
            .await
            .map_err(|source| Error::Read {
                what: format!("source {id}"),
                source: source.into(),
            })?;
        let Some(source) = source else {
            let Id {
                kind,
                namespace,
                name,
                ..
            } = id;
            return Err(Error::SourceMissing {
                kind,
                namespace,
                name,
            });
        };
        let artifact = source
            .data
            .pointer("/status/artifact")
            .filter(|artifact| !artifact.is_null());
        artifact
            .map(|artifact| serde_json::from_value(artifact.clone()))
            .transpose()
            .map_err(Error::Artifact)
    }

    async fn dependency(&self, reference: &DependencyReference) -> Result<Dependency, Error> {
        let namespace = reference
            .namespace
            .clone()
            .unwrap_or_else(|| self.namespace.to_owned());
        let name = reference.name.clone();
        self.allow(|| format!("Kustomization `{name}`"), &namespace)?;
        let api: Api<Kustomization> = Api::namespaced(self.context.client.clone(), &namespace);
        let object = api.get_opt(&name).await.map_err(|source| Error::Read {
            what: format!("Kustomization `{namespace}/{name}`"),
            source: source.into(),
        })?;
        Ok(Dependency {
            namespace,
            name,
            object,
        })
    }

    async fn variables(
        &self,
        reference: &SubstituteReference,
    ) -> Result<BTreeMap<String, String>, Error> {
        let SubstituteReference {
            kind,
            name,
            optional,
        } = reference;
        let what = || format!("{kind} `{name}`");
        let client = self.context.client.clone();
        let read = async {
            Ok::<_, kube::Error>(if kind == "Secret" {
                let secret = Api::<Secret>::namespaced(client, self.namespace)
                    .get(name)
                    .await?;
                let data = secret.data.unwrap_or_default().into_iter();
                data.map(|(key, bytes)| (key, String::from_utf8(bytes.0)))
                    .collect::<Vec<_>>()
            } else {
                let map = Api::<ConfigMap>::namespaced(client, self.namespace)
                    .get(name)
                    .await?;
                map.data
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(key, text)| (key, Ok(text)))
                    .collect()
            })
        };
        match read.await {
            Ok(data) => data
                .into_iter()
                .map(|(key, text)| match text {
                    Ok(text) => Ok((key, text)),
                    Err(_not_utf8) => Err(Error::NotText { what: what(), key }),
                })
                .collect(),
            Err(kube::Error::Api(status)) if status.is_not_found() && *optional == Some(true) => {
                Ok(BTreeMap::new())
            }
            Err(source) => Err(Error::Read {
                what: what(),
                source: source.into(),
            }),
        }
    }
}
