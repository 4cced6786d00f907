//! Variables in built manifests: `${VAR}` and bash's operators on it.
//!
//! Flux's post-build substitution. A variable stands in the YAML text of an object, so that
//! `replicas: ${REPLICAS}` becomes a number. `$${VAR}` is a literal `${VAR}`; a lone `$VAR` is
//! left alone. Empty counts as unset. A variable without value and default is an error.

mod expand;

use std::collections::BTreeMap;

use crate::resource::{NotAnObject, Resource};
use crate::yaml;

/// Annotation or label that keeps an object from being substituted.
pub const DISABLE_KEY: &str = "kustomize.toolkit.fluxcd.io/substitute";

/// Variables by name.
pub type Variables = BTreeMap<String, String>;

/// Why variables could not be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A variable's name is not a name.
    #[error("`{name}` is not a variable name: letters, digits and `_`, no digit first")]
    Name {
        /// The name.
        name: String,
    },
    /// An object uses a variable that has neither value nor default.
    #[error("{object}: variable `{name}` has no value")]
    Missing {
        /// The object and where it stands.
        object: String,
        /// The variable.
        name: String,
    },
    /// An expression is malformed.
    #[error("{object}: malformed variable expression `{expression}`")]
    Malformed {
        /// The object and where it stands.
        object: String,
        /// The expression.
        expression: String,
    },
    /// With its values filled in the object is longer than any object can be.
    #[error("{object} is too long with its variables filled in")]
    TooLong {
        /// The object and where it stands.
        object: String,
    },
    /// With its values filled in the object is not YAML any more.
    #[error("{object} is not YAML with its variables filled in")]
    Yaml {
        /// The object and where it stands.
        object: String,
        /// The mistake.
        source: yaml::Error,
    },
    /// With its values filled in the object is not a Kubernetes object any more.
    #[error("{object} is not an object with its variables filled in")]
    NotAnObject {
        /// The object and where it stands.
        object: String,
        /// What is missing.
        source: NotAnObject,
    },
}

/// Refuses variables whose names no expression could use.
pub fn validate(variables: &Variables) -> Result<(), Error> {
    match variables.keys().find(|name| !expand::is_name(name)) {
        Some(name) => Err(Error::Name { name: name.clone() }),
        None => Ok(()),
    }
}

/// Fills in the variables of one object.
pub fn substitute(resource: Resource, variables: &Variables) -> Result<Resource, Error> {
    if resource
        .marker(DISABLE_KEY)
        .is_some_and(|value| value.eq_ignore_ascii_case("disabled"))
    {
        return Ok(resource);
    }
    let text = yaml::to_string(resource.value());
    if !text.contains("${") {
        return Ok(resource);
    }
    let object = || format!("{} in {}", resource.id(), resource.origin());
    let filled = expand::expand(&text, variables).map_err(|failure| match failure {
        expand::Failure::Missing(name) => Error::Missing {
            object: object(),
            name,
        },
        expand::Failure::Malformed(expression) => Error::Malformed {
            object: object(),
            expression,
        },
        expand::Failure::TooLong => Error::TooLong { object: object() },
    })?;
    let value = yaml::parse_one(&filled).map_err(|source| Error::Yaml {
        object: object(),
        source,
    })?;
    let described = object();
    resource
        .with_value(value)
        .map_err(|source| Error::NotAnObject {
            object: described,
            source,
        })
}

#[cfg(test)]
mod tests;
