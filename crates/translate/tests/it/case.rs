//! Cases of `testdata`: manifests, the proxy that they are translated for, and what to look at.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use fairlead_translate::{
    Metadata, Node, NodeId, NodeType, OutboundPolicy, Snapshot, Translation, translate,
};
use fairlead_xds::TypeUrl;
use fairlead_xds::proto;
use fairlead_xds::resource::Resource;
use serde::Deserialize;
use serde_json::Value;

/// The first document of a case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    proxy: Proxy,
    /// Resources to look at: the type, and the beginning of the name.
    pub(crate) show: Vec<(String, String)>,
    #[serde(default)]
    registry_only: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proxy {
    #[serde(default)]
    router: bool,
    pod: String,
    namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) header: Header,
    pub(crate) manifests: Vec<Value>,
    pub(crate) out: PathBuf,
}

impl Case {
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for manifest in &self.manifests {
            assert!(
                snapshot.add_manifest(manifest.clone()).unwrap(),
                "{manifest}"
            );
        }
        if self.header.registry_only {
            snapshot.mesh.outbound = OutboundPolicy::RegistryOnly;
        }
        snapshot
    }

    pub(crate) fn node(&self) -> Node {
        let proxy = &self.header.proxy;
        Node {
            id: NodeId {
                kind: if proxy.router {
                    NodeType::Router
                } else {
                    NodeType::Sidecar
                },
                ip: "10.1.0.1".parse().unwrap(),
                pod: proxy.pod.clone(),
                namespace: proxy.namespace.clone(),
                domain: format!("{}.svc.cluster.local", proxy.namespace),
            },
            metadata: Metadata {
                namespace: proxy.namespace.clone(),
                service_account: "default".to_owned(),
                labels: proxy.labels.clone(),
                ..Metadata::default()
            },
        }
    }

    pub(crate) fn translation(&self) -> Translation {
        translate(&self.snapshot(), &self.node())
    }
}

/// All cases in the order of their names.
pub(crate) fn all() -> &'static [Case] {
    static CASES: LazyLock<Vec<Case>> = LazyLock::new(read);
    &CASES
}

fn read() -> Vec<Case> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut cases: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| {
            let name = path
                .file_name()?
                .to_str()?
                .strip_suffix(".in.yaml")?
                .to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let mut documents = serde_yaml_ng::Deserializer::from_str(&text);
            let header = Header::deserialize(documents.next()?)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            let manifests = documents
                .map(|document| Value::deserialize(document).unwrap())
                .collect();
            let out = path.with_file_name(format!("{name}.out.yaml"));
            Some(Case {
                name,
                header,
                manifests,
                out,
            })
        })
        .collect();
    cases.sort_by(|left, right| left.name.cmp(&right.name));
    assert!(!cases.is_empty());
    cases
}

/// All resources of a translation, decoded from the bytes that a proxy gets.
pub(crate) fn decoded(translation: &Translation) -> Vec<Resource> {
    TypeUrl::ALL
        .into_iter()
        .flat_map(|kind| {
            translation.resources.of(kind).values().map(move |encoded| {
                proto::decode_as(kind, &encoded.body)
                    .unwrap_or_else(|error| panic!("{}: {error}", encoded.name))
            })
        })
        .collect()
}
