//! Folders outside the checkout that hold what is slow to make, each under the hash of its inputs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::Environment;

/// The checkout that this program was built from.
pub(crate) fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// The cache's folder.
pub(crate) fn folder(environment: &Environment) -> Result<PathBuf> {
    if let Some(folder) = &environment.cache {
        return Ok(folder.clone());
    }
    let home = || environment.home.as_ref().map(|home| home.join(".cache"));
    let base = environment.xdg_cache_home.clone().or_else(home);
    Ok(base
        .context("neither HOME nor FAIRLEAD_CACHE is set")?
        .join("fairlead"))
}

/// The hash of some inputs, shortened to what a folder's name needs.
pub(crate) fn hash(inputs: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for input in inputs {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hasher.update(input.len().to_le_bytes());
        hasher.update(input);
    }
    hex::encode(&hasher.finalize()[..8])
}

/// A folder of the cache: made once, whole or not at all, however many processes ask for it.
pub(crate) fn entry(folder: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().context("the cache has no folder")?;
    fs::create_dir_all(parent)?;
    // Beside the entry; its name may have dots, so no `with_extension`.
    let name = folder
        .file_name()
        .context("a cache entry has a name")?
        .to_string_lossy();
    let lock = File::create(parent.join(format!(".{name}.lock")))?;
    lock.lock()
        .with_context(|| format!("failed to lock `{}`", folder.display()))?;
    if folder.is_dir() {
        return Ok(());
    }
    let partial = parent.join(format!(".{name}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir(&partial)?;
    make(&partial)?;
    fs::rename(&partial, folder)
        .with_context(|| format!("failed to complete `{}`", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_entry_leaves_nothing_that_looks_complete() {
        let parent = std::env::temp_dir().join(format!("fairlead-cache-{}", std::process::id()));
        let folder = parent.join("entry");
        let failed = entry(&folder, |partial| {
            fs::write(partial.join("half"), "")?;
            anyhow::bail!("the disk is full")
        });
        assert!(failed.is_err());
        assert!(!folder.exists());
        entry(&folder, |partial| Ok(fs::write(partial.join("whole"), "")?)).unwrap();
        assert!(folder.join("whole").exists() && !folder.join("half").exists());
        fs::remove_dir_all(parent).unwrap();
    }

    #[test]
    fn where_one_input_ends_matters() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
    }
}
