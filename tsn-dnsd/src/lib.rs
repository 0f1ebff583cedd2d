//! The DNS server of TSN (paper 002): a forwarder that tells a NAT router who is about to connect to which of its hosts,
//! before it answers. The client is unmodified; it only uses this DNS server.
//!
//! ```text
//!  client            io                     core (no I/O)                                        others
//!
//!  question ──▶ listeners ──▶ access, limit ──▶ question
//!                                                 ├─ zone: own records, update (RFC 2136)
//!                                                 ├─ cache ── hit ─────────────┐
//!                                                 └─ miss ─▶ io: upstream ─────┼──────▶ other DNS servers (T3)
//!                                                                             ▼
//!                                               announced name? ──▶ announce ─┼─ ICMP ECHO ─▶ router: guide table (T4)
//!  answer ◀── listeners ◀───────────────────── reply ◀── Send or Refuse ◀─────┘
//! ```

pub mod core;

pub mod zone;

pub mod announce;

pub mod cli;
pub mod error;
pub mod io;
