//! The files of a source, in memory, by path.
//!
//! Paths are relative to the root, with `/` between names and no `.` or `..` in them.

use std::collections::BTreeMap;

/// A path that leads out of the tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path `{path}` leads out of the source")]
pub struct PathOutsideTree {
    /// The path as it was written.
    pub path: String,
}

/// Files by their path below one root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    files: BTreeMap<String, Vec<u8>>,
}

impl Tree {
    /// Adds a file; a file that was at this path is replaced.
    pub fn insert(
        &mut self,
        path: &str,
        content: impl Into<Vec<u8>>,
    ) -> Result<(), PathOutsideTree> {
        let path = join("", path)?;
        self.files.insert(path, content.into());
        Ok(())
    }

    /// The content of the file at this path.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// Whether any file lies below this directory; the root of an empty tree is a directory too.
    pub fn has_directory(&self, path: &str) -> bool {
        path.is_empty() || self.below(path).next().is_some()
    }

    /// The paths of all files below this directory, sorted.
    pub fn below<'tree>(
        &'tree self,
        directory: &str,
    ) -> impl Iterator<Item = &'tree str> + use<'tree> {
        let start = if directory.is_empty() {
            String::new()
        } else {
            format!("{directory}/")
        };
        self.files
            .range(start.clone()..)
            .map(|(path, _)| path.as_str())
            .take_while(move |path| path.starts_with(&start))
    }
}

impl<P: AsRef<str>, C: Into<Vec<u8>>> FromIterator<(P, C)> for Tree {
    /// Builds a tree of literals; paths that lead out of it are left out.
    fn from_iter<I: IntoIterator<Item = (P, C)>>(iter: I) -> Self {
        let files = iter
            .into_iter()
            .filter_map(|(path, content)| Some((join("", path.as_ref()).ok()?, content.into())))
            .collect();
        Self { files }
    }
}

/// The path that `relative` means inside `directory`.
pub(crate) fn join(directory: &str, relative: &str) -> Result<String, PathOutsideTree> {
    let mut names: Vec<&str> = directory
        .split('/')
        .filter(|name| !name.is_empty())
        .collect();
    for name in relative.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                if names.pop().is_none() {
                    return Err(PathOutsideTree {
                        path: relative.to_owned(),
                    });
                }
            }
            name => names.push(name),
        }
    }
    Ok(names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_and_stay_inside() {
        assert_eq!(join("a/b", "../c/./d").unwrap(), "a/c/d");
        assert_eq!(join("", "./").unwrap(), "");
        assert_eq!(join("a", "../..").unwrap_err().path, "../..");
    }

    #[test]
    fn a_directory_is_what_has_files_below_it() {
        let tree: Tree = [("a/b.yaml", ""), ("a/c/d.yaml", ""), ("ab/e.yaml", "")]
            .into_iter()
            .collect();
        assert!(tree.has_directory("a") && tree.has_directory("a/c") && tree.has_directory(""));
        assert!(!tree.has_directory("a/b.yaml") && !tree.has_directory("b"));
        assert_eq!(
            tree.below("a").collect::<Vec<_>>(),
            ["a/b.yaml", "a/c/d.yaml"]
        );
    }
}
