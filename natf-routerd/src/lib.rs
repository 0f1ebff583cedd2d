//! The NAT-f router (paper 001): an outside node names an inside host, the router checks its access control table and
//! forces a NAT mapping for just that flow. Packets then travel through the kernel alone.
//!
//! ```text
//!             raw prerouting              core (no I/O)                      kernel
//! ICMP ECHO ─▶ NFQUEUE ──▶ io::kernel ──▶ core::router ──▶ Output::Insert ──▶ conntrack entry (N7)
//!  (N5, N14)                                 │ core::access (N6)                  │ confirmed
//! ECHO REPLY ◀── raw socket ◀── Output::Send ◀── handle_inserted ◀────────────────┘
//!  (N8)
//! data ═══════════════════════════════════════════════════════════════════▶ NAT of the kernel ═══▶ P1:d
//! ```

pub mod cli;
pub mod core;
pub mod error;
pub mod io;
