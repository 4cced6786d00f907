//! What goes into each image; data only.

/// One image.
#[derive(Debug)]
pub(super) struct Recipe {
    /// Its name in the index.
    pub(super) name: &'static str,
    /// The last part of its reference: images that differ only in their settings share it.
    pub(super) repository: &'static str,
    /// What lies below everything.
    pub(super) base: Base,
    /// Debian packages on top of the base.
    pub(super) packages: &'static [&'static str],
    /// The program that it runs.
    pub(super) program: Program,
    /// Environment beside `PATH`.
    pub(super) environment: &'static [(&'static str, &'static str)],
    /// The user that it runs as.
    pub(super) user: u32,
}

/// The lowest layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// Nothing: for static programs.
    Empty,
    /// The C library and the certificates of public authorities.
    Debian,
}

impl Base {
    pub(super) fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Empty => &[],
            Self::Debian => &["libc6", "libgcc-s1", "ca-certificates"],
        }
    }
}

/// Where an image's program comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// A binary of the workspace.
    Cargo { binary: &'static str },
    /// One of the tools, installed under a name that may be another's.
    Tool {
        tool: &'static str,
        binary: &'static str,
    },
    /// `tests/cluster/pause.c`, static.
    Pause,
}

impl Program {
    /// Its path in the image.
    pub(super) fn path(self) -> String {
        match self {
            Self::Cargo { binary } | Self::Tool { binary, .. } => {
                format!("/usr/local/bin/{binary}")
            }
            Self::Pause => "/pause".to_owned(),
        }
    }
}

/// The user of everything that needs no rights at all.
const NOBODY: u32 = 65532;
/// The proxy's user: its own traffic is told from the application's by this number.
const PROXY: u32 = 1337;

const OURS: Recipe = Recipe {
    name: "",
    repository: "",
    base: Base::Debian,
    packages: &[],
    program: Program::Pause,
    environment: &[],
    user: NOBODY,
};

const fn ours(name: &'static str, binary: &'static str) -> Recipe {
    Recipe {
        name,
        repository: name,
        program: Program::Cargo { binary },
        ..OURS
    }
}

const fn sample(name: &'static str) -> Recipe {
    ours(name, name)
}

const fn podinfo(
    name: &'static str,
    environment: &'static [(&'static str, &'static str)],
) -> Recipe {
    let program = Program::Tool {
        tool: "podinfo",
        binary: "podinfo",
    };
    Recipe {
        name,
        repository: "podinfo",
        base: Base::Empty,
        program,
        environment,
        ..OURS
    }
}

const fn bookinfo(
    name: &'static str,
    environment: &'static [(&'static str, &'static str)],
) -> Recipe {
    Recipe {
        name,
        environment,
        ..sample("bookinfo")
    }
}

/// Every image of the project, of its samples and of what the local cluster needs.
pub(super) const RECIPES: &[Recipe] = &[
    ours("operator", "fairlead-operator"),
    ours("control-plane", "fairlead-control-plane"),
    Recipe {
        packages: &[
            "iptables",
            "libip4tc2",
            "libip6tc2",
            "libmnl0",
            "libnetfilter-conntrack3",
            "libnfnetlink0",
            "libnftnl11",
            "libxtables12",
            "netbase",
        ],
        user: PROXY,
        ..ours("proxy", "fairlead-proxy")
    },
    Recipe {
        packages: &["libssl3", "zlib1g"],
        ..ours("gitops", "fairlead-gitops")
    },
    Recipe {
        packages: &["git", "libpcre2-8-0", "zlib1g"],
        ..sample("git-server")
    },
    sample("slack-receiver"),
    sample("loadgen"),
    bookinfo("bookinfo", &[]),
    bookinfo("bookinfo-next", &[("VERSION", "v2")]),
    bookinfo(
        "bookinfo-faulty",
        &[("VERSION", "v3"), ("FAULT_PERCENT", "30")],
    ),
    bookinfo("bookinfo-slow", &[("VERSION", "v4"), ("LATENCY_MS", "600")]),
    podinfo("podinfo", &[]),
    podinfo("podinfo-next", &[("PODINFO_UI_MESSAGE", "next")]),
    Recipe {
        program: Program::Tool {
            tool: "podinfo-faulty",
            binary: "podinfo",
        },
        ..podinfo("podinfo-faulty", &[("PODINFO_UI_MESSAGE", "faulty")])
    },
    podinfo(
        "podinfo-slow",
        &[
            ("PODINFO_UI_MESSAGE", "slow"),
            ("PODINFO_RANDOM_DELAY", "true"),
            ("PODINFO_RANDOM_DELAY_UNIT", "ms"),
            ("PODINFO_RANDOM_DELAY_MIN", "500"),
            ("PODINFO_RANDOM_DELAY_MAX", "800"),
        ],
    ),
    Recipe {
        name: "prometheus",
        repository: "prometheus",
        base: Base::Empty,
        program: Program::Tool {
            tool: "prometheus",
            binary: "prometheus",
        },
        ..OURS
    },
    Recipe {
        name: "pause",
        repository: "pause",
        base: Base::Empty,
        ..OURS
    },
];
