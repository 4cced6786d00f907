//! The files of an artifact, in memory. No IO; hostile archives cost no more than the limits.

use std::io::{self, Read};

use fairlead_kustomize::{PathOutsideTree, Tree};
use flate2::read::GzDecoder;

/// What the files of one artifact may hold together.
const MAX_BYTES: u64 = 100 << 20;

/// How many files one artifact may have.
const MAX_FILES: usize = 100_000;

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not a gzipped tar file.
    #[error("failed to read the archive")]
    Read(#[source] io::Error),
    /// It holds too much.
    #[error("the archive holds more than {} MiB or {MAX_FILES} files", MAX_BYTES >> 20)]
    TooLarge,
    /// A path in it is not text.
    #[error("a path in the archive is not UTF-8")]
    Path,
    /// A path in it leads out of it.
    #[error("the archive is malformed")]
    Outside(#[source] PathOutsideTree),
}

/// Reads all regular files of a gzipped tar file.
pub fn unpack(bytes: &[u8]) -> Result<Tree, Error> {
    let mut archive = tar::Archive::new(GzDecoder::new(bytes).take(2 * MAX_BYTES));
    let mut tree = Tree::default();
    let mut left = MAX_BYTES;
    for (position, entry) in archive.entries().map_err(Error::Read)?.enumerate() {
        let entry = entry.map_err(Error::Read)?;
        if position == MAX_FILES {
            return Err(Error::TooLarge);
        }
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry
            .path()
            .map_err(Error::Read)?
            .to_str()
            .ok_or(Error::Path)?
            .to_owned();
        let mut content = Vec::new();
        entry
            .take(left + 1)
            .read_to_end(&mut content)
            .map_err(Error::Read)?;
        left = left
            .checked_sub(content.len() as u64)
            .ok_or(Error::TooLarge)?;
        tree.insert(&path, content).map_err(Error::Outside)?;
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            // `set_path` refuses what a hostile archive would hold.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn files_are_unpacked_into_memory() {
        let tree = unpack(&archive(&[("a/b.yaml", b"x"), ("c", b"")])).unwrap();
        assert_eq!(tree.file("a/b.yaml"), Some(b"x".as_slice()));
        assert_eq!(tree.below("").count(), 2);
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        assert!(matches!(
            unpack(&archive(&[("../x", b"x")])),
            Err(Error::Outside(_))
        ));
    }

    #[test]
    fn a_bomb_is_refused() {
        let zeros = vec![0; usize::try_from(MAX_BYTES).unwrap() + 1];
        assert!(matches!(
            unpack(&archive(&[("x", &zeros)])),
            Err(Error::TooLarge)
        ));
        assert!(matches!(unpack(b"not gzip"), Err(Error::Read(_))));
    }
}
