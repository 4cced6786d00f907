//! Collects what a controller found out about one object into its conditions. Pure.

use fairlead_crds::condition::{
    ConditionStatus, ConditionType, Finding, remove_condition, set_condition,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The conditions of one object at one generation, to be changed and written back.
#[derive(Clone, Debug)]
pub struct Conditions {
    list: Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
}

impl Conditions {
    /// Starts from what the object's status holds now.
    pub fn new(current: Vec<Condition>, generation: Option<i64>, now: Timestamp) -> Self {
        Self {
            list: current,
            generation,
            now,
        }
    }

    /// Sets a condition; its transition time moves only when its status does.
    pub fn set(
        &mut self,
        type_: ConditionType,
        status: impl Into<ConditionStatus>,
        reason: &str,
        message: impl Into<String>,
    ) -> &mut Self {
        let (status, message, generation) = (status.into(), message.into(), self.generation);
        let finding = Finding {
            type_,
            status,
            reason,
            message,
            generation,
        };
        set_condition(&mut self.list, finding, self.now);
        self
    }

    /// Removes a condition that does not apply now.
    pub fn remove(&mut self, type_: ConditionType) -> &mut Self {
        remove_condition(&mut self.list, type_);
        self
    }

    /// What to write into the status.
    pub fn into_vec(self) -> Vec<Condition> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use fairlead_crds::condition::is_true;

    use super::*;

    #[test]
    fn setting_one_leaves_the_others_and_all_carry_the_generation() {
        let mut conditions = Conditions::new(Vec::new(), Some(7), Timestamp::UNIX_EPOCH);
        conditions
            .set(ConditionType::Ready, false, "Waiting", "0 of 1 pods")
            .set(
                ConditionType::Stalled,
                true,
                "InvalidSpec",
                "no such profile",
            )
            .remove(ConditionType::Stalled)
            .set(
                ConditionType::Ready,
                true,
                "Installed",
                "all components work",
            );
        let list = conditions.into_vec();
        assert_eq!(list.len(), 1);
        assert!(is_true(&list, ConditionType::Ready));
        assert_eq!(list[0].observed_generation, Some(7));
    }
}
