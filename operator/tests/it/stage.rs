//! An API server with the chart's rights and our CRDs, and an operator that runs on it.

use std::time::Duration;

use clap::Parser as _;
use fairlead_operator::args::Args;
use fairlead_runtime::tasks::Tasks;
use fairlead_tests::chart::NAMESPACE as SYSTEM;
use fairlead_tests::tools::workspace;
use fairlead_tests::{ApiServer, chart, manifest};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio_util::sync::CancellationToken;

/// How long anything may take: much longer than it does, for machines that do much else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What a test acts on.
pub(crate) struct Stage {
    server: ApiServer,
    /// An administrator.
    pub(crate) client: Client,
}

impl Stage {
    /// Starts the server, and installs CRDs, accounts and roles.
    pub(crate) async fn set() -> Self {
        // A second test of the process finds it installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let server = ApiServer::start().await.unwrap();
        let client = server.client().await.unwrap();
        let system = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {SYSTEM}}}\n");
        manifest::apply(&client, &system).await.unwrap();
        for entry in std::fs::read_dir(workspace().join("crds")).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                let crd = std::fs::read_to_string(path).unwrap();
                manifest::apply(&client, &crd).await.unwrap();
            }
        }
        // Accounts and rights.
        let installed = chart::render(&[]).unwrap();
        manifest::apply(&client, &installed).await.unwrap();
        Self { server, client }
    }

    /// Starts an operator with the rights of its service account.
    pub(crate) async fn operator(&self) -> Operator {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), SYSTEM);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec::default()),
            ..TokenRequest::default()
        };
        let token = accounts
            .create_token_request("fairlead-operator", &PostParams::default(), &request)
            .await
            .unwrap();
        let kubeconfig = Kubeconfig::read_from(self.server.kubeconfig()).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .unwrap();
        config.auth_info = AuthInfo {
            token: token.status.unwrap().token.map(Into::into),
            ..AuthInfo::default()
        };
        let client = fairlead_controller::client::from_config(config).unwrap();
        let args = Args::parse_from([
            "fairlead-operator",
            "--control-plane-image=localhost/fairlead/control-plane:1",
            "--proxy-image=localhost/fairlead/proxy:1",
            "--admin-address=127.0.0.1:0",
        ]);
        let tasks = Tasks::new(CancellationToken::new());
        let token = tasks.token().clone();
        tasks.spawn_job("operator", fairlead_operator::run(client, args, token));
        Operator { tasks }
    }
}

/// An operator that runs.
pub(crate) struct Operator {
    tasks: Tasks,
}

impl Operator {
    /// Stops it as SIGTERM does.
    pub(crate) async fn stop(self) {
        self.tasks.token().cancel();
        self.tasks.join(DEADLINE).await.unwrap();
    }
}
