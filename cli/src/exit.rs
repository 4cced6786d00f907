//! What a pipeline learns from the exit code. Pure.

use std::process::ExitCode;

use crate::cluster;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Succeeded = 0,
    /// The rollout failed, something needs attention, or something unforeseen happened.
    Failed = 1,
    /// What was asked for did not happen in time.
    TimedOut = 3,
    /// There is no such object, or no such kind.
    NotFound = 4,
    /// The cluster cannot be reached, or does not allow it.
    NoAccess = 5,
    /// The operator refused a command.
    Refused = 6,
}

/// The codes, for `--help`; 2 is the argument parser's.
pub(crate) const HELP: &str = "\
Exit codes:
  0  succeeded
  1  the rollout failed, something needs attention, or something unforeseen happened
  2  wrong usage
  3  it did not happen in time
  4  there is no such Canary or namespace, or Fairlead is not installed
  5  the cluster cannot be reached, or does not allow it
  6  the operator refused the command";

impl Exit {
    /// The code for an error.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        match error.downcast_ref::<cluster::Error>() {
            Some(
                cluster::Error::Absent { .. }
                | cluster::Error::NoNamespace { .. }
                | cluster::Error::NotInstalled,
            ) => Self::NotFound,
            Some(
                cluster::Error::Kubeconfig(_)
                | cluster::Error::Unreachable { .. }
                | cluster::Error::Denied { .. }
                | cluster::Error::NoRight { .. },
            ) => Self::NoAccess,
            Some(cluster::Error::TimedOut { .. }) => Self::TimedOut,
            Some(cluster::Error::Refused { .. } | cluster::Error::Api { .. }) | None => {
                Self::Failed
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented() {
        for exit in [
            Exit::Succeeded,
            Exit::Failed,
            Exit::TimedOut,
            Exit::NotFound,
            Exit::NoAccess,
            Exit::Refused,
        ] {
            assert!(HELP.contains(&format!("\n  {}  ", exit as u8)), "{exit:?}");
        }
    }
}
