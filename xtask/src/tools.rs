//! The programs that tests, demo and images need: pinned Go modules built once a machine, and etcd.
//!
//! Writes `target/tools.json`, name to path, which the harness reads.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::report::{say, step};
use crate::{Environment, cache, debian, process};

/// Programs that one module pins together.
struct GoTools {
    /// Folder below `tests/cluster/tools`, with its `go.mod`.
    module: &'static str,
    /// What the linker is told.
    linker_flags: &'static str,
    /// Build tags, which leave out what nothing here uses.
    tags: &'static str,
    /// Packages; the last element of each is the program's name.
    packages: &'static [&'static str],
}

const STRIP: &str = "-s -w";
/// Without these the server calls itself v0.0.0-master, and clients that parse versions refuse it.
const KUBERNETES_VERSION: &str = "-s -w \
    -X k8s.io/component-base/version.gitVersion=v1.36.3 \
    -X k8s.io/component-base/version.gitMajor=1 \
    -X k8s.io/component-base/version.gitMinor=36";

const GO_TOOLS: [GoTools; 7] = [
    GoTools {
        module: "kubernetes",
        linker_flags: KUBERNETES_VERSION,
        tags: "",
        packages: &[
            "k8s.io/kubernetes/cmd/kube-apiserver",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-scheduler",
            "k8s.io/kubernetes/cmd/kubelet",
            "k8s.io/kubernetes/cmd/kube-proxy",
            "k8s.io/kubernetes/cmd/kubectl",
        ],
    },
    GoTools {
        module: "containerd",
        linker_flags: STRIP,
        tags: "",
        packages: &[
            "github.com/containerd/containerd/v2/cmd/containerd",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/ctr",
        ],
    },
    GoTools {
        module: "helm",
        linker_flags: STRIP,
        tags: "",
        packages: &["helm.sh/helm/v4/cmd/helm"],
    },
    GoTools {
        module: "coredns",
        linker_flags: STRIP,
        tags: "",
        packages: &["github.com/coredns/coredns"],
    },
    GoTools {
        module: "podinfo",
        linker_flags: STRIP,
        tags: "",
        packages: &[
            "github.com/stefanprodan/podinfo/cmd/podinfo",
            "./podinfo-faulty",
        ],
    },
    GoTools {
        module: "prometheus",
        linker_flags: STRIP,
        tags: "remove_all_sd,enable_kubernetes_sd",
        packages: &["github.com/prometheus/prometheus/cmd/prometheus"],
    },
    GoTools {
        module: "crane",
        linker_flags: STRIP,
        tags: "",
        packages: &["github.com/google/go-containerregistry/cmd/crane"],
    },
];

/// What stands beside our rollouts in their benchmark; nothing else needs it.
const FLAGGER: GoTools = GoTools {
    module: "flagger",
    linker_flags: STRIP,
    tags: "",
    packages: &["github.com/fluxcd/flagger/cmd/flagger"],
};

/// Programs by name.
pub(crate) type Index = BTreeMap<String, PathBuf>;

/// Provides every tool and writes the index.
pub(crate) fn provide(environment: &Environment) -> Result<Index> {
    debian::install()?;
    let mut index = Index::new();
    let go = go()?;
    for tools in &GO_TOOLS {
        let folder = build(environment, tools, &go)?;
        for package in tools.packages {
            let name = program_name(package);
            index.insert(name.to_owned(), folder.join(name));
        }
    }
    let etcd = debian::unpack(environment, &["etcd-server"])?;
    let etcd = etcd.first().context("apt gave no etcd")?;
    index.insert("etcd".to_owned(), etcd.folder.join("usr/bin/etcd"));

    let file = cache::workspace().join("target/tools.json");
    fs::create_dir_all(cache::workspace().join("target"))?;
    fs::write(&file, serde_json::to_vec_pretty(&index)?)?;
    say(format!(
        "    {} tools, listed in {}",
        index.len(),
        file.display()
    ));
    Ok(index)
}

/// Flagger's program.
pub(crate) fn flagger(environment: &Environment) -> Result<PathBuf> {
    Ok(build(environment, &FLAGGER, &go()?)?.join("flagger"))
}

fn go() -> Result<String> {
    process::output(Command::new("go").arg("version")).context("Go is needed to build the tools")
}

fn build(environment: &Environment, tools: &GoTools, go: &str) -> Result<PathBuf> {
    let module = cache::workspace()
        .join("tests/cluster/tools")
        .join(tools.module);
    let read = |file: &str| -> Result<Vec<u8>> {
        let path = module.join(file);
        fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))
    };
    let mut inputs = vec![
        read("go.mod")?,
        read("go.sum")?,
        go.into(),
        tools.linker_flags.into(),
        tools.tags.into(),
        tools.packages.join(" ").into_bytes(),
    ];
    for package in tools
        .packages
        .iter()
        .filter(|package| package.starts_with("./"))
    {
        inputs.push(read(&format!("{package}/main.go"))?);
    }
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let hash = cache::hash(&inputs);
    let folder = cache::folder(environment)?
        .join("tools")
        .join(format!("{}-{hash}", tools.module));
    cache::entry(&folder, |partial| {
        step(&format!("build {} (once a machine)", tools.module), || {
            compile(&module, tools, partial)
        })
    })?;
    Ok(folder)
}

fn compile(module: &Path, tools: &GoTools, into: &Path) -> Result<()> {
    process::run(
        Command::new("go")
            .arg("build")
            .arg("-o")
            // The slash makes it a folder, also for a single program.
            .arg(format!("{}/", into.display()))
            .args(["-ldflags", tools.linker_flags, "-tags", tools.tags])
            .args(tools.packages)
            .env("CGO_ENABLED", "0")
            .current_dir(module),
    )
}

fn program_name(package: &str) -> &str {
    package.rsplit('/').next().unwrap_or(package)
}
