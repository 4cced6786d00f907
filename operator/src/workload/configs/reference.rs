//! Where a pod template names ConfigMaps and Secrets. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, PodSpec};

/// What the name of a primary's copy ends with.
pub(super) const COPY: &str = "-primary";

/// Which kind of config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// One config, by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl Reference {
    /// The key that Flagger's status uses.
    pub fn key(&self) -> String {
        match self.kind {
            Kind::ConfigMap => format!("configmap/{}", self.name),
            Kind::Secret => format!("secret/{}", self.name),
        }
    }

    /// The primary's copy of it.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            kind: self.kind,
            name: format!("{}{COPY}", self.name),
        }
    }

    /// What a [key](Self::key) names.
    pub fn of_key(key: &str) -> Option<Self> {
        let (kind, name) = key.split_once('/')?;
        let kind = match kind {
            "configmap" => Kind::ConfigMap,
            "secret" => Kind::Secret,
            _ => return None,
        };
        Some(Self {
            kind,
            name: name.to_owned(),
        })
    }
}

/// What a pod refers to, and whether it can start without it.
pub fn references(pod: &PodSpec) -> BTreeMap<Reference, bool> {
    let mut found = BTreeMap::new();
    let mut pod = pod.clone();
    visit(&mut pod, &mut |kind, name, optional| {
        let reference = Reference {
            kind,
            name: name.clone(),
        };
        // Needed anywhere is needed.
        let entry = found.entry(reference).or_insert(true);
        *entry = *entry && optional;
    });
    found
}

/// Points a pod at the primary's copies.
pub fn rename(pod: &mut PodSpec, renamed: &BTreeSet<Reference>) {
    visit(pod, &mut |kind, name, _| {
        if renamed.contains(&Reference {
            kind,
            name: name.clone(),
        }) {
            name.push_str(COPY);
        }
    });
}

/// Calls `each` with kind, name and "optional" of every reference.
fn visit(pod: &mut PodSpec, each: &mut dyn FnMut(Kind, &mut String, bool)) {
    for volume in pod.volumes.iter_mut().flatten() {
        if let Some(map) = &mut volume.config_map {
            each(
                Kind::ConfigMap,
                &mut map.name,
                map.optional.unwrap_or(false),
            );
        }
        if let Some(secret) = &mut volume.secret
            && let Some(name) = &mut secret.secret_name
        {
            each(Kind::Secret, name, secret.optional.unwrap_or(false));
        }
        let sources = volume
            .projected
            .as_mut()
            .and_then(|all| all.sources.as_mut());
        for source in sources.into_iter().flatten() {
            if let Some(map) = &mut source.config_map {
                each(
                    Kind::ConfigMap,
                    &mut map.name,
                    map.optional.unwrap_or(false),
                );
            }
            if let Some(secret) = &mut source.secret {
                each(
                    Kind::Secret,
                    &mut secret.name,
                    secret.optional.unwrap_or(false),
                );
            }
        }
    }
    let containers = pod
        .init_containers
        .iter_mut()
        .flatten()
        .chain(pod.containers.iter_mut());
    for Container { env, env_from, .. } in containers {
        env.iter_mut()
            .flatten()
            .for_each(|variable| visit_variable(variable, each));
        env_from
            .iter_mut()
            .flatten()
            .for_each(|source| visit_source(source, each));
    }
}

fn visit_variable(variable: &mut EnvVar, each: &mut dyn FnMut(Kind, &mut String, bool)) {
    let Some(from) = &mut variable.value_from else {
        return;
    };
    if let Some(map) = &mut from.config_map_key_ref {
        each(
            Kind::ConfigMap,
            &mut map.name,
            map.optional.unwrap_or(false),
        );
    }
    if let Some(secret) = &mut from.secret_key_ref {
        each(
            Kind::Secret,
            &mut secret.name,
            secret.optional.unwrap_or(false),
        );
    }
}

fn visit_source(source: &mut EnvFromSource, each: &mut dyn FnMut(Kind, &mut String, bool)) {
    if let Some(map) = &mut source.config_map_ref {
        each(
            Kind::ConfigMap,
            &mut map.name,
            map.optional.unwrap_or(false),
        );
    }
    if let Some(secret) = &mut source.secret_ref {
        each(
            Kind::Secret,
            &mut secret.name,
            secret.optional.unwrap_or(false),
        );
    }
}
