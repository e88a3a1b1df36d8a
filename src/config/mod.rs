//! The configuration file: what the user typed, checked and turned into what it means.

mod model;
#[cfg(test)]
pub(crate) mod testing;

pub use model::{
    Access, CacheConfig, Config, Endpoint, Expect, Forward, Limits, Listen, Log, LogFormat,
    LogLevel, LogQueries, PrivateLink, Refused, Site, Unlisted, UpstreamSource,
};
