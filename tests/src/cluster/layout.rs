//! Names, folders and addresses of one local cluster; no IO.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::control_plane::Addresses;

/// Everything a cluster keeps on disk lies under here, a folder each.
pub(super) const ROOT: &str = "/var/lib/fairlead";
/// The node's address: each cluster has its own network namespace, so all may use the same.
pub(super) const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 243, 0, 1);
/// Addresses of pods.
pub(super) const POD_RANGE: &str = "10.244.0.0/16";
/// The Service of DNS, as in `dns.yaml`.
pub(super) const DNS_SERVICE: &str = "10.96.0.10";

/// Where a cluster of a given name has its things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    name: String,
    folder: PathBuf,
}

impl Layout {
    /// The layout of a cluster.
    ///
    /// # Errors
    /// When the name is no DNS label of at most 20 characters (it becomes a path and a node's name).
    pub fn new(name: &str) -> Result<Self> {
        let valid = (1..=20).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        ensure!(
            valid,
            "`{name}` is no cluster name: 1 to 20 of a-z, 0-9 and `-` inside"
        );
        Ok(Self {
            name: name.to_owned(),
            folder: Path::new(ROOT).join(name),
        })
    }

    /// The cluster's name, which is its node's name too.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path in the cluster's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The kubeconfig for use from the machine.
    pub fn kubeconfig(&self) -> PathBuf {
        self.file("kubeconfig")
    }

    /// Held by the process that owns the cluster; beside the folder, because it outlives it.
    pub fn lock(&self) -> PathBuf {
        Path::new(ROOT).join(format!("{}.lock", self.name))
    }

    /// Marks a cluster that shall live on without an owner.
    pub fn kept(&self) -> PathBuf {
        self.file("kept")
    }

    /// The name of the cluster's control group in every hierarchy.
    pub fn control_group(&self) -> String {
        format!("fairlead-{}", self.name)
    }

    /// Where the control plane listens inside the cluster's network namespace.
    pub fn addresses(&self) -> Addresses {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Addresses {
            api: SocketAddr::new(NODE_ADDRESS.into(), 6443),
            etcd: SocketAddr::new(local, 2379),
            etcd_peer: SocketAddr::new(local, 2380),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        for name in ["", "..", "a/b", "-a", "a-", "A", "abcdefghijklmnopqrstu"] {
            assert!(Layout::new(name).is_err(), "{name:?}");
        }
        assert_eq!(Layout::new("test-2").unwrap().name(), "test-2");
    }
}
