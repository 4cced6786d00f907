//! Who may command a Canary, and whom the status names for it: with the policies that the chart
//! renders, and without.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fairlead_crds::annotation::{COMMAND, COMMANDED_BY};
use fairlead_crds::canary::{Canary, CanaryPhase, CommandStatus, Number};
use fairlead_tests::{apiserver, chart, manifest};
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

use crate::fairlead::fairlead_as;
use crate::stage::{PATIENCE, Scene, Stage, has_heard, newest_command};

/// Kubernetes before it could stamp, and since.
const CHECKED: &str = "--kube-version=1.35.0";
const STAMPED: &str = "--kube-version=1.36.0";
const UNCHECKED: &str = "--set=steering.admission=false";

/// A person with a name, and the rights that a binding gives.
struct Person {
    kubeconfig: PathBuf,
    canaries: Api<Canary>,
    namespace: String,
}

impl Person {
    async fn new(stage: &Stage, scene: &Scene, name: &str, roles: &[&str]) -> Result<Self> {
        for role in roles {
            let binding = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": { "name": format!("{name}-{role}"), "namespace": scene.namespace },
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role,
                },
                "subjects": [{
                    "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name,
                }],
            });
            stage.apply(&binding.to_string()).await?;
        }
        let kubeconfig = stage.user(name)?;
        let client = apiserver::client(&kubeconfig).await?;
        Ok(Self {
            kubeconfig,
            canaries: Api::namespaced(client, &scene.namespace),
            namespace: scene.namespace.clone(),
        })
    }

    /// `kubectl annotate --overwrite`, with a stamp or without.
    async fn annotate(&self, command: Option<&str>, stamp: Option<&str>) -> kube::Result<Canary> {
        self.write(PatchParams::default(), command, stamp).await
    }

    async fn write(
        &self,
        params: PatchParams,
        command: Option<&str>,
        stamp: Option<&str>,
    ) -> kube::Result<Canary> {
        let params = PatchParams {
            field_manager: Some("kubectl-annotate".to_owned()),
            ..params
        };
        let given = [(COMMAND, command), (COMMANDED_BY, stamp)];
        let given = given.into_iter().filter(|(_, value)| value.is_some());
        let annotations: serde_json::Map<_, _> = given
            .map(|(key, value)| (key.to_owned(), json!(value)))
            .collect();
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        self.canaries.patch("podinfo", &params, &patch).await
    }

    /// What the API server says when it does not let that in, with its code.
    async fn refusal(&self, command: Option<&str>, stamp: Option<&str>) -> Result<(u16, String)> {
        match self.annotate(command, stamp).await {
            Err(kube::Error::Api(status)) => Ok((status.code, status.message.clone())),
            Err(error) => Err(error.into()),
            Ok(_) => bail!("{command:?} with {stamp:?} was let in"),
        }
    }

    async fn fairlead(&self, arguments: &str) -> Result<(i32, String)> {
        fairlead_as(&self.kubeconfig, &self.namespace, arguments).await
    }
}

/// What the chart renders for steering.
fn rendered(arguments: &[&str]) -> Result<String> {
    let mut all = vec!["--show-only=templates/steering.yaml"];
    all.extend(arguments);
    chart::render(&all)
}

fn kinds(yaml: &str) -> Result<Vec<String>> {
    let objects = manifest::parse(yaml)?.into_iter();
    let mut kinds: Vec<String> = objects.filter_map(|one| Some(one.types?.kind)).collect();
    kinds.sort();
    Ok(kinds)
}

#[test]
fn the_chart_renders_what_the_api_server_has_and_the_values_ask_for() -> Result<()> {
    let role = ["ClusterRole"];
    let checked = [
        &role[..],
        &["ValidatingAdmissionPolicy"],
        &["ValidatingAdmissionPolicyBinding"],
    ];
    let checked = checked.concat();
    let stamping = ["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"];
    let stamped = [&role[..], &stamping, &checked[1..]].concat();
    let guarded = [
        &role[..],
        &["ValidatingAdmissionPolicy"; 2],
        &["ValidatingAdmissionPolicyBinding"; 2],
    ];
    let guarded = guarded.concat();
    let kind = "--api-versions=admissionregistration.k8s.io/v1";
    let asked = "--api-versions=apps/v1/Deployment";
    let validating = format!("{kind}/ValidatingAdmissionPolicy");
    for (arguments, expected) in [
        (&["--kube-version=1.29.9"][..], &role[..]),
        (&[CHECKED], &checked),
        (&["--kube-version=1.30.1-eks.3"], &checked),
        (&[STAMPED], &stamped),
        (&[STAMPED, UNCHECKED], &role),
        (&[CHECKED, "--set=steering.guardSpec=true"], &guarded),
        // An API server that was asked, and has not all that its version could have.
        (&[STAMPED, asked], &role),
        (&[STAMPED, asked, &validating], &checked),
    ] {
        let found = kinds(&rendered(arguments)?)?;
        ensure!(found == expected, "{arguments:?}: {found:?}");
        let trusts = chart::render(arguments)?.contains("FAIRLEAD_TRUST_COMMAND_STAMPS");
        ensure!(trusts == (expected.len() > 1), "{arguments:?}: {trusts}");
    }
    let impossible = rendered(&[UNCHECKED, "--set=steering.guardSpec=true"]);
    let why = impossible.err().map(|error| error.to_string());
    let why = why.unwrap_or_default();
    ensure!(
        why.contains("steering.guardSpec needs steering.admission"),
        "{why}"
    );
    for (aggregate, expected) in [("true", 2), ("false", 0)] {
        let yaml = rendered(&[&format!("--set=steering.aggregate={aggregate}")])?;
        let found = yaml.matches("/aggregate-to-").count();
        ensure!(found == expected, "{aggregate}: {found}");
    }
    Ok(())
}

const ROLES: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: canary-editor}
rules: [{apiGroups: [flagger.app], resources: [canaries], verbs: [get, list, watch, patch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: canary-reader}
rules: [{apiGroups: [flagger.app], resources: [canaries], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: canary-brake}
rules: [{apiGroups: [flagger.app], resources: [canaries], verbs: [pause, resume]}]
";

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_steer_steers_and_is_named_for_it() -> Result<()> {
    let stage = Stage::open().await?;
    stage.apply(ROLES).await?;
    stage.apply(&rendered(&[UNCHECKED])?).await?;
    let mut scene = stage.scene("guarded").await?;
    let people = [
        ("alice", &["canary-editor", "fairlead-steer"][..]),
        ("bob", &["canary-editor", "canary-brake"]),
        ("mallory", &["canary-editor"]),
        ("carol", &["canary-reader", "fairlead-steer"]),
    ];
    let mut known = Vec::new();
    for (name, roles) in people {
        known.push(Person::new(&stage, &scene, name, roles).await?);
    }
    let [alice, bob, mallory, carol] = &known[..] else {
        bail!("four were made")
    };

    // A run that stands at its first weight, so that there is something to steer.
    scene
        .apply_canary(|spec| {
            spec["analysis"]["interval"] = json!("10m");
            spec["analysis"]["stepWeight"] = json!(25);
        })
        .await?;
    let operator = scene.operator.start(None)?;
    scene.until_phase(CanaryPhase::Initialized).await?;
    scene.apply_target("podinfo:2").await?;
    let first = |canary: &Canary| {
        let status = canary.status.as_ref();
        status.and_then(|status| status.canary_weight) == Some(Number::from(25))
    };
    scene.until("the first weight", first).await?;
    without_policies(&scene, alice, mallory).await?;
    let (exit, told) = carol.fairlead("canary pause podinfo").await?;
    let cannot = "to annotate Canary `guarded/podinfo`; ask for that right";
    ensure!(exit == 5 && told.contains(cannot), "{exit}: {told}");
    ensure!(told.ends_with("in the namespace \"guarded\"\n"), "{told}");
    drop(operator);

    scene.operator.trusts_stamps = true;
    let _operator = scene.operator.start(None)?;
    stage.apply(&rendered(&[CHECKED])?).await?;
    until_in_force(mallory).await?;
    every_command_needs_its_right(alice, mallory).await?;
    where_stamps_are_only_checked(&scene, alice, bob, mallory).await?;

    stage
        .apply(&rendered(&[STAMPED, "--set=steering.guardSpec=true"])?)
        .await?;
    until_stamping(alice).await?;
    the_spec_is_guarded_if_asked(alice, bob).await?;
    where_all_are_stamped(&scene, alice, bob, mallory).await
}

/// Whoever may edit may steer, under any name: so the status believes nobody.
async fn without_policies(scene: &Scene, alice: &Person, mallory: &Person) -> Result<()> {
    let (exit, told) = mallory.fairlead("canary pause podinfo").await?;
    ensure!(exit == 5, "{exit}: {told}");
    let rule = "{apiGroups: [flagger.app], resources: [canaries], verbs: [pause]}";
    let may_not = "`mallory` may not give the command `pause` to Canary `guarded/podinfo`";
    ensure!(told.contains(may_not) && told.contains(rule), "{told}");

    mallory
        .annotate(Some("pause@forged"), Some("alice pause@forged"))
        .await?;
    let handled = handled(scene, "pause@forged").await?;
    ensure!(by(&handled) == ("kubectl-annotate", false), "{handled:?}");
    let paused = scene.until_condition("podinfo", "Paused").await?;
    ensure!(
        paused.starts_with("paused by kubectl-annotate (unverified)"),
        "{paused}"
    );

    let (exit, told) = alice.fairlead("canary resume podinfo").await?;
    ensure!(
        (exit, told.as_str()) == (0, "podinfo: carried out: resume\n"),
        "{exit}: {told}"
    );
    let handled = newest_command(&scene.canary().await?)?;
    ensure!(by(&handled) == ("fairlead-cli:alice", false), "{handled:?}");
    Ok(())
}

/// The right to edit is no right to steer; and the chart's role has every command there is.
async fn every_command_needs_its_right(alice: &Person, mallory: &Person) -> Result<()> {
    let dry = || PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let words = "pause resume promote promote-full abort retry set-weight=5 adopt rollback-to";
    for word in words.split(' ') {
        let token = format!("{word}@right");
        alice
            .write(dry(), Some(&token), None)
            .await
            .with_context(|| token.clone())?;
        let (code, told) = mallory.refusal(Some(&token), None).await?;
        let verb = word.split('=').next().unwrap_or_default();
        let rule = format!("{{apiGroups: [flagger.app], resources: [canaries], verbs: [{verb}]}}");
        ensure!(code == 403 && told.contains(&rule), "{code}: {told}");
    }
    for (token, what) in [
        ("stop@1", "`stop` is no command"),
        ("Pause@1", "`Pause` is no command"),
    ] {
        let (code, told) = alice.refusal(Some(token), None).await?;
        ensure!(code == 422 && told.contains(what), "{code}: {told}");
    }
    Ok(())
}

async fn where_stamps_are_only_checked(
    scene: &Scene,
    alice: &Person,
    bob: &Person,
    mallory: &Person,
) -> Result<()> {
    // The command line stamps itself.
    let (exit, told) = alice.fairlead("canary pause podinfo").await?;
    ensure!(exit == 0, "{exit}: {told}");
    let canary = scene.canary().await?;
    let given = newest_command(&canary)?;
    ensure!(by(&given) == ("alice", true), "{given:?}");
    let paused = scene.until_condition("podinfo", "Paused").await?;
    ensure!(paused.starts_with("paused by alice:"), "{paused}");

    // What stands there is nobody's to give again, nor to sign.
    mallory.annotate(Some(&given.command), None).await?;
    let signed = format!("mallory {}", given.command);
    let (code, told) = mallory.refusal(None, Some(&signed)).await?;
    ensure!(
        code == 403 && told.contains("must name who gives the command"),
        "{code}: {told}"
    );
    let (code, told) = bob
        .refusal(Some("resume@1"), Some("alice resume@1"))
        .await?;
    ensure!(
        code == 403 && told.contains("must name who gives the command"),
        "{code}: {told}"
    );

    // Nobody signs in advance, so that who is named in vain could not give it.
    let (code, _) = mallory.refusal(None, Some("x promote@later")).await?;
    ensure!(code == 403, "{code}");

    // The stamp of alice stays where bob gives his own: it is not taken for his.
    let (code, told) = bob.refusal(Some("promote@1"), None).await?;
    ensure!(
        code == 403 && told.contains("`bob` may not give"),
        "{code}: {told}"
    );
    bob.annotate(Some("resume@2"), None).await?;
    let handled = handled(scene, "resume@2").await?;
    ensure!(by(&handled) == ("kubectl-annotate", false), "{handled:?}");
    let stamp = scene.canary().await?.annotations()[COMMANDED_BY].clone();
    ensure!(stamp == format!("alice {}", given.command), "{stamp}");

    // Git puts back what was handled long ago, by an account that may not steer.
    mallory.annotate(Some(&given.command), None).await?;
    mallory.annotate(Some("resume@2"), None).await?;
    Ok(())
}

async fn where_all_are_stamped(
    scene: &Scene,
    alice: &Person,
    bob: &Person,
    mallory: &Person,
) -> Result<()> {
    bob.annotate(Some("pause@3"), None).await?;
    let paused = handled(scene, "pause@3").await?;
    ensure!(by(&paused) == ("bob", true), "{paused:?}");
    // Whatever bob writes there, he gave it.
    bob.annotate(Some("resume@4"), Some("alice resume@4"))
        .await?;
    let resumed = handled(scene, "resume@4").await?;
    ensure!(by(&resumed) == ("bob", true), "{resumed:?}");
    let (code, told) = mallory.refusal(None, Some("alice resume@4")).await?;
    ensure!(code == 403, "{code}: {told}");

    // Git shows it again, by an account that may not steer: nothing is asked, nothing happens.
    let shown = json!({ "metadata": { "annotations": { COMMAND: "resume@4", "note": "of git" } } });
    let (params, shown) = (PatchParams::default(), Patch::Merge(shown));
    let again = mallory.canaries.patch("podinfo", &params, &shown).await?;
    ensure!(
        again.annotations()[COMMANDED_BY] == "bob resume@4",
        "{again:?}"
    );

    let (exit, told) = alice.fairlead("canary promote podinfo").await?;
    ensure!(exit == 0, "{exit}: {told}");
    let promoted = scene.until_phase(CanaryPhase::Succeeded).await?;
    let given = newest_command(&promoted)?;
    ensure!(by(&given) == ("alice", true), "{given:?}");
    let commands = promoted
        .status
        .unwrap_or_default()
        .rollout
        .unwrap_or_default()
        .commands;
    let tokens: Vec<&str> = commands.iter().map(|one| one.command.as_str()).collect();
    ensure!(
        tokens.iter().filter(|token| **token == "resume@4").count() == 1,
        "{tokens:?}"
    );
    scene.check_rest("podinfo:2").await
}

/// Who may pause cannot promote by the spec, where that is to be so.
async fn the_spec_is_guarded_if_asked(alice: &Person, bob: &Person) -> Result<()> {
    let skip = Patch::Merge(json!({ "spec": { "skipAnalysis": true } }));
    let dry = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    until(async || bob.canaries.patch("podinfo", &dry, &skip).await.is_err()).await?;
    let refused = bob.canaries.patch("podinfo", &dry, &skip).await;
    let told = refused.err().map(|error| error.to_string());
    let told = told.unwrap_or_default();
    let may_not = "`bob` may not change the spec of Canary `guarded/podinfo`";
    ensure!(
        told.contains(may_not) && told.contains("verbs: [edit-spec]"),
        "{told}"
    );
    alice.canaries.patch("podinfo", &dry, &skip).await?;
    let note = Patch::Merge(json!({ "metadata": { "annotations": { "note": "of bob" } } }));
    bob.canaries.patch("podinfo", &dry, &note).await?;
    Ok(())
}

/// Waits until the API server heeds the policy; it tells nobody when it does.
async fn until_in_force(mallory: &Person) -> Result<()> {
    until(async || {
        let dry = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        mallory.write(dry, Some("pause@probe"), None).await.is_err()
    })
    .await
}

async fn until_stamping(alice: &Person) -> Result<()> {
    until(async || {
        let dry = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let probe = alice.write(dry, Some("pause@probe"), None).await;
        probe.is_ok_and(|canary| {
            canary.annotations().get(COMMANDED_BY).map(String::as_str) == Some("alice pause@probe")
        })
    })
    .await
}

async fn until(holds: impl AsyncFn() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        ensure!(Instant::now() < deadline, "the policies are not in force");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// What became of a command, once something has.
async fn handled(scene: &Scene, token: &str) -> Result<CommandStatus> {
    let seen = scene.until(token, |canary| has_heard(canary, token));
    newest_command(&seen.await?)
}

/// Who gave it, and whether that is sure.
fn by(command: &CommandStatus) -> (&str, bool) {
    (command.by.as_deref().unwrap_or_default(), command.verified)
}
