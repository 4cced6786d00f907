//! Container images without Docker: unpacked Debian packages and one program each.
//!
//! The same inputs give the same bytes, and an image's tag is the hash of its content, so that a
//! name never means two things. Writes `target/images/<name>-<tag>.tar` and `index.json` beside.

mod archive;
mod layer;
mod program;
mod recipe;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use self::layer::Layer;
use self::program::Programs;
use self::recipe::{RECIPES, Recipe};
use crate::report::{say, step};
use crate::{Environment, cache, process, seed, tools};

/// Where names of images start that stay on this machine.
const LOCAL_REGISTRY: &str = "localhost";

/// One built image.
#[derive(Debug, Serialize, Deserialize)]
struct Built {
    /// Its full name with its tag.
    reference: String,
    /// Its archive.
    archive: PathBuf,
}

/// Builds images (all, or the named ones) and updates the index.
pub(crate) fn build(environment: &Environment, only: &[String]) -> Result<()> {
    let known: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name).collect();
    if let Some(unknown) = only.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no image `{unknown}`; there are: {}", known.join(", "));
    }
    let wanted = |recipe: &&Recipe| only.is_empty() || only.iter().any(|name| name == recipe.name);
    let recipes: Vec<&Recipe> = RECIPES.iter().filter(wanted).collect();

    let tools = tools::provide(environment)?;
    seed::restore(environment)?;
    let programs = step("build the programs (profile quick)", || {
        Programs::build(&recipes, &tools)
    })?;
    seed::store(environment)?;
    step("build the images", || {
        let folder = cache::workspace().join("target/images");
        fs::create_dir_all(&folder)?;
        let index_file = folder.join("index.json");
        let mut index = read_index(&index_file)?;
        for recipe in recipes {
            let known = index.get(recipe.name).map(|built| built.reference.clone());
            let built = build_one(environment, recipe, &programs, &folder, known.as_deref())
                .with_context(|| format!("failed to build the image `{}`", recipe.name))?;
            if environment.registry.is_some() {
                let crane = tools.get("crane").context("crane is not among the tools")?;
                process::run(
                    Command::new(crane)
                        .arg("push")
                        .arg(&built.archive)
                        .arg(&built.reference),
                )?;
            }
            say(format!("    {} {}", recipe.name, built.reference));
            index.insert(recipe.name.to_owned(), built);
        }
        index.retain(|name, _| known.contains(&name.as_str()));
        fs::write(&index_file, serde_json::to_vec_pretty(&index)?)?;
        let values = folder.join("values.yaml");
        fs::write(&values, chart_values(&index))?;
        say(format!("    for helm: --values {}", values.display()));
        Ok(())
    })
}

/// The chart's names of the images that it deploys, with what was built for each.
const CHART_IMAGES: [(&str, &str); 4] = [
    ("operator", "operator"),
    ("gitops", "gitops"),
    ("controlPlane", "control-plane"),
    ("proxy", "proxy"),
];

/// Values for `helm install`, with the images that are there.
fn chart_values(index: &BTreeMap<String, Built>) -> String {
    let lines = CHART_IMAGES.iter().filter_map(|(key, name)| {
        let built = index.get(*name)?;
        Some(format!("  {key}: {}\n", built.reference))
    });
    format!("images:\n{}", lines.collect::<String>())
}

fn read_index(file: &Path) -> Result<BTreeMap<String, Built>> {
    if !file.exists() {
        return Ok(BTreeMap::new());
    }
    let text = fs::read(file)?;
    serde_json::from_slice(&text).with_context(|| format!("failed to parse `{}`", file.display()))
}

fn build_one(
    environment: &Environment,
    recipe: &Recipe,
    programs: &Programs,
    folder: &Path,
    known: Option<&str>,
) -> Result<Built> {
    let mut layers = Vec::new();
    let mut libraries = Vec::new();
    for packages in [recipe.base.packages(), recipe.packages] {
        if packages.is_empty() {
            continue;
        }
        let (layer, unpacked) = layer::of_packages(environment, packages)?;
        layers.push(layer);
        libraries.extend(unpacked);
    }
    if let Some(program) = programs.find(recipe) {
        program::check_libraries(program, &libraries)?;
        layers.push(Layer::of_program(environment, program, recipe)?);
    }
    let registry = environment.registry.as_deref().unwrap_or(LOCAL_REGISTRY);
    let repository = format!(
        "{}/fairlead/{}",
        registry.trim_end_matches('/'),
        recipe.repository
    );
    let config = archive::config(recipe, &layers)?;
    let tag = archive::tag(&config);
    let reference = format!("{repository}:{tag}");
    let file = folder.join(format!("{}-{tag}.tar", recipe.name));
    // An archive names its image: for another registry it is another archive.
    if !file.exists() || known != Some(&reference) {
        remove_older(folder, recipe.name)?;
        archive::write(&file, &reference, &config, &layers)?;
    }
    Ok(Built {
        reference,
        archive: file,
    })
}

/// Removes archives of the same image with other tags: nothing names them any more.
fn remove_older(folder: &Path, name: &str) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else {
            continue;
        };
        // The tag is the part after the last dash: `proxy-<tag>` but not `proxy-other-<tag>`.
        if stem
            .rsplit_once('-')
            .is_some_and(|(owner, _)| owner == name)
        {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helm_is_told_the_images_that_were_built() {
        let built = |reference: &str| Built {
            reference: reference.to_owned(),
            archive: PathBuf::new(),
        };
        let index = BTreeMap::from([
            ("control-plane".to_owned(), built("r/control-plane:1")),
            ("podinfo".to_owned(), built("r/podinfo:2")),
        ]);
        assert_eq!(
            chart_values(&index),
            "images:\n  controlPlane: r/control-plane:1\n"
        );
    }
}
