//! What each flag and variable of Flagger becomes. Pure.
//!
//! The names are those of Flagger 1.44; one that is not among them is reported and never dropped.

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::argument::{Argument, Name, Value};

/// What stands where a value would be a secret.
const SECRET: &str = "(secret)";
/// The Secret that the values name for alerts.
pub(super) const ALERTS_SECRET: &str = "fairlead-alerts";
/// The labels that Fairlead tells pods by, in this order.
const SELECTOR_LABELS: &str = "app,name,app.kubernetes.io/name";

/// A setting, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Setting {
    /// As people wrote it: `-flag` or `VARIABLE`.
    pub(super) name: String,
    /// Its value, unless that is a secret.
    pub(super) value: String,
    /// What becomes of it.
    pub(super) fate: Fate,
    /// Which value of our chart it is, why it is not needed, or what to do instead.
    pub(super) note: String,
    /// What it adds to our chart's values.
    #[serde(skip)]
    pub(super) values: Json,
    /// The key of the Secret for alerts that it becomes.
    #[serde(skip)]
    pub(super) secret_key: Option<&'static str>,
    #[serde(skip)]
    visibility: Visibility,
}

/// Whether a value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visibility {
    Shown,
    /// It is, or may be, a secret.
    Hidden,
}

/// What becomes of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Fate {
    /// A value of our chart, or a key of the Secret for alerts.
    Mapped,
    /// Nothing is to be done.
    NotNeeded,
    /// Fairlead has nothing like it, or it is not known.
    NotThereYet,
}

/// Reads one setting; `namespace` is Flagger's.
pub(super) fn setting(argument: &Argument, namespace: &str) -> Setting {
    let (name, shown) = match &argument.name {
        Name::Flag(name) => (name.as_str(), format!("-{name}")),
        Name::Variable(name) => (flag_of(name), name.clone()),
    };
    let (value, text) = match &argument.value {
        Value::Text(text) => (text.clone(), text.as_str()),
        Value::From(object) => (format!("({object})"), ""),
    };
    let verdict = match &argument.name {
        Name::Variable(variable) if variable == "envFrom" => not_yet(
            "its keys are not known here: name a Secret with those that Flagger reads in \
             operator.alertsSecret",
        ),
        Name::Variable(variable) if name.is_empty() => unknown(&format!(
            "variable `{variable}` is none of Flagger's: whether the operator needs it is for you \
             to say"
        )),
        Name::Variable(_) | Name::Flag(_) => verdict(name, text, namespace),
    };
    let hides = verdict.visibility == Visibility::Hidden;
    let is_text = argument.value.text().is_some_and(|text| !text.is_empty());
    Setting {
        name: shown,
        value: if hides && is_text {
            SECRET.to_owned()
        } else {
            value
        },
        ..verdict
    }
}

/// Something else of Flagger's Deployment that our chart has a value for.
pub(super) fn of_deployment(field: &str, found: Json, path: &str) -> Setting {
    Setting {
        name: field.to_owned(),
        value: found.to_string(),
        ..value(path, found)
    }
}

/// The flag that a variable stands for.
fn flag_of(variable: &str) -> &str {
    match variable {
        "SLACK_URL" => "slack-url",
        "SLACK_TOKEN" => "slack-token",
        "SLACK_PROXY_URL" => "slack-proxy-url",
        "SLACK_USER" => "slack-user",
        "SLACK_CHANNEL" => "slack-channel",
        "MSTEAMS_URL" => "msteams-url",
        "MSTEAMS_PROXY_URL" => "msteams-proxy-url",
        "EVENT_WEBHOOK_URL" => "event-webhook",
        "CLUSTER_NAME" => "cluster-name",
        _ => "",
    }
}

fn verdict(name: &str, text: &str, namespace: &str) -> Setting {
    match name {
        "metrics-server" => value("metricsServer", json!(qualified(text, namespace))),
        "namespace" if text.is_empty() => not_needed("all namespaces is the default here too"),
        "namespace" => value("operator.watchNamespace", json!(text)),
        "log-level" => {
            let level = if text == "warning" { "warn" } else { text };
            value("log.level", json!(format!("{level},kube_runtime=error")))
        }
        "zap-encoding" => {
            let format = if text == "console" { "text" } else { "json" };
            value("log.format", json!(format))
        }
        "slack-url" => alert("SLACK_URL"),
        "slack-token" => alert("SLACK_TOKEN"),
        "slack-proxy-url" => alert("SLACK_PROXY_URL"),
        "slack-user" => shown(alert("SLACK_USER")),
        "slack-channel" => shown(alert("SLACK_CHANNEL")),
        "msteams-url" => alert("MSTEAMS_URL"),
        "msteams-proxy-url" => alert("MSTEAMS_PROXY_URL"),
        "event-webhook" => alert("EVENT_WEBHOOK_URL"),
        "cluster-name" => shown(alert("CLUSTER_NAME")),
        "mesh-provider" => mesh_provider(text),
        "selector-labels" if text == SELECTOR_LABELS => not_needed("these are Fairlead's labels"),
        "selector-labels" => not_yet(
            "Fairlead tells pods by app, name or app.kubernetes.io/name, the first that a \
             selector has: a primary that Flagger selects by another label is not found",
        ),
        "enable-config-tracking" if text == "false" => not_yet(
            "configs are always tracked; annotate a ConfigMap or Secret with \
             flagger.app/config-tracking=disabled to leave it out",
        ),
        "enable-config-tracking" => not_needed("configs are always tracked"),
        "no-cross-namespace-refs" if text == "false" => not_needed("the default here too"),
        "no-cross-namespace-refs" => value("operator.noCrossNamespaceRefs", json!(true)),
        "include-label-prefix" => not_yet(
            "the primary has all labels of its target: leave out there what it must not have",
        ),
        "ingress-annotations-prefix" | "ingress-class" => {
            not_yet("Ingresses are not led: use provider `istio`, `gatewayapi:v1` or `kubernetes`")
        }
        "kubeconfig-service-mesh" => {
            not_yet("routes are written in the cluster of the workloads, not in another one")
        }
        "kubeconfig" | "master" if text.is_empty() => not_needed("in the cluster, its own account"),
        "kubeconfig" | "master" => not_yet("the operator works on the cluster that it runs in"),
        "kubeconfig-qps" | "kubeconfig-burst" | "threadiness" => {
            not_needed("Fairlead watches and has no loop for each Canary: there is nothing to tune")
        }
        "control-loop-interval" => {
            not_needed("changes are seen by watches; the pace of checks is each Canary's interval")
        }
        "enable-leader-election" => not_needed("a leader is always elected"),
        "leader-election-namespace" => not_needed("the lease is in the release's namespace"),
        "port" => not_needed("8080, as /metrics and /healthz of Flagger"),
        "zap-replace-globals" | "version" => not_needed("it concerns Flagger's own code"),
        other => unknown(&format!(
            "`-{other}` is no flag of Flagger 1.44: nothing is known of it"
        )),
    }
}

fn mesh_provider(text: &str) -> Setting {
    match text {
        "" | "istio" => not_needed("istio is the default here too"),
        "kubernetes" | "gatewayapi:v1" | "gatewayapi:v1beta1" => {
            value("operator.meshProvider", json!(text))
        }
        // Named all the same: Canaries that mean it are Stalled then, and not led by another one.
        other => Setting {
            values: value("operator.meshProvider", json!(other)).values,
            ..not_yet(&format!(
                "provider `{other}` is not there: use `istio`, `gatewayapi:v1` or `kubernetes`; \
                 Canaries without `spec.provider` are Stalled until then"
            ))
        },
    }
}

/// A value of our chart, by its path.
fn value(path: &str, value: Json) -> Setting {
    let nested = path
        .rsplit('.')
        .fold(value, |inside, key| json!({ key: inside }));
    Setting {
        values: nested,
        ..with(Fate::Mapped, path)
    }
}

/// A key of the Secret for alerts.
fn alert(key: &'static str) -> Setting {
    Setting {
        values: json!({ "operator": { "alertsSecret": ALERTS_SECRET } }),
        secret_key: Some(key),
        visibility: Visibility::Hidden,
        ..with(
            Fate::Mapped,
            &format!("key {key} of the Secret in operator.alertsSecret"),
        )
    }
}

/// The same, of what is no secret.
fn shown(setting: Setting) -> Setting {
    Setting {
        visibility: Visibility::Shown,
        ..setting
    }
}

/// What nobody knows may be a secret.
fn unknown(why: &str) -> Setting {
    Setting {
        visibility: Visibility::Hidden,
        ..not_yet(why)
    }
}

fn not_needed(why: &str) -> Setting {
    with(Fate::NotNeeded, why)
}

fn not_yet(instead: &str) -> Setting {
    with(Fate::NotThereYet, instead)
}

fn with(fate: Fate, note: &str) -> Setting {
    Setting {
        name: String::new(),
        value: String::new(),
        fate,
        note: note.to_owned(),
        values: json!({}),
        secret_key: None,
        visibility: Visibility::Shown,
    }
}

/// An address whose host is a Service of Flagger's namespace, as another namespace names it.
pub(super) fn qualified(address: &str, namespace: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    let end = rest.find([':', '/']).unwrap_or(rest.len());
    let (host, rest) = rest.split_at(end);
    if host.is_empty() || host.contains(['.', '[', '@']) || host == "localhost" {
        return address.to_owned();
    }
    format!("{scheme}://{host}.{namespace}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags of Flagger 1.44.
    const KNOWN: [&str; 32] = [
        "kubeconfig",
        "kubeconfig-qps",
        "kubeconfig-burst",
        "master",
        "metrics-server",
        "control-loop-interval",
        "log-level",
        "port",
        "slack-url",
        "slack-token",
        "slack-proxy-url",
        "slack-user",
        "slack-channel",
        "msteams-url",
        "msteams-proxy-url",
        "event-webhook",
        "include-label-prefix",
        "threadiness",
        "zap-replace-globals",
        "zap-encoding",
        "namespace",
        "mesh-provider",
        "selector-labels",
        "ingress-annotations-prefix",
        "ingress-class",
        "enable-leader-election",
        "leader-election-namespace",
        "enable-config-tracking",
        "version",
        "kubeconfig-service-mesh",
        "cluster-name",
        "no-cross-namespace-refs",
    ];

    fn flag(name: &str, text: &str) -> Setting {
        let argument = Argument {
            name: Name::Flag(name.to_owned()),
            value: Value::Text(text.to_owned()),
        };
        setting(&argument, "mesh")
    }

    #[test]
    fn a_flag_becomes_a_value_of_the_chart() {
        let read = flag("namespace", "shop");
        assert_eq!(read.fate, Fate::Mapped);
        assert_eq!(
            read.values,
            json!({ "operator": { "watchNamespace": "shop" } })
        );
        let read = flag("metrics-server", "http://prometheus:9090");
        assert_eq!(
            read.values,
            json!({ "metricsServer": "http://prometheus.mesh:9090" })
        );
    }

    #[test]
    fn a_secret_is_named_and_not_shown() {
        for name in ["slack-url", "slack-token", "msteams-url", "event-webhook"] {
            let read = flag(name, "https://hooks/hush");
            assert_eq!((read.fate, &*read.value), (Fate::Mapped, SECRET));
            let json = serde_json::to_string(&read).expect("JSON");
            assert!(!json.contains("hush") && !read.values.to_string().contains("hush"));
        }
        assert_eq!(flag("slack-channel", "releases").value, "releases");
    }

    #[test]
    fn a_variable_that_nobody_knows_may_be_a_secret() {
        let argument = Argument {
            name: Name::Variable("HTTPS_PROXY".to_owned()),
            value: Value::Text("http://user:hush@proxy".to_owned()),
        };
        let read = setting(&argument, "mesh");
        assert_eq!((read.fate, &*read.value), (Fate::NotThereYet, SECRET));
        assert!(read.note.contains("HTTPS_PROXY"), "{}", read.note);
    }

    /// Whether every key of `values` is one of `chart`.
    fn is_known(values: &Json, chart: &Json) -> bool {
        let Some(values) = values.as_object() else {
            return true;
        };
        let known = |(key, value): (&String, &Json)| {
            chart.get(key).is_some_and(|chart| is_known(value, chart))
        };
        values.iter().all(known)
    }

    #[test]
    fn what_is_mapped_is_a_value_of_the_chart() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../charts/fairlead/values.yaml"
        );
        let chart = std::fs::read_to_string(path).expect("the chart's values");
        let chart: Json = serde_yaml_ng::from_str(&chart).expect("YAML");
        let mapped = KNOWN.map(|name| flag(name, "x"));
        let mapped = mapped.iter().filter(|one| one.fate == Fate::Mapped);
        assert_eq!(mapped.clone().count(), 14);
        for one in mapped {
            assert!(
                is_known(&one.values, &chart),
                "{}: {}",
                one.name,
                one.values
            );
        }
    }

    #[test]
    fn nothing_is_dropped_in_silence() {
        for name in KNOWN {
            let read = flag(name, "x");
            assert!(
                !read.note.contains("nothing is known"),
                "{name}: {}",
                read.note
            );
        }
        assert!(flag("brand-new", "x").note.contains("nothing is known"));
    }

    #[test]
    fn only_a_short_name_is_qualified() {
        for (address, expected) in [
            ("http://prometheus:9090", "http://prometheus.mesh:9090"),
            ("http://prometheus/path", "http://prometheus.mesh/path"),
            (
                "http://prometheus.istio-system:9090",
                "http://prometheus.istio-system:9090",
            ),
            ("http://10.0.0.1:9090", "http://10.0.0.1:9090"),
            ("http://[::1]:9090", "http://[::1]:9090"),
        ] {
            assert_eq!(qualified(address, "mesh"), expected);
        }
    }
}
