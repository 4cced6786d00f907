//! `exportTo`: in which namespaces an object is seen.

use std::collections::BTreeSet;

/// In which namespaces an object is seen.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) enum Visibility {
    /// In all.
    #[default]
    All,
    /// In these; `.` is the object's own. None at all is possible (`~`).
    Only(BTreeSet<String>),
}

impl Visibility {
    /// Reads `exportTo`; an empty list is all namespaces.
    pub(crate) fn parse<'t>(export_to: impl IntoIterator<Item = &'t str>) -> Self {
        let names: BTreeSet<_> = export_to
            .into_iter()
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        if names.is_empty() || names.contains("*") {
            Self::All
        } else {
            Self::Only(names)
        }
    }

    /// Whether an object of namespace `own` is seen in `namespace`.
    pub(crate) fn includes(&self, own: &str, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => {
                names.contains(namespace) || own == namespace && names.contains(".")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_seen_where_it_is_exported_to() {
        assert!(Visibility::parse([]).includes("a", "b"));
        assert!(Visibility::parse(["*"]).includes("a", "b"));
        assert!(Visibility::parse(["."]).includes("a", "a"));
        assert!(!Visibility::parse(["."]).includes("a", "b"));
        assert!(Visibility::parse([".", "b"]).includes("a", "b"));
        assert!(!Visibility::parse(["~"]).includes("a", "a"));
    }
}
