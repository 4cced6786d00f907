//! Whether this user may give a command: the same question that the chart's admission policy asks.
//!
//! It is asked here too, for clusters without that policy, where `patch` alone would do.

use anyhow::Result;
use fairlead_rollout::Verb;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};

use super::Canaries;
use crate::cluster::Error;

/// Who this is, as the cluster knows it; only for the record, so that not knowing is no error.
pub(super) async fn user(canaries: &Canaries) -> Option<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(canaries.cluster.client.clone());
    let review = SelfSubjectReview::default();
    let reviewed = reviews.create(&PostParams::default(), &review).await.ok()?;
    reviewed.status?.user_info?.username
}

/// Refuses a command that this user has no right to give.
pub(super) async fn check(
    canaries: &Canaries,
    user: Option<&str>,
    verb: &Verb,
    name: &str,
) -> Result<(), Error> {
    let cluster = &canaries.cluster;
    let reviews: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some("flagger.app".to_owned()),
                resource: Some("canaries".to_owned()),
                namespace: Some(cluster.namespace.clone()),
                name: Some(name.to_owned()),
                verb: Some(verb.as_str().to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let what = format!("ask for the right to `{}`", verb.as_str());
    let reviewed = reviews.create(&PostParams::default(), &review).await;
    let reviewed = reviewed.map_err(|source| cluster.explain(source, &what))?;
    if reviewed.status.is_some_and(|status| status.allowed) {
        return Ok(());
    }
    Err(Error::NoRight {
        who: user.map_or_else(|| "you".to_owned(), |user| format!("`{user}`")),
        verb: verb.as_str(),
        canary: format!("{}/{name}", cluster.namespace),
    })
}
