//! Process bootstrap that every Fairlead binary shares; knows neither Kubernetes nor any domain word.
//!
//! A `main` reads its [`args`], calls [`telemetry::init`], takes a [`shutdown::token`], and runs
//! everything it does as named [`tasks`], the [`admin`] server among them.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use fairlead_runtime::{admin, args, shutdown, tasks::Tasks, telemetry};
//!
//! # async fn example(log: args::Log, address: args::Admin) -> Result<(), Box<dyn std::error::Error>> {
//! telemetry::init(&log)?;
//! let tasks = Tasks::new(shutdown::token()?);
//! let admin = admin::Admin::default();
//! let synced = admin.readiness().check("caches");
//! tasks.spawn("admin", admin.serve(address.address, tasks.token().clone()));
//! synced.ready();
//! tasks.join(Duration::from_secs(20)).await?;
//! # Ok(())
//! # }
//! ```

pub mod admin;
pub mod args;
pub mod clock;
pub mod readiness;
pub mod report;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;

pub use report::report;
