//! The course of a rollout that was only rehearsed, moment by moment. Pure.

use fairlead_rollout::{Effect, Probe, Scene};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::terminal::{Cell, Style, table};

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Moment {
    /// Since the beginning.
    pub(super) after: String,
    /// The same in seconds.
    pub(super) seconds: f64,
    /// What kind of thing: the reason of an event, or what is asked.
    pub(super) what: String,
    /// The percentage of traffic that the canary is meant to have then.
    pub(super) weight: u8,
    /// A sentence.
    pub(super) message: String,
}

/// Everything that happens, since `begin`.
pub(super) fn moments(scenes: &[Scene], begin: Timestamp) -> Vec<Moment> {
    let mut moments = Vec::new();
    for scene in scenes {
        let decision = &scene.decision;
        let run = decision.state.run.as_ref();
        let since = scene.at.duration_since(begin);
        let weight = run.map_or(0, |run| run.split().canary.get());
        let moment = |what: &str, message: &str| Moment {
            after: words(since),
            seconds: since.as_secs_f64(),
            what: what.to_owned(),
            weight,
            message: message.to_owned(),
        };
        let events = decision.events.iter();
        moments.extend(events.map(|event| moment(event.reason.as_str(), &event.note)));
        for effect in &decision.effects {
            if let Effect::Ask { probe, .. } = effect {
                moments.push(match probe {
                    Probe::Hook { kind, name } => {
                        moment("Hook", &format!("{kind} hook {name} is called"))
                    }
                    Probe::Metrics { .. } => moment("Check", "the metrics are asked"),
                });
            }
        }
    }
    moments
}

/// How long it takes from the first scene to the last.
pub(super) fn length(scenes: &[Scene]) -> SignedDuration {
    match (scenes.first(), scenes.last()) {
        (Some(first), Some(last)) => last.at.duration_since(first.at),
        _ => SignedDuration::ZERO,
    }
}

/// `90s` is `1m 30s`.
pub(super) fn words(duration: SignedDuration) -> String {
    let text = format!("{duration:#}");
    if duration.is_zero() {
        "0s".to_owned()
    } else {
        text
    }
}

/// The course as a table.
pub(super) fn draw(moments: &[Moment], style: Style) -> String {
    let rows = moments.iter().map(|moment| -> [Cell; 4] {
        [
            moment.after.as_str().into(),
            format!("{}%", moment.weight).into(),
            moment.what.as_str().into(),
            moment.message.as_str().into(),
        ]
    });
    table(
        ["AFTER", "CANARY", "WHAT", "MESSAGE"],
        rows.collect(),
        style,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_words() {
        assert_eq!(words(SignedDuration::ZERO), "0s");
        assert_eq!(words(SignedDuration::from_secs(90)), "1m 30s");
        assert_eq!(words(SignedDuration::from_secs(3600)), "1h");
    }
}
