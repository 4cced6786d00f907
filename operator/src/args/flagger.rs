//! Flagger's command line, read as Go reads it, in the words of ours. Pure.
//!
//! The flags are those of Flagger 1.44 (`cmd/flagger/main.go`). Each of them either acts or is
//! accepted with a warning that says what is done instead, so that a Deployment with Flagger's
//! arguments starts; what is neither Flagger's nor ours is left to clap to refuse.

use std::ffi::OsString;

/// Flags of Flagger that may stand alone.
const SWITCHES: [&str; 5] = [
    "enable-config-tracking",
    "enable-leader-election",
    "no-cross-namespace-refs",
    "version",
    "zap-replace-globals",
];
/// The labels that pods are told by, in this order.
const SELECTOR_LABELS: &str = "app,name,app.kubernetes.io/name";

/// A flag and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: String,
    /// Its value; `true` for a switch alone, empty when there is none.
    pub value: String,
}

/// A command line in our words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translated {
    /// What clap reads.
    pub arguments: Vec<OsString>,
    /// What is done otherwise than it was asked for, a sentence for each flag.
    pub warnings: Vec<String>,
}

/// What becomes of a flag of Flagger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is this argument of ours.
    Acts(String),
    /// It asks for what is done anyway.
    Holds,
    /// Something else is done, and what.
    Differs(&'static str),
}

/// Go's rules: one dash or two, the value behind `=` or in the next word, and switches alone.
pub fn flags<'a>(words: impl Iterator<Item = &'a str>) -> Vec<Flag> {
    let mut words = words.peekable();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let Some(bare) = bare(word) else { continue };
        found.push(flag(bare, || words.next_if(|next| !next.starts_with('-'))));
    }
    found
}

/// A word without the dashes that make it a flag.
fn bare(word: &str) -> Option<&str> {
    let bare = word.strip_prefix('-')?;
    Some(bare.strip_prefix('-').unwrap_or(bare))
}

fn flag<'a>(bare: &str, next: impl FnOnce() -> Option<&'a str>) -> Flag {
    let (name, value) = match bare.split_once('=') {
        Some((name, value)) => (name, value),
        None if SWITCHES.contains(&bare) => (bare, "true"),
        None => (bare, next().unwrap_or_default()),
    };
    Flag {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

/// Puts Flagger's flags into our words; the first word is the program and stays.
pub fn translate(words: impl IntoIterator<Item = OsString>) -> Translated {
    let mut words = words.into_iter().peekable();
    let mut translated = Translated::default();
    translated.arguments.extend(words.next());
    while let Some(word) = words.next() {
        let text = word.to_str().unwrap_or_default();
        // `-h`, `-V` and what is no flag at all are as they are.
        let Some(bare) = bare(text).filter(|bare| bare.len() > 1) else {
            translated.arguments.push(word);
            continue;
        };
        let name = bare.split('=').next().unwrap_or_default();
        if fate(name, "").is_none() {
            translated.arguments.push(format!("--{bare}").into());
            continue;
        }
        let mut taken = None;
        let read = flag(bare, || {
            taken = words.next_if(|next| !next.to_string_lossy().starts_with('-'));
            taken.as_deref()?.to_str()
        });
        match fate(&read.name, &read.value) {
            Some(Fate::Acts(argument)) => translated.arguments.push(argument.into()),
            Some(Fate::Differs(why)) => {
                let warning = format!("-{}: {why}", read.name);
                translated.warnings.push(warning);
            }
            Some(Fate::Holds) | None => {}
        }
    }
    translated
}

/// What becomes of a flag; `None` for one that is none of Flagger's. An empty value is Flagger's
/// word for "not set".
pub fn fate(name: &str, value: &str) -> Option<Fate> {
    let is_off = matches!(value, "false" | "f" | "F" | "0" | "FALSE" | "False");
    let acts = |ours: &str| {
        if value.is_empty() {
            Fate::Holds
        } else {
            Fate::Acts(format!("--{ours}={value}"))
        }
    };
    let differs = |why| {
        if value.is_empty() {
            Fate::Holds
        } else {
            Fate::Differs(why)
        }
    };
    Some(match name {
        "metrics-server" | "slack-url" | "slack-token" | "slack-proxy-url" | "slack-user"
        | "slack-channel" | "msteams-url" | "msteams-proxy-url" | "event-webhook"
        | "cluster-name" | "mesh-provider" | "kubeconfig" => acts(name),
        "namespace" => acts("watch-namespace"),
        "leader-election-namespace" => acts("lease-namespace"),
        "port" if value.is_empty() => Fate::Holds,
        "port" => Fate::Acts(format!("--admin-address=0.0.0.0:{value}")),
        "log-level" => match value {
            "warning" => Fate::Acts("--log-level=warn".to_owned()),
            "dpanic" | "panic" | "fatal" => Fate::Acts("--log-level=error".to_owned()),
            _ => acts(name),
        },
        "zap-encoding" if value == "console" => Fate::Acts("--log-format=text".to_owned()),
        "zap-encoding" if value.is_empty() => Fate::Holds,
        "zap-encoding" => Fate::Acts("--log-format=json".to_owned()),
        "version" if is_off || value.is_empty() => Fate::Holds,
        "version" => Fate::Acts("--version".to_owned()),
        "no-cross-namespace-refs" if is_off || value.is_empty() => Fate::Holds,
        "no-cross-namespace-refs" => Fate::Acts("--no-cross-namespace-refs".to_owned()),
        "enable-leader-election" if is_off => {
            Fate::Differs("a leader is always elected; one replica alone becomes it at once")
        }
        "enable-leader-election" | "zap-replace-globals" => Fate::Holds,
        "enable-config-tracking" if is_off => Fate::Differs(
            "ConfigMaps and Secrets are always tracked; annotate one with \
             flagger.app/config-tracking=disabled to leave it out",
        ),
        "enable-config-tracking" => Fate::Holds,
        "selector-labels" if value == SELECTOR_LABELS => Fate::Holds,
        "selector-labels" => differs(
            "pods are told by the first of app, name and app.kubernetes.io/name that a target \
             selects by",
        ),
        "include-label-prefix" => differs(
            "the primary has all labels of its target; leave out there what it must not have",
        ),
        "control-loop-interval" => differs(
            "changes are seen by watches; the pace of checks is each Canary's interval, not below \
             --control-loop-min-interval",
        ),
        "kubeconfig-qps" | "kubeconfig-burst" => differs(
            "requests are not limited here: they come with changes, and the API server divides \
             its time fairly",
        ),
        "threadiness" => differs("there is no loop for each Canary: there is nothing to tune"),
        "master" => differs("the server is the one of -kubeconfig, else of the pod's own cluster"),
        "kubeconfig-service-mesh" => {
            differs("routes are written in the cluster of the workloads, not in another one")
        }
        "ingress-annotations-prefix" | "ingress-class" => differs(
            "Ingresses are not led; a Canary with `provider: nginx` or another Ingress is Stalled",
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Args;

    /// Every flag of Flagger 1.44, with a value that asks for something, and what becomes of it.
    const TABLE: [(&str, &str, &str); 33] = [
        ("kubeconfig", "/config", "--kubeconfig=/config"),
        ("kubeconfig-qps", "50", "requests are not limited"),
        ("kubeconfig-burst", "50", "requests are not limited"),
        ("master", "https://api", "of -kubeconfig"),
        (
            "metrics-server",
            "http://p:9090",
            "--metrics-server=http://p:9090",
        ),
        ("control-loop-interval", "5s", "--control-loop-min-interval"),
        ("log-level", "warning", "--log-level=warn"),
        ("port", "9000", "--admin-address=0.0.0.0:9000"),
        ("slack-url", "https://s", "--slack-url=https://s"),
        ("slack-token", "t", "--slack-token=t"),
        ("slack-proxy-url", "http://p", "--slack-proxy-url=http://p"),
        ("slack-user", "ann", "--slack-user=ann"),
        ("slack-channel", "ops", "--slack-channel=ops"),
        ("msteams-url", "https://m", "--msteams-url=https://m"),
        (
            "msteams-proxy-url",
            "http://p",
            "--msteams-proxy-url=http://p",
        ),
        ("event-webhook", "http://e", "--event-webhook=http://e"),
        ("include-label-prefix", "app", "all labels of its target"),
        ("threadiness", "4", "nothing to tune"),
        ("zap-replace-globals", "true", ""),
        ("zap-encoding", "console", "--log-format=text"),
        ("namespace", "shop", "--watch-namespace=shop"),
        ("mesh-provider", "kubernetes", "--mesh-provider=kubernetes"),
        (
            "selector-labels",
            "tier",
            "app, name and app.kubernetes.io/name",
        ),
        (
            "ingress-annotations-prefix",
            "n.io",
            "Ingresses are not led",
        ),
        ("ingress-class", "nginx", "Ingresses are not led"),
        ("enable-leader-election", "true", ""),
        ("enable-leader-election", "false", "always elected"),
        (
            "leader-election-namespace",
            "mesh",
            "--lease-namespace=mesh",
        ),
        ("enable-config-tracking", "true", ""),
        ("enable-config-tracking", "false", "always tracked"),
        (
            "kubeconfig-service-mesh",
            "/mesh",
            "cluster of the workloads",
        ),
        ("cluster-name", "west", "--cluster-name=west"),
        (
            "no-cross-namespace-refs",
            "true",
            "--no-cross-namespace-refs",
        ),
    ];

    fn translated(words: &[&str]) -> Translated {
        let program = std::iter::once("fairlead-operator");
        translate(program.chain(words.iter().copied()).map(OsString::from))
    }

    #[test]
    fn every_flag_of_flagger_acts_or_says_what_is_done_instead() {
        for (name, value, expected) in TABLE {
            let told = match fate(name, value).unwrap() {
                Fate::Acts(argument) => argument,
                Fate::Holds => String::new(),
                Fate::Differs(why) => why.to_owned(),
            };
            let is_it = match expected {
                "" => told.is_empty(),
                expected => told.contains(expected),
            };
            assert!(is_it, "-{name}={value}: {told}");
        }
    }

    #[test]
    fn a_deployment_with_flaggers_arguments_starts_however_they_are_written() {
        for (name, value, _) in TABLE {
            for words in [
                vec![format!("-{name}={value}")],
                vec![format!("--{name}={value}")],
                vec![format!("-{name}"), value.to_owned()],
                vec![format!("-{name}=")],
            ] {
                // Go takes no next word for a switch.
                if SWITCHES.contains(&name) && words.len() == 2 {
                    continue;
                }
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let translated = translated(&words);
                let read = Args::try_parse_from(translated.arguments);
                assert!(read.is_ok(), "{words:?}: {}", read.unwrap_err());
            }
        }
    }

    #[test]
    fn the_arguments_of_flaggers_chart_mean_the_same_here() {
        let Translated {
            arguments,
            warnings,
        } = translated(&[
            "-log-level=info",
            "-mesh-provider=istio",
            "-metrics-server=http://prometheus:9090",
            "-enable-config-tracking=true",
            "-slack-url",
            "https://hooks/secret",
            "-enable-leader-election=true",
            "-leader-election-namespace=mesh",
            "-threadiness=2",
            "-cluster-name=west",
        ]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("-threadiness: there is no loop"));
        let args = Args::try_parse_from(arguments).unwrap();
        assert_eq!(args.log.log_level, "info");
        assert_eq!(args.mesh_provider, "istio");
        let server = args.metrics_server.as_deref();
        assert_eq!(server, Some("http://prometheus:9090"));
        let slack = args.alerts.slack_url.as_deref();
        assert_eq!(slack, Some("https://hooks/secret"));
        assert_eq!(args.lease.lease_namespace, "mesh");
        assert_eq!(args.alerts.cluster_name.as_deref(), Some("west"));
    }

    #[test]
    fn our_own_flags_are_left_alone_and_may_have_one_dash_too() {
        let words = [
            "--pod-name",
            "one",
            "-allow-outgoing=node",
            "--log-level=info,kube=debug",
        ];
        let args = Args::try_parse_from(translated(&words).arguments).unwrap();
        assert_eq!(args.lease.pod_name, "one");
        assert_eq!(args.allow_outgoing.len(), 1);
        assert_eq!(args.log.log_level, "info,kube=debug");
    }

    #[test]
    fn what_nobody_knows_is_refused_and_a_warning_holds_no_value() {
        let unknown = translated(&["-brand-new=1"]);
        Args::try_parse_from(unknown.arguments).expect_err("no such flag");
        let read = translated(&["-kubeconfig-service-mesh=/secret/path"]);
        assert!(!read.warnings[0].contains("secret"), "{:?}", read.warnings);
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let words = [
            "./flagger",
            "-mesh-provider=istio",
            "--metrics-server",
            "http://prometheus:9090",
            "-enable-leader-election",
            "-namespace",
            "-enable-config-tracking=false",
        ];
        let read = flags(words.into_iter());
        let read: Vec<(&str, &str)> = read
            .iter()
            .map(|flag| (flag.name.as_str(), flag.value.as_str()))
            .collect();
        assert_eq!(
            read,
            [
                ("mesh-provider", "istio"),
                ("metrics-server", "http://prometheus:9090"),
                ("enable-leader-election", "true"),
                ("namespace", ""),
                ("enable-config-tracking", "false"),
            ]
        );
    }
}
