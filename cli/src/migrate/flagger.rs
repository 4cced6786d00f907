//! Flagger's own Deployments: what they are told, and the values of our chart that say the same.
//! Pure.

use fairlead_operator::canary::takeover;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::argument::{Argument, Name, Value, arguments};
use super::setting::{ALERTS_SECRET, Fate, Setting, of_deployment, setting};

/// What Flagger asks when nobody says otherwise.
const DEFAULT_SERVER: &str = "http://prometheus:9090";

/// A Deployment of Flagger.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Flagger {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) image: String,
    /// Whether it has ready pods.
    pub(super) runs: bool,
    /// All that it is told.
    pub(super) settings: Vec<Setting>,
    /// The values of our chart.
    pub(super) values: Json,
    /// The keys of the Secret that the values name, and what is to be in them.
    pub(super) secret_keys: Vec<SecretKey>,
}

/// A key of the Secret for alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SecretKey {
    pub(super) key: &'static str,
    /// Where its value is now.
    pub(super) from: String,
}

impl Flagger {
    /// Reads a Deployment.
    pub(super) fn read(deployment: &Deployment) -> Self {
        let namespace = deployment.namespace().unwrap_or_default();
        let spec = deployment.spec.clone().unwrap_or_default();
        let pod = spec.template.spec.unwrap_or_default();
        let is_flagger = |name: &str| name == "flagger";
        let mut containers = pod.containers.iter();
        let container = containers
            .clone()
            .find(|container| is_flagger(&container.name))
            .or_else(|| containers.next())
            .cloned()
            .unwrap_or_default();
        let mut told = arguments(&container);
        let server = Name::Flag("metrics-server".to_owned());
        if !told.iter().any(|one| one.name == server) {
            told.push(Argument {
                name: server,
                value: Value::Text(DEFAULT_SERVER.to_owned()),
            });
        }
        let settings = told.iter().map(|one| setting(one, &namespace));
        let mut settings: Vec<Setting> = settings.collect();
        let copied = [
            ("nodeSelector", json!(pod.node_selector)),
            ("tolerations", json!(pod.tolerations)),
            ("priorityClassName", json!(pod.priority_class_name)),
        ];
        let copied = copied.into_iter().filter(|(_, found)| !found.is_null());
        settings.extend(copied.map(|(field, found)| {
            of_deployment(&format!("pod {field}"), found, &format!("operator.{field}"))
        }));
        let replicas = spec.replicas.filter(|replicas| *replicas > 1);
        settings.extend(
            replicas
                .map(|replicas| of_deployment("replicas", json!(replicas), "operator.replicas")),
        );
        let mut values = json!({});
        for one in &settings {
            merge(&mut values, &one.values);
        }
        Self {
            name: deployment.name_any(),
            image: container.image.unwrap_or_default(),
            runs: takeover::runs(deployment),
            values,
            secret_keys: secret_keys(&settings),
            settings,
            namespace,
        }
    }

    /// What it is told that nothing here stands for.
    pub(super) fn gaps(&self) -> impl Iterator<Item = &Setting> {
        let all = self.settings.iter();
        all.filter(|one| one.fate == Fate::NotThereYet)
    }

    /// The text of a flag or variable, when it is told and no secret.
    pub(super) fn told(&self, name: &str) -> Option<&str> {
        let mut all = self.settings.iter();
        all.find(|one| one.name == name)
            .map(|one| one.value.as_str())
    }

    /// The metrics server, as our operator is to know it.
    pub(super) fn metrics_server(&self) -> Option<String> {
        self.values["metricsServer"].as_str().map(ToOwned::to_owned)
    }

    /// The command that makes the Secret for alerts, when there is to be one.
    pub(super) fn make_secret(&self) -> Option<String> {
        if self.secret_keys.is_empty() {
            return None;
        }
        let keys = self.secret_keys.iter();
        let keys: Vec<String> = keys
            .map(|key| format!("--from-literal={}=<{}>", key.key, key.from))
            .collect();
        Some(format!(
            "kubectl create secret generic {ALERTS_SECRET} -n fairlead-system {}",
            keys.join(" ")
        ))
    }
}

fn secret_keys(settings: &[Setting]) -> Vec<SecretKey> {
    let mut keys: Vec<SecretKey> = Vec::new();
    for one in settings {
        let Some(key) = one.secret_key else { continue };
        // A flag wins over its variable, and comes first.
        if !keys.iter().any(|known| known.key == key) {
            let from = format!("the value of {}", one.name);
            keys.push(SecretKey { key, from });
        }
    }
    keys
}

fn merge(into: &mut Json, from: &Json) {
    match (into, from) {
        (Json::Object(into), Json::Object(from)) => {
            for (key, value) in from {
                let place = into.entry(key).or_insert_with(|| Json::Object(Map::new()));
                merge(place, value);
            }
        }
        (into, from) => from.clone_into(into),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Flagger as its chart deploys it.
    pub(in crate::migrate) fn deployment() -> Deployment {
        serde_json::from_value(json!({
            "metadata": { "name": "flagger", "namespace": "istio-system" },
            "spec": {
                "selector": {},
                "replicas": 1,
                "template": { "spec": {
                    "containers": [{
                        "name": "flagger",
                        "image": "ghcr.io/fluxcd/flagger:1.44.0",
                        "command": [
                            "./flagger", "-log-level=info", "-mesh-provider=istio",
                            "-metrics-server=http://prometheus:9090",
                            "-slack-url=https://hooks.example/hush", "-slack-channel=releases",
                            "-enable-config-tracking=true", "-threadiness=4",
                            "-include-label-prefix=app", "-brand-new=hush",
                        ],
                        "env": [{ "name": "EVENT_WEBHOOK_URL", "valueFrom": {
                            "secretKeyRef": { "name": "hooks", "key": "url" },
                        } }],
                    }],
                    "nodeSelector": { "pool": "infra" },
                } },
            },
            "status": { "readyReplicas": 1 },
        }))
        .expect("a Deployment")
    }

    #[test]
    fn what_flagger_is_told_becomes_values_of_the_chart() {
        let flagger = Flagger::read(&deployment());
        assert!(flagger.runs);
        assert_eq!(
            flagger.values,
            json!({
                "log": { "level": "info,kube_runtime=error" },
                "metricsServer": "http://prometheus.istio-system:9090",
                "operator": {
                    "alertsSecret": "fairlead-alerts",
                    "nodeSelector": { "pool": "infra" },
                },
            })
        );
        let keys: Vec<&str> = flagger.secret_keys.iter().map(|key| key.key).collect();
        assert_eq!(keys, ["SLACK_URL", "SLACK_CHANNEL", "EVENT_WEBHOOK_URL"]);
        let gaps: Vec<&str> = flagger.gaps().map(|one| one.name.as_str()).collect();
        assert_eq!(gaps, ["-include-label-prefix", "-brand-new"]);
        let text = serde_json::to_string(&flagger).expect("JSON");
        assert!(!text.contains("hush"), "{text}");
    }

    #[test]
    fn a_default_of_flagger_that_is_not_ours_is_said() {
        let mut deployment = deployment();
        let pod = deployment
            .spec
            .as_mut()
            .and_then(|spec| spec.template.spec.as_mut());
        pod.expect("a pod").containers[0].command = None;
        let server = Flagger::read(&deployment).metrics_server();
        assert_eq!(
            server.as_deref(),
            Some("http://prometheus.istio-system:9090")
        );
    }
}
