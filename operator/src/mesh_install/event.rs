//! The reasons of a MeshInstall's events.

use fairlead_controller::events;

/// Why an event happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reason {
    /// All components work.
    Installed,
    /// A component that worked does not work now.
    Progressing,
    /// Kubernetes has given up waiting for a component.
    Failed,
    /// The spec cannot be carried out.
    Refused,
    /// The API server did not take an object.
    ApplyFailed,
    /// Objects that are no longer asked for were deleted.
    Pruned,
}

impl events::Reason for Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "Installed",
            Self::Progressing => "Progressing",
            Self::Failed => "ComponentFailed",
            Self::Refused => "Refused",
            Self::ApplyFailed => "ApplyFailed",
            Self::Pruned => "Pruned",
        }
    }

    fn action(self) -> &'static str {
        "Install"
    }

    fn is_warning(self) -> bool {
        match self {
            Self::Installed | Self::Pruned => false,
            Self::Progressing | Self::Failed | Self::Refused | Self::ApplyFailed => true,
        }
    }
}
