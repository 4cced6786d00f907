//! From the spec to values that later steps can trust. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use fairlead_crds::parse_duration;
use fairlead_crds::source::{GitRepository, GitRepositoryRef};
use kube::ResourceExt as _;

use super::dereference::Dereferenced;
use super::paced;
use crate::artifact::store::Owner;
use crate::fetch::{Credentials, Reference};

/// The branch where the spec names nothing, as in Flux.
const DEFAULT_BRANCH: &str = "master";

/// The time limit where the spec sets none, as in Flux.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// A GitRepository that can be fetched.
#[derive(Debug)]
pub struct ValidatedGitRepository {
    /// Under which its artifacts are stored.
    pub owner: Owner,
    /// Scheme `http`, `https` or `ssh`.
    pub url: String,
    /// Which commit.
    pub reference: Reference,
    /// How often to look.
    pub interval: Duration,
    /// How long one fetch may take.
    pub timeout: Duration,
    /// How to prove who we are.
    pub credentials: Credentials,
    /// Keys of SSH servers.
    pub known_hosts: Option<String>,
    /// Certificates of those who may vouch for an HTTPS server.
    pub certificate_authority: Option<Vec<u8>>,
    /// URL of an HTTP proxy.
    pub proxy: Option<String>,
    /// Patterns of files to leave out.
    pub ignore: Option<String>,
    /// The only directories to take.
    pub directories: Vec<String>,
}

impl ValidatedGitRepository {
    /// The URL as messages may show it.
    pub fn url_without_credentials(&self) -> String {
        match self
            .url
            .split_once("://")
            .and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?)))
        {
            // Over HTTP a user's name alone may be a token.
            Some((scheme, (user, rest)))
                if (user.contains(':') || scheme != "ssh") && !user.contains('/') =>
            {
                format!("{scheme}://{rest}")
            }
            _ => self.url.clone(),
        }
    }
}

/// Why a GitRepository cannot be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The URL is not one.
    #[error("`spec.url` is not a URL with scheme http, https or ssh")]
    Url,
    /// A duration is not one.
    #[error("`{field}` is not a duration: {reason}")]
    Duration {
        /// The field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The spec asks for something that is not done here.
    #[error("`{field}` is not supported: {why}")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// What would be wrong if it were ignored.
        why: &'static str,
    },
    /// The Secret does not hold what the URL needs.
    #[error("Secret `{secret}`: {reason}")]
    Secret {
        /// Its name.
        secret: String,
        /// What is missing.
        reason: String,
    },
}

/// Checks a GitRepository and the Secrets that it names.
pub fn validate(
    object: &GitRepository,
    dereferenced: &Dereferenced,
) -> Result<ValidatedGitRepository, Error> {
    let spec = &object.spec;
    refuse_unsupported(object)?;
    let url = spec.url.trim().to_owned();
    let scheme = match url.split_once("://") {
        Some((scheme @ ("http" | "https" | "ssh"), rest)) if !rest.is_empty() => scheme.to_owned(),
        _ => return Err(Error::Url),
    };
    let auth = authentication(&scheme, dereferenced)?;
    let timeout = spec
        .timeout
        .as_deref()
        .map(|text| duration("spec.timeout", text))
        .transpose()?;
    Ok(ValidatedGitRepository {
        owner: owner(object),
        url,
        reference: reference(spec.reference.as_ref()),
        interval: paced(duration("spec.interval", &spec.interval)?),
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
        credentials: auth.credentials,
        known_hosts: auth.known_hosts,
        certificate_authority: auth.certificate_authority,
        proxy: proxy(dereferenced)?,
        ignore: spec.ignore.clone(),
        directories: spec.sparse_checkout.clone(),
    })
}

/// Under which the artifacts of an object are stored.
pub fn owner(object: &impl kube::Resource) -> Owner {
    Owner {
        kind: "gitrepository",
        namespace: object.meta().namespace.clone().unwrap_or_default(),
        name: object.name_any(),
    }
}

fn refuse_unsupported(object: &GitRepository) -> Result<(), Error> {
    let spec = &object.spec;
    let is_generic = spec
        .provider
        .as_ref()
        .is_none_or(|provider| provider == "generic");
    let checks = [
        (
            spec.verify.is_some(),
            "spec.verify",
            "the source would be applied without its signature checked",
        ),
        (
            !spec.include.is_empty(),
            "spec.include",
            "the artifact would be incomplete",
        ),
        (
            spec.recurse_submodules == Some(true),
            "spec.recurseSubmodules",
            "the artifact would be incomplete",
        ),
        (
            !is_generic,
            "spec.provider",
            "only `generic` credentials are known",
        ),
        (
            spec.service_account_name.is_some(),
            "spec.serviceAccountName",
            "only Secrets with credentials are known",
        ),
    ];
    match checks.into_iter().find(|(is_used, ..)| *is_used) {
        Some((_, field, why)) => Err(Error::Unsupported { field, why }),
        None => Ok(()),
    }
}

/// Commit before name before tag before version before branch; the code of Flux decides so.
fn reference(reference: Option<&GitRepositoryRef>) -> Reference {
    let set = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
    let Some(reference) = reference else {
        return Reference::Branch(DEFAULT_BRANCH.to_owned());
    };
    let branch = set(reference.branch.as_ref());
    if let Some(commit) = set(reference.commit.as_ref()) {
        return Reference::Commit { commit, branch };
    }
    set(reference.name.as_ref())
        .map(Reference::Name)
        .or_else(|| set(reference.tag.as_ref()).map(Reference::Tag))
        .or_else(|| set(reference.semver.as_ref()).map(Reference::Semver))
        .unwrap_or_else(|| Reference::Branch(branch.unwrap_or_else(|| DEFAULT_BRANCH.to_owned())))
}

#[derive(Debug)]
struct Authentication {
    credentials: Credentials,
    known_hosts: Option<String>,
    certificate_authority: Option<Vec<u8>>,
}

fn authentication(scheme: &str, dereferenced: &Dereferenced) -> Result<Authentication, Error> {
    let none = Authentication {
        credentials: Credentials::None,
        known_hosts: None,
        certificate_authority: None,
    };
    let Some(secret) = &dereferenced.secret else {
        return if scheme == "ssh" {
            let reason = "ssh needs `spec.secretRef` with `identity` and `known_hosts`".to_owned();
            Err(Error::Secret {
                secret: String::new(),
                reason,
            })
        } else {
            Ok(none)
        };
    };
    let fail = |reason: &str| Error::Secret {
        secret: secret.name.clone(),
        reason: reason.to_owned(),
    };
    let text = |key: &str| text_of(&secret.data, key).map_err(|reason| fail(&reason));
    if scheme == "ssh" {
        let identity = text("identity")?.ok_or_else(|| fail("key `identity` is missing"))?;
        let known_hosts =
            text("known_hosts")?.ok_or_else(|| fail("key `known_hosts` is missing"))?;
        let credentials = Credentials::Ssh {
            identity,
            passphrase: text("password")?,
        };
        return Ok(Authentication {
            credentials,
            known_hosts: Some(known_hosts),
            ..none
        });
    }
    if secret.data.contains_key("tls.crt") || secret.data.contains_key("tls.key") {
        return Err(fail(
            "client certificates (`tls.crt`, `tls.key`) are not supported",
        ));
    }
    let credentials = match (text("username")?, text("password")?, text("bearerToken")?) {
        (None, None, Some(token)) => Credentials::Bearer { token },
        (Some(username), Some(password), None) => Credentials::Basic { username, password },
        (None, None, None) => Credentials::None,
        (_, _, Some(_)) => return Err(fail("`bearerToken` excludes `username` and `password`")),
        _ => return Err(fail("`username` and `password` need each other")),
    };
    let certificate_authority = ["ca.crt", "caFile"]
        .iter()
        .find_map(|key| secret.data.get(*key))
        .cloned();
    Ok(Authentication {
        credentials,
        certificate_authority,
        ..none
    })
}

fn proxy(dereferenced: &Dereferenced) -> Result<Option<String>, Error> {
    let Some(secret) = &dereferenced.proxy else {
        return Ok(None);
    };
    let fail = |reason: String| Error::Secret {
        secret: secret.name.clone(),
        reason,
    };
    let text = |key: &str| text_of(&secret.data, key).map_err(fail);
    let address = text("address")?.ok_or_else(|| fail("key `address` is missing".to_owned()))?;
    let mut url =
        reqwest::Url::parse(&address).map_err(|error| fail(format!("`address`: {error}")))?;
    if let (Some(username), Some(password)) = (text("username")?, text("password")?) {
        let set = url
            .set_username(&username)
            .and_then(|()| url.set_password(Some(&password)));
        set.map_err(|()| fail("`address` cannot carry credentials".to_owned()))?;
    }
    Ok(Some(url.to_string()))
}

fn text_of(data: &BTreeMap<String, Vec<u8>>, key: &str) -> Result<Option<String>, String> {
    match data.get(key).map(|bytes| std::str::from_utf8(bytes)) {
        None => Ok(None),
        Some(Ok(text)) => Ok(
            Some(text.trim_end_matches(['\n', '\r']).to_owned()).filter(|text| !text.is_empty())
        ),
        Some(Err(_not_utf8)) => Err(format!("key `{key}` is not text")),
    }
}

fn duration(field: &'static str, text: &str) -> Result<Duration, Error> {
    parse_duration(text).map_err(|error| Error::Duration {
        field,
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use fairlead_crds::source::GitRepositorySpec;

    use super::*;

    fn validated(url: &str, interval: &str) -> ValidatedGitRepository {
        let spec = GitRepositorySpec {
            url: url.to_owned(),
            interval: interval.to_owned(),
            ..GitRepositorySpec::default()
        };
        let nothing = Dereferenced {
            secret: None,
            proxy: None,
        };
        validate(&GitRepository::new("a", spec), &nothing).unwrap()
    }

    #[test]
    fn no_interval_keeps_the_controller_busy_with_one_repository() {
        let interval = |text| validated("https://example.test/a", text).interval;
        assert_eq!(interval("0s"), Duration::from_secs(1));
        assert_eq!(interval("1ms"), Duration::from_secs(1));
        assert_eq!(interval("5m"), Duration::from_mins(5));
    }

    #[test]
    fn a_token_in_a_url_is_not_shown() {
        let shown = |url| validated(url, "1m").url_without_credentials();
        assert_eq!(
            shown("https://token@example.test/a"),
            "https://example.test/a"
        );
        assert_eq!(
            shown("https://user:word@example.test/a"),
            "https://example.test/a"
        );
        assert_eq!(
            shown("https://example.test/a@b"),
            "https://example.test/a@b"
        );
    }
}
