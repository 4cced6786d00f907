//! The folder in which artifacts lie. Does file IO, knows no cluster.

use std::io;
use std::path::{Path, PathBuf};

use super::{Digest, is_sha256};

const EXTENSION: &str = ".tar.gz";

/// Whose artifact it is: kind in lower case, namespace, name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// For example `gitrepository`.
    pub kind: &'static str,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

/// Artifacts below one folder, and the URL under which others find them.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    base_url: String,
}

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} `{}`", path.display())]
pub struct Error {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Error {
    fn during(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self {
            action,
            path,
            source,
        }
    }
}

impl Store {
    /// A store in `root`, which is made if it is not there, served at `base_url`.
    pub async fn open(root: PathBuf, base_url: &str) -> Result<Self, Error> {
        let store = Self {
            root,
            base_url: base_url.trim_end_matches('/').to_owned(),
        };
        let scratch = store.scratch_root();
        // What a killed process left there belongs to nobody.
        match tokio::fs::remove_dir_all(&scratch).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::during("clear", &scratch)(error));
            }
            _ => {}
        }
        tokio::fs::create_dir_all(&scratch)
            .await
            .map_err(Error::during("create", &scratch))?;
        Ok(store)
    }

    /// A folder for unfinished work, on the same file system as the artifacts.
    pub fn scratch_root(&self) -> PathBuf {
        self.root.join(".scratch")
    }

    /// The path of an artifact below the root, and of its URL.
    pub fn path(owner: &Owner, digest: &Digest) -> String {
        let Owner {
            kind,
            namespace,
            name,
        } = owner;
        format!("{kind}/{namespace}/{name}/{}{EXTENSION}", digest.hex())
    }

    /// The URL of an artifact.
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base_url)
    }

    /// The path of an artifact that this store serves at this URL.
    pub fn path_of_url<'url>(&self, url: &'url str) -> Option<&'url str> {
        url.strip_prefix(&self.base_url)?
            .strip_prefix('/')
            .filter(|path| is_artifact_path(path))
    }

    /// The file of an artifact; none for anything that is not an artifact's path.
    pub fn file(&self, path: &str) -> Option<PathBuf> {
        is_artifact_path(path).then(|| self.root.join(path))
    }

    /// Moves a finished archive to its place.
    pub async fn adopt(
        &self,
        archive: &Path,
        owner: &Owner,
        digest: &Digest,
    ) -> Result<String, Error> {
        let path = Self::path(owner, digest);
        let target = self.root.join(&path);
        if let Some(folder) = target.parent() {
            tokio::fs::create_dir_all(folder)
                .await
                .map_err(Error::during("create", folder))?;
        }
        tokio::fs::rename(archive, &target)
            .await
            .map_err(Error::during("store", &target))?;
        Ok(path)
    }

    /// Whether an artifact is there and whole.
    pub async fn is_intact(&self, path: &str, digest: &Digest) -> bool {
        match self.file(path) {
            Some(file) => tokio::fs::read(file)
                .await
                .is_ok_and(|bytes| Digest::of(&bytes) == *digest),
            None => false,
        }
    }

    /// Removes the artifacts of an owner, except those that are kept; tells how many.
    pub async fn collect(&self, owner: &Owner, keep: &[&Digest]) -> Result<usize, Error> {
        let folder = self
            .root
            .join(owner.kind)
            .join(&owner.namespace)
            .join(&owner.name);
        let mut entries = match tokio::fs::read_dir(&folder).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(Error::during("list", &folder)(error)),
        };
        let mut removed = 0;
        while let Some(entry) = entries
            .next_entry()
            .await
            .map_err(Error::during("list", &folder))?
        {
            let name = entry.file_name();
            let is_kept = name
                .to_str()
                .and_then(|name| name.strip_suffix(EXTENSION))
                .is_some_and(|hex| keep.iter().any(|digest| digest.hex() == hex));
            if !is_kept {
                let path = entry.path();
                tokio::fs::remove_file(&path)
                    .await
                    .map_err(Error::during("remove", &path))?;
                removed += 1;
            }
        }
        if keep.is_empty() {
            tokio::fs::remove_dir(&folder)
                .await
                .map_err(Error::during("remove", &folder))?;
        }
        Ok(removed)
    }
}

fn is_artifact_path(path: &str) -> bool {
    let names: Vec<&str> = path.split('/').collect();
    let is_name = |name: &&str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
    };
    match names.as_slice() {
        [_, _, _, file] => {
            names.iter().all(is_name) && file.strip_suffix(EXTENSION).is_some_and(is_sha256)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            kind: "gitrepository",
            namespace: "apps".into(),
            name: "shop".into(),
        }
    }

    async fn stored(store: &Store, content: &[u8]) -> (String, Digest) {
        let archive = store.scratch_root().join("a");
        tokio::fs::write(&archive, content).await.unwrap();
        let digest = Digest::of(content);
        (
            store.adopt(&archive, &owner(), &digest).await.unwrap(),
            digest,
        )
    }

    #[tokio::test]
    async fn artifacts_are_kept_until_they_are_collected() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_owned(), "http://x:9090/")
            .await
            .unwrap();
        let (old_path, old) = stored(&store, b"old").await;
        let (path, new) = stored(&store, b"new").await;
        assert!(store.is_intact(&path, &new).await && store.is_intact(&old_path, &old).await);
        assert!(!store.is_intact(&path, &old).await);
        assert_eq!(store.path_of_url(&store.url(&path)), Some(path.as_str()));
        assert_eq!(store.collect(&owner(), &[&new]).await.unwrap(), 1);
        assert!(store.is_intact(&path, &new).await && !store.is_intact(&old_path, &old).await);
        assert_eq!(store.collect(&owner(), &[]).await.unwrap(), 1);
    }

    #[test]
    fn only_artifacts_have_paths() {
        let sha = "a".repeat(64);
        assert!(is_artifact_path(&format!(
            "gitrepository/apps/shop/{sha}.tar.gz"
        )));
        for path in [
            format!("gitrepository/apps/../{sha}.tar.gz"),
            format!("gitrepository/apps/a/b/{sha}.tar.gz"),
            format!("/apps/shop/{sha}.tar.gz"),
            "gitrepository/apps/shop/latest.tar.gz".to_owned(),
            format!(".scratch/apps/shop/{sha}.tar.gz"),
        ] {
            assert!(!is_artifact_path(&path), "{path}");
        }
    }
}
