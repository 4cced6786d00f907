//! The labels and annotations by which users steer injection, parsed strictly: a value that cannot
//! be understood refuses the pod with the annotation's name, since guessing would hide the typo.

use std::collections::BTreeMap;

use fairlead_crds::annotation;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

pub use fairlead_crds::annotation::{
    PROMETHEUS_MERGE as MERGE_METRICS, PROMETHEUS_PATH as SCRAPE_PATH,
    PROMETHEUS_PORT as SCRAPE_PORT, PROMETHEUS_SCRAPE as SCRAPE, SIDECAR_LOG_LEVEL as LOG_LEVEL,
    SIDECAR_NATIVE as NATIVE_SIDECAR, SIDECAR_PROXY_CPU as PROXY_CPU,
    SIDECAR_PROXY_CPU_LIMIT as PROXY_CPU_LIMIT, SIDECAR_PROXY_IMAGE as PROXY_IMAGE,
    SIDECAR_PROXY_MEMORY as PROXY_MEMORY, SIDECAR_PROXY_MEMORY_LIMIT as PROXY_MEMORY_LIMIT,
    SIDECAR_REWRITE_PROBES as REWRITE_PROBES, SIDECAR_STATUS as STATUS,
};
/// Label, and as a fallback annotation, that asks for injection or declines it.
pub use fairlead_crds::label::SIDECAR_INJECT as INJECT;

const CAPTURE_RANGES: [(&str, &str); 2] = [
    (
        annotation::INCLUDE_OUTBOUND_IP_RANGES,
        "--include-outbound-cidrs",
    ),
    (
        annotation::EXCLUDE_OUTBOUND_IP_RANGES,
        "--exclude-outbound-cidrs",
    ),
];
const CAPTURE_PORTS: [(&str, &str); 4] = [
    (annotation::INCLUDE_INBOUND_PORTS, "--include-inbound-ports"),
    (annotation::EXCLUDE_INBOUND_PORTS, "--exclude-inbound-ports"),
    (
        annotation::INCLUDE_OUTBOUND_PORTS,
        "--include-outbound-ports",
    ),
    (
        annotation::EXCLUDE_OUTBOUND_PORTS,
        "--exclude-outbound-ports",
    ),
];
/// Annotations of other meshes' manuals that change how a pod is proxied and that we do not act on.
const WITHOUT_EFFECT: [&str; 7] = [
    "proxy.istio.io/config",
    "inject.istio.io/templates",
    "sidecar.istio.io/proxyImageType",
    "sidecar.istio.io/interceptionMode",
    "sidecar.istio.io/userVolume",
    "sidecar.istio.io/userVolumeMount",
    "traffic.sidecar.istio.io/kubevirtInterfaces",
];

/// An annotation whose value cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation `{name}`: `{value}` is not {expected}")]
pub struct InvalidAnnotation {
    name: &'static str,
    value: String,
    expected: &'static str,
}

/// The annotations of one pod.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Annotations<'a>(Option<&'a BTreeMap<String, String>>);

impl<'a> Annotations<'a> {
    pub(crate) fn of(pod: &'a Pod) -> Self {
        Self(pod.metadata.annotations.as_ref())
    }

    pub(crate) fn text(self, name: &str) -> Option<&'a str> {
        self.0?.get(name).map(String::as_str)
    }

    pub(crate) fn flag(self, name: &'static str) -> Result<Option<bool>, InvalidAnnotation> {
        self.text(name)
            .map(|value| parse_flag(name, value))
            .transpose()
    }

    /// A resource quantity, checked for its shape so that the API server does not have to refuse a
    /// container that the user never wrote.
    pub(crate) fn quantity(
        self,
        name: &'static str,
    ) -> Result<Option<Quantity>, InvalidAnnotation> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let suffix = &value[number.len()..];
        let suffixes = ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"];
        if number
            .parse::<f64>()
            .is_ok_and(|n| n.is_finite() && n >= 0.0)
            && suffixes.contains(&suffix)
        {
            Ok(Some(Quantity(value.to_owned())))
        } else {
            Err(invalid(name, value, "a quantity such as `100m` or `128Mi`"))
        }
    }

    /// The proxy's log level, in our words; users write Envoy's.
    pub(crate) fn log_level(self) -> Result<Option<&'static str>, InvalidAnnotation> {
        let Some(value) = self.text(LOG_LEVEL) else {
            return Ok(None);
        };
        match value {
            "trace" => Ok(Some("trace")),
            "debug" => Ok(Some("debug")),
            "info" => Ok(Some("info")),
            "warn" | "warning" => Ok(Some("warn")),
            "error" | "critical" => Ok(Some("error")),
            "off" => Ok(Some("off")),
            _ => Err(invalid(LOG_LEVEL, value, "a log level such as `info`")),
        }
    }

    /// Arguments for the init container: what to capture and what to leave alone.
    pub(crate) fn capture_args(self) -> Result<Vec<String>, InvalidAnnotation> {
        let mut args = Vec::new();
        for (name, flag) in CAPTURE_RANGES {
            let Some(value) = self.text(name) else {
                continue;
            };
            if value != "*" && !items(value).all(is_cidr) {
                return Err(invalid(name, value, "`*` or a list of CIDR ranges"));
            }
            args.push(format!("{flag}={value}"));
        }
        for (name, flag) in CAPTURE_PORTS {
            let Some(value) = self.text(name) else {
                continue;
            };
            if value != "*" && !items(value).all(|port| port.parse::<u16>().is_ok_and(|p| p > 0)) {
                return Err(invalid(name, value, "`*` or a list of ports"));
            }
            args.push(format!("{flag}={value}"));
        }
        Ok(args)
    }

    /// Annotations present on the pod that have no effect here, for the reply's warnings.
    pub(crate) fn without_effect(self) -> impl Iterator<Item = &'static str> {
        WITHOUT_EFFECT
            .into_iter()
            .filter(move |name| self.text(name).is_some())
    }
}

pub(crate) fn parse_flag(name: &'static str, value: &str) -> Result<bool, InvalidAnnotation> {
    match value {
        "true" | "enabled" | "yes" | "y" | "on" | "1" => Ok(true),
        "false" | "disabled" | "no" | "n" | "off" | "0" => Ok(false),
        _ => Err(invalid(name, value, "`true` or `false`")),
    }
}

fn invalid(name: &'static str, value: &str, expected: &'static str) -> InvalidAnnotation {
    InvalidAnnotation {
        name,
        value: value.to_owned(),
        expected,
    }
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

fn is_cidr(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else {
        return false;
    };
    let Ok(address) = address.parse::<std::net::IpAddr>() else {
        return false;
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    prefix.parse::<u8>().is_ok_and(|prefix| prefix <= longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(name: &str, value: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.annotations = Some([(name.to_owned(), value.to_owned())].into());
        pod
    }

    #[test]
    fn a_flag_that_is_neither_true_nor_false_is_refused_by_name() {
        let pod = annotated(NATIVE_SIDECAR, "maybe");
        let error = Annotations::of(&pod).flag(NATIVE_SIDECAR).unwrap_err();
        assert_eq!(
            error.to_string(),
            "annotation `sidecar.istio.io/nativeSidecar`: `maybe` is not `true` or `false`"
        );
    }

    #[test]
    fn quantities_are_checked_for_their_shape() {
        for good in ["100m", "0.5", "128Mi", "1Gi", "2"] {
            Annotations::of(&annotated(PROXY_CPU, good))
                .quantity(PROXY_CPU)
                .unwrap();
        }
        for bad in ["", "m", "100x", "-1", "NaN", "1 Mi"] {
            Annotations::of(&annotated(PROXY_CPU, bad))
                .quantity(PROXY_CPU)
                .unwrap_err();
        }
    }

    #[test]
    fn capture_annotations_become_arguments_of_the_init_container() {
        let pod = annotated("traffic.sidecar.istio.io/excludeInboundPorts", "9090,9091");
        assert_eq!(
            Annotations::of(&pod).capture_args().unwrap(),
            ["--exclude-inbound-ports=9090,9091"]
        );
        let pod = annotated(
            "traffic.sidecar.istio.io/excludeOutboundIPRanges",
            "10.0.0.0/99",
        );
        Annotations::of(&pod).capture_args().unwrap_err();
    }
}
