//! Updates that were answered lately: the same signed message gets the same answer and is not applied again.
//!
//! A client that lost the answer repeats its message (RFC 2136, 7.1 leaves it to the server to cope), and so does an
//! attacker who recorded it. When the list is full the oldest entry goes, and what its key signed before it is
//! refused as too old (RFC 8945, 5.2.3). What other keys signed is not: a client whose clock is fast shuts out nobody
//! else.

use std::collections::{BTreeMap, VecDeque};

use domain::base::iana::Rcode;

use super::tsig::Session;

/// Updates that are remembered: 3 a second for as long as a signature is valid.
const SEEN_MAX: usize = 1024;

#[derive(Debug)]
struct Entry {
    /// 128 bits of the MAC name the message.
    mac: [u8; 16],
    /// Path of the key's name.
    key: Box<[u8]>,
    time_signed: u64,
    rcode: Rcode,
}

/// The updates answered lately.
#[derive(Debug, Default)]
pub(super) struct Seen {
    entries: VecDeque<Entry>,
    /// Signed by this key before this time and not in the list: too old. Only configured keys get here.
    floors: BTreeMap<Box<[u8]>, u64>,
}

impl Seen {
    /// What the same message was answered with.
    pub(super) fn answered(&self, session: &Session) -> Option<Rcode> {
        let mac = beginning(session)?;
        self.entries.iter().rev().find(|entry| entry.mac == mac).map(|entry| entry.rcode)
    }

    /// Whether the message may be one that was forgotten.
    pub(super) fn is_too_old(&self, session: &Session) -> bool {
        self.floors.get(&session.path()).is_some_and(|floor| session.time_signed < *floor)
    }

    pub(super) fn remember(&mut self, session: &Session, rcode: Rcode) {
        let Some(mac) = beginning(session) else { return };
        if self.entries.len() >= SEEN_MAX
            && let Some(oldest) = self.entries.pop_front()
        {
            let floor = self.floors.entry(oldest.key).or_default();
            *floor = oldest.time_signed.max(*floor);
        }
        self.entries.push_back(Entry { mac, key: session.path(), time_signed: session.time_signed, rcode });
    }
}

fn beginning(session: &Session) -> Option<[u8; 16]> {
    session.request_mac.first_chunk().copied()
}
