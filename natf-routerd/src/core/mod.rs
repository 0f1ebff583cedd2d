//! The router's decisions, without I/O: time, chance and the kernel's answers come in as arguments, effects go out as
//! values of [`Output`].

pub mod access;
pub mod counters;
pub mod discovery;
pub mod forcing;
pub mod guide;
mod guide_flow;
mod guide_notice;
pub mod guide_passing;
pub mod limit;
pub mod mapping;
pub mod names;
pub mod netbios;
pub mod output;
pub mod peer;
pub mod refusals;
pub mod registration;
pub mod registration_message;
pub mod registration_seen;
pub mod registration_stream;
pub mod router;
mod upkeep;
