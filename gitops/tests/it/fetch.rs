//! The child process against git's own server.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fairlead_gitops::artifact::Digest;
use fairlead_gitops::artifact::store::Owner;
use fairlead_gitops::artifact::unpack::unpack;
use fairlead_gitops::fetch::{
    Answer, Credentials, Failed, FailureKind, Fetched, Reference, Request,
};
use fairlead_gitops::git_repository::fetch::{Error, Outcome, fetch};
use fairlead_gitops::git_repository::validate::ValidatedGitRepository;
use tempfile::TempDir;

use crate::git_server::{Access, GitServer};

struct Child {
    folder: TempDir,
    request: Request,
}

impl Child {
    fn new(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scratch = folder.path().join("scratch");
        std::fs::create_dir(&scratch).unwrap();
        let request = Request {
            url: url.to_owned(),
            reference: Reference::Branch("main".to_owned()),
            credentials: Credentials::None,
            proxy: None,
            known_revision: None,
            ignore: None,
            directories: Vec::new(),
            archive: scratch.join("archive.tar.gz"),
            scratch,
        };
        Self { folder, request }
    }

    fn of(mut self, reference: Reference) -> Self {
        self.request.reference = reference;
        self
    }

    async fn run(self) -> Answer {
        tokio::task::spawn_blocking(move || {
            let Self { folder, request } = self;
            let answer = run(&request);
            if let Answer::Fetched(fetched) = &answer {
                let bytes = std::fs::read(&request.archive).unwrap();
                assert_eq!(Digest::of(&bytes).hex(), fetched.sha256);
                assert_eq!(bytes.len() as u64, fetched.size);
            }
            drop(folder);
            answer
        })
        .await
        .unwrap()
    }

    async fn fetched(self) -> (Fetched, BTreeMap<String, String>) {
        tokio::task::spawn_blocking(move || {
            let answer = run(&self.request);
            let Answer::Fetched(fetched) = answer else {
                panic!("{answer:?}")
            };
            let tree = unpack(&std::fs::read(&self.request.archive).unwrap()).unwrap();
            let files = tree.below("").map(|path| {
                (
                    path.to_owned(),
                    String::from_utf8(tree.file(path).unwrap().to_vec()).unwrap(),
                )
            });
            (fetched, files.collect())
        })
        .await
        .unwrap()
    }
}

fn run(request: &Request) -> Answer {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fairlead-gitops"))
        .arg("fetch")
        .env_clear()
        .env("HOME", &request.scratch)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&serde_json::to_vec(request).unwrap())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn failure(answer: Answer) -> Failed {
    match answer {
        Answer::Failed(failed) => failed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_is_fetched_and_the_same_revision_is_not_fetched_again() {
    let server = GitServer::start(Access::Open).await;
    server.commit(&[("old.yaml", Some("a: 1"))], "first");
    let commit = server.commit(
        &[
            ("old.yaml", None),
            ("apps/a.yaml", Some("a: 2")),
            ("logo.png", Some("x")),
        ],
        "Second\n\nwith a body",
    );
    let (fetched, files) = Child::new(&server.url()).fetched().await;
    assert_eq!(fetched.revision, format!("main@sha1:{commit}"));
    assert_eq!(fetched.summary, "Second");
    assert_eq!(
        files,
        BTreeMap::from([("apps/a.yaml".to_owned(), "a: 2".to_owned())])
    );

    let (again, _) = Child::new(&server.url()).fetched().await;
    assert_eq!(again, fetched, "the archive is the same, byte for byte");

    let (packs, requests) = (server.packs(), server.requests());
    let mut child = Child::new(&server.url());
    child.request.known_revision = Some(fetched.revision.clone());
    assert_eq!(
        child.run().await,
        Answer::Unchanged {
            revision: fetched.revision
        }
    );
    assert_eq!(server.packs(), packs, "no pack is asked for");
    assert_eq!(server.requests(), requests + 1, "one round trip");
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_versions_names_and_commits_are_found() {
    let server = GitServer::start(Access::Open).await;
    let first = server.commit(&[("a.yaml", Some("1"))], "first");
    server.git(&["tag", "v1.0.0"]);
    let second = server.commit(&[("a.yaml", Some("2"))], "second");
    server.git(&["tag", "--annotate", "--message=x", "v1.1.0"]);
    server.git(&["tag", "v2.0.0-rc.1"]);
    server.git(&["push", "--quiet", "origin", "--tags"]);
    let third = server.commit(&[("a.yaml", Some("3"))], "third");
    let cases = [
        (
            Reference::Tag("v1.0.0".into()),
            format!("v1.0.0@sha1:{first}"),
            "1",
        ),
        (
            Reference::Semver(">=1.0.0".into()),
            format!("v1.1.0@sha1:{second}"),
            "2",
        ),
        (
            Reference::Name("refs/tags/v1.1.0".into()),
            format!("refs/tags/v1.1.0@sha1:{second}"),
            "2",
        ),
        (
            Reference::Commit {
                commit: second.clone(),
                branch: None,
            },
            format!("sha1:{second}"),
            "2",
        ),
        (
            Reference::Commit {
                commit: first.clone(),
                branch: Some("main".into()),
            },
            format!("main@sha1:{first}"),
            "1",
        ),
        (
            Reference::Commit {
                commit: third.clone(),
                branch: None,
            },
            format!("sha1:{third}"),
            "3",
        ),
    ];
    for (reference, revision, content) in cases {
        let (fetched, files) = Child::new(&server.url()).of(reference).fetched().await;
        assert_eq!(
            (fetched.revision, files["a.yaml"].as_str()),
            (revision, content)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ignore_rules_and_directories_narrow_the_archive() {
    let server = GitServer::start(Access::Open).await;
    server.commit(
        &[
            ("a/.sourceignore", Some("*.md")),
            ("a/x.md", Some("")),
            ("a/x.yaml", Some("")),
            ("b/y.yaml", Some("")),
            ("c/z.yaml", Some("")),
        ],
        "files",
    );
    let mut child = Child::new(&server.url());
    child.request.ignore = Some("/c".to_owned());
    let (_, files) = child.fetched().await;
    assert_eq!(
        files.keys().collect::<Vec<_>>(),
        ["a/.sourceignore", "a/x.yaml", "b/y.yaml"]
    );
    let mut child = Child::new(&server.url());
    child.request.directories = vec!["./b/".to_owned()];
    let (_, files) = child.fetched().await;
    assert_eq!(files.keys().collect::<Vec<_>>(), ["b/y.yaml"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_open_what_they_should_and_never_show() {
    let server = GitServer::start(Access::basic("me", "s3cret-word")).await;
    let commit = server.commit(&[("a.yaml", Some(""))], "private");
    let mut child = Child::new(&server.url());
    let basic = |password: &str| Credentials::Basic {
        username: "me".into(),
        password: password.into(),
    };
    child.request.credentials = basic("s3cret-word");
    let (fetched, _) = child.fetched().await;
    assert_eq!(fetched.revision, format!("main@sha1:{commit}"));

    let mut child = Child::new(&server.url());
    child.request.credentials = basic("wr0ng-word");
    let failed = failure(child.run().await);
    assert_eq!(failed.kind, FailureKind::Authentication);
    assert!(!failed.message.contains("wr0ng-word"), "{failed}");
    let failed = failure(Child::new(&server.url()).run().await);
    assert_eq!(
        failed.message,
        "the server wants credentials and the spec names none"
    );

    let server = GitServer::start(Access::Authorization("Bearer t0ken".into())).await;
    server.commit(&[("a.yaml", Some(""))], "private");
    let mut child = Child::new(&server.url());
    child.request.credentials = Credentials::Bearer {
        token: "t0ken".into(),
    };
    child.fetched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_what_is_wrong() {
    let server = GitServer::start(Access::Open).await;
    let failed = failure(Child::new(&server.url()).run().await);
    assert_eq!(
        (failed.kind, failed.message.as_str()),
        (FailureKind::Reference, "the repository is empty")
    );
    server.commit(&[("a.yaml", Some(""))], "first");
    let failed = failure(
        Child::new(&server.url())
            .of(Reference::Branch("x".into()))
            .run()
            .await,
    );
    assert_eq!(
        failed.message,
        "branch `x` is not in the repository, which has `main`"
    );
    let reference = Reference::Commit {
        commit: "1".repeat(40),
        branch: None,
    };
    let failed = failure(Child::new(&server.url()).of(reference).run().await);
    assert_eq!(failed.kind, FailureKind::Reference);
    let failed = failure(Child::new("http://127.0.0.1:1/x.git").run().await);
    assert_eq!(failed.kind, FailureKind::Transient);
    let failed = failure(
        Child::new(&server.url().replace("repo", "other"))
            .run()
            .await,
    );
    assert!(failed.message.contains("404"), "{failed}");
}

fn repository(url: String) -> ValidatedGitRepository {
    ValidatedGitRepository {
        owner: Owner {
            kind: "gitrepository",
            namespace: "team".into(),
            name: "repo".into(),
        },
        url,
        reference: Reference::Branch("main".into()),
        interval: Duration::from_secs(60),
        timeout: Duration::from_secs(30),
        credentials: Credentials::None,
        known_hosts: None,
        certificate_authority: None,
        proxy: None,
        ignore: None,
        directories: Vec::new(),
    }
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_fairlead-gitops"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_given_up_after_the_time_limit() {
    let server = GitServer::start(Access::Silence).await;
    let folder = tempfile::tempdir().unwrap();
    let limit = Duration::from_millis(500);
    let repository = ValidatedGitRepository {
        timeout: limit,
        ..repository(server.url())
    };
    let error = fetch(program(), folder.path(), &repository, None)
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Timeout(found) if found == limit),
        "{error}"
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing is left on the disk"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_only_where_the_secret_names_it() {
    let (server, authority) = GitServer::start_tls(Access::basic("me", "s3cret")).await;
    let commit = server.commit(&[("a.yaml", Some(""))], "first");
    let folder = tempfile::tempdir().unwrap();
    let credentials = Credentials::Basic {
        username: "me".into(),
        password: "s3cret".into(),
    };
    let stranger = ValidatedGitRepository {
        credentials,
        ..repository(server.url())
    };
    let error = fetch(program(), folder.path(), &stranger, None)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Fetch(failed) if failed.kind == FailureKind::Authentication),
        "{error}"
    );
    let known = ValidatedGitRepository {
        certificate_authority: Some(authority.into_bytes()),
        ..stranger
    };
    let Outcome::New { fetched, .. } = fetch(program(), folder.path(), &known, None).await.unwrap()
    else {
        panic!("a new revision")
    };
    assert_eq!(fetched.revision, format!("main@sha1:{commit}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_do_not_follow_a_redirect() {
    let target = GitServer::start(Access::Open).await;
    target.commit(&[("a.yaml", Some(""))], "first");
    let base = target
        .url()
        .replace("/repo.git", "")
        .replace("127.0.0.1", "localhost");
    let server = GitServer::start(Access::MovedTo(base)).await;
    let before = target.requests();
    let mut child = Child::new(&server.url());
    child.request.credentials = Credentials::Basic {
        username: "me".into(),
        password: "s3cret".into(),
    };
    let failed = failure(child.run().await);
    assert_eq!(target.requests(), before, "{failed}");
    // Without credentials a repository may move.
    Child::new(&server.url()).fetched().await;
}
