//! Own zones: records, wildcards, dynamic update (RFC 2136) with TSIG (RFC 8945). No I/O.
//!
//! ```text
//! question ──▶ zones: whose is the name? ──▶ tree: records, wildcard, nothing (RFC 4592) ──▶ Answer
//!                                              ▲ commit, when it is saved
//! UPDATE ──▶ tsig ──▶ request ──▶ prerequisite ──▶ edit ──▶ Change ──▶ journal ──▶ io
//! ```
//!
//! A zone has records from the configuration, which no update changes, and those that updates brought.

mod answer;
mod config;
mod counters;
mod error;
mod journal;
mod mac;
mod name;
mod rdata;
mod records;
mod seen;
mod signed;
mod soa;
mod state;
mod tree;
mod tsig;
mod update;
mod value;
mod zones;

pub use answer::Answer;
pub use config::{Config, Finding, KeySetting, Origin, RecordSetting, ZoneSetting};
pub use counters::Counters;
pub use error::{ValueError, ZoneError};
pub use state::Loaded;
pub use update::{Change, UpdateOutcome};
pub use zones::{ZoneStatus, Zones};

#[cfg(test)]
pub(crate) mod tests;
