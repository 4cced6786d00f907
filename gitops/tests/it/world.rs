//! A real API server, a git server, and the gitops binary between them.

use std::fmt::Debug;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fairlead_crds::definition::all_crds;
use fairlead_crds::kustomization::Kustomization;
use fairlead_crds::source::GitRepository;
use fairlead_tests::{ApiServer, wait};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::git_server::{Access, GitServer};

/// Long enough for a loaded machine; nothing waits that long unless it fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The namespace of the tests' own objects.
pub(crate) const NAMESPACE: &str = "team";

pub(crate) struct World {
    pub(crate) git: GitServer,
    pub(crate) client: Client,
    gitops: Option<Child>,
    log: PathBuf,
    kubeconfig: PathBuf,
    folder: TempDir,
    _server: ApiServer,
}

impl World {
    pub(crate) async fn start() -> Self {
        let server = ApiServer::start().await.unwrap();
        let client = server.client().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut world = Self {
            git: GitServer::start(Access::Open).await,
            client,
            gitops: None,
            log: folder.path().join("gitops.log"),
            kubeconfig: server.kubeconfig().to_owned(),
            folder,
            _server: server,
        };
        let crds: Api<CustomResourceDefinition> = Api::all(world.client.clone());
        let definitions = all_crds().unwrap();
        for crd in &definitions {
            crds.create(&PostParams::default(), crd).await.unwrap();
        }
        for crd in &definitions {
            let name = crd.metadata.name.as_deref().unwrap();
            let established = await_condition(crds.clone(), name, conditions::is_crd_established());
            tokio::time::timeout(DEADLINE, established)
                .await
                .unwrap()
                .unwrap();
        }
        world.namespace(NAMESPACE).await;
        world.namespace("fairlead-system").await;
        world.start_gitops();
        world
    }

    pub(crate) async fn namespace(&self, name: &str) {
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        let api: Api<Namespace> = Api::all(self.client.clone());
        api.create(&PostParams::default(), &namespace)
            .await
            .unwrap();
    }

    pub(crate) fn start_gitops(&mut self) {
        let address = fairlead_tests::ports::free();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_fairlead-gitops"))
            .env("KUBECONFIG", &self.kubeconfig)
            .env("FAIRLEAD_STORAGE", self.folder.path().join("data"))
            .env("FAIRLEAD_ADMIN_ADDRESS", "127.0.0.1:0")
            .env("FAIRLEAD_ARTIFACT_ADDRESS", address.to_string())
            .env("FAIRLEAD_ARTIFACT_URL", format!("http://{address}"))
            .env("FAIRLEAD_LOG_FORMAT", "text")
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        self.gitops = Some(child);
    }

    /// Kills gitops as a machine that fails does.
    pub(crate) fn kill_gitops(&mut self) {
        let mut child = self.gitops.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Creates or changes an object, as `kubectl apply --server-side` does.
    pub(crate) async fn apply<K>(&self, name: &str, spec: Value)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        let object = json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "spec": spec});
        let params = PatchParams::apply("test").force();
        self.api::<K>()
            .patch(name, &params, &Patch::Apply(object))
            .await
            .unwrap();
    }

    /// A GitRepository for the git server, and a Kustomization for a path in it.
    pub(crate) async fn deploy(&self, path: &str, extra: Value) {
        self.apply::<GitRepository>(
            "repo",
            json!({"url": self.git.url(), "interval": "1h", "ref": {"branch": "main"}}),
        )
        .await;
        self.kustomization("app", path, extra).await;
    }

    pub(crate) async fn kustomization(&self, name: &str, path: &str, extra: Value) {
        let mut spec = json!({"interval": "1h", "retryInterval": "1h", "prune": true, "path": path,
            "sourceRef": {"kind": "GitRepository", "name": "repo"}});
        spec.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        self.apply::<Kustomization>(name, spec).await;
    }

    /// Pushes a commit and asks for a reconcile; returns its revision.
    pub(crate) async fn push(&self, files: &[(&str, Option<&str>)]) -> String {
        let commit = self.git.commit(files, "a change");
        self.request::<GitRepository>("repo", &commit).await;
        format!("main@sha1:{commit}")
    }

    pub(crate) async fn request<K>(&self, name: &str, token: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let patch =
            json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": token}}});
        self.api::<K>()
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
    }

    pub(crate) async fn until<K>(
        &self,
        api: &Api<K>,
        name: &str,
        what: &str,
        is: impl FnMut(&K) -> bool,
    ) -> K
    where
        K: Resource<DynamicType: Default>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize
            + Send
            + 'static,
    {
        match wait::until(api, name, what, DEADLINE, is).await {
            Ok(object) => object,
            Err(error) => panic!(
                "{error:#}\n{}",
                std::fs::read_to_string(&self.log).unwrap_or_default()
            ),
        }
    }

    /// The Kustomization once it is ready at a revision.
    pub(crate) async fn applied(&self, name: &str, revision: &str) -> Kustomization {
        self.until(
            &self.api::<Kustomization>(),
            name,
            &format!("{revision} is applied"),
            |object| {
                object.status.as_ref().is_some_and(|status| {
                    status.last_applied_revision.as_deref() == Some(revision)
                        && condition(&status.conditions, "Ready")
                            .is_some_and(|ready| ready.status == "True")
                })
            },
        )
        .await
    }

    /// The message of Ready once it is False for a reason.
    pub(crate) async fn failed(&self, name: &str, reason: &str) -> String {
        let object = self
            .until(
                &self.api::<Kustomization>(),
                name,
                &format!("it fails for {reason}"),
                |object| {
                    object
                        .status
                        .as_ref()
                        .and_then(|status| condition(&status.conditions, "Ready"))
                        .is_some_and(|ready| ready.status == "False" && ready.reason == reason)
                },
            )
            .await;
        condition(&object.status.unwrap().conditions, "Ready")
            .unwrap()
            .message
            .clone()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut child) = self.gitops.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

pub(crate) fn condition<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// A ConfigMap in the tests' namespace.
pub(crate) fn config_map(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\ndata: {{key: {value}}}\n"
    )
}
