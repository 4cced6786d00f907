//! A command line as data, so that it can be shown, stored and handed to the cluster's first process.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// One program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Short name; its log is `<name>.log`.
    pub name: String,
    /// The program's path and its arguments.
    pub argv: Vec<String>,
    /// Environment added to the inherited one.
    #[serde(default)]
    pub env: Vec<(String, String)>,
}

impl Program {
    /// A program without arguments.
    pub fn new(name: &str, path: &Path) -> Self {
        Self {
            name: name.to_owned(),
            argv: vec![path.display().to_string()],
            env: Vec::new(),
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, value: impl Into<String>) -> Self {
        self.argv.push(value.into());
        self
    }

    /// Adds `--name=value`.
    pub fn flag(self, name: &str, value: impl std::fmt::Display) -> Self {
        self.arg(format!("--{name}={value}"))
    }

    /// Adds `--name=path`.
    pub fn path(self, name: &str, path: &Path) -> Self {
        self.flag(name, path.display())
    }

    /// Adds a variable to its environment.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }
}
