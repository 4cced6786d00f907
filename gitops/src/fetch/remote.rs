//! Talking to a git server through libgit2: list its references, download a commit.
//!
//! Blocking; for the child process only.

use git2::{
    AutotagOption, Commit, Cred, CredentialType, ErrorClass, ErrorCode, FetchOptions, Oid,
    ProxyOptions, Remote, RemoteCallbacks, RemoteRedirect, Repository,
};

use super::select::{Head, Selected, Through};
use super::{Credentials, Failed, FailureKind, Request};

/// A reference that no server has: asking for it connects and downloads nothing.
const NOTHING: &str = "+refs/fairlead/nothing:refs/fairlead/nothing";

/// A bare repository for one request.
pub(super) struct Session<'request> {
    pub(super) repository: Repository,
    request: &'request Request,
}

impl<'request> Session<'request> {
    pub(super) fn open(request: &'request Request) -> Result<Self, Failed> {
        let repository =
            Repository::init_bare(request.scratch.join("repository")).map_err(failed)?;
        Ok(Self {
            repository,
            request,
        })
    }

    /// Connects and reads the server's references.
    pub(super) fn connect(&self) -> Result<Connection<'_>, Failed> {
        let mut remote = self
            .repository
            .remote_anonymous(&self.request.url)
            .map_err(failed)?;
        remote
            .download(&[NOTHING], Some(&mut options(self.request)))
            .map_err(failed)?;
        Ok(Connection {
            session: self,
            remote,
        })
    }
}

/// A connection to the server.
pub(super) struct Connection<'session> {
    session: &'session Session<'session>,
    remote: Remote<'session>,
}

impl<'session> Connection<'session> {
    /// The references that the server told of.
    pub(super) fn heads(&mut self) -> Result<Vec<Head>, Failed> {
        let mut heads: Vec<Head> = Vec::new();
        for head in self.remote.list().map_err(failed)? {
            let (name, commit) = (head.name(), head.oid().to_string());
            // A tag's commit follows the tag, under its name with a suffix.
            match name.strip_suffix("^{}") {
                Some(tag) => {
                    heads
                        .iter_mut()
                        .filter(|head| head.name == tag)
                        .for_each(|head| head.commit.clone_from(&commit));
                }
                None => heads.push(Head {
                    name: name.to_owned(),
                    commit,
                }),
            }
        }
        Ok(heads)
    }

    /// Downloads a commit with its files, and no more of the history than it takes.
    pub(super) fn download(
        &mut self,
        selected: &Selected,
        heads: &[Head],
    ) -> Result<Commit<'session>, Failed> {
        let (names, depth) = match &selected.through {
            Through::Tip(name) => (vec![name.clone()], 1),
            Through::History(names) => (names.clone(), 0),
        };
        let specs: Vec<String> = names.iter().map(|name| format!("+{name}:{name}")).collect();
        let mut options = options(self.session.request);
        options.depth(depth);
        self.remote
            .download(&specs, Some(&mut options))
            .map_err(failed)?;
        let id = Oid::from_str(&selected.commit).map_err(failed)?;
        self.session
            .repository
            .find_commit(id)
            .map_err(|error| match error.code() {
                ErrorCode::NotFound => Failed {
                    kind: FailureKind::Reference,
                    message: format!(
                        "commit `{}` is not in the history of the {} references that were searched",
                        selected.commit,
                        names.len().min(heads.len())
                    ),
                },
                _ => failed(error),
            })
    }
}

fn options(request: &Request) -> FetchOptions<'_> {
    let mut callbacks = RemoteCallbacks::new();
    let mut asked = 0_u32;
    callbacks.credentials(move |_url, user, allowed| {
        asked += 1;
        // libgit2 asks again for as long as it is refused.
        if asked > 3 {
            return Err(git2::Error::new(
                ErrorCode::Auth,
                ErrorClass::Callback,
                "the server refuses the credentials",
            ));
        }
        credential(&request.credentials, user, allowed)
    });
    let mut options = FetchOptions::new();
    options.remote_callbacks(callbacks);
    options.download_tags(AutotagOption::None);
    let mut proxy = ProxyOptions::new();
    match &request.proxy {
        Some(url) => proxy.url(url),
        None => proxy.auto(),
    };
    options.proxy_options(proxy);
    // Credentials must not follow a redirect to another host.
    options.follow_redirects(match request.credentials {
        Credentials::None => RemoteRedirect::Initial,
        Credentials::Basic { .. } | Credentials::Bearer { .. } | Credentials::Ssh { .. } => {
            RemoteRedirect::None
        }
    });
    if let Credentials::Bearer { token } = &request.credentials {
        let header = format!("Authorization: Bearer {token}");
        options.custom_headers(&[&header]);
    }
    options
}

fn credential(
    credentials: &Credentials,
    user: Option<&str>,
    allowed: CredentialType,
) -> Result<Cred, git2::Error> {
    let user = user.unwrap_or("git");
    match credentials {
        Credentials::Ssh { .. } if allowed.contains(CredentialType::USERNAME) => {
            Cred::username(user)
        }
        Credentials::Ssh {
            identity,
            passphrase,
        } if allowed.contains(CredentialType::SSH_MEMORY) => {
            Cred::ssh_key_from_memory(user, None, identity, passphrase.as_deref())
        }
        Credentials::Basic { username, password }
            if allowed.contains(CredentialType::USER_PASS_PLAINTEXT) =>
        {
            Cred::userpass_plaintext(username, password)
        }
        Credentials::None => Err(git2::Error::new(
            ErrorCode::Auth,
            ErrorClass::Callback,
            "the server wants credentials and the spec names none",
        )),
        _ => Err(git2::Error::new(
            ErrorCode::Auth,
            ErrorClass::Callback,
            "the server does not accept this kind of credentials",
        )),
    }
}

/// What an error of libgit2 means for the user.
#[expect(clippy::needless_pass_by_value, reason = "it ends here, in `map_err`")]
pub(super) fn failed(error: git2::Error) -> Failed {
    let kind = match (error.code(), error.class()) {
        (ErrorCode::Auth | ErrorCode::Certificate, _) => FailureKind::Authentication,
        // A key that cannot be read has a code of its own.
        (_, ErrorClass::Ssh) if error.message().contains("authenticate") => {
            FailureKind::Authentication
        }
        _ => FailureKind::Transient,
    };
    let message = error.message().trim().trim_end_matches('.').to_owned();
    Failed { kind, message }
}
