//! The connection to a cluster, and what its refusals mean to a person.

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use crate::args::Connection;

/// Why the cluster did not give what was asked for, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no usable kubeconfig.
    #[error("no cluster is known; set KUBECONFIG, or pass --kubeconfig and --context")]
    Kubeconfig(#[source] KubeconfigError),
    /// Nobody answers.
    #[error("the API server at {server} cannot be reached; check --context and your network")]
    Unreachable {
        /// Its address.
        server: String,
        /// What happened.
        #[source]
        source: Box<kube::Error>,
    },
    /// The rights are missing.
    #[error(
        "the cluster does not allow you to {what}; ask for that right, or change --context: {why}"
    )]
    Denied {
        /// What.
        what: String,
        /// Its words.
        why: String,
    },
    /// The right to a command is missing.
    #[error(
        "{who} may not give the command `{verb}` to Canary `{canary}`; a Role with this rule \
         allows it: {{apiGroups: [flagger.app], resources: [canaries], verbs: [{verb}]}}"
    )]
    NoRight {
        /// Who asked.
        who: String,
        /// For what.
        verb: &'static str,
        /// Namespace and name.
        canary: String,
    },
    /// The kind does not exist.
    #[error(
        "this cluster knows no Canaries; install Fairlead: helm install fairlead charts/fairlead \
         --namespace fairlead-system --create-namespace"
    )]
    NotInstalled,
    /// The namespace does not exist.
    #[error("there is no namespace `{name}`; create it, or choose another one with --namespace")]
    NoNamespace {
        /// Its name.
        name: String,
    },
    /// The object is not accepted.
    #[error("failed to {what}: the API server refuses it: {why}")]
    Refused {
        /// What.
        what: String,
        /// Its words.
        why: String,
    },
    /// The object does not exist.
    #[error("there is no Canary `{namespace}/{name}`; {others}")]
    Absent {
        /// Where.
        namespace: String,
        /// Which.
        name: String,
        /// What there is instead.
        others: String,
    },
    /// It did not happen in time.
    #[error("{what}")]
    TimedOut {
        /// What was waited for, and how it stood at the end.
        what: String,
    },
    /// Anything else.
    #[error("failed to {what}")]
    Api {
        /// What.
        what: String,
        /// The answer.
        #[source]
        source: Box<kube::Error>,
    },
}

/// A cluster, and the namespace that is meant.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// The connection.
    pub(crate) client: Client,
    /// The namespace.
    pub(crate) namespace: String,
    server: String,
}

impl Cluster {
    /// Reads the kubeconfig; nothing is sent yet.
    pub(crate) async fn connect(connection: &Connection) -> Result<Self, Error> {
        let options = KubeConfigOptions {
            context: connection.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match &connection.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(Error::Kubeconfig)?;
                Config::from_custom_kubeconfig(file, &options).await
            }
            None => Config::from_kubeconfig(&options).await,
        };
        let config = config.map_err(Error::Kubeconfig)?;
        let server = config.cluster_url.to_string();
        let namespace = connection
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|source| Error::Unreachable {
            server: server.clone(),
            source: Box::new(source),
        })?;
        Ok(Self {
            client,
            namespace,
            server,
        })
    }

    /// Says what a failed request means; `what` completes "failed to …".
    pub(crate) fn explain(&self, source: kube::Error, what: &str) -> Error {
        let source = Box::new(source);
        let what = what.to_owned();
        match &*source {
            // Its words are for people; the whole answer is not.
            // For a kind that it does not know the API server answers in plain text: only the
            // code can be relied on.
            kube::Error::Api(status) if matches!(status.code, 401 | 403) => Error::Denied {
                what,
                why: status.message.clone(),
            },
            kube::Error::Api(status) if status.code == 404 => match &status.details {
                Some(details) if details.kind == "namespaces" => Error::NoNamespace {
                    name: details.name.clone(),
                },
                Some(_) | None => Error::NotInstalled,
            },
            kube::Error::Api(status) => Error::Refused {
                what,
                why: status.message.clone(),
            },
            kube::Error::HyperError(_) | kube::Error::Service(_) => Error::Unreachable {
                server: self.server.clone(),
                source,
            },
            _ => Error::Api { what, source },
        }
    }
}
