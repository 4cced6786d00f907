//! Whether a Canary can be handed over as it is. Pure.

use fairlead_crds::canary::Canary;
use fairlead_operator::canary::forecast::{Forecast, Takeover, instead};
use kube::ResourceExt as _;
use serde::Serialize;

/// A Canary, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verdict {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) phase: String,
    /// Whether nothing needs a person.
    pub(super) ready: bool,
    /// What becomes of it, in a word.
    pub(super) takeover: &'static str,
    /// The same in a sentence.
    pub(super) outcome: &'static str,
    /// What a person has to look at, and the fix.
    pub(super) attention: Vec<String>,
}

impl Verdict {
    /// Judges a Canary; `found` is what else is known against it.
    pub(super) fn new(canary: &Canary, forecast: Forecast, found: Vec<String>) -> Self {
        let Forecast {
            takeover,
            inert,
            troubles,
        } = forecast;
        let (word, outcome) = words(&takeover);
        let why = match takeover {
            Takeover::Waits(why) | Takeover::Stalled(why) | Takeover::Unknown(why) => Some(why),
            Takeover::Begins
            | Takeover::Ours
            | Takeover::Baseline
            | Takeover::Refused
            | Takeover::Suspended => None,
        };
        let inert = inert.into_iter().map(|field| {
            let instead = instead(field);
            format!("`{field}` is accepted and has no effect: {instead}")
        });
        let attention: Vec<String> = why
            .into_iter()
            .chain(found)
            .chain(inert)
            .chain(troubles)
            .collect();
        let phase = canary.status.as_ref().and_then(|status| status.phase);
        Self {
            namespace: canary.namespace().unwrap_or_default(),
            name: canary.name_any(),
            phase: phase.unwrap_or_default().to_string(),
            ready: attention.is_empty(),
            takeover: word,
            outcome,
            attention,
        }
    }

    /// A Canary that is none by its types.
    pub(super) fn unreadable(namespace: String, name: String, why: &str) -> Self {
        let (takeover, outcome) = words(&Takeover::Stalled(String::new()));
        Self {
            namespace,
            name,
            phase: String::new(),
            ready: false,
            takeover,
            outcome,
            attention: vec![format!("it cannot be read: {why}")],
        }
    }
}

const fn words(takeover: &Takeover) -> (&'static str, &'static str) {
    match takeover {
        Takeover::Begins => (
            "Begins",
            "nothing was left to take over: its primary is made from the target",
        ),
        Takeover::Ours => ("Ours", "Fairlead runs it already"),
        Takeover::Baseline => (
            "Baseline",
            "what the primary runs becomes the baseline; the next version starts a rollout",
        ),
        Takeover::Refused => (
            "Refused",
            "the version that failed stays refused; the next one starts a rollout",
        ),
        Takeover::Suspended => ("Suspended", "nothing changes until `spec.suspend` is false"),
        Takeover::Waits(_) => ("Waits", "weights and phase stay until a person decides"),
        Takeover::Stalled(_) => ("Stalled", "it is left alone until it is put right"),
        Takeover::Unknown(_) => ("Unknown", "it could not be looked at"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(takeover: Takeover, inert: Vec<&'static str>) -> Verdict {
        let forecast = Forecast {
            takeover,
            inert,
            troubles: Vec::new(),
        };
        Verdict::new(&Canary::default(), forecast, Vec::new())
    }

    #[test]
    fn what_needs_nobody_is_ready() {
        assert!(verdict(Takeover::Baseline, Vec::new()).ready);
        assert!(verdict(Takeover::Refused, Vec::new()).ready);
        assert!(!verdict(Takeover::Waits("why".to_owned()), Vec::new()).ready);
    }

    #[test]
    fn a_field_without_effect_comes_with_what_to_do() {
        let read = verdict(Takeover::Baseline, vec!["spec.ingressRef"]);
        assert!(!read.ready);
        assert!(read.attention[0].contains("VirtualServices"), "{read:?}");
    }
}
