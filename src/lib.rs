//! `privatelinkd` answers Azure Private Link names from its own configuration and forwards
//! everything else with a cache.
//!
//! The crate is a thin binary over this library. The modules stand on floors; each imports only
//! from lower ones. docs/ARCHITECTURE.md holds the table, `tests/architecture.rs` the code to it.

pub mod access;
pub mod addresses;
pub mod admin;
pub mod app;
pub mod azure;
pub mod cache;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod dnssec;
pub mod doctor;
pub mod drift;
pub mod engine;
pub mod forward;
pub mod listeners;
pub mod metrics;
pub mod probes;
pub mod snippets;
pub mod special;
pub mod sys;
pub mod upstream;
pub mod wire;
pub mod zones;
