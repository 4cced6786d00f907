//! An error of the Kubernetes API in one readable line, with its class.

use std::fmt::{self, Display, Formatter};

use kube::core::Status;
use kube::runtime::watcher;

use crate::requeue::Class;

/// Why a request to the API server failed; use it as the source of an error that says what was tried.
#[derive(Debug)]
pub struct ApiError(Box<kube::Error>);

impl ApiError {
    /// The server's answer, when there was one.
    pub fn status(&self) -> Option<&Status> {
        match self.0.as_ref() {
            kube::Error::Api(status) => Some(status),
            _ => None,
        }
    }

    /// Whether the object (or its kind) does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(Status::is_not_found)
    }

    /// Whether another writer was faster or owns a field.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(Status::is_conflict)
    }

    /// Whether trying again can help: not when the server calls the object itself wrong.
    pub fn class(&self) -> Class {
        match self.status() {
            Some(status) if status.is_invalid() || status.code == 400 => Class::Invalid,
            Some(_) | None => Class::Transient,
        }
    }

    /// A word for metrics, from a closed set.
    pub fn category(&self) -> &'static str {
        match self.status().map(|status| status.code) {
            Some(400 | 422) => "api-invalid",
            Some(401 | 403) => "api-forbidden",
            Some(404) => "api-not-found",
            Some(409) => "api-conflict",
            Some(_) => "api-server",
            None => "api-unreachable",
        }
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        Self(Box::new(error))
    }
}

impl Display for ApiError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&text(&self.0))
    }
}

/// The server's own message where it gave one: kube's text repeats the whole answer.
fn text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status_text(status),
        other => other.to_string(),
    }
}

fn status_text(status: &Status) -> String {
    if status.message.is_empty() {
        format!("the API server answered {} {}", status.code, status.reason)
    } else {
        status.message.clone()
    }
}

/// Why a watch broke, in one readable line.
pub(crate) fn watch_text(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error) => format!("failed to list: {}", text(error)),
        watcher::Error::WatchStartFailed(error) => format!("failed to watch: {}", text(error)),
        watcher::Error::WatchFailed(error) => format!("the watch failed: {}", text(error)),
        watcher::Error::WatchError(status) => {
            format!("the watch ended: {}", status_text(status))
        }
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

impl std::error::Error for ApiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.0.as_ref() {
            // Its text is already ours.
            kube::Error::Api(_) => None,
            other => other.source(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(message: &str, reason: &str, code: u16) -> ApiError {
        kube::Error::Api(Status::failure(message, reason).with_code(code).boxed()).into()
    }

    #[test]
    fn prints_the_servers_message_alone() {
        let error = api("deployments \"a\" is forbidden", "Forbidden", 403);
        assert_eq!(
            fairlead_runtime::report(&error).to_string(),
            "deployments \"a\" is forbidden"
        );
    }

    #[test]
    fn retries_unless_the_object_itself_is_wrong() {
        assert_eq!(api("no", "Invalid", 422).class(), Class::Invalid);
        assert_eq!(api("no", "Forbidden", 403).class(), Class::Transient);
        assert_eq!(api("no", "Conflict", 409).class(), Class::Transient);
    }
}
