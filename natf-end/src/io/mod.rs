//! Sockets, files and the clock around the core.
//!
//! ```text
//!   dns_proxy ── upstream            kernel: queue ── echo ── table ── conntrack
//!       │                               │
//!       └── Names ──▶ node ◀── turns ───┘ ── errands ──▶ the daemon
//!                      │
//!                relation_file
//! ```

pub mod random;
pub mod ruleset;
pub mod settings;

pub mod kernel;
pub mod node;

pub mod dns_proxy;
pub mod relation_file;
pub mod resolver;
pub mod upstream;
