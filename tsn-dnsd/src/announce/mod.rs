//! Communication notifications (T4-T6): before a client gets the address of an announced name, the router behind that
//! address is told who is about to connect to which of its hosts. No I/O.
//!
//! ```text
//!  name ─▶ routers: whose? ─▶ capability: known to be silent, or without TSN? ──────────────▶ verdict
//!                                  │ no                                                         ▲
//!                                  ▼                                                            │
//!           same client, same name under way? ─ yes ─▶ wait for that one                        │
//!                                  │ no                                                         │
//!                                  ▼                                                            │
//!                              exchange: notification ─▶ answer, mirror, or nothing in time ────┘
//! ```

mod announcer;
mod capability;
mod counters;
mod exchange;
mod origin;
mod refusal;
mod routers;

pub use announcer::{Announcer, Asked, Asking, Output, Settings, Ticket, Verdict};
pub use counters::Counters;
pub use origin::{Origin, Origins};
pub use refusal::Refusal;
pub use routers::{RouterRow, Routers};
