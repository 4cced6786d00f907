//! Conditions: how an object tells people and tools what state it is in.
//!
//! Pure: the time is an argument.
//! Polarity follows kstatus: `Ready`, `Reconciling`, `Stalled`, and words of the domain beside them.
//! See the [Kubernetes API conventions](https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#typical-status-properties).

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The types of conditions that our controllers write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionType {
    /// The object does what its spec says.
    Ready,
    /// A controller is at work on the object; absent otherwise.
    Reconciling,
    /// No progress is possible until a person acts; absent otherwise.
    Stalled,
    /// Every proxy that uses the object runs its current generation.
    Reconciled,
    /// The workload that a canary manages runs the promoted revision.
    Promoted,
    /// What was applied is healthy.
    Healthy,
    /// The artifact of a source is stored and can be downloaded.
    ArtifactInStorage,
    /// The source could not be fetched; absent otherwise.
    FetchFailed,
    /// The artifact of a source could not be written; absent otherwise.
    StorageOperationFailed,
    /// The signature of the source was verified.
    SourceVerified,
    /// The control plane of a mesh runs.
    ControlPlaneReady,
    /// The ingress gateway of a mesh runs.
    IngressGatewayReady,
    /// The egress gateway of a mesh runs.
    EgressGatewayReady,
    /// The sidecar injector of a mesh answers.
    SidecarInjectorReady,
    /// The object asks for something that this version does not do.
    UnsupportedFields,
    /// A person wants the work on the object to stand still; absent otherwise.
    Paused,
    /// What was promoted is still checked, and gone back from if it does not hold; absent otherwise.
    Baking,
    /// Nothing tells whether the canary can answer, so that its traffic rises without; absent
    /// otherwise.
    ReadinessUnchecked,
}

impl ConditionType {
    /// The text that stands in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Reconciled => "Reconciled",
            Self::Promoted => "Promoted",
            Self::Healthy => "Healthy",
            Self::ArtifactInStorage => "ArtifactInStorage",
            Self::FetchFailed => "FetchFailed",
            Self::StorageOperationFailed => "StorageOperationFailed",
            Self::SourceVerified => "SourceVerified",
            Self::ControlPlaneReady => "ControlPlaneReady",
            Self::IngressGatewayReady => "IngressGatewayReady",
            Self::EgressGatewayReady => "EgressGatewayReady",
            Self::SidecarInjectorReady => "SidecarInjectorReady",
            Self::UnsupportedFields => "UnsupportedFields",
            Self::Paused => "Paused",
            Self::Baking => "Baking",
            Self::ReadinessUnchecked => "ReadinessUnchecked",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody can tell yet.
    Unknown,
}

impl ConditionStatus {
    /// The text that stands in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// What a controller found out about one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding<'a> {
    /// Which condition.
    pub type_: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, as one CamelCase word from the controller's own enumeration.
    pub reason: &'a str,
    /// Why, as a sentence for a person.
    pub message: String,
    /// The `metadata.generation` that was looked at.
    pub generation: Option<i64>,
}

/// Writes a finding into the conditions of an object.
///
/// The time of the last transition moves only when the status changes, as waiting tools expect.
pub fn set_condition(conditions: &mut Vec<Condition>, finding: Finding<'_>, now: Timestamp) {
    let Finding {
        type_,
        status,
        reason,
        message,
        generation,
    } = finding;
    let known = conditions
        .iter_mut()
        .find(|known| known.type_ == type_.as_str());
    let last_transition_time = match &known {
        Some(known) if known.status == status.as_str() => known.last_transition_time.clone(),
        _ => Time(now),
    };
    let condition = Condition {
        type_: type_.as_str().to_owned(),
        status: status.as_str().to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time,
    };
    match known {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
}

/// Removes a condition, for those that are absent while they do not hold.
pub fn remove_condition(conditions: &mut Vec<Condition>, type_: ConditionType) {
    conditions.retain(|condition| condition.type_ != type_.as_str());
}

/// Finds a condition by its type.
pub fn find_condition(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == type_.as_str())
}

/// Whether a condition is known and holds.
pub fn is_true(conditions: &[Condition], type_: ConditionType) -> bool {
    find_condition(conditions, type_)
        .is_some_and(|condition| condition.status == ConditionStatus::True.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(status: ConditionStatus, message: &str) -> Finding<'static> {
        Finding {
            type_: ConditionType::Ready,
            status,
            reason: "Tested",
            message: message.to_owned(),
            generation: Some(3),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn keeps_the_transition_time_while_the_status_stays() {
        let mut conditions = Vec::new();
        set_condition(
            &mut conditions,
            finding(ConditionStatus::False, "waits"),
            at(10),
        );
        set_condition(
            &mut conditions,
            finding(ConditionStatus::False, "still waits"),
            at(20),
        );

        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time, Time(at(10)));
        assert_eq!(conditions[0].message, "still waits");
        assert_eq!(conditions[0].observed_generation, Some(3));
    }

    #[test]
    fn moves_the_transition_time_when_the_status_changes() {
        let mut conditions = Vec::new();
        set_condition(
            &mut conditions,
            finding(ConditionStatus::False, "waits"),
            at(10),
        );
        set_condition(
            &mut conditions,
            finding(ConditionStatus::True, "runs"),
            at(20),
        );

        assert_eq!(conditions[0].last_transition_time, Time(at(20)));
        assert!(is_true(&conditions, ConditionType::Ready));
    }

    #[test]
    fn leaves_other_conditions_alone() {
        let mut conditions = Vec::new();
        set_condition(
            &mut conditions,
            finding(ConditionStatus::True, "runs"),
            at(10),
        );
        let stalled = Finding {
            type_: ConditionType::Stalled,
            ..finding(ConditionStatus::True, "stuck")
        };
        set_condition(&mut conditions, stalled, at(20));
        remove_condition(&mut conditions, ConditionType::Stalled);

        assert_eq!(conditions.len(), 1);
        assert!(find_condition(&conditions, ConditionType::Stalled).is_none());
    }
}
