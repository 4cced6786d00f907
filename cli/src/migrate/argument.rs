//! What a Deployment of Flagger is told: its flags, as Go reads them, and its environment. Pure.

use fairlead_operator::args::flagger::flags;
use k8s_openapi::api::core::v1::{Container, EnvVar};

/// One thing that Flagger is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Argument {
    /// A flag without its dashes, or a variable.
    pub(super) name: Name,
    /// Its value.
    pub(super) value: Value,
}

/// How it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// `-name`.
    Flag(String),
    /// An environment variable.
    Variable(String),
}

/// What it is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// As the Deployment says.
    Text(String),
    /// As something says that the Deployment refers to: a Secret, a ConfigMap, a field.
    From(String),
}

impl Value {
    /// The text, when it is known.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::From(_) => None,
        }
    }
}

/// All that a container is told.
pub(super) fn arguments(container: &Container) -> Vec<Argument> {
    let words = container.command.iter().chain(&container.args).flatten();
    let flags = flags(words.map(String::as_str)).into_iter();
    let mut found: Vec<Argument> = flags
        .map(|flag| Argument {
            name: Name::Flag(flag.name),
            value: Value::Text(flag.value),
        })
        .collect();
    found.extend(container.env.iter().flatten().map(variable));
    let imported = container.env_from.iter().flatten().filter_map(|source| {
        let secret = source.secret_ref.as_ref();
        let map = source.config_map_ref.as_ref();
        let object = secret
            .map(|secret| format!("all of Secret `{}`", secret.name))
            .or_else(|| map.map(|map| format!("all of ConfigMap `{}`", map.name)))?;
        Some(Argument {
            name: Name::Variable("envFrom".to_owned()),
            value: Value::From(object),
        })
    });
    found.extend(imported);
    found
}

fn variable(variable: &EnvVar) -> Argument {
    let value = match &variable.value_from {
        None => Value::Text(variable.value.clone().unwrap_or_default()),
        Some(source) => {
            let secret = source.secret_key_ref.as_ref();
            let map = source.config_map_key_ref.as_ref();
            let object = secret
                .map(|key| format!("key `{}` of Secret `{}`", key.key, key.name))
                .or_else(|| map.map(|key| format!("key `{}` of ConfigMap `{}`", key.key, key.name)))
                .unwrap_or_else(|| "a field of the pod".to_owned());
            Value::From(object)
        }
    };
    Argument {
        name: Name::Variable(variable.name.clone()),
        value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_variable_may_come_from_elsewhere() {
        let container: Container = serde_json::from_value(json!({
            "name": "flagger",
            "env": [
                { "name": "CLUSTER_NAME", "value": "west" },
                { "name": "SLACK_URL", "valueFrom": {
                    "secretKeyRef": { "name": "slack", "key": "url" },
                } },
            ],
            "envFrom": [{ "secretRef": { "name": "all" } }],
        }))
        .expect("a container");
        let values: Vec<Value> = arguments(&container)
            .into_iter()
            .map(|one| one.value)
            .collect();
        assert_eq!(
            values,
            [
                Value::Text("west".to_owned()),
                Value::From("key `url` of Secret `slack`".to_owned()),
                Value::From("all of Secret `all`".to_owned()),
            ]
        );
    }
}
