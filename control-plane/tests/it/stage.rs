//! An API server with our CRDs and roles, and control planes that run on it.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use fairlead_control_plane::args::Args;
use fairlead_crds::networking::VirtualService;
use fairlead_runtime::tasks::Tasks;
use fairlead_tests::tools::{Tools, workspace};
use fairlead_tests::{ApiServer, manifest, ports, wait};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceValidation, JSONSchemaProps,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_util::sync::CancellationToken;

/// How long anything may take: much longer than it does, for machines that do much else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What a test acts on.
pub(crate) struct Stage {
    server: ApiServer,
    /// An administrator.
    pub(crate) client: Client,
}

/// A control plane that runs.
pub(crate) struct ControlPlane {
    tasks: Tasks,
    /// Where proxies find it.
    pub(crate) address: SocketAddr,
    /// Port of its webhooks.
    pub(crate) webhooks: u16,
}

const MESH: &str = "
apiVersion: v1
kind: Namespace
metadata: { name: istio-system }
---
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: istiod, namespace: istio-system }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: web, namespace: shop }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: istiod }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: fairlead-control-plane }
subjects: [{ kind: ServiceAccount, name: istiod, namespace: istio-system }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: istiod, namespace: istio-system }
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: fairlead-control-plane-root-namespace
subjects: [{ kind: ServiceAccount, name: istiod, namespace: istio-system }]
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec:
  ports: [{ name: http, port: 80 }]
  selector: { app: web }
";

impl Stage {
    /// Starts the server, and installs CRDs, accounts and roles.
    pub(crate) async fn set() -> Self {
        // A second test of the process finds it installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let server = ApiServer::start().await.unwrap();
        let client = server.client().await.unwrap();
        for group in ["networking.istio.io", "security.istio.io"] {
            for entry in std::fs::read_dir(workspace().join("crds")).unwrap() {
                let path = entry.unwrap().path();
                if path.to_string_lossy().ends_with(&format!("{group}.yaml")) {
                    let crd = std::fs::read_to_string(path).unwrap();
                    manifest::apply(&client, &crd).await.unwrap();
                }
            }
        }
        manifest::apply(&client, &roles()).await.unwrap();
        manifest::apply(&client, MESH).await.unwrap();
        Self { server, client }
    }

    /// Starts the replica `pod`.
    pub(crate) async fn control_plane(&self, pod: &str) -> ControlPlane {
        let token = self.token("istio-system", "istiod", None).await;
        let kubeconfig = Kubeconfig::read_from(self.server.kubeconfig()).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .unwrap();
        config.auth_info = AuthInfo {
            token: Some(token.into()),
            ..AuthInfo::default()
        };
        let client = fairlead_controller::client::from_config(config).unwrap();
        let [xds, webhooks] = [(); 2].map(|()| ports::free().port());
        let ip = own_address();
        let args = Args::parse_from([
            "fairlead-control-plane".to_owned(),
            "--proxy-image=localhost/fairlead/proxy:1".to_owned(),
            format!("--pod-name={pod}"),
            format!("--xds-address={ip}:{xds}"),
            format!("--webhook-address={ip}:{webhooks}"),
            format!("--ready-address={ip}:0"),
            format!("--admin-address={ip}:0"),
        ]);
        let tasks = Tasks::new(CancellationToken::new());
        let token = tasks.token().clone();
        tasks.spawn_job(
            "control plane",
            fairlead_control_plane::run(client, args, token),
        );
        ControlPlane {
            tasks,
            address: SocketAddr::new(ip, xds),
            webhooks,
        }
    }

    /// A token of a service account.
    pub(crate) async fn token(
        &self,
        namespace: &str,
        account: &str,
        audience: Option<&str>,
    ) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: audience.map(|audience| vec![audience.to_owned()]),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .unwrap();
        answer.status.unwrap().token.unwrap()
    }

    /// The mesh's roots, as they reach a namespace.
    pub(crate) async fn roots(&self, namespace: &str) -> Arc<RootCertStore> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let map = wait::until(&maps, "istio-ca-root-cert", "written", DEADLINE, |_| true)
            .await
            .unwrap();
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(map.data.unwrap()["root-cert.pem"].as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        roots.into()
    }

    /// Applies objects.
    pub(crate) async fn apply(&self, yaml: &str) {
        manifest::apply(&self.client, yaml).await.unwrap();
    }

    /// The `Reconciled` condition of a VirtualService, once it speaks of `generation` and says
    /// `text` in one of these: its status, reason and message. A report that comes in time and one
    /// that follows it when all is known differ, and a slow machine shows both.
    pub(crate) async fn reconciled(&self, name: &str, generation: i64, text: &str) -> [String; 3] {
        let api: Api<VirtualService> = Api::namespaced(self.client.clone(), "shop");
        let told = |object: &VirtualService| {
            let condition = object.status.as_ref()?.conditions.first()?.clone();
            let parts = [condition.status, condition.reason, condition.message];
            Some(parts.map(Option::unwrap_or_default))
        };
        let what = format!("`{text}` at generation {generation}");
        let object = wait::until(&api, name, &what, DEADLINE, |object| {
            observed(object) == Some(generation)
                && told(object).is_some_and(|parts| parts.iter().any(|part| part.contains(text)))
        })
        .await
        .unwrap();
        told(&object).unwrap()
    }

    /// The condition of a VirtualService that does not decode.
    pub(crate) async fn reconciled_raw(&self, name: &str) -> [String; 3] {
        let resource = ApiResource::erase::<VirtualService>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), "shop", &resource);
        let condition = |object: &DynamicObject| {
            let condition = object.data.pointer("/status/conditions/0")?.clone();
            Some(
                ["status", "reason", "message"]
                    .map(|field| condition[field].as_str().unwrap_or_default().to_owned()),
            )
        };
        wait::poll(&self.client, "shop", "a status", DEADLINE, async || {
            Ok(condition(&api.get(name).await?))
        })
        .await
        .unwrap()
    }

    /// Takes the schema out of the CRD, as an older one might have been laxer.
    pub(crate) async fn accept_any_virtual_service(&self) {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let name = "virtualservices.networking.istio.io";
        // The API server writes to it as well.
        loop {
            let mut crd = api.get(name).await.unwrap();
            for version in &mut crd.spec.versions {
                let open = JSONSchemaProps {
                    type_: Some("object".to_owned()),
                    x_kubernetes_preserve_unknown_fields: Some(true),
                    ..JSONSchemaProps::default()
                };
                version.schema = Some(CustomResourceValidation {
                    open_api_v3_schema: Some(open),
                });
            }
            match api.replace(name, &PostParams::default(), &crd).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Applies what only the laxer schema allows, as soon as that is in force.
    pub(crate) async fn apply_malformed(&self, yaml: &str) {
        let applied = async || manifest::apply(&self.client, yaml).await.map(Some);
        wait::poll(&self.client, "shop", "the laxer schema", DEADLINE, applied)
            .await
            .unwrap();
    }
}

fn observed(object: &VirtualService) -> Option<i64> {
    match object.status.as_ref()?.observed_generation.as_ref()? {
        IntOrString::Int(generation) => Some(i64::from(*generation)),
        IntOrString::String(text) => text.parse().ok(),
    }
}

impl ControlPlane {
    /// Stops it as SIGTERM does.
    pub(crate) async fn stop(self) {
        self.tasks.token().cancel();
        self.tasks.join(DEADLINE).await.unwrap();
    }
}

/// An address of this machine that an EndpointSlice may hold, which the loopback's is not.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Sends nothing: it only asks which way a packet would take.
    socket
        .connect("192.0.2.1:9")
        .expect("a machine with a default route");
    socket.local_addr().unwrap().ip()
}

/// Rights, as the chart gives them.
fn roles() -> String {
    let tools = Tools::read().unwrap();
    let output = Command::new(tools.path("helm").unwrap())
        .args([
            "template",
            "fairlead",
            "charts/fairlead",
            "--namespace",
            "fairlead-system",
        ])
        .args(["--show-only", "templates/mesh-rbac.yaml"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
