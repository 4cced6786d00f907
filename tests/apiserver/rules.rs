//! The safety rules of a rollout, judged on what an observer of the API saw. Pure.
//!
//! They know the versions of objects and nothing of the machine that made them.

use fairlead_crds::canary::CanaryPhase;

use crate::history::{Fact, Role, Route, Versions, Workload};

/// Each change that broke a rule, by the version that broke it.
pub(crate) fn violations(versions: &Versions) -> Vec<(u64, String)> {
    let mut seen = Seen::default();
    let mut violations = Vec::new();
    for (version, fact) in versions {
        let broken = seen.judge(fact);
        violations.extend(broken.map(|what| (*version, what)));
        seen.learn(fact);
    }
    violations
}

/// What stands at one version of the cluster.
#[derive(Default)]
struct Seen {
    route: Option<Route>,
    /// What the target ran when the canary got the weight that it has.
    judged: Option<String>,
    /// Whether the canary has been without endpoints since: a withdrawal is decided then, and may
    /// land when they are back.
    lost: bool,
    canary: Side,
    primary: Side,
    /// All that the primary ever ran.
    ran: Vec<String>,
    phase: Option<CanaryPhase>,
    /// What the canary's copy of a Service as target leads to.
    copy: Option<String>,
}

#[derive(Default)]
struct Side {
    endpoints: usize,
    workload: Option<Workload>,
}

impl Seen {
    fn learn(&mut self, fact: &Fact) {
        match fact {
            Fact::Route(route) => {
                if route.canary > self.weight() {
                    self.judged = self.canary.image();
                }
                if route.canary != self.weight() {
                    self.lost = self.canary.endpoints == 0;
                }
                self.route = Some(*route);
            }
            Fact::Endpoints(role, ready) => {
                self.side(*role).endpoints = *ready;
                self.lost |= self.canary.endpoints == 0;
            }
            Fact::Workload(role, workload) => {
                self.side(*role).workload.clone_from(workload);
                self.ran.extend(self.primary.image());
            }
            Fact::Phase(phase) => self.phase = Some(*phase),
            Fact::Copy(image) => self.copy = Some(image.clone()),
        }
    }

    const fn side(&mut self, role: Role) -> &mut Side {
        match role {
            Role::Primary => &mut self.primary,
            Role::Canary => &mut self.canary,
        }
    }

    fn weight(&self) -> u8 {
        self.route.map_or(0, |route| route.canary)
    }

    fn judge(&self, fact: &Fact) -> Option<String> {
        match fact {
            Fact::Route(route) => self.judge_route(*route),
            Fact::Workload(Role::Canary, Some(next)) => self.judge_canary(next),
            Fact::Workload(Role::Primary, Some(next)) => self.judge_primary(next),
            Fact::Copy(next) => self.judge_copy(next),
            Fact::Workload(_, None) | Fact::Endpoints(..) | Fact::Phase(_) => None,
        }
    }

    fn judge_route(&self, next: Route) -> Option<String> {
        let (from, to) = (self.weight(), next.canary);
        let mirrored = self.route.is_some_and(|route| route.mirrored);
        let rises = to > from || (next.mirrored && !mirrored);
        let at_work = matches!(
            self.phase,
            Some(CanaryPhase::Progressing | CanaryPhase::WaitingPromotion)
        );
        let excused = self.lost || self.canary.image() != self.judged;
        let bound = self.route.is_some_and(|route| route.bound);
        if next.bound && to == 0 {
            Some("clients are bound to a canary without a weight".to_owned())
        } else if next.bound && !bound && self.canary.endpoints == 0 {
            Some("clients were bound to no endpoint".to_owned())
        } else if !next.whole {
            Some("weights do not make 100".to_owned())
        } else if rises && self.canary.endpoints == 0 {
            Some(format!(
                "the weight rose from {from} to {to} toward no endpoint"
            ))
        } else if to < from && self.primary.endpoints == 0 && self.canary.endpoints > 0 {
            // Where neither can answer, nobody is harmed: the primary had endpoints when it was
            // decided, and lost them on the way.
            Some(format!(
                "the weight fell from {from} to {to} with no primary"
            ))
        } else if to < from && at_work && !excused {
            Some(format!(
                "the weight fell from {from} to {to} while {:?}",
                self.phase
            ))
        } else {
            None
        }
    }

    /// A canary is let go when it has no traffic, nobody believes that it has, and somebody else
    /// serves.
    fn judge_canary(&self, next: &Workload) -> Option<String> {
        let falls = next.size == 0 && self.canary.size() > 0;
        let reached = |route: Route| route.canary > 0 || route.mirrored || !route.in_effect;
        if falls && self.route.is_some_and(reached) {
            Some(format!("the canary was scaled down at {:?}", self.route))
        } else if falls && self.primary.endpoints == 0 {
            Some("the canary was scaled down with no primary".to_owned())
        } else {
            None
        }
    }

    /// Requests that go to a canary go to what is analysed, and to nothing that came since.
    fn judge_copy(&self, next: &str) -> Option<String> {
        let reached = |route: Route| route.canary > 0 || route.mirrored || !route.in_effect;
        let changes = self.copy.as_ref().is_some_and(|copy| copy != next);
        (changes && self.route.is_some_and(reached))
            .then(|| format!("the canary was led to {next} at {:?}", self.route))
    }

    /// A primary keeps its size, and changes what it runs in a promotion only, or back.
    fn judge_primary(&self, next: &Workload) -> Option<String> {
        let now = self.primary.workload.as_ref()?;
        let may_change = match self.phase {
            None | Some(CanaryPhase::New | CanaryPhase::Initializing | CanaryPhase::Promoting) => {
                true
            }
            Some(CanaryPhase::Failed) => self.ran.contains(&next.image),
            Some(_) => false,
        };
        if next.size < now.size {
            Some(format!(
                "the primary was scaled from {} to {}",
                now.size, next.size
            ))
        } else if next.image != now.image && !may_change {
            Some(format!(
                "the primary went from {} to {} while {:?}",
                now.image, next.image, self.phase
            ))
        } else {
            None
        }
    }
}

impl Side {
    fn image(&self) -> Option<String> {
        Some(self.workload.as_ref()?.image.clone())
    }

    fn size(&self) -> i64 {
        self.workload.as_ref().map_or(0, |workload| workload.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(canary: u8) -> Route {
        Route {
            canary,
            mirrored: false,
            bound: false,
            whole: true,
            in_effect: true,
        }
    }

    fn workload(role: Role, size: i64, image: &str) -> Fact {
        let image = image.to_owned();
        Fact::Workload(role, Some(Workload { size, image }))
    }

    /// A run at weight 50, then `next`; says how many rules that breaks.
    fn check(next: &[Fact], expected: usize) {
        let begun = [
            Fact::Endpoints(Role::Primary, 2),
            workload(Role::Primary, 2, "app:1"),
            workload(Role::Canary, 2, "app:2"),
            Fact::Endpoints(Role::Canary, 2),
            Fact::Phase(CanaryPhase::Progressing),
            Fact::Route(route(50)),
        ];
        let versions = (1..).zip(begun.iter().chain(next).cloned()).collect();
        let found = violations(&versions);
        assert_eq!(found.len(), expected, "{next:?}: {found:?}");
    }

    #[test]
    fn traffic_rises_only_toward_endpoints() {
        let lost = Fact::Endpoints(Role::Canary, 0);
        check(&[Fact::Route(route(80))], 0);
        check(&[lost.clone(), Fact::Route(route(80))], 1);
        check(&[lost.clone(), Fact::Route(route(0))], 0);
        let no_primary = Fact::Endpoints(Role::Primary, 0);
        let promoting = Fact::Phase(CanaryPhase::Promoting);
        let given_back = Fact::Route(route(0));
        check(&[promoting.clone(), given_back.clone()], 0);
        check(
            &[promoting.clone(), no_primary.clone(), given_back.clone()],
            1,
        );
        check(&[promoting, no_primary, lost, given_back], 0);
    }

    #[test]
    fn traffic_falls_in_a_run_only_for_a_reason() {
        check(&[Fact::Route(route(0))], 1);
        check(
            &[Fact::Phase(CanaryPhase::Failed), Fact::Route(route(0))],
            0,
        );
        check(
            &[workload(Role::Canary, 2, "app:3"), Fact::Route(route(0))],
            0,
        );
    }

    #[test]
    fn weights_make_100() {
        let torn = Route {
            whole: false,
            ..route(50)
        };
        check(&[Fact::Route(torn)], 1);
    }

    #[test]
    fn a_canary_with_traffic_is_not_scaled_down() {
        let gone = workload(Role::Canary, 0, "app:2");
        let failed = Fact::Phase(CanaryPhase::Failed);
        let unconfirmed = Route {
            in_effect: false,
            ..route(0)
        };
        check(std::slice::from_ref(&gone), 1);
        check(&[failed.clone(), Fact::Route(unconfirmed), gone.clone()], 1);
        check(&[failed, Fact::Route(route(0)), gone], 0);
    }

    #[test]
    fn a_canary_with_traffic_is_not_led_elsewhere() {
        let led = |image: &str| Fact::Copy(image.to_owned());
        check(&[led("app:2"), led("app:2")], 0);
        check(&[led("app:2"), led("app:3")], 1);
        let failed = Fact::Phase(CanaryPhase::Failed);
        check(
            &[led("app:2"), failed, Fact::Route(route(0)), led("app:3")],
            0,
        );
    }

    #[test]
    fn a_primary_keeps_its_size_and_changes_in_promotion_only() {
        let promoting = Fact::Phase(CanaryPhase::Promoting);
        check(&[workload(Role::Primary, 1, "app:1")], 1);
        check(&[workload(Role::Primary, 2, "app:2")], 1);
        check(&[promoting, workload(Role::Primary, 2, "app:2")], 0);
        let failed = Fact::Phase(CanaryPhase::Failed);
        check(&[failed, workload(Role::Primary, 2, "app:3")], 1);
    }
}
