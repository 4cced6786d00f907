//! Command lines and configuration files of a cluster's programs; writes only into its folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::layout::{DNS_SERVICE, Layout, NODE_ADDRESS, POD_RANGE};
use crate::certificates::Subject;
use crate::control_plane::{Credentials, etcd, kube_apiserver};
use crate::program::Program;
use crate::tools::Tools;

/// What the first process of a cluster does, in order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Prepares the namespaces; a failure ends the cluster.
    pub(super) setup: Program,
    /// Programs that need nobody.
    pub(super) first: Vec<Program>,
    /// The address that answers before the others start.
    pub(super) api: std::net::SocketAddr,
    /// Programs that need the API server.
    pub(super) then: Vec<Program>,
}

/// Where Debian has its CNI plugins.
const CNI_PLUGINS: &str = "/usr/lib/cni";
/// Where containerd listens, inside the cluster's own `/run`.
const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// Writes every file the cluster's programs read, and says how to start them.
pub(super) fn prepare(layout: &Layout, tools: &Tools, pause_image: &str) -> Result<Plan> {
    for folder in ["etcd", "log", "cni", "kubelet", "containerd"] {
        fs::create_dir_all(layout.file(folder))?;
    }
    let node_address = NODE_ADDRESS.to_string();
    let credentials = Credentials::create(&layout.file("pki"), &[&node_address])?;
    let node = Node {
        layout,
        tools,
        credentials: &credentials,
    };
    node.write("setup.sh", include_str!("setup.sh"))?;
    let setup = Program::new("setup", Path::new("/bin/sh"))
        .arg(layout.file("setup.sh").display().to_string())
        .arg(layout.folder().display().to_string())
        .arg(node_address);
    let api = kube_apiserver(tools, &layout.addresses(), &credentials)?
        .flag("advertise-address", NODE_ADDRESS);
    let store = etcd(tools, &layout.addresses(), &layout.file("etcd/data"))?;
    Ok(Plan {
        setup,
        first: vec![store, api, node.containerd(pause_image)?],
        api: layout.addresses().api,
        then: vec![
            node.kube_controller_manager()?,
            node.kube_scheduler()?,
            node.kubelet()?,
            node.kube_proxy()?,
            node.coredns()?,
        ],
    })
}

/// Writes the administrator's kubeconfig for use from the machine.
pub(super) fn write_kubeconfig(layout: &Layout, credentials: &Path, port: u16) -> Result<()> {
    let source = fs::read_to_string(credentials.join("admin.kubeconfig"))?;
    let inside = format!("https://{}", layout.addresses().api);
    let text = source.replace(&inside, &format!("https://127.0.0.1:{port}"));
    crate::certificates::write_private(&layout.kubeconfig(), &text)
}

struct Node<'a> {
    layout: &'a Layout,
    tools: &'a Tools,
    credentials: &'a Credentials,
}

impl Node<'_> {
    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.layout.file(name);
        fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))?;
        Ok(path)
    }

    fn kubeconfig(&self, name: &str, group: Option<&str>) -> Result<PathBuf> {
        let server = format!("https://{}", self.layout.addresses().api);
        let file = format!("{}.kubeconfig", name.rsplit(':').next().unwrap_or(name));
        self.credentials.kubeconfig(
            &file,
            &server,
            Subject {
                name,
                group,
                hosts: &[],
            },
        )
    }

    fn program(&self, name: &str) -> Result<Program> {
        Ok(Program::new(name, self.tools.path(name)?))
    }

    fn kube_controller_manager(&self) -> Result<Program> {
        self.kubeconfig("admin", Some("system:masters"))?;
        let kubeconfig = self.kubeconfig("system:kube-controller-manager", None)?;
        Ok(self
            .program("kube-controller-manager")?
            .path("kubeconfig", &kubeconfig)
            .path("authentication-kubeconfig", &kubeconfig)
            .path("authorization-kubeconfig", &kubeconfig)
            .flag("bind-address", "127.0.0.1")
            .flag("leader-elect", false)
            .flag("use-service-account-credentials", true)
            .path(
                "service-account-private-key-file",
                &self.credentials.file("sa.key"),
            )
            .path("root-ca-file", &self.credentials.file("ca.crt"))
            .path(
                "cluster-signing-cert-file",
                &self.credentials.file("ca.crt"),
            )
            .path("cluster-signing-key-file", &self.credentials.file("ca.key")))
    }

    fn kube_scheduler(&self) -> Result<Program> {
        let kubeconfig = self.kubeconfig("system:kube-scheduler", None)?;
        Ok(self
            .program("kube-scheduler")?
            .path("kubeconfig", &kubeconfig)
            .path("authentication-kubeconfig", &kubeconfig)
            .path("authorization-kubeconfig", &kubeconfig)
            .flag("bind-address", "127.0.0.1")
            .flag("leader-elect", false))
    }

    fn kube_proxy(&self) -> Result<Program> {
        let kubeconfig = self.kubeconfig("system:kube-proxy", None)?;
        Ok(self
            .program("kube-proxy")?
            .path("kubeconfig", &kubeconfig)
            .flag("hostname-override", self.layout.name())
            .flag("proxy-mode", "iptables")
            .flag("cluster-cidr", POD_RANGE)
            .flag("iptables-min-sync-period", "100ms")
            // The limit belongs to the machine, which is not the cluster's.
            .flag("conntrack-max-per-core", 0))
    }

    fn containerd(&self, pause_image: &str) -> Result<Program> {
        let config = format!(
            r#"version = 3
root = "{root}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
address = "{CONTAINERD_SOCKET}"

[debug]
level = "warn"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause_image}"

[plugins."io.containerd.cri.v1.runtime"]
# A machine without CAP_SYS_RESOURCE refuses lower scores, and with them every pod.
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{CNI_PLUGINS}"]
conf_dir = "{cni}"

[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false
"#,
            root = self.layout.file("containerd").display(),
            cni = self.layout.file("cni").display(),
        );
        let config = self.write("containerd.toml", &config)?;
        let network = json!({
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "cni0",
                    "isGateway": true,
                    "ipMasq": true,
                    "hairpinMode": true,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": POD_RANGE}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": true}},
            ],
        });
        self.write("cni/10-pods.conflist", &network.to_string())?;
        let program = self.tools.path("containerd")?;
        let beside = program.parent().context("containerd has no folder")?;
        // It finds its shim by PATH.
        let path = format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            beside.display()
        );
        Ok(Program::new("containerd", program)
            .path("config", &config)
            .env("PATH", path))
    }

    fn kubelet(&self) -> Result<Program> {
        let name = self.layout.name();
        let kubeconfig = self.kubeconfig(&format!("system:node:{name}"), Some("system:nodes"))?;
        let address = NODE_ADDRESS.to_string();
        let serving = self
            .credentials
            .authority
            .issue(Subject {
                name,
                group: None,
                hosts: &[name, &address],
            })?
            .write(&self.credentials.folder, "kubelet")?;
        let resolver = self.write("resolv.conf", &format!("nameserver {address}\n"))?;
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": self.credentials.file("ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": serving.certificate,
            "tlsPrivateKeyFile": serving.key,
            "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
            "clusterDNS": [DNS_SERVICE],
            "clusterDomain": "cluster.local",
            "resolvConf": resolver,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", self.layout.control_group()),
            "failCgroupV1": false,
            "failSwapOn": false,
            "localStorageCapacityIsolation": false,
            // The machine's disk and memory are not the cluster's to judge.
            "evictionHard": {},
            "enforceNodeAllocatable": [],
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "serializeImagePulls": false,
            "maxPods": 200,
            "kubeAPIQPS": 100,
            "kubeAPIBurst": 200,
        });
        let config = self.write("kubelet.json", &config.to_string())?;
        Ok(self
            .program("kubelet")?
            .path("config", &config)
            .path("kubeconfig", &kubeconfig)
            .path("root-dir", &self.layout.file("kubelet"))
            .flag("hostname-override", name)
            .flag("node-ip", address))
    }

    fn coredns(&self) -> Result<Program> {
        let kubeconfig = self.kubeconfig("system:coredns", None)?;
        let corefile = format!(
            ".:53 {{\n  bind {NODE_ADDRESS}\n  errors\n  \
             kubernetes cluster.local in-addr.arpa {{\n    kubeconfig {} fairlead\n    \
             pods insecure\n    ttl 5\n  }}\n}}\n",
            kubeconfig.display()
        );
        let corefile = self.write("Corefile", &corefile)?;
        Ok(self
            .program("coredns")?
            .arg("-conf")
            .arg(corefile.display().to_string()))
    }
}
