//! The explicit steps of a Canary. Pure.

use fairlead_crds::canary::{CanarySpec, CanaryStep};
use fairlead_rollout::{HookKind, Selection, Size, Stage, Weight};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::strategy::duration;
use super::validate::{Error, Metric, Webhook};
use crate::workload::Kind;

const FIELD: &str = "spec.analysis.steps";
const SCALE: &str = "spec.analysis.steps.scale";

/// The steps, as the machine knows them.
pub(super) fn stages(
    spec: &CanarySpec,
    kind: Kind,
    hooks: &[Webhook],
    metrics: &[Metric],
) -> Result<Vec<Stage>, Error> {
    let steps = &spec.analysis.steps;
    let mut stages: Vec<Stage> = Vec::new();
    for (step, number) in steps.iter().zip(1..) {
        let before = stages.last().map_or(Weight::ZERO, |stage| stage.weight);
        let weight = weight(step, number, before)?;
        let (hooks, metrics) = checks(step, number, hooks, metrics)?;
        stages.push(Stage {
            weight,
            duration: lasting(step)?,
            pauses: step.pause.is_some(),
            hooks,
            metrics,
            size: size(spec, kind, step, number)?,
        });
    }
    Ok(stages)
}

fn weight(step: &CanaryStep, number: usize, before: Weight) -> Result<Weight, Error> {
    let weight = Weight::new(i64::from(step.weight)).filter(|weight| *weight >= before);
    weight.ok_or_else(|| Error::Field {
        field: FIELD,
        fix: format!(
            "weights must not fall from step to step and be 0 to 100, but step {number} has {} \
             after {before}",
            step.weight
        ),
    })
}

fn lasting(step: &CanaryStep) -> Result<Option<SignedDuration>, Error> {
    let duration = duration("spec.analysis.steps.duration", step.duration.as_deref())?;
    Ok(duration.map(|duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)))
}

/// The `rollout` hooks and the metrics that a step asks. Without traffic there is nothing to judge,
/// unless the step names it.
fn checks(
    step: &CanaryStep,
    number: usize,
    hooks: &[Webhook],
    metrics: &[Metric],
) -> Result<(Selection, Selection), Error> {
    let Some(names) = &step.checks else {
        return Ok(if step.weight == 0 {
            (Selection::Only(Vec::new()), Selection::Only(Vec::new()))
        } else {
            (Selection::All, Selection::All)
        });
    };
    let rollout = |hook: &&Webhook| hook.kind == Some(HookKind::Rollout);
    let hooks: Vec<&Webhook> = hooks.iter().filter(rollout).collect();
    let known = |name: &String| {
        hooks.iter().any(|hook| hook.is_called(name))
            || metrics.iter().any(|metric| metric.name == *name)
    };
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        return Err(Error::Field {
            field: "spec.analysis.steps.checks",
            fix: format!(
                "step {number} names `{unknown}`, which is neither a metric nor a `rollout` \
                 webhook of this Canary; add it to spec.analysis.metrics or \
                 spec.analysis.webhooks, or leave it out"
            ),
        });
    }
    let is_asked = |hook: &&&Webhook| names.iter().any(|name| hook.is_called(name));
    let asked = hooks.iter().filter(is_asked);
    let asked = asked.map(|hook| hook.name.clone()).collect();
    let measured = metrics.iter().map(|metric| &metric.name);
    let measured = measured.filter(|name| names.contains(name)).cloned();
    Ok((Selection::Only(asked), Selection::Only(measured.collect())))
}

fn size(
    spec: &CanarySpec,
    kind: Kind,
    step: &CanaryStep,
    number: usize,
) -> Result<Option<Size>, Error> {
    let Some(scale) = &step.scale else {
        return Ok(None);
    };
    let refuse = |fix: String| Error::Field { field: SCALE, fix };
    if spec.autoscaler_ref.is_some() {
        return Err(refuse(format!(
            "must be left out of step {number}: the autoscaler of spec.autoscalerRef owns the \
             number of pods"
        )));
    }
    if let Some(why) = kind.fixed_size() {
        return Err(refuse(format!("must be left out of step {number}: {why}")));
    }
    let size = match scale {
        IntOrString::Int(replicas) => u32::try_from(*replicas).ok().map(Size::Replicas),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|text| text.parse().ok());
            percent.map(Size::Percent)
        }
    };
    let size = size.filter(|size| !matches!(size, Size::Replicas(0) | Size::Percent(0)));
    size.map(Some).ok_or_else(|| {
        let found = match scale {
            IntOrString::Int(replicas) => replicas.to_string(),
            IntOrString::String(text) => format!("`{text}`"),
        };
        refuse(format!(
            "must be a number of pods, 1 or more, or a percentage of the primary's such as `50%`, \
             but step {number} has {found}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::canary::checks;
    use crate::canary::validate::References;

    #[expect(clippy::needless_pass_by_value, reason = "called with a literal")]
    fn read(change: impl FnOnce(&mut Value), steps: Value) -> Result<Vec<Stage>, String> {
        let hook =
            |name: &str, kind: &str| json!({ "name": name, "type": kind, "url": "http://a" });
        let mut spec = json!({
            "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" },
            "analysis": {
                "metrics": [{ "name": "request-success-rate" }, { "name": "request-duration" }],
                "webhooks": [
                    hook("load", "rollout"), hook("load", "rollout"), hook("gate", "confirm-promotion"),
                ],
                "steps": steps,
            },
        });
        change(&mut spec);
        let spec: CanarySpec = serde_json::from_value(spec).unwrap();
        let metrics = checks::metrics(&spec.analysis, "test", References::Anywhere).unwrap();
        let (hooks, _) = checks::webhooks(&spec.analysis.webhooks, "shop").unwrap();
        let kinds = Kind::ALL.into_iter();
        let mut kinds = kinds.filter(|kind| kind.as_str() == spec.target_ref.kind);
        let kind = kinds.next().unwrap();
        stages(&spec, kind, &hooks, &metrics).map_err(|error| error.to_string())
    }

    fn only(names: &[&str]) -> Selection {
        Selection::Only(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_step_has_what_it_says_and_all_checks_when_it_names_none() {
        let stages = read(
            |_| {},
            json!([
                { "weight": 0, "pause": {}, "scale": "25%" },
                { "weight": 10, "duration": "5m", "checks": ["load", "request-duration"] },
                { "weight": 10, "scale": 3, "checks": [] },
                { "weight": 50 },
            ]),
        )
        .unwrap();
        let [first, second, third, last] = &stages[..] else {
            unreachable!("{stages:?}")
        };
        assert_eq!((first.pauses, first.size), (true, Some(Size::Percent(25))));
        assert_eq!((&first.hooks, &first.metrics), (&only(&[]), &only(&[])));
        assert_eq!(second.duration, Some(SignedDuration::from_mins(5)));
        assert_eq!(second.hooks, only(&["load", "load#2"]));
        assert_eq!(second.metrics, only(&["request-duration"]));
        assert_eq!(third.size, Some(Size::Replicas(3)));
        assert_eq!((&third.hooks, &third.metrics), (&only(&[]), &only(&[])));
        assert_eq!(
            (&last.hooks, &last.metrics),
            (&Selection::All, &Selection::All)
        );
    }

    #[test]
    fn what_cannot_work_is_named_with_its_step_and_the_fix() {
        let check = |steps: Value, part: &str| {
            let error = read(|_| {}, steps).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        check(
            json!([{ "weight": 30 }, { "weight": 10 }]),
            "step 2 has 10 after 30",
        );
        check(json!([{ "weight": 101 }]), "step 1 has 101");
        check(
            json!([{ "weight": 1, "checks": ["gate"] }]),
            "names `gate`, which is neither",
        );
        check(json!([{ "weight": 1, "scale": 0 }]), "but step 1 has 0");
        check(json!([{ "weight": 1, "scale": "half" }]), "has `half`");
        check(
            json!([{ "weight": 1, "duration": "5x" }]),
            "spec.analysis.steps.duration",
        );
    }

    #[test]
    fn a_size_that_someone_else_decides_on_is_refused() {
        let steps = json!([{ "weight": 1, "scale": 2 }]);
        let error = read(
            |spec| spec["targetRef"]["kind"] = json!("DaemonSet"),
            steps.clone(),
        );
        assert!(error.unwrap_err().contains("as many pods as nodes"));
        let scaler = json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "a" });
        let error = read(|spec| spec["autoscalerRef"] = scaler, steps);
        assert!(error.unwrap_err().contains("spec.autoscalerRef"));
    }
}
