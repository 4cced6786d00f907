//! Finds out where an alert goes: reads an AlertProvider and its Secret.
//!
//! The texts here name objects, never what they hold.

use fairlead_crds::canary::{AlertProvider, AlertProviderSpec};
use kube::Client;
use kube::api::Api;

use super::{Destination, Kind, Loss, discord};
use crate::outgoing::{secret, signature};

/// The channel of a provider that names none; Flagger's.
const DEFAULT_CHANNEL: &str = "general";

/// What of a Secret concerns alerts.
#[derive(Clone, Default, PartialEq, Eq)]
struct Credentials {
    address: Option<String>,
    token: Option<String>,
    hmac_key: Option<Vec<u8>>,
}

/// Where alerts are read from.
#[derive(Clone)]
pub struct Providers {
    /// The cluster.
    pub client: Client,
    /// Who messages are from unless a provider says otherwise.
    pub username: String,
}

impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Providers")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Reads the AlertProvider `namespace/name`.
pub async fn fetch(
    providers: &Providers,
    namespace: &str,
    name: &str,
) -> Result<Destination, Loss> {
    let provider = format!("AlertProvider `{namespace}/{name}`");
    let api: Api<AlertProvider> = Api::namespaced(providers.client.clone(), namespace);
    let spec = api
        .get_opt(name)
        .await
        .map_err(|error| Loss::Setup(format!("{provider} cannot be read: {error}")))?
        .ok_or_else(|| Loss::Setup(format!("{provider} does not exist")))?
        .spec;
    let credentials = match &spec.secret_ref {
        Some(secret) => Some(fetch_credentials(&providers.client, namespace, &secret.name).await?),
        None => None,
    };
    build(&spec, credentials, &providers.username)
        .map_err(|why| Loss::Setup(format!("{provider} {why}")))
}

async fn fetch_credentials(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Credentials, Loss> {
    let held = secret::fetch(client, namespace, name).await;
    let mut data = held.map_err(|error| Loss::Setup(error.to_string()))?;
    let mut text = |key| {
        let text = String::from_utf8(data.remove(key)?.0).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    Ok(Credentials {
        address: text("address"),
        token: text("token"),
        hmac_key: data.remove(signature::KEY).map(|key| key.0),
    })
}

/// The destination that a provider describes, or what is wrong with it. Pure.
fn build(
    spec: &AlertProviderSpec,
    credentials: Option<Credentials>,
    username: &str,
) -> Result<Destination, &'static str> {
    const KINDS: &str = "has a type other than slack, msteams, discord, rocket, gchat and webhook";
    let kind = spec.r#type.as_deref().ok_or("has no type")?;
    let kind = Kind::parse(kind).ok_or(KINDS)?;
    let address = match &credentials {
        Some(credentials) => credentials
            .address
            .clone()
            .ok_or("refers to a Secret without the key `address`")?,
        None => spec
            .address
            .clone()
            .filter(|address| !address.is_empty())
            .ok_or("has no address")?,
    };
    let credentials = credentials.unwrap_or_default();
    // A token given to others than these would be a secret in the wrong hands.
    let takes_token = matches!(kind, Kind::Slack | Kind::Webhook);
    Ok(Destination {
        kind,
        address: match kind {
            Kind::Discord => discord::address(&address),
            Kind::Slack | Kind::Msteams | Kind::Rocket | Kind::Gchat | Kind::Webhook => address,
        },
        token: credentials.token.filter(|_| takes_token),
        hmac_key: credentials.hmac_key,
        channel: spec
            .channel
            .clone()
            .unwrap_or_else(|| DEFAULT_CHANNEL.to_owned()),
        username: spec.username.clone().unwrap_or_else(|| username.to_owned()),
        proxy: spec.proxy.clone().filter(|proxy| !proxy.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kind: &str, address: Option<&str>) -> AlertProviderSpec {
        AlertProviderSpec {
            r#type: Some(kind.to_owned()),
            address: address.map(ToOwned::to_owned),
            ..AlertProviderSpec::default()
        }
    }

    fn credentials() -> Credentials {
        Credentials {
            address: Some("https://hooks/secret".to_owned()),
            token: Some("token".to_owned()),
            hmac_key: Some(b"key".to_vec()),
        }
    }

    #[test]
    fn the_address_is_in_the_spec_or_in_a_secret() {
        let build = |spec, credentials| build(&spec, credentials, "fairlead");
        let plain = build(spec("slack", Some("https://hooks/a")), None).unwrap();
        assert_eq!(plain.address, "https://hooks/a");
        assert_eq!((&*plain.channel, &*plain.username), ("general", "fairlead"));
        let secret = build(spec("slack", None), Some(credentials())).unwrap();
        assert_eq!(secret.address, "https://hooks/secret");
        let empty = Some(Credentials::default());
        build(spec("slack", None), empty).expect_err("a Secret without an address");
        build(spec("slack", None), None).expect_err("no address");
        build(spec("slack", Some("")), None).expect_err("an empty address");
    }

    #[test]
    fn a_token_reaches_only_who_takes_one() {
        for (kind, token) in [
            ("slack", Some("token")),
            ("webhook", Some("token")),
            ("msteams", None),
            ("discord", None),
            ("rocket", None),
            ("gchat", None),
        ] {
            let built = build(&spec(kind, None), Some(credentials()), "fairlead").unwrap();
            assert_eq!(built.token.as_deref(), token, "{kind}");
        }
    }

    #[test]
    fn an_unknown_type_is_named_an_error() {
        let error = build(&spec("pager", Some("https://p")), None, "fairlead").unwrap_err();
        assert!(error.contains("webhook"), "{error}");
    }
}
