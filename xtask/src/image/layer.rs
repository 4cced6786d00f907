//! Layers: tar archives whose bytes depend on their content alone (sorted, no times, no owners).

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};
use walkdir::WalkDir;

use super::recipe::Recipe;
use crate::debian::{Unpacked, unpack};
use crate::{Environment, cache};

/// Changes with the rules below, so that layers built by older ones are not found.
const RULES: &str = "1";

/// One layer on disk.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) file: PathBuf,
    /// SHA-256 of the file, hexadecimal.
    pub(super) digest: String,
}

/// Files that no image needs. The copyright files stay.
const LEFT_OUT: [&str; 12] = [
    "etc/cron.daily",
    "etc/init.d",
    "etc/default",
    "lib/systemd",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl5",
    "usr/share/xml",
];

/// The layer of some packages, and where their libraries lie unpacked.
pub(super) fn of_packages(
    environment: &Environment,
    names: &[&str],
) -> Result<(Layer, Vec<Unpacked>)> {
    let packages = unpack(environment, names)?;
    let versions: Vec<&[u8]> = packages
        .iter()
        .map(|package| package.file.as_bytes())
        .collect();
    let mut inputs = vec![RULES.as_bytes()];
    inputs.extend(versions);
    let layer = cached(environment, &cache::hash(&inputs), |tree| {
        for package in &packages {
            tree.add_folder(&package.folder)?;
        }
        if names.contains(&"libc6") {
            tree.add_system_files();
        }
        if names.contains(&"ca-certificates") {
            tree.add_certificates()?;
        }
        if names.contains(&"iptables") {
            tree.add_iptables_names();
        }
        Ok(())
    })?;
    Ok((layer, packages))
}

impl Layer {
    /// The layer with a recipe's program.
    pub(super) fn of_program(
        environment: &Environment,
        program: &Path,
        recipe: &Recipe,
    ) -> Result<Self> {
        let content =
            fs::read(program).with_context(|| format!("failed to read `{}`", program.display()))?;
        let to = recipe.program.path();
        let key = cache::hash(&[RULES.as_bytes(), to.as_bytes(), &content]);
        cached(environment, &key, |tree| {
            tree.add(
                to.trim_start_matches('/'),
                Entry::Bytes {
                    content,
                    mode: 0o755,
                },
            );
            Ok(())
        })
    }
}

fn cached(
    environment: &Environment,
    key: &str,
    fill: impl FnOnce(&mut Tree) -> Result<()>,
) -> Result<Layer> {
    let folder = cache::folder(environment)?.join("layers").join(key);
    let file = folder.join("layer.tar");
    let digest_file = folder.join("digest");
    cache::entry(&folder, |partial| {
        let mut tree = Tree::default();
        fill(&mut tree)?;
        tree.write(&partial.join("layer.tar"))?;
        Ok(fs::write(
            partial.join("digest"),
            digest(&partial.join("layer.tar"))?,
        )?)
    })?;
    Ok(Layer {
        digest: fs::read_to_string(digest_file)?,
        file,
    })
}

fn digest(file: &Path) -> Result<String> {
    let mut reader = BufReader::new(File::open(file)?);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}

enum Entry {
    Folder {
        mode: u32,
    },
    Bytes {
        content: Vec<u8>,
        mode: u32,
    },
    File {
        source: PathBuf,
        mode: u32,
        links: u64,
        inode: (u64, u64),
    },
    Symlink {
        target: PathBuf,
    },
}

/// Files by path, which sorts folders before what is in them.
#[derive(Default)]
struct Tree {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Tree {
    fn add(&mut self, path: impl Into<PathBuf>, entry: Entry) {
        self.entries.insert(path.into(), entry);
    }

    fn add_folder(&mut self, root: &Path) -> Result<()> {
        let wanted = |path: &Path| {
            !LEFT_OUT.iter().any(|left_out| path.starts_with(left_out))
                && !path.components().any(|part| part.as_os_str() == "gconv")
                && (!path.starts_with("usr/share/doc") || is_copyright(path))
        };
        for entry in WalkDir::new(root).min_depth(1).sort_by_file_name() {
            let entry = entry?;
            let path = entry.path().strip_prefix(root)?.to_path_buf();
            if !wanted(&path) {
                continue;
            }
            let metadata = entry.path().symlink_metadata()?;
            let mode = metadata.permissions().mode() & 0o7777;
            let kind = metadata.file_type();
            let added = if kind.is_dir() {
                Entry::Folder { mode }
            } else if kind.is_symlink() {
                Entry::Symlink {
                    target: fs::read_link(entry.path())?,
                }
            } else {
                Entry::File {
                    source: entry.path().to_path_buf(),
                    mode,
                    links: metadata.nlink(),
                    inode: (metadata.dev(), metadata.ino()),
                }
            };
            self.add(path, added);
        }
        Ok(())
    }

    /// What the C library expects of a system.
    fn add_system_files(&mut self) {
        let text = |content: &str| Entry::Bytes {
            content: content.into(),
            mode: 0o644,
        };
        self.add(
            "etc/passwd",
            text(
                "root:x:0:0:root:/root:/sbin/nologin\n\
                 proxy:x:1337:1337:proxy:/:/sbin/nologin\n\
                 nobody:x:65532:65532:nobody:/:/sbin/nologin\n",
            ),
        );
        self.add(
            "etc/group",
            text("root:x:0:\nproxy:x:1337:\nnobody:x:65532:\n"),
        );
        self.add(
            "etc/nsswitch.conf",
            text("passwd: files\ngroup: files\nhosts: files dns\n"),
        );
        self.add("tmp", Entry::Folder { mode: 0o1777 });
        self.add("run", Entry::Folder { mode: 0o755 });
    }

    /// The bundle that the package's installation script would make.
    fn add_certificates(&mut self) -> Result<()> {
        let mut bundle = Vec::new();
        for (path, entry) in &self.entries {
            if let Entry::File { source, .. } = entry
                && path.starts_with("usr/share/ca-certificates")
                && path.extension().is_some_and(|extension| extension == "crt")
            {
                bundle.extend(fs::read(source)?);
            }
        }
        self.add(
            "etc/ssl/certs/ca-certificates.crt",
            Entry::Bytes {
                content: bundle,
                mode: 0o644,
            },
        );
        Ok(())
    }

    /// The names that the package's installation script would choose.
    fn add_iptables_names(&mut self) {
        for family in ["iptables", "ip6tables"] {
            for suffix in ["", "-save", "-restore"] {
                let target = PathBuf::from(format!("{family}-nft{suffix}"));
                self.add(
                    format!("usr/sbin/{family}{suffix}"),
                    Entry::Symlink { target },
                );
            }
        }
    }

    fn write(&self, file: &Path) -> Result<()> {
        let mut builder = Builder::new(BufWriter::new(File::create(file)?));
        let mut linked: HashMap<(u64, u64), &Path> = HashMap::new();
        for (path, entry) in &self.entries {
            append(&mut builder, path, entry, &mut linked)
                .with_context(|| format!("failed to pack `{}`", path.display()))?;
        }
        Ok(io::Write::flush(&mut builder.into_inner()?)?)
    }
}

fn append<'a>(
    builder: &mut Builder<BufWriter<File>>,
    path: &'a Path,
    entry: &Entry,
    linked: &mut HashMap<(u64, u64), &'a Path>,
) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    match entry {
        Entry::Folder { mode } => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(*mode);
            header.set_size(0);
            builder.append_data(&mut header, path, io::empty())?;
        }
        Entry::Bytes { content, mode } => {
            header.set_mode(*mode);
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, content.as_slice())?;
        }
        Entry::Symlink { target } => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            builder.append_link(&mut header, path, target)?;
        }
        Entry::File {
            source,
            mode,
            links,
            inode,
        } => {
            header.set_mode(*mode);
            // One program under many names is stored once.
            if let Some(first) = (*links > 1).then(|| linked.get(inode)).flatten() {
                header.set_entry_type(EntryType::Link);
                header.set_size(0);
                builder.append_link(&mut header, path, first)?;
            } else {
                linked.insert(*inode, path);
                let file = File::open(source)?;
                header.set_size(file.metadata()?.len());
                builder.append_data(&mut header, path, file)?;
            }
        }
    }
    Ok(())
}

/// `usr/share/doc/<package>/copyright`, or a folder above it.
fn is_copyright(path: &Path) -> bool {
    path.components().count() <= 4 || path.ends_with("copyright")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_gives_the_same_bytes_whatever_order_it_came_in() {
        let folder = std::env::temp_dir().join(format!("fairlead-layer-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, paths: [&str; 3]| {
            let mut tree = Tree::default();
            for path in paths {
                tree.add(
                    path,
                    Entry::Bytes {
                        content: path.into(),
                        mode: 0o644,
                    },
                );
            }
            tree.write(&folder.join(name)).unwrap();
            digest(&folder.join(name)).unwrap()
        };
        assert_eq!(
            write("one", ["a", "b/c", "b"]),
            write("two", ["b", "a", "b/c"])
        );
        fs::remove_dir_all(folder).unwrap();
    }
}
