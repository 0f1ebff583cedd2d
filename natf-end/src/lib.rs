//! External node role of NAT-f: names, negotiation, virtual address translation.
//!
//! ```text
//!  application        this library                               kernel                      router G2
//!
//!  alice.home…? ────▶ dns: G2 becomes V (N2, N3) ── relation
//!             ◀─ V ──                                  │
//!  packet to V:d ───────────────────────────────────────────▶ queue: held (N4)
//!                     engine ◀── flow, alice, G2 ──────┘          │
//!                       ├─ negotiation ── request (N5) ───────────────────────────────▶ ACT (N6),
//!                       │                                                               mapping (N7)
//!                       ├─ answer ◀──────── G2:m (N8) ────────────────────────────────
//!                       └─ flow table (VAT, N9) ── V:d <=> G2:m ──▶ nft map, release
//!  packets to V:d ──────────────────────────────────────────▶ NAT ────────────────────▶ G2:m <=> alice
//! ```
//!
//! Everything but [`io`] works without sockets and clock. The daemon of an external node uses it, and so does the
//! router's, which plays the external node for its LAN (N12).

pub mod virtual_address;

pub mod relation;

pub mod dns;

mod flow;

mod exchange;
mod negotiation;
mod router_memory;
mod sealer;

mod flow_table;
mod role;

mod engine;
mod outcome;

mod counters;
mod steps;

mod error;
pub mod io;

pub use counters::Counters;
pub use engine::{ELEMENT_LIFETIME, Engine, FlowRow, Limits, Settings, Silent};
pub use error::Error;
pub use flow::{Dial, Flow, Home, KernelFlow, PacketId, RestoredFlow};
pub use outcome::{Carrier, Output, PingEvent, PingReport, Refusal, Translated};
pub use role::{Gateway, Role};
pub use steps::{Step, Steps};

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use natf_proto::{KeyId, PeerKeys, Random};

    use crate::flow::Home;

    /// SplitMix64: the same numbers in every run.
    pub(crate) struct Seeded(pub u64);

    impl Random for Seeded {
        fn fill(&mut self, bytes: &mut [u8]) {
            for byte in bytes {
                self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                *byte = (mixed >> 56) as u8;
            }
        }
    }

    /// The home `home`, with a key or without.
    pub(crate) fn home(key: Option<u16>) -> Home {
        let keys = key.map(|id| PeerKeys::derive(KeyId(id), &[7; 32]));
        Home { name: Rc::from("home"), keys, udp_port: None, wildcard: false }
    }
}
