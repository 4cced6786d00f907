//! Moving traffic: the only place that emits a change of the split. Pure.
//!
//! An intent is stored before the routes change; the routes then hold the intent, or what they
//! held before it, or somebody else's idea, and each is told from the others after a crash.

use super::{Machine, Turn, after, held, wait};
use crate::effect::Effect;
use crate::event::Reason;
use crate::state::Intent;
use crate::weight::{Split, Weight};

impl Machine<'_> {
    /// Brings the routes to `want`; goes on once it is in effect at the proxies.
    ///
    /// # Guarantees
    /// Nobody's traffic rises without the ready endpoints for it.
    pub(super) fn settle(&mut self, want: Split) -> Turn {
        let want = self.bind(want);
        let Some(split) = self.seen.split else {
            return self.act(
                Effect::Route {
                    split: Split::PRIMARY,
                },
                "making the routes",
            );
        };
        if split == want {
            return self.confirm(want);
        }
        self.permit(split, want)?;
        if let Some(intent) = self.state.traffic
            && intent.target == want
            && (intent.in_effect.is_some() || split != intent.before)
        {
            self.tell(
                Reason::DriftCorrected,
                format!("the routes hold {split}, not {want}; they are put back"),
            );
        }
        // A retry renews the intent: its clock and its idea of before are those of this write.
        self.state.traffic = Some(Intent {
            target: want,
            before: split,
            since: self.now,
            in_effect: None,
        });
        self.act(
            Effect::SetSplit {
                from: split,
                to: want,
            },
            moving(split, want),
        )
    }

    /// The split with what binds clients to the canary: nothing does once it has no share.
    pub(super) fn bind(&self, split: Split) -> Split {
        Split {
            sticky: self.strategy.sticky && split.canary > Weight::ZERO,
            ..split
        }
    }

    /// The split that the run asks for.
    pub(super) fn wanted(&mut self) -> Turn<Split> {
        let split = self.run()?.split();
        Ok(self.bind(split))
    }

    /// Waits until the proxies have what the routes already hold.
    fn confirm(&mut self, want: Split) -> Turn {
        if !self.seen.routes_current {
            return self.act(
                Effect::Route { split: want },
                "bringing the routes up to date",
            );
        }
        let known = self.state.traffic.filter(|intent| intent.target == want);
        let intent = known.unwrap_or(Intent {
            target: want,
            before: want,
            since: self.now,
            in_effect: None,
        });
        if intent.in_effect.is_some() {
            return Ok(());
        }
        let deadline = after(intent.since, self.strategy.ack_timeout);
        if !self.seen.acked && self.now < deadline {
            self.state.traffic = Some(intent);
            self.wake_at(deadline);
            return wait(moving(intent.before, want));
        }
        if !self.seen.acked {
            self.tell(
                Reason::WeightUnconfirmed,
                format!("the proxies did not confirm {want} (primary/canary) in time"),
            );
        }
        if intent.before != want {
            self.tell(
                Reason::WeightInEffect,
                format!("traffic is {want} (primary/canary)"),
            );
        }
        self.state.traffic = Some(Intent {
            in_effect: Some(self.now),
            ..intent
        });
        Ok(())
    }

    /// Whether whoever gets more can answer it.
    fn permit(&self, split: Split, want: Split) -> Turn {
        let canary = self.canary();
        if split.raises_canary(want) && !canary.can_take_more() {
            return held(format!(
                "the canary has {} of {} ready endpoints: its traffic does not rise",
                canary.endpoints,
                canary.needed.max(1)
            ));
        }
        let primary_serves = self.seen.primary.as_ref().is_some_and(super::Role::serves);
        if split.raises_primary(want) && !primary_serves {
            let neither = if canary.serves() {
                ""
            } else {
                ", nor has the canary"
            };
            return held(format!(
                "the primary has no ready endpoint{neither}: the weights stay at {split}"
            ));
        }
        Ok(())
    }
}

/// The same from the intent to the last proxy's word: one text, one write of the status.
fn moving(from: Split, to: Split) -> String {
    if from == to {
        return format!("waiting for the proxies to take {to} (primary/canary)");
    }
    format!("moving traffic from {from} to {to} (primary/canary); waiting for the proxies")
}
