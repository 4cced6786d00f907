//! Command lines of etcd and the Kubernetes control plane; starts nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::certificates::{Authority, PairFiles, Subject, token_keys, write_private};
use crate::kubeconfig::kubeconfig;
use crate::program::Program;
use crate::tools::Tools;

/// Addresses of Services; the first one is the API server's.
pub const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The API server's address inside a cluster.
const KUBERNETES_SERVICE: &str = "10.96.0.1";

/// Where a control plane listens, and under which address it is known.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The API server.
    pub api: SocketAddr,
    /// etcd for its clients.
    pub etcd: SocketAddr,
    /// etcd for its peers, of which it has none.
    pub etcd_peer: SocketAddr,
}

/// Keys and certificates of one control plane, written to a folder.
#[derive(Debug)]
pub struct Credentials {
    /// Signs every certificate of the cluster.
    pub authority: Authority,
    /// The folder that holds the files.
    pub folder: PathBuf,
    server: PairFiles,
    kubelet_client: PairFiles,
    front_proxy: PairFiles,
}

impl Credentials {
    /// Makes all keys and certificates that a control plane needs.
    ///
    /// # Errors
    /// When a key cannot be made or a file cannot be written.
    pub fn create(folder: &Path, addresses: &[&str]) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let authority = Authority::new("fairlead-local")?;
        let front_authority = Authority::new("fairlead-local-front-proxy")?;
        let mut hosts = vec![
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "127.0.0.1",
            KUBERNETES_SERVICE,
        ];
        hosts.extend_from_slice(addresses);
        write_private(&folder.join("ca.crt"), authority.certificate())?;
        write_private(&folder.join("ca.key"), &authority.key())?;
        write_private(
            &folder.join("front-proxy-ca.crt"),
            front_authority.certificate(),
        )?;
        let (private, public) = token_keys()?;
        write_private(&folder.join("sa.key"), &private)?;
        write_private(&folder.join("sa.pub"), &public)?;
        let server = authority.issue(Subject {
            name: "kube-apiserver",
            group: None,
            hosts: &hosts,
        })?;
        let kubelet_client = authority.issue(Subject {
            name: "kube-apiserver-kubelet-client",
            group: Some("system:masters"),
            hosts: &[],
        })?;
        let front_proxy = front_authority.issue(Subject {
            name: "front-proxy-client",
            ..Subject::default()
        })?;
        Ok(Self {
            server: server.write(folder, "apiserver")?,
            kubelet_client: kubelet_client.write(folder, "apiserver-kubelet-client")?,
            front_proxy: front_proxy.write(folder, "front-proxy-client")?,
            folder: folder.to_path_buf(),
            authority,
        })
    }

    /// A path among the credentials.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes the kubeconfig of a user and tells its path.
    ///
    /// # Errors
    /// When the certificate cannot be made or the file cannot be written.
    pub fn kubeconfig(&self, file: &str, server: &str, user: Subject<'_>) -> Result<PathBuf> {
        let pair = self.authority.issue(user)?;
        let path = self.file(file);
        let text = kubeconfig("fairlead", server, self.authority.certificate(), &pair);
        write_private(&path, &text)?;
        Ok(path)
    }
}

/// etcd with its data in a folder.
pub fn etcd(tools: &Tools, addresses: &Addresses, data: &Path) -> Result<Program> {
    let client = format!("http://{}", addresses.etcd);
    let peer = format!("http://{}", addresses.etcd_peer);
    Ok(Program::new("etcd", tools.path("etcd")?)
        .flag("name", "local")
        .path("data-dir", data)
        .flag("listen-client-urls", &client)
        .flag("advertise-client-urls", &client)
        .flag("listen-peer-urls", &peer)
        .flag("initial-advertise-peer-urls", &peer)
        .flag("initial-cluster", format!("local={peer}"))
        .flag("auto-compaction-retention", "10m")
        .flag("log-level", "warn"))
}

/// The API server.
pub fn kube_apiserver(
    tools: &Tools,
    addresses: &Addresses,
    credentials: &Credentials,
) -> Result<Program> {
    let file = |name: &str| credentials.file(name);
    Ok(
        Program::new("kube-apiserver", tools.path("kube-apiserver")?)
            .flag("etcd-servers", format!("http://{}", addresses.etcd))
            .flag("bind-address", addresses.api.ip())
            .flag("secure-port", addresses.api.port())
            .flag("service-cluster-ip-range", SERVICE_RANGE)
            .flag("authorization-mode", "Node,RBAC")
            .flag("allow-privileged", true)
            .path("client-ca-file", &file("ca.crt"))
            .path("tls-cert-file", &credentials.server.certificate)
            .path("tls-private-key-file", &credentials.server.key)
            .path(
                "kubelet-client-certificate",
                &credentials.kubelet_client.certificate,
            )
            .path("kubelet-client-key", &credentials.kubelet_client.key)
            .path("kubelet-certificate-authority", &file("ca.crt"))
            // Otherwise logs, exec and port-forward look the node's name up in DNS.
            .flag("kubelet-preferred-address-types", "InternalIP")
            .path("requestheader-client-ca-file", &file("front-proxy-ca.crt"))
            .flag("requestheader-allowed-names", "front-proxy-client")
            .flag("requestheader-username-headers", "X-Remote-User")
            .flag("requestheader-group-headers", "X-Remote-Group")
            .flag("requestheader-extra-headers-prefix", "X-Remote-Extra-")
            .path(
                "proxy-client-cert-file",
                &credentials.front_proxy.certificate,
            )
            .path("proxy-client-key-file", &credentials.front_proxy.key)
            .flag(
                "service-account-issuer",
                "https://kubernetes.default.svc.cluster.local",
            )
            .path("service-account-key-file", &file("sa.pub"))
            .path("service-account-signing-key-file", &file("sa.key")),
    )
}
