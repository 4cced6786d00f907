//! Writes the CRDs, one file each, into the folder that is the only argument.

use std::io::{Error, Result};
use std::path::PathBuf;

use fairlead_crds::definition::{all_crds, file_name, to_yaml};

fn main() -> Result<()> {
    let folder = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or_else(|| Error::other("usage: generate-crds FOLDER"))?;
    std::fs::create_dir_all(&folder)?;
    for crd in all_crds().map_err(Error::other)? {
        std::fs::write(
            folder.join(file_name(&crd)),
            to_yaml(&crd).map_err(Error::other)?,
        )?;
    }
    Ok(())
}
