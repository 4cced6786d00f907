//! Who a proxy is: the node id `type~ip~pod.namespace~domain` and its metadata.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};

/// What a proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeType {
    /// Beside an application.
    Sidecar,
    /// At the edge of the mesh.
    Router,
}

impl NodeType {
    /// The word in the node id.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Router => "router",
        }
    }
}

/// The identity in a node id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// What the proxy does.
    pub kind: NodeType,
    /// Its address.
    pub ip: IpAddr,
    /// Name of its pod.
    pub pod: String,
    /// Namespace of its pod.
    pub namespace: String,
    /// Its DNS domain, such as `shop.svc.cluster.local`.
    pub domain: String,
}

/// Why a node id is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not four parts.
    #[error("node id `{0}` is not of the form `type~ip~pod.namespace~domain`")]
    Form(String),
    /// A type that is not served.
    #[error("node type `{0}` is not known")]
    Type(String),
    /// The second part is no address.
    #[error("`{0}` in the node id is not an IP address")]
    Address(String),
    /// The third part has no namespace.
    #[error("`{0}` in the node id is not of the form `pod.namespace`")]
    Name(String),
}

impl FromStr for NodeId {
    type Err = Error;

    fn from_str(id: &str) -> Result<Self, Error> {
        let mut parts = id.split('~');
        let (Some(kind), Some(ip), Some(name), Some(domain), None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(Error::Form(id.to_owned()));
        };
        let kind = match kind {
            "sidecar" => NodeType::Sidecar,
            "router" => NodeType::Router,
            other => return Err(Error::Type(other.to_owned())),
        };
        // The cause would only repeat that it is no address.
        let ip = IpAddr::from_str(ip).map_err(|_cause| Error::Address(ip.to_owned()))?;
        let (pod, namespace) = name
            .rsplit_once('.')
            .filter(|(pod, namespace)| !pod.is_empty() && !namespace.is_empty())
            .ok_or_else(|| Error::Name(name.to_owned()))?;
        Ok(Self {
            kind,
            ip,
            pod: pod.to_owned(),
            namespace: namespace.to_owned(),
            domain: domain.to_owned(),
        })
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            ip,
            pod,
            namespace,
            domain,
        } = self;
        write!(f, "{}~{ip}~{pod}.{namespace}~{domain}", kind.as_str())
    }
}

/// What a proxy says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Metadata {
    /// `NAMESPACE`
    pub namespace: String,
    /// `SERVICE_ACCOUNT`
    pub service_account: String,
    /// `WORKLOAD_NAME`
    pub workload: String,
    /// `CLUSTER_ID`
    pub cluster: String,
    /// `ISTIO_VERSION`
    pub version: String,
    /// `LABELS`, those of the pod.
    pub labels: BTreeMap<String, String>,
}

/// A proxy's identity and what it says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The node id.
    pub id: NodeId,
    /// The metadata.
    pub metadata: Metadata,
}

impl Node {
    /// Reads the node of a discovery request. Metadata that is not there stays empty; the
    /// namespace is then that of the id.
    ///
    /// # Errors
    /// When the id is not of its form.
    pub fn from_proto(node: &core::Node) -> Result<Self, Error> {
        let id: NodeId = node.id.parse()?;
        let empty = HashMap::new();
        let fields = node
            .metadata
            .as_ref()
            .map_or(&empty, |metadata| &metadata.fields);
        let text = |key: &str| match fields.get(key).and_then(|value| value.kind.as_ref()) {
            Some(Kind::StringValue(text)) => text.clone(),
            _ => String::new(),
        };
        let labels = match fields.get("LABELS").and_then(|value| value.kind.as_ref()) {
            Some(Kind::StructValue(labels)) => labels
                .fields
                .iter()
                .filter_map(|(key, value)| match &value.kind {
                    Some(Kind::StringValue(text)) => Some((key.clone(), text.clone())),
                    _ => None,
                })
                .collect(),
            _ => BTreeMap::new(),
        };
        let namespace = match text("NAMESPACE") {
            empty if empty.is_empty() => id.namespace.clone(),
            namespace => namespace,
        };
        let metadata = Metadata {
            namespace,
            service_account: text("SERVICE_ACCOUNT"),
            workload: text("WORKLOAD_NAME"),
            cluster: text("CLUSTER_ID"),
            version: text("ISTIO_VERSION"),
            labels,
        };
        Ok(Self { id, metadata })
    }

    /// The node of a discovery request.
    pub fn to_proto(&self) -> core::Node {
        let text = |value: &str| Value {
            kind: Some(Kind::StringValue(value.to_owned())),
        };
        let Metadata {
            namespace,
            service_account,
            workload,
            cluster,
            version,
            labels,
        } = &self.metadata;
        let mut fields: HashMap<String, Value> = [
            ("NAMESPACE", namespace),
            ("SERVICE_ACCOUNT", service_account),
            ("WORKLOAD_NAME", workload),
            ("CLUSTER_ID", cluster),
            ("ISTIO_VERSION", version),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), text(value)))
        .collect();
        let labels = labels
            .iter()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect();
        fields.insert(
            "LABELS".to_owned(),
            Value {
                kind: Some(Kind::StructValue(Struct { fields: labels })),
            },
        );
        core::Node {
            id: self.id.to_string(),
            cluster: format!("{workload}.{namespace}"),
            metadata: Some(Struct { fields }),
            user_agent_name: "fairlead".to_owned(),
            ..core::Node::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_and_written_alike() {
        let text = "sidecar~10.1.2.3~web-5d9-x.y.shop~shop.svc.cluster.local";
        let id: NodeId = text.parse().unwrap();
        assert_eq!(
            (id.pod.as_str(), id.namespace.as_str()),
            ("web-5d9-x.y", "shop")
        );
        assert_eq!(id.to_string(), text);
    }

    #[test]
    fn a_bad_id_names_the_part_that_is_wrong() {
        let error = |text: &str| text.parse::<NodeId>().unwrap_err();
        assert_eq!(
            error("sidecar~10.1.2.3~a.b"),
            Error::Form("sidecar~10.1.2.3~a.b".into())
        );
        assert_eq!(
            error("ztunnel~10.1.2.3~a.b~c"),
            Error::Type("ztunnel".into())
        );
        assert_eq!(error("sidecar~ten~a.b~c"), Error::Address("ten".into()));
        assert_eq!(error("sidecar~10.1.2.3~a~c"), Error::Name("a".into()));
    }

    #[test]
    fn a_node_survives_its_protobuf_form() {
        let node = Node {
            id: "router~10.1.2.3~gw.edge~edge.svc.cluster.local"
                .parse()
                .unwrap(),
            metadata: Metadata {
                namespace: "edge".into(),
                service_account: "gw".into(),
                workload: "gw".into(),
                cluster: "Kubernetes".into(),
                version: "1.0".into(),
                labels: BTreeMap::from([("app".to_owned(), "gw".to_owned())]),
            },
        };
        assert_eq!(Node::from_proto(&node.to_proto()).unwrap(), node);
    }
}
