//! Builds the RFC 6902 patch that injects a proxy. Pure, and written as single operations, so that
//! fields of the pod that this build does not know stay as they are.

use std::collections::BTreeMap;

use fairlead_crds::label::TLS_MODE;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use serde::Serialize;
use serde_json::{Value, json};

use super::annotation::{Annotations, InvalidAnnotation, NATIVE_SIDECAR, REWRITE_PROBES, STATUS};
use super::container::{self, Workload};
use super::probe::{self, Rewrite};
use super::prometheus::{self, Merge};
use super::{INIT_CONTAINER, PROXY_CONTAINER, Settings, owner};

const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
const DEFAULT_LOGS_CONTAINER: &str = "kubectl.kubernetes.io/default-logs-container";

pub(crate) fn build(
    pod: &Pod,
    namespace: &str,
    settings: &Settings,
) -> Result<Patch, InvalidAnnotation> {
    let default_spec = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&default_spec);
    let annotations = Annotations::of(pod);
    let native = annotations
        .flag(NATIVE_SIDECAR)?
        .unwrap_or(settings.native_sidecar);
    let name = owner::workload_name(pod);
    let canonical = owner::canonical(pod, &name);
    let merge = prometheus::plan(annotations)?;
    let (rewrites, probers) = rewrite_probes(spec, annotations)?;

    let mut extra_env = Vec::new();
    if !probers.is_empty() {
        extra_env.push(("ISTIO_KUBE_APP_PROBERS", json!(probers).to_string()));
    }
    if let Merge::Redirect(Some(app)) = &merge {
        extra_env.push(("ISTIO_PROMETHEUS_ANNOTATIONS", json!(app).to_string()));
    }
    let workload = Workload {
        annotations,
        name: &name,
        canonical: &canonical,
        extra_env,
        native,
        log_level: annotations.log_level()?,
    };
    let init = container::init(&workload, settings)?;
    let proxy = container::proxy(&workload, settings)?;

    let mut edit = Edit::default();
    edit.replace_probes(&rewrites);
    edit.place_containers(spec, &init, &proxy, native);
    let volumes = container::volumes();
    edit.append(&["spec", "volumes"], spec.volumes.is_some(), &volumes);
    edit.label(pod, &canonical);
    let volume_names: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
    edit.annotate(pod, &merge, &status(native, &volume_names, namespace));
    Ok(Patch(edit.operations))
}

type Rewrites = Vec<(usize, Vec<Rewrite>)>;

fn rewrite_probes(
    spec: &PodSpec,
    annotations: Annotations<'_>,
) -> Result<(Rewrites, BTreeMap<String, probe::Prober>), InvalidAnnotation> {
    let mut probers = BTreeMap::new();
    if annotations.flag(REWRITE_PROBES)? == Some(false) {
        return Ok((Vec::new(), probers));
    }
    let application = |container: &&(usize, &Container)| container.1.name != PROXY_CONTAINER;
    let containers: Vec<_> = spec.containers.iter().enumerate().collect();
    let rewrites = containers
        .iter()
        .filter(application)
        .map(|(index, container)| (*index, probe::rewrite(container, &mut probers)))
        .collect();
    Ok((rewrites, probers))
}

fn status(native: bool, volumes: &[&str], namespace: &str) -> String {
    let (init, containers): (&[&str], &[&str]) = if native {
        (&[INIT_CONTAINER, PROXY_CONTAINER], &[])
    } else {
        (&[INIT_CONTAINER], &[PROXY_CONTAINER])
    };
    json!({
        "initContainers": init,
        "containers": containers,
        "volumes": volumes,
        "namespace": namespace,
        "revision": "default",
    })
    .to_string()
}

/// The operations of one patch, in the order in which they apply.
#[derive(Default)]
struct Edit {
    operations: Vec<PatchOperation>,
}

impl Edit {
    fn add(&mut self, path: &[&str], value: &impl Serialize) {
        let operation = AddOperation {
            path: PointerBuf::from_tokens(path.iter().copied()),
            value: json!(value),
        };
        self.operations.push(PatchOperation::Add(operation));
    }

    /// Appends to a list that may not exist yet.
    fn append(&mut self, list: &[&str], exists: bool, items: &[impl Serialize]) {
        if !exists {
            return self.add(list, &items);
        }
        let end = [list, &["-"]].concat();
        for item in items {
            self.add(&end, item);
        }
    }

    fn replace_probes(&mut self, rewrites: &Rewrites) {
        for (index, rewrites) in rewrites {
            let index = index.to_string();
            for rewrite in rewrites {
                self.operations
                    .push(PatchOperation::Replace(ReplaceOperation {
                        path: PointerBuf::from_tokens([
                            "spec",
                            "containers",
                            &index,
                            rewrite.field,
                        ]),
                        value: json!(rewrite.probe),
                    }));
            }
        }
    }

    /// A native sidecar starts before the pod's own init containers, so that these have the mesh;
    /// otherwise traffic is captured only once they are done, since no proxy runs beside them.
    fn place_containers(
        &mut self,
        spec: &PodSpec,
        init: &Container,
        proxy: &Container,
        native: bool,
    ) {
        let proxy = self.take_custom(spec, proxy);
        let list = ["spec", "initContainers"];
        let exists = spec.init_containers.is_some();
        if !native {
            self.append(&list, exists, std::slice::from_ref(init));
            self.add(&["spec", "containers", "-"], &proxy);
        } else if exists {
            self.add(&["spec", "initContainers", "0"], init);
            self.add(&["spec", "initContainers", "1"], &proxy);
        } else {
            self.add(&list, &[json!(init), proxy]);
        }
    }

    /// A pod may bring a container named as the proxy to adjust it: what it sets wins, lists of
    /// named things are merged, and the image `auto` stands for ours.
    fn take_custom(&mut self, spec: &PodSpec, proxy: &Container) -> Value {
        let custom = spec
            .containers
            .iter()
            .enumerate()
            .find(|(_, c)| c.name == PROXY_CONTAINER);
        let Some((index, custom)) = custom else {
            return json!(proxy);
        };
        let path = PointerBuf::from_tokens(["spec", "containers", &index.to_string()]);
        self.operations
            .push(PatchOperation::Remove(RemoveOperation { path }));
        let mut custom = custom.clone();
        if custom.image.as_deref() == Some("auto") {
            custom.image = None;
        }
        custom.env = Some(merged(proxy.env.clone(), custom.env, |env| {
            env.name.clone()
        }));
        custom.ports = Some(merged(proxy.ports.clone(), custom.ports, |port| {
            port.container_port
        }));
        custom.volume_mounts = Some(merged(
            proxy.volume_mounts.clone(),
            custom.volume_mounts,
            |mount| mount.mount_path.clone(),
        ));
        let mut result = json!(proxy);
        json_patch::merge(&mut result, &json!(custom));
        result
    }

    fn label(&mut self, pod: &Pod, (name, revision): &(String, String)) {
        let existing = pod.metadata.labels.as_ref();
        if existing.is_none() {
            self.add(&["metadata", "labels"], &json!({}));
        }
        let wanted = [
            (TLS_MODE, "istio"),
            (owner::CANONICAL_NAME, name),
            (owner::CANONICAL_REVISION, revision),
        ];
        for (label, value) in wanted {
            if existing.is_none_or(|labels| !labels.contains_key(label)) {
                self.add(&["metadata", "labels", label], &value);
            }
        }
    }

    fn annotate(&mut self, pod: &Pod, merge: &Merge<'_>, status: &str) {
        let existing = pod.metadata.annotations.as_ref();
        if existing.is_none() {
            self.add(&["metadata", "annotations"], &json!({}));
        }
        let application = pod
            .spec
            .iter()
            .flat_map(|spec| &spec.containers)
            .find(|c| c.name != PROXY_CONTAINER);
        for annotation in [DEFAULT_CONTAINER, DEFAULT_LOGS_CONTAINER] {
            let set = existing.is_some_and(|annotations| annotations.contains_key(annotation));
            if let (false, Some(container)) = (set, application) {
                self.add(&["metadata", "annotations", annotation], &container.name);
            }
        }
        if matches!(merge, Merge::Redirect(_)) {
            for (annotation, value) in prometheus::MERGED {
                self.add(&["metadata", "annotations", annotation], &value);
            }
        }
        self.add(&["metadata", "annotations", STATUS], &status);
    }
}

fn merged<T, K: PartialEq>(
    base: Option<Vec<T>>,
    over: Option<Vec<T>>,
    key: impl Fn(&T) -> K,
) -> Vec<T> {
    let over = over.unwrap_or_default();
    let mut result: Vec<T> = base.unwrap_or_default();
    result.retain(|item| over.iter().all(|winner| key(winner) != key(item)));
    result.extend(over);
    result
}
