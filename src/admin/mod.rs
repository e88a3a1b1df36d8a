//! HTTP for those who run the daemon: what it serves, and the client of our own commands.
//!
//! Owns the paths, their JSON, and every bound on that. Refuses to know threads and signals. It
//! reads the snapshot in force and never stands in the way of a query: explaining runs the decision
//! on the thread that calls [`serve`], which answers no client.
//!
//! Whoever reaches the address sees how names resolve. Nothing here changes anything.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod client;
mod fields;
mod routes;
mod serve;

pub use client::{ClientError, explain};
#[cfg(fuzzing)]
pub use fields::{read_fields, write_fields};
#[cfg(fuzzing)]
pub use serve::serve_connection;
pub use serve::{Bound, MAX_CONNECTIONS, bind, serve};

pub use crate::sys::BindError;

/// Where explanations are.
const EXPLAIN_PATH: &str = "/explain";

/// An error as JSON.
#[derive(serde::Serialize, serde::Deserialize)]
struct Fault {
    error: String,
}
