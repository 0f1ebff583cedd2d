//! Sockets, files and the clock around the core.
//!
//! ```text
//!   dns_proxy ── upstream            kernel: queue ── echo ── table ── conntrack
//!       │                               │
//!       └── Names ──▶ node ◀── turns ───┘          service: runs all of them for a daemon
//!                      │                              resolver ── relation_file ── report
//!                    routes
//! ```

pub mod ruleset;
pub mod settings;

pub mod kernel;
pub mod routes;

pub mod node;

pub mod dns_proxy;
pub mod relation_file;
pub mod resolver;
pub mod upstream;

pub mod report;
pub mod service;
