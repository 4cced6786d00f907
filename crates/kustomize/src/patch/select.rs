//! Which objects a patch is for.

use regex::Regex;

use super::Error;
use crate::overlay::spec::Selector;
use crate::resource::Resource;

/// A selector, compiled.
#[derive(Debug)]
pub(super) struct Matcher {
    group: Option<Regex>,
    version: Option<Regex>,
    kind: Option<Regex>,
    name: Option<Regex>,
    namespace: Option<Regex>,
    labels: Vec<Requirement>,
    annotations: Vec<Requirement>,
}

impl Matcher {
    pub(super) fn new(selector: &Selector) -> Result<Self, Error> {
        Ok(Self {
            group: anchored(selector.group.as_deref())?,
            version: anchored(selector.version.as_deref())?,
            kind: anchored(selector.kind.as_deref())?,
            name: anchored(selector.name.as_deref())?,
            namespace: anchored(selector.namespace.as_deref())?,
            labels: requirements(selector.label_selector.as_deref())?,
            annotations: requirements(selector.annotation_selector.as_deref())?,
        })
    }

    /// Names and namespaces fit with their first or their current value.
    pub(super) fn is_match(&self, resource: &Resource) -> bool {
        let (now, first) = (resource.id(), resource.original_id());
        let fits = |regex: &Option<Regex>, texts: [&str; 2]| {
            regex
                .as_ref()
                .is_none_or(|regex| texts.into_iter().any(|text| regex.is_match(text)))
        };
        let strings = |place: &str, key: &str| {
            resource
                .value()
                .get("metadata")?
                .get(place)?
                .get(key)?
                .as_str()
                .map(str::to_owned)
        };
        fits(
            &self.namespace,
            [first.effective_namespace(), now.effective_namespace()],
        ) && fits(&self.name, [&first.name, &now.name])
            && fits(&self.group, [&now.group, &now.group])
            && fits(&self.version, [&now.version, &now.version])
            && fits(&self.kind, [&now.kind, &now.kind])
            && self
                .labels
                .iter()
                .all(|requirement| requirement.is_met(|key| strings("labels", key)))
            && self
                .annotations
                .iter()
                .all(|requirement| requirement.is_met(|key| strings("annotations", key)))
    }
}

fn anchored(pattern: Option<&str>) -> Result<Option<Regex>, Error> {
    let Some(pattern) = pattern.filter(|pattern| !pattern.is_empty()) else {
        return Ok(None);
    };
    Regex::new(&format!("^(?:{pattern})$"))
        .map(Some)
        .map_err(|error| Error::Selector {
            text: pattern.to_owned(),
            reason: error.to_string(),
        })
}

/// One term of a label selector.
#[derive(Debug)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl Requirement {
    fn is_met(&self, find: impl Fn(&str) -> Option<String>) -> bool {
        match self {
            Self::In(key, values) => find(key).is_some_and(|value| values.contains(&value)),
            Self::NotIn(key, values) => find(key).is_none_or(|value| !values.contains(&value)),
            Self::Exists(key) => find(key).is_some(),
            Self::Missing(key) => find(key).is_none(),
        }
    }

    fn parse(term: &str) -> Option<Self> {
        let key = |text: &str| {
            let text = text.trim();
            let is_key = !text.is_empty() && !text.contains([' ', '=', '!', '(', ')']);
            is_key.then(|| text.to_owned())
        };
        let set = |text: &str| {
            let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
            Some(
                inner
                    .split(',')
                    .map(|value| value.trim().to_owned())
                    .collect(),
            )
        };
        if let Some((name, values)) = term.split_once(" notin ") {
            Some(Self::NotIn(key(name)?, set(values)?))
        } else if let Some((name, values)) = term.split_once(" in ") {
            Some(Self::In(key(name)?, set(values)?))
        } else if let Some((name, value)) = term.split_once("!=") {
            Some(Self::NotIn(key(name)?, vec![value.trim().to_owned()]))
        } else if let Some((name, value)) = term.split_once('=') {
            let value = value.strip_prefix('=').unwrap_or(value);
            Some(Self::In(key(name)?, vec![value.trim().to_owned()]))
        } else if let Some(name) = term.strip_prefix('!') {
            key(name).map(Self::Missing)
        } else {
            key(term).map(Self::Exists)
        }
    }
}

fn requirements(text: Option<&str>) -> Result<Vec<Requirement>, Error> {
    let text = text.unwrap_or_default();
    terms(text)
        .into_iter()
        .map(|term| {
            Requirement::parse(term).ok_or_else(|| Error::Selector {
                text: text.to_owned(),
                reason: format!("`{term}` is not a requirement"),
            })
        })
        .collect()
}

/// Splits at the commas that stand outside parentheses.
fn terms(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|term| !term.is_empty())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: bool) {
        let find = |key: &str| (key == "app").then(|| "web".to_owned());
        let met = requirements(Some(text))
            .unwrap()
            .iter()
            .all(|requirement| requirement.is_met(find));
        assert_eq!(met, expected, "{text}");
    }

    #[test]
    fn label_selectors_have_all_their_forms() {
        check("", true);
        check("app=web,tier!=db", true);
        check("app==web", true);
        check("app in (api, web),!tier", true);
        check("app notin (api,web)", false);
        check("tier", false);
    }

    #[test]
    fn malformed_selectors_are_errors() {
        assert!(matches!(
            requirements(Some("a b")),
            Err(Error::Selector { .. })
        ));
        assert!(matches!(anchored(Some("(")), Err(Error::Selector { .. })));
    }
}
