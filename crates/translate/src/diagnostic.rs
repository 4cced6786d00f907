//! What is wrong with a configuration object, for its status, `fairlead analyze` and admission.

use std::fmt;
use std::time::Duration;

use fairlead_crds::parse_duration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::snapshot::ObjectKey;

/// A configuration object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its `metadata.generation`; 0 where the API server counts none.
    pub generation: i64,
}

impl Source {
    /// The source of an object.
    pub(crate) fn of(kind: Kind, key: &ObjectKey, metadata: &ObjectMeta) -> Self {
        Self {
            kind,
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            generation: metadata.generation.unwrap_or_default(),
        }
    }

    /// Path of the object in the Kubernetes API, as metadata of resources names it.
    pub(crate) fn api_path(&self) -> String {
        let Self {
            namespace, name, ..
        } = self;
        let group = match self.kind {
            Kind::VirtualService | Kind::DestinationRule | Kind::Gateway | Kind::ServiceEntry => {
                "networking.istio.io"
            }
            Kind::PeerAuthentication => "security.istio.io",
            Kind::Service | Kind::Secret => "",
        };
        format!(
            "/apis/{group}/v1/namespaces/{namespace}/{}/{name}",
            self.kind.path()
        )
    }
}

/// Kinds of configuration objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `VirtualService`
    VirtualService,
    /// `DestinationRule`
    DestinationRule,
    /// `Gateway`
    Gateway,
    /// `ServiceEntry`
    ServiceEntry,
    /// `PeerAuthentication`
    PeerAuthentication,
    /// `Service`
    Service,
    /// `Secret`
    Secret,
}

impl Kind {
    /// The kind as manifests write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::Gateway => "Gateway",
            Self::ServiceEntry => "ServiceEntry",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::Service => "Service",
            Self::Secret => "Secret",
        }
    }

    /// The kind in the paths of metadata.
    const fn path(self) -> &'static str {
        match self {
            Self::VirtualService => "virtual-service",
            Self::DestinationRule => "destination-rule",
            Self::Gateway => "gateway",
            Self::ServiceEntry => "service-entry",
            Self::PeerAuthentication => "peer-authentication",
            Self::Service => "service",
            Self::Secret => "secret",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A part of the object has no effect, or not the one that was meant.
    Error,
    /// It works, but probably not as meant, or a setting of it is not acted on yet.
    Warning,
}

/// Something that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The object.
    pub source: Source,
    /// How bad it is.
    pub severity: Severity,
    /// Path of the field, such as `spec.http[0].route[1].destination.host`.
    pub field: String,
    /// What is wrong, and what happens instead.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            field,
            message,
            ..
        } = self;
        write!(f, "{source}: {field}: {message}")
    }
}

/// Collects what is wrong with one object.
#[derive(Debug)]
pub(crate) struct Findings<'d> {
    source: Source,
    diagnostics: &'d mut Vec<Diagnostic>,
}

impl<'d> Findings<'d> {
    pub(crate) const fn new(source: Source, diagnostics: &'d mut Vec<Diagnostic>) -> Self {
        Self {
            source,
            diagnostics,
        }
    }

    /// A part of the object has no effect.
    pub(crate) fn error(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.push(Severity::Error, field.into(), message.into());
    }

    /// It works, but probably not as meant.
    pub(crate) fn warn(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.push(Severity::Warning, field.into(), message.into());
    }

    /// Those of the settings below `place` that are set are accepted, and nothing more.
    pub(crate) fn not_acted_on(&mut self, place: &str, settings: &[(&str, bool)]) {
        self.warn_of(place, settings, "is accepted but not acted on yet");
    }

    /// Says the same of those of the settings below `place` that are set.
    pub(crate) fn warn_of(&mut self, place: &str, settings: &[(&str, bool)], message: &str) {
        for (name, _) in settings.iter().filter(|(_, is_set)| *is_set) {
            self.warn(format!("{place}.{name}"), message);
        }
    }

    /// The same where security or the way of the traffic is not what was meant.
    pub(crate) fn error_of(&mut self, place: &str, settings: &[(&str, bool)], message: &str) {
        for (name, _) in settings.iter().filter(|(_, is_set)| *is_set) {
            self.error(format!("{place}.{name}"), message);
        }
    }

    /// Reads a duration; what cannot be read is reported and has no effect.
    pub(crate) fn duration(&mut self, field: &str, text: Option<&String>) -> Option<Duration> {
        match parse_duration(text?) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.error(field, format!("{error}; it has no effect"));
                None
            }
        }
    }

    fn push(&mut self, severity: Severity, field: String, message: String) {
        self.diagnostics.push(Diagnostic {
            source: self.source.clone(),
            severity,
            field,
            message,
        });
    }
}

/// Whether a text is given: an empty one is as good as none.
pub(crate) fn is_given(text: Option<&String>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}
