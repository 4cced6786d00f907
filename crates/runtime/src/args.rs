//! Command line arguments that all binaries have in common; flatten them into the binary's own.

use std::net::SocketAddr;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, for log collectors.
    #[default]
    Json,
    /// Text for people.
    Text,
}

/// Arguments about logging.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Logging")]
pub struct Log {
    /// What to log: a level, or directives such as `info,kube=debug`.
    #[arg(long, env = "FAIRLEAD_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// How log lines look.
    #[arg(long, env = "FAIRLEAD_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            log_level: "info".to_owned(),
            log_format: LogFormat::default(),
        }
    }
}

/// Where the admin server listens.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Admin server")]
pub struct Admin {
    /// Address that serves `/metrics`, `/healthz` and `/readyz`.
    #[arg(
        id = "admin_address",
        long = "admin-address",
        env = "FAIRLEAD_ADMIN_ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    pub address: SocketAddr,
}
